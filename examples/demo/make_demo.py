#!/usr/bin/env python3
"""Makes the demo's scan.cxi, simulated here, and truth.npz, its object. docs/pretrained.md says how its weights were made.

    make_demo.py PROBE.npy

PROBE.npy: complex64 (128, 128), a zone plate out of focus, energy 1000. Needs numpy and h5py.

The object is procedural: overlapping discs (dead leaves) of random amplitude and, drawn independently, of random
phase. A raster of 9x9 positions overlaps by half a frame; every position is off its grid point by up to 2 px, as
stages are. Counts are Poisson. The geometry is that of a hard X-ray beamline: 8 keV, 2 m, 75 um pixels.
"""
import pathlib
import sys

import h5py
import numpy as np

HERE = pathlib.Path(__file__).parent
SIDE, STEP, GRID, JITTER, SEED = 128, 64, 9, 2, 20
ENERGY_EV, DISTANCE_M, DETECTOR_PIXEL_M = 8000.0, 2.0, 75e-6
PLANCK_TIMES_LIGHT_J_M, ELECTRONVOLT_J = 6.62607015e-34 * 299792458, 1.602176634e-19
OBJECT_PIXEL_M = PLANCK_TIMES_LIGHT_J_M / (ENERGY_EV * ELECTRONVOLT_J) * DISTANCE_M / (SIDE * DETECTOR_PIXEL_M)


def dead_leaves(rng, size, low, high):
    """Discs over discs until everything is covered; radii follow 1 / r^3, as natural scenes do."""
    image = np.full((size, size), np.nan)
    while np.isnan(image).any():  # later discs lie below earlier ones
        radius = (1 / (12.0 ** -2 - rng.random() * (12.0 ** -2 - 90.0 ** -2))) ** 0.5
        y, x = rng.uniform(-radius, size + radius, 2)
        near = tuple(slice(max(0, int(v - radius)), max(0, int(v + radius) + 2)) for v in (y, x))
        row, column = np.ogrid[near[0].start:near[0].start + image[near].shape[0],
                               near[1].start:near[1].start + image[near].shape[1]]
        bare = ((row - y) ** 2 + (column - x) ** 2 < radius ** 2) & np.isnan(image[near])
        image[near][bare] = rng.uniform(low, high)
    return image


def simulate(probe, rng):
    grid = np.array([(r * STEP, c * STEP) for r in range(GRID) for c in range(GRID)])
    positions = grid + rng.integers(0, JITTER + 1, grid.shape)
    size = (GRID - 1) * STEP + SIDE + JITTER
    obj = dead_leaves(rng, size, 0.3, 1.0) * np.exp(1j * dead_leaves(rng, size, -0.6, 0.6))
    frames = [np.abs(np.fft.fftshift(np.fft.fft2(probe * obj[r:r + SIDE, c:c + SIDE]))) ** 2 for r, c in positions]
    return obj, positions, rng.poisson(np.array(frames)).astype(np.uint16)


def write_cxi(path, probe, positions, frames):
    """A CXI file: the stage moves the sample against the beam, and without basis vectors rows run along -y and
    columns along -x, so that a beam at (row, column) is a sample at x = column, y = row object pixels."""
    with h5py.File(path, "w") as f:
        f["cxi_version"] = 160
        entry = f.create_group("entry_1")
        detector = entry.create_group("instrument_1/detector_1")
        detector.create_dataset("data", data=frames, chunks=(1, SIDE, SIDE), compression="gzip", compression_opts=9, shuffle=True)
        detector["distance"], detector["x_pixel_size"], detector["y_pixel_size"] = DISTANCE_M, DETECTOR_PIXEL_M, DETECTOR_PIXEL_M
        source = entry.create_group("instrument_1/source_1")
        source["energy"] = ENERGY_EV * ELECTRONVOLT_J
        source["illumination"] = probe.astype(np.complex64)
        center = positions + SIDE // 2  # the file names where the beam's centre is
        metres = np.column_stack([center[:, 1], center[:, 0], np.zeros(len(center))]) * OBJECT_PIXEL_M
        entry["sample_1/geometry_1/translation"] = metres
        entry.create_group("data_1")["data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
        entry["data_1/translation"] = h5py.SoftLink("/entry_1/sample_1/geometry_1/translation")


def main():
    probe = np.load(sys.argv[1])
    obj, positions, frames = simulate(probe, np.random.default_rng(SEED))
    write_cxi(HERE / "scan.cxi", probe, positions, frames)
    np.savez_compressed(HERE / "truth.npz", amplitude=np.abs(obj).astype(np.float16), phase=np.angle(obj).astype(np.float16))


if __name__ == "__main__":
    main()
