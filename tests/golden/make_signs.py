"""Stores one simulated scan in every supported format: make_signs.py FOLDER [--probe FILE.cxi].

Written from the formats' descriptions with NumPy and h5py, not with this project's code, so that a wrong sign,
order or unit in a reader shows. truth.h5 beside them holds what every file has to come to. With a probe, the one in
a CXI file, it is the scene `demo` of signs_scene, else `small`.
"""
import argparse
import pathlib

import h5py

import signs_formats
import signs_scene


def write_truth(scan, folder):
    with h5py.File(folder / "truth.h5", "w") as f:
        for name in ("object", "probe", "positions", "frames", "mask"):  # first pixels; zero frequency in the centre
            f[name] = getattr(scan, name)
        f.attrs["energy_ev"] = signs_scene.ENERGY_EV
        f.attrs["distance_m"] = signs_scene.DISTANCE_M
        f.attrs["detector_pixel_m"] = signs_scene.DETECTOR_PIXEL_M
        f.attrs["object_pixel_m"] = scan.object_pixel_m


def scene(probe_file):
    if probe_file is None:
        return signs_scene.small()
    with h5py.File(probe_file) as f:
        return signs_scene.demo(f["entry_1/instrument_1/source_1/illumination"][()])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--probe", type=pathlib.Path, help="CXI file with the illumination of the scene")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    scan = scene(options.probe)
    write_truth(scan, options.folder)
    for write in signs_formats.ALL:
        write(scan, options.folder)


if __name__ == "__main__":
    main()
