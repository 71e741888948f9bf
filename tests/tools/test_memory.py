#!/usr/bin/python3
"""Memory of a reconstruction: under 300 MB, and no more for five times the frames.

    PTYNET_PROGRAM=build/release/bin/ptynet test_memory.py [frames]

Reconstructs `frames` frames (default 5000) of 128x128 from one .npy and a fifth of them, each in a process of its own,
on a canvas of 1500x1500, and compares what each held in memory at most. (A few hundred end before all queues have been
full.) The frames are the demo's, over and over.
"""
import os
import pathlib
import sys
import tempfile
import time

import h5py
import numpy as np

PROGRAM = os.environ.get("PTYNET_PROGRAM", "")
DEMO = pathlib.Path(__file__).resolve().parents[2] / "examples/demo"
CANVAS, SIDE = 1500, 128
LIMIT_MB = 300
GROWTH = 0.05


def write_scan(folder, frames):
    with h5py.File(DEMO / "scan.cxi") as file:
        demo = file["entry_1/instrument_1/detector_1/data"][...].astype(np.uint16)
    out = np.lib.format.open_memmap(folder / "frames.npy", "w+", np.uint16, (frames, SIDE, SIDE))
    for first in range(0, frames, len(demo)):
        out[first:first + len(demo)] = demo[:frames - first]
    del out
    positions = np.random.default_rng(3).integers(0, CANVAS - SIDE, (frames, 2), endpoint=True).astype(float)
    positions[0], positions[1] = 0, CANVAS - SIDE
    np.save(folder / "positions.npy", positions)


def peak_mb(folder, frames):
    """Runs the program and returns the most memory its process held."""
    write_scan(folder, frames)
    program = [PROGRAM, "reconstruct", "frames.npy", "--weights", DEMO / "ptynet-s.h5", "--architecture",
               "ptynet-s", "--positions", "positions.npy", "--positions-unit", "px", "--probe", DEMO / "scan.cxi",
               "--device", "cpu", "--batch", "16", "--output", "result.h5", "--quiet"]
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        os.execv(PROGRAM, [str(word) for word in program])
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"the program failed with status {status}")
    with h5py.File(folder / "result.h5") as file:
        assert file["object"].shape == (CANVAS, CANVAS), file["object"].shape
        assert len(file["residual"]) == frames
        network = file["process"].attrs["network_seconds"]
    peak = usage.ru_maxrss / 1024
    print(f"{frames} frames: {peak:.1f} MB at most, {seconds:.1f} s, {network:.1f} s of them in the network")
    return peak


def main():
    if not os.access(PROGRAM, os.X_OK):
        sys.exit(f"PTYNET_PROGRAM must name the built program, found {PROGRAM!r}")
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as folder:
        few, many = (peak_mb(pathlib.Path(folder), n) for n in (frames // 5, frames))
    if max(few, many) >= LIMIT_MB:
        sys.exit(f"expected under {LIMIT_MB} MB")
    if many > (1 + GROWTH) * few:
        sys.exit(f"expected memory that does not grow with the frames by more than {GROWTH:.0%}")


if __name__ == "__main__":
    main()
