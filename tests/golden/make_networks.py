#!/usr/bin/env python3
"""Writes networks/<architecture>.json: what PyTorch computes for the five built-in networks.

    PTYNET_REFERENCE=folder make_networks.py        (needs torch, and torch_reference.py in that folder)

Weights and inputs come from the counter generator (random_state and counter_uniform of torch_reference.py), so
a file holds only answers. Of every case and every quantity (`output`: the channels of the network as N, C, H, W;
`amplitude` and `phase`: the heads as N, H, W, absent where the architecture has no such head):

  norm      square root of the sum of squares over all elements
  maximum   largest magnitude: tolerances are relative to it
  samples   elements at floor(u * count), u = counter_uniform(seed, "<quantity>.samples", number of samples)

The input is counter_uniform(seed, "input", N * H * W), rounded to float32, as it enters the first layer: no input
rule. Weights are float32; the arithmetic is float64, and float32_deviation says how far PyTorch's own float32
lies from it (largest difference of `output` over `maximum`).
"""
import datetime
import json
import os
import pathlib
import sys

import numpy as np
import torch

SEED = 0
GAIN = {"ptynet-b": 0.6}
SAMPLES = {"output": 1000, "amplitude": 250, "phase": 250}
BATCHES = (1, 3)
SIZES = ((64, 64), (128, 128), (192, 128))  # rows, columns
NETWORKS = ("ptynet-s", "ptynet-b", "ptychonn", "ptychonn-small-phase", "ptychonet")


def summary(reference, quantity, values):
    flat = values.numpy().ravel()
    uniform = reference.counter_uniform(SEED, quantity + ".samples", SAMPLES[quantity])
    picked = flat[np.floor(uniform * flat.size).astype(np.int64)]
    return {"norm": float(np.sqrt((flat ** 2).sum())), "maximum": float(np.abs(flat).max()),
            "samples": [float(f"{v:.9g}") for v in picked]}


def case(reference, architecture, state, batch, rows, columns):
    uniform = reference.counter_uniform(SEED, "input", batch * rows * columns)
    x = torch.from_numpy(uniform.astype(np.float32).reshape(batch, 1, rows, columns))
    double = {k: v.double() if v.is_floating_point() else v for k, v in state.items()}
    with torch.inference_mode():
        exact = reference.apply(architecture["layers"], double, x.double())
        single = reference.apply(architecture["layers"], state, x)
        amplitude, phase, _ = reference.net(architecture, double, x.double())
    found = {"batch": batch, "rows": rows, "columns": columns, "channels": exact.shape[1],
             "float32_deviation": float((single - exact).abs().max() / exact.abs().max()),
             "output": summary(reference, "output", exact)}
    for head, values in (("amplitude", amplitude), ("phase", phase)):
        if head in architecture["output"]:
            found[head] = summary(reference, head, values)
    return found


def main():
    folder = os.environ.get("PTYNET_REFERENCE")
    if not folder:
        sys.exit("make_networks.py: expected PTYNET_REFERENCE, the folder that holds torch_reference.py")
    sys.path.insert(0, folder)
    import torch_reference as reference

    here = pathlib.Path(__file__).parent / "networks"
    here.mkdir(exist_ok=True)
    for name in NETWORKS:
        architecture, gain = reference.architecture(name), GAIN.get(name, 1.0)
        state = reference.random_state(architecture, SEED, gain)
        floating = [v.double() for v in state.values() if v.is_floating_point()]
        golden = {
            "provenance": {"made_by": "tests/golden/make_networks.py", "torch": torch.__version__,
                           "arithmetic": "float64", "date": datetime.date.today().isoformat()},
            "architecture": name, "seed": SEED, "gain": gain,
            "state": {"elements": sum(v.numel() for v in floating),
                      "norm": float(torch.stack([(v ** 2).sum() for v in floating]).sum().sqrt())},
            "cases": [case(reference, architecture, state, batch, *size) for batch in BATCHES for size in SIZES],
        }
        text = json.dumps(golden, indent=1)
        # One line per list of samples: the files are read by people only at their head.
        text = text.replace(",\n     ", ",").replace("[\n     ", "[").replace("\n    ]", "]")
        temporary = here / f"{name}.json.part"
        temporary.write_text(text + "\n")
        temporary.replace(here / f"{name}.json")
        worst = max(c["float32_deviation"] for c in golden["cases"])
        print(f"{name}: {len(golden['cases'])} cases, PyTorch float32 within {worst:.1e} of float64")


if __name__ == "__main__":
    main()
