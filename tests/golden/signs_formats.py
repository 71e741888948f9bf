"""The scan of signs_scene in each format's own convention, written from the formats' descriptions.

Every function takes the scan and a folder. Lengths in metres come from the object pixel: a beam
`row` pixels further down is row * object_pixel_m further along the detector's rows.
"""
import h5py
import numpy as np

import signs_bitshuffle
from signs_scene import DETECTOR_PIXEL_M, DISTANCE_M, ENERGY_EV, WAVELENGTH_M

PLANCK_TIMES_LIGHT_J_M = 1.9864458571489287e-25


def beam_m(scan):
    """Where the beam is on the object, metres (down, right), from the scan's middle."""
    return (scan.positions - scan.positions.mean(0)) * scan.object_pixel_m


def sample_translation(scan):
    """CXI: x, y, z of the sample. The detector's rows run along -y and its columns along -x, so a
    beam further down is further along -y of the laboratory, and the sample has moved the other way, to +y."""
    down, right = beam_m(scan).T
    beam_x, beam_y = -right, -down
    return np.stack([-beam_x, -beam_y, np.zeros_like(down)], 1)


def cxi_tree(f, scan, frames):
    f["cxi_version"] = 160
    detector = f.create_group("entry_1/instrument_1/detector_1")
    detector["data"] = frames
    detector["distance"] = DISTANCE_M
    detector["x_pixel_size"] = detector["y_pixel_size"] = DETECTOR_PIXEL_M
    f["entry_1/sample_1/geometry_1/translation"] = sample_translation(scan)
    return detector


def cxi(scan, folder):
    with h5py.File(folder / "scan.cxi", "w") as f:
        detector = cxi_tree(f, scan, scan.frames)
        mask = np.where(scan.mask == 1, 0, 1).astype(np.uint32)
        mask[10, 10] = 0x1000  # "has signal": still good
        detector["mask"] = mask
        f["entry_1/instrument_1/source_1/energy"] = PLANCK_TIMES_LIGHT_J_M / WAVELENGTH_M  # joules
        f["entry_1/instrument_1/source_1/illumination"] = scan.probe
        f["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")


def cxi_turned(scan, folder):
    """A detector mounted on its side: rows along +x, columns along -y. Frame index v is then the
    upright frame's row, and row index u counts its columns backwards about the zero frequency."""
    with h5py.File(folder / "turned.cxi", "w") as f:
        back = (scan.size - np.arange(scan.size)) % scan.size
        turned = scan.frames.transpose(0, 2, 1)[:, back, :]
        detector = cxi_tree(f, scan, turned)
        detector["basis_vectors"] = np.array([[DETECTOR_PIXEL_M, 0], [0, -DETECTOR_PIXEL_M], [0, 0]])  # (3, 2)
        f["entry_1/instrument_1/source_1/wavelength"] = WAVELENGTH_M
        f["entry_1/data_1/translation"] = sample_translation(scan)


def nxcxi(scan, folder):
    """A raster of frames; the source's energy is the storage ring's."""
    with h5py.File(folder / "nxcxi.nxs", "w") as f:
        entry = f.create_group("entry_1")
        entry["definition"] = "NXcxi_ptycho"
        instrument = entry.create_group("instrument_1")
        instrument["source_1/energy"] = 3.0
        instrument["source_1/energy"].attrs["units"] = "GeV"
        instrument["beam_1/energy"] = ENERGY_EV / 1000
        instrument["beam_1/energy"].attrs["units"] = "keV"
        detector = instrument.create_group("detector_1")
        detector["data"] = scan.frames.reshape(*scan.raster, scan.size, scan.size)
        for name, metres in (("distance", DISTANCE_M), ("x_pixel_size", DETECTOR_PIXEL_M), ("y_pixel_size", DETECTOR_PIXEL_M)):
            detector[name] = metres * 1000
            detector[name].attrs["units"] = "mm"
        entry["sample_1/geometry_1/translation"] = sample_translation(scan) * 1e6
        entry["sample_1/geometry_1/translation"].attrs["units"] = "um"


