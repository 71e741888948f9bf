"""Stores one simulated scan in every supported format: make_signs.py FOLDER.

Written from the formats' descriptions with NumPy and h5py, not with this project's code, so that a wrong sign,
order or unit in a reader shows. truth.h5 beside them holds what every file has to come to.
"""
import pathlib
import sys

import h5py

import signs_formats
import signs_scene


def write_truth(scan, folder):
    with h5py.File(folder / "truth.h5", "w") as f:
        for name, values in scan.items():  # object, probe, positions (first pixels), frames (centre), mask
            f[name] = values
        f.attrs["energy_ev"] = signs_scene.ENERGY_EV
        f.attrs["distance_m"] = signs_scene.DISTANCE_M
        f.attrs["detector_pixel_m"] = signs_scene.DETECTOR_PIXEL_M
        f.attrs["object_pixel_m"] = signs_scene.OBJECT_PIXEL_M


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    scan = signs_scene.simulate()
    write_truth(scan, folder)
    for write in signs_formats.ALL:
        write(scan, folder)


if __name__ == "__main__":
    main()
