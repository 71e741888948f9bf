"""Reads a CXI file with h5py as the field's readers of CXI do, and prints what test_cxi_writer.cpp expects as JSON.

Their reading (cdtools): frames and translations are looked for in /entry_1/data_1, then in /entry_1/sample_1/geometry_1,
then with the detector; translations are negated, since CXI moves the sample; the wavelength goes before the energy;
basis vectors are the columns of a 3x2 array; without a distance it follows from the corner.
"""
import json
import sys

import h5py
import numpy as np


def shot_to_shot(f, name):
    for group in ["entry_1/data_1/", "entry_1/sample_1/geometry_1/", "entry_1/instrument_1/detector_1/"]:
        if group + name in f:
            return f[group + name]
    raise KeyError(name)


with h5py.File(sys.argv[1]) as f:
    detector, source = f["entry_1/instrument_1/detector_1"], f["entry_1/instrument_1/source_1"]
    data, translation = shot_to_shot(f, "data"), shot_to_shot(f, "translation")
    wavelength, distance = float(source["wavelength"][()]), float(detector["distance"][()])
    assert np.isclose(wavelength, 1.9864459e-25 / float(source["energy"][()]), rtol=1e-6)
    basis = detector["basis_vectors"][()]
    assert basis.shape == (3, 2)
    assert np.allclose(np.linalg.norm(basis, axis=0), [detector["y_pixel_size"][()], detector["x_pixel_size"][()]])
    normal = np.cross(basis[:, 0], basis[:, 1])
    normal /= np.linalg.norm(normal)
    # The object's pixels are dual to the detector's: o_j . b_k = wavelength distance / N for j = k, else 0.
    pixels = np.array(data.shape[1:])
    dual = np.linalg.pinv(basis).T * wavelength * distance / pixels
    moved = np.linalg.pinv(dual) @ (-translation[1] + translation[0])
    report = {
        "cxi_version": int(f["cxi_version"][()]),
        "data": [str(data.dtype), list(data.shape), data.compression, data.shuffle],
        "sum": int(data[()].sum()),
        "probe": [str(source["illumination"].dtype), list(source["illumination"].shape)],
        "wavelength_m": wavelength,
        "distance_m": distance,
        "distance_from_corner_m": float(abs(np.dot(detector["corner_position"][()], normal))),
        "mask": "mask" in detector,
        "pixels_down": float(moved[0]),
        "pixels_right": float(moved[1]),
    }
print(json.dumps(report))