def ptyd(scan, folder):
    """Three chunks whose frames are interleaved, one of them in another file."""
    n = len(scan.frames)
    order = [np.arange(1, n, 3), np.arange(0, n, 3)[::-1], np.arange(2, n, 3)]
    with h5py.File(folder / "scan.ptyd", "w") as f, h5py.File(folder / "scan_part.ptyd", "w") as part:
        f["meta/psize"] = np.array([DETECTOR_PIXEL_M, DETECTOR_PIXEL_M])
        f["meta/energy"] = ENERGY_EV / 1000
        f["meta/distance"] = DISTANCE_M
        f["meta/center"] = "fftshift"
        f["meta/shape"] = np.array([scan.size, scan.size])
        f["meta/num_frames"] = n
        f.create_group("info")
        for k, indices in enumerate(order):
            group = (part if k == 2 else f).create_group(f"chunks/{k}")
            group["data"] = scan.frames[indices].astype(np.int32)
            group["indices"] = indices
            group["positions"] = beam_m(scan)[indices]  # (y, x)
            group["weights"] = np.repeat(scan.mask[None].astype(np.float32), len(indices), 0)
        f["chunks/2"] = h5py.ExternalLink("scan_part.ptyd", "/chunks/2")


def hxn(scan, folder):
    down, right = beam_m(scan).T * 1e6
    for name in ("scan_1.h5", "hxn_dump.h5"):
        with h5py.File(folder / name, "w") as f:
            if name == "scan_1.h5":
                f["diffamp"] = np.fft.ifftshift(np.sqrt(scan.frames.astype(np.float32)), axes=(1, 2))
            else:
                f["dp"] = scan.frames.astype(np.float32)
            f["points"] = np.stack([right, down])  # row 0 is x, row 1 is y
            f["lambda_nm"] = WAVELENGTH_M * 1e9
            f["z_m"] = DISTANCE_M
            f["ccd_pixel_um"] = DETECTOR_PIXEL_M * 1e6


def ptychodus(scan, folder):
    """Patterns are numbered from 100 on; the product lists positions in another order, and more of them."""
    n = len(scan.frames)
    np.savez(folder / "patterns.npz", indexes=np.arange(100, 100 + n), patterns=scan.frames.astype(np.uint16 if scan.frames.max() < 65536 else np.uint32),
             bad_pixels=scan.mask == 0)
    order = np.random.default_rng(3).permutation(n)
    down, right = beam_m(scan)[order].T
    with h5py.File(folder / "product.h5", "w") as f:
        f.attrs["probe_energy_eV"] = ENERGY_EV
        f.attrs["detector_object_distance_m"] = DISTANCE_M
        f["probe_position_indexes"] = np.concatenate([100 + order, [7]])
        f["probe_position_x_m"] = np.concatenate([right, [0.0]])
        f["probe_position_y_m"] = np.concatenate([down, [0.0]])
        f["probe"] = scan.probe[None]
        f["object"] = scan.object[None]
        f["object"].attrs["pixel_height_m"] = f["object"].attrs["pixel_width_m"] = scan.object_pixel_m


def ptychonn(scan, folder):
    np.savez_compressed(folder / "ptychonn.npz", reciprocal=scan.frames.astype(np.float64), position=beam_m(scan))


def tike(scan, folder):
    np.savez_compressed(folder / "tike.npz", data=np.fft.ifftshift(scan.frames.astype(np.float32), axes=(1, 2)),
                        scan=(scan.positions - 20).astype(np.float32), probe=scan.probe[None, None, None])


def first_part(scan):
    """Frames in the first of EIGER's two data files, which are of unequal length."""
    return len(scan.frames) * 4 // 7


