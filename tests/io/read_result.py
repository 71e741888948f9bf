"""Reads a result file with h5py and prints what test_result.cpp expects of it as JSON."""
import json
import sys

import h5py
import numpy as np

with h5py.File(sys.argv[1]) as f:
    o, p = f["object"], f["process"].attrs
    amplitude, phase = f["amplitude"][()], f["phase"][()]
    report = {
        "format": [f.attrs["format"], int(f.attrs["format_version"])],
        "names": sorted(f.keys()),
        "dtypes": {name: str(f[name].dtype) for name in f if isinstance(f[name], h5py.Dataset)},
        "shape": list(o.shape),
        "object": [[z.real, z.imag] for z in o[()].astype(complex).ravel()],
        "polar": bool(np.allclose(amplitude * np.exp(1j * phase), o[()], atol=1e-6)),
        "coverage": f["coverage"][()].astype(float).ravel().tolist(),
        "count": f["count"][()].ravel().tolist(),
        "positions": f["positions"][()].tolist(),
        "frame_index": f["frame_index"][()].tolist(),
        "residual_nan": np.isnan(f["residual"][()]).tolist(),
        "dark": int(f["residual"].attrs["frames_without_counts"]),
        "patch_shapes": [list(f["patches/amplitude"].shape), list(f["patches/phase"].shape)],
        "patch_sums": f["patches/amplitude"][()].sum(axis=(1, 2)).tolist(),
        "pixel_size_m": o.attrs["pixel_size_m"].tolist(),
        "origin_px": o.attrs["origin_px"].tolist(),
        "origin_m": o.attrs["origin_m"].tolist(),
        "energy_ev": float(o.attrs["energy_ev"]),
        "process": {k: (v if isinstance(v, str) else float(v)) for k, v in p.items()},
    }
print(json.dumps(report))
