"""Writes metrics.json: what the NumPy reference gives on images from the counter generator.

    PTYNET_REFERENCE=... python3 tests/golden/make_metrics.py      (needs NumPy and SciPy)
"""
import hashlib
import json
import os
import pathlib
import sys

import numpy as np
import scipy

HERE = pathlib.Path(__file__).parent
REFERENCE = pathlib.Path(os.environ["PTYNET_REFERENCE"])
sys.path.insert(0, str(REFERENCE))
import metrics  # noqa: E402


def counter_uniform(seed, name, n):
    """n doubles in [0, 1): the stream of kernels/random.h."""
    golden, mask = 0x9E3779B97F4A7C15, 2 ** 64 - 1
    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = ((key ^ byte) * 0x100000001B3) & mask
    with np.errstate(over="ignore"):
        z = np.uint64((key + seed * golden) & mask)
        z = z + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(golden)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0 ** -53


def images(rows, columns, seed, noise):
    """(result, truth) as (amplitude, phase) each; the test makes the same in C++."""
    def draw(name):
        return counter_uniform(seed, name, rows * columns).reshape(rows, columns)
    truth = 0.25 + 0.5 * draw("amplitude"), 3.0 * (draw("phase") - 0.5)
    result = truth[0] + noise * draw("amplitude noise"), truth[1] + noise * (draw("phase noise") - 0.25)
    return result, truth


def case(rows, columns, seed, noise):
    (ra, rp), (ta, tp) = images(rows, columns, seed, noise)
    r, t = ra * np.exp(1j * rp), ta * np.exp(1j * tp)
    frequency, curve = metrics.frc(r, t)
    return {"rows": rows, "columns": columns, "seed": seed, "noise": noise,
            "amplitude": {"paper": metrics.paper(ra, ta), "standard": metrics.standard(ra, ta)},
            "phase": {"paper": metrics.paper(rp, tp), "standard": metrics.standard(rp, tp)},
            "physical": metrics.physical(r, t),
            "frc": {"frequency": frequency.tolist(), "correlation": curve.tolist()}}


def main():
    cases = [case(64, 48, 1, 0.1), case(33, 35, 2, 0.4), case(11, 11, 3, 0.02), case(40, 128, 4, 2.0)]
    source = (REFERENCE / "metrics.py").read_bytes()
    provenance = {"script": "tests/golden/make_metrics.py", "source": "metrics.py",
                  "source_sha256": hashlib.sha256(source).hexdigest(),
                  "numpy": np.__version__, "scipy": scipy.__version__}
    out = json.dumps({"provenance": provenance, "cases": cases}, indent=1)
    (HERE / "metrics.json").write_text(out + "\n")


if __name__ == "__main__":
    main()