def eiger(scan, folder):
    """Two data files of unequal length behind one master; bitshuffle.h5 holds the second one as the detector packs it."""
    cut = first_part(scan)
    with h5py.File(folder / "series_master.h5", "w") as f:
        for k in (1, 2):
            f[f"entry/data/data_{k:06d}"] = h5py.ExternalLink(f"series_data_{k:06d}.h5", "/entry/data/data")
        detector = f.create_group("entry/instrument/detector")
        for name, value, unit in (("detector_distance", DISTANCE_M, "m"), ("x_pixel_size", DETECTOR_PIXEL_M, "m"), ("y_pixel_size", DETECTOR_PIXEL_M, "m"),
                                  ("beam_center_x", scan.size / 2, "pixel"), ("beam_center_y", scan.size / 2, "pixel"), ("detectorSpecific/photon_energy", ENERGY_EV, "eV")):
            detector[name] = value
            detector[name].attrs["units"] = unit
        detector["detectorSpecific/pixel_mask"] = np.where(scan.mask == 1, 0, 4).astype(np.uint32)
    with h5py.File(folder / "series_data_000001.h5", "w") as f:
        f.create_dataset("entry/data/data", data=scan.frames[:cut], chunks=(1, scan.size, scan.size))
    for name, bitshuffle in (("series_data_000002.h5", False), ("bitshuffle.h5", True)):
        with h5py.File(folder / name, "w") as f:
            f.create_group("entry/data")
            if bitshuffle:
                eiger_bitshuffle(f, scan.frames[cut:])
            else:
                f.create_dataset("entry/data/data", data=scan.frames[cut:], chunks=(1, scan.size, scan.size), compression="gzip")


def eiger_bitshuffle(f, frames):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((1, *frames.shape[1:]))
    # the filter, where it is installed, writes version and element size before the given values
    there = h5py.h5z.filter_avail(signs_bitshuffle.FILTER)
    properties.set_filter(signs_bitshuffle.FILTER, h5py.h5z.FLAG_OPTIONAL, (0, 2) if there else (0, 3, frames.itemsize, 0, 2))
    dataset = h5py.h5d.create(f.id, b"entry/data/data", h5py.h5t.py_create(frames.dtype), h5py.h5s.create_simple(frames.shape), properties)
    for k, frame in enumerate(frames):
        dataset.write_direct_chunk((k, 0, 0), signs_bitshuffle.encode(frame), 0)


def bare(scan, folder):
    np.save(folder / "frames.npy", scan.frames)
    np.save(folder / "objects.npy", np.stack([scan.frames, 0 * scan.frames]).astype(np.float32))
    np.save(folder / "positions.npy", scan.positions)
    with h5py.File(folder / "virtual.h5", "w") as f:  # the two EIGER data files as one dataset
        layout = h5py.VirtualLayout(scan.frames.shape, np.uint32)
        cut, shape = first_part(scan), (scan.size, scan.size)
        layout[:cut] = h5py.VirtualSource("series_data_000001.h5", "entry/data/data", (cut, *shape))
        layout[cut:] = h5py.VirtualSource("series_data_000002.h5", "entry/data/data", (len(scan.frames) - cut, *shape))
        f.create_virtual_dataset("frames", layout)
    with h5py.File(folder / "plain.h5", "w") as f:
        f["raw/frames"] = scan.frames.astype(np.uint64)
        f["raw/positions"] = beam_m(scan) * 1e6
        f["raw/positions"].attrs["units"] = "um"


def ptylab(scan, folder):
    with h5py.File(folder / "ptylab.hdf5", "w") as f:
        f["ptychogram"] = scan.frames.astype(np.float32)
        f["encoder"] = beam_m(scan)
        f["wavelength"], f["dxd"], f["zo"] = WAVELENGTH_M, DETECTOR_PIXEL_M, DISTANCE_M


ALL = (cxi, cxi_turned, nxcxi, ptyd, hxn, ptychodus, ptychonn, tike, eiger, bare, ptylab)
