#!/usr/bin/env python3
"""Writes true_positions.json: what the references give for the authors' scan stitched on its true positions.

    PTYNET_REFERENCE=folder make_true_positions.py        (needs torch, scipy, h5py, and that folder)

expected.json of the reference has the scores on the nominal raster alone. Network and scores are torch_reference.py's
and metrics.py's; the region is the rectangle of the positions.
"""
import datetime
import json
import os
import pathlib
import sys

import numpy as np
import torch


def main():
    folder = pathlib.Path(os.environ["PTYNET_REFERENCE"])
    sys.path.insert(0, str(folder))
    import metrics
    import torch_reference as reference

    scan = folder / "data" / "ptynet-scan-0overlap"
    positions = np.load(scan / "positions.npy")
    truth = np.load(scan / "amplitude.npy") * np.exp(1j * np.load(scan / "phase.npy"))
    architecture = reference.architecture("ptynet-s")
    state = torch.load(folder / "weights" / "ptynet-s-demo.pth", map_location="cpu")
    with torch.no_grad():
        patches = reference.net(architecture, state, reference.normalise(architecture, torch.tensor(np.load(scan / "intensity.npy"))))[2]
    canvas, count = metrics.stitch(patches.numpy(), positions, truth.shape)
    canvas = np.where(count > 0, canvas, truth)
    (r0, c0), (r1, c1) = positions.min(0).astype(int), positions.max(0).astype(int) + patches.shape[-1]
    result, target = canvas[r0:r1, c0:c1], truth[r0:r1, c0:c1]
    report = {"provenance": {"made_by": "tests/golden/make_true_positions.py", "torch": torch.__version__, "date": datetime.date.today().isoformat()},
              "region": [int(r0), int(r1), int(c0), int(c1)], **metrics.physical(result, target)}
    for name, part in (("amplitude", np.abs), ("phase", np.angle)):
        report[name] = {"paper": metrics.paper(part(result), part(target)), "standard": metrics.standard(part(result), part(target))}
    (pathlib.Path(__file__).parent / "true_positions.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
