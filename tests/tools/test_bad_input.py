#!/usr/bin/python3
"""Bad input through the program: one line that begins with "ptynet: error:", exit status 2, and nothing written.

    PTYNET_PROGRAM=build/release/bin/ptynet test_bad_input.py [Class[.test]]

Uses the scan and the weights of examples/demo. FullDisk mounts a file system of 100 kB, which takes rights; without
them it is skipped.
"""
import os
import pathlib
import pickle
import shutil
import sys
import types
import unittest
import zipfile
from collections import OrderedDict

import h5py
import numpy as np

import test_cli
from test_cli import CommandLine, tiny_state, write_safetensors

DEMO = pathlib.Path(__file__).resolve().parents[2] / "examples/demo"
ENTRY = "entry_1/instrument_1"


class Storage:

    def __init__(self, key, count):
        self.key, self.count = key, count


def torch_stand_ins():
    """The two names of PyTorch that a state dict's pickle holds, so that it can be made without PyTorch."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild(*arguments):
        raise NotImplementedError(arguments)

    rebuild.__module__, rebuild.__name__, rebuild.__qualname__ = "torch._utils", *["_rebuild_tensor_v2"] * 2
    utils._rebuild_tensor_v2 = rebuild
    torch._utils = utils
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    sys.modules.update({"torch": torch, "torch._utils": utils})
    return torch


def write_pth(path, tensors):
    """What torch.save(state_dict, path) writes."""
    torch = torch_stand_ins()

    class Tensor:

        def __init__(self, key, values):
            strides = tuple(s // 4 for s in values.strides)
            self.parts = (Storage(key, values.size), 0, values.shape, strides, False, OrderedDict())

        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, self.parts

    class Pickler(pickle.Pickler):

        def persistent_id(self, thing):
            if isinstance(thing, Storage):
                return "storage", torch.FloatStorage, thing.key, "cpu", thing.count
            return None

    with zipfile.ZipFile(path, "w") as file:
        with file.open("archive/data.pkl", "w") as stream:
            state = OrderedDict((name, Tensor(str(i), t)) for i, (name, t) in enumerate(tensors.items()))
            Pickler(stream, protocol=2).dump(state)
        for i, tensor in enumerate(tensors.values()):
            file.writestr(f"archive/data/{i}", tensor.tobytes())
        file.writestr("archive/version", "3\n")


class BadFiles(CommandLine):

    def setUp(self):
        super().setUp()
        self.write_tiny()
        self.write_scan()

    def contents(self):
        return {path: path.read_bytes() if path.is_file() else None for path in sorted(self.folder.rglob("*"))}

    def refuse(self, words, *arguments, code=2):
        before = self.contents()
        self.fail_with(code, words, *arguments)
        self.assertEqual(self.contents(), before)

    def reconstruct(self, scan="scan.npz", weights="tiny.safetensors", architecture="tiny.json", output="result.h5"):
        return ["reconstruct", scan, "--weights", weights, "--architecture", architecture, "--device", "cpu",
                "--threads", "1", "--output", output, "--png", "pictures/new"]

    def demo(self, *more):
        return ["reconstruct", str(DEMO / "scan.cxi"), "--weights", str(DEMO / "ptynet-s.h5"), "--device", "cpu",
                "--threads", "1", "--output", "result.h5", "--png", "pictures/new", *more]

    def refuse_weights(self, words, name):
        """Every command that reads weights refuses them."""
        self.refuse(words, *self.reconstruct(weights=name))
        self.refuse(words, "convert", name, "--architecture", "tiny.json", "--output", "out.h5")
        self.refuse(words, "bench", "--architecture", "tiny.json", "--weights", name)

    def test_the_files_of_these_tests_are_good_before_they_are_broken(self):
        write_pth(self.folder / "tiny.pth", tiny_state())
        for weights in ["tiny.pth", "tiny.safetensors"]:
            self.succeed(*self.reconstruct(weights=weights))
        self.assertEqual(len(list((self.folder / "pictures/new").iterdir())), 3)

    def test_truncated_pth(self):
        write_pth(self.folder / "whole.pth", tiny_state())
        whole = (self.folder / "whole.pth").read_bytes()
        for share in [0.01, 0.5, 0.99]:
            (self.folder / "cut.pth").write_bytes(whole[:int(len(whole) * share)])
            self.refuse_weights("cut.pth", "cut.pth")

    def test_pickle_that_calls_the_system(self):

        class Evil:

            def __reduce__(self):
                return os.system, ("touch owned",)

        with zipfile.ZipFile(self.folder / "evil.pth", "w") as file:
            file.writestr("archive/data.pkl", pickle.dumps({"first.weight": Evil()}, protocol=2))
        self.refuse_weights("system", "evil.pth")
        self.assertFalse((self.folder / "owned").exists())

    def test_zip_with_a_wrong_size_field(self):
        write_pth(self.folder / "whole.pth", tiny_state())
        whole = bytearray((self.folder / "whole.pth").read_bytes())
        at = whole.rindex(b"PK\x01\x02", 0, whole.rindex(b"archive/data/0"))
        for size in [0, 7, 2**31, 2**32 - 2]:
            for field in [20, 24]:  # packed and unpacked size in the central directory
                broken = whole.copy()
                broken[at + field:at + field + 4] = size.to_bytes(4, "little")
                (self.folder / "broken.pth").write_bytes(broken)
                self.refuse("broken.pth", *self.reconstruct(weights="broken.pth"))

    def test_hdf5_that_is_text(self):
        (self.folder / "text.h5").write_text("This is not HDF5.\n")
        self.refuse("text.h5", *self.reconstruct(scan="text.h5"))
        self.refuse_weights("text.h5", "text.h5")
        self.refuse("text.h5", "evaluate", "text.h5", "--truth-amplitude", "a.npy", "--truth-phase", "p.npy")
        self.refuse("text.h5", "info", "text.h5")

    def test_npy_that_claims_2_to_the_60_elements(self):
        header = b"{'descr': '<u2', 'fortran_order': False, 'shape': (68719476736, 4096, 4096), }"
        header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
        (self.folder / "huge.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header +
                                               bytes(1000))
        self.refuse("huge.npy", *self.reconstruct(scan="huge.npy"))
        for option in ["--positions", "--probe", "--mask", "--dark"]:
            self.refuse("huge.npy", *self.reconstruct(), option, "huge.npy")
        self.refuse("huge.npy", "info", "huge.npy")

    def test_weights_that_are_not_numbers(self):
        for value in [np.nan, np.inf]:
            state = tiny_state()
            state["last.weight"][1, 2, 0, 1] = value
            write_safetensors(self.folder / "bad.safetensors", state)
            self.refuse_weights("last.weight", "bad.safetensors")

    def test_weights_of_another_architecture(self):
        self.refuse("missing", *self.reconstruct(architecture="ptynet-s"))
        self.refuse("missing", *self.demo("--architecture", "ptychonn"))
        write_safetensors(self.folder / "wide.safetensors", {
            **tiny_state(), "first.weight": np.ones((4, 1, 5, 5), np.float32)})
        self.refuse_weights("first.weight", "wide.safetensors")

    def test_scan_without_positions(self):
        np.save(self.folder / "frames.npy", np.ones((3, 32, 32), np.uint16))
        self.refuse("no positions", *self.reconstruct(scan="frames.npy"))

    def test_canvas_over_the_limit(self):
        huge = np.zeros((6, 2))
        huge[5] = 1e6
        np.save(self.folder / "huge.npy", huge)
        self.refuse("--max-canvas", *self.reconstruct(), "--positions", "huge.npy", "--positions-unit", "px")
        self.refuse("--max-canvas", *self.demo("--max-canvas", "10000"))

    def test_frames_that_the_network_cannot_take(self):
        self.refuse("100", *self.demo("--crop", "100"))

    def test_no_frames(self):
        np.save(self.folder / "none.npy", np.ones((0, 32, 32), np.uint16))
        self.refuse("none.npy", *self.reconstruct(scan="none.npy"))
        self.refuse("--frames", *self.demo("--frames", "5:5"))
        self.refuse("200", *self.demo("--frames", "200:201"))

    def test_output_that_cannot_be_written(self):
        self.refuse("nowhere", *self.reconstruct(output="nowhere/result.h5"))
        self.refuse("/proc/result.h5", *self.reconstruct(output="/proc/result.h5"))
        (self.folder / "folder").mkdir()
        self.refuse("folder", *self.reconstruct(output="folder"))
        self.refuse("nowhere", "convert", "tiny.safetensors", "--architecture", "tiny.json", "--output", "nowhere/o.h5")

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_output_folder_without_the_right_to_write(self):
        (self.folder / "closed").mkdir(mode=0o555)
        self.refuse("closed", *self.reconstruct(output="closed/result.h5"))

    def test_pictures_that_cannot_be_written(self):
        # The last of three is in the way: not even the first is left.
        (self.folder / "taken/phase.png").mkdir(parents=True)
        arguments = self.reconstruct()
        arguments[-1] = "taken"
        self.refuse("phase.png", *arguments)
        arguments[-1] = "/proc/pictures"
        self.refuse("/proc/pictures", *arguments)

    def test_output_never_replaces_input(self):
        shutil.copy(DEMO / "scan.cxi", self.folder / "scan.cxi")
        shutil.copy(DEMO / "ptynet-s.h5", self.folder / "weights.h5")
        with h5py.File(self.folder / "scan.cxi") as file:
            np.save(self.folder / "probe.npy", file[f"{ENTRY}/source_1/illumination"][...])
        np.save(self.folder / "mask.npy", np.ones((128, 128), np.uint8))
        np.save(self.folder / "dark.npy", np.zeros((128, 128), np.float32))
        np.save(self.folder / "positions.npy", np.zeros((81, 2)))
        (self.folder / "link.h5").symlink_to("scan.cxi")
        base = ["reconstruct", "scan.cxi", "--weights", "weights.h5", "--device", "cpu", "--mask", "mask.npy", "--dark",
                "dark.npy", "--probe", "probe.npy", "--positions", "positions.npy", "--positions-unit", "px"]
        for name in ["scan.cxi", "weights.h5", "mask.npy", "dark.npy", "probe.npy", "positions.npy", "link.h5",
                     "./scan.cxi", str(self.folder / "scan.cxi")]:
            with self.subTest(output=name):
                self.refuse("is the input", *base, "--output", name)
        self.refuse("is the input", "convert", "weights.h5", "--output", "weights.h5")
        self.refuse("is the input", "convert", "weights.h5", "--output", "probe.npy", "--trained-for-probe",
                    "probe.npy")
        self.refuse("is the input", "convert", "tiny.safetensors", "--architecture", "tiny.json", "--output",
                    "tiny.json")

    def test_a_network_that_overflows_leaves_its_pixels_out_and_says_so(self):
        state = tiny_state()
        state["first.weight"][...] = 1e30
        state["last.weight"][...] = 1e30
        state["last.weight"][:, ::2] = -1e30
        write_safetensors(self.folder / "wild.safetensors", state)
        done = self.succeed(*self.reconstruct(weights="wild.safetensors"), "--quiet")
        self.assertRegex(done.stderr, r"warning: the network gave values that are not finite for 6 of 6 frames")
        with h5py.File(self.folder / "result.h5") as file:
            self.assertTrue(np.isfinite(file["object"][...]).all())
            self.assertTrue(np.isfinite(file["residual_stitched"][...]).all())


class FullDisk(CommandLine):
    """On a file system of 100 kB that the test mounts."""

    def setUp(self):
        super().setUp()
        self.write_tiny()
        self.mount("100k")

    def refuse(self, words, *arguments):
        self.fail_with(2, words, *arguments)
        self.assertEqual(list(self.disk.iterdir()), [])

    def demo(self, *more):
        return ["reconstruct", str(DEMO / "scan.cxi"), "--weights", str(DEMO / "ptynet-s.h5"), "--frames", "0:12",
                "--device", "cpu", *more]

    def test_result(self):
        self.refuse("disk/result.h5", *self.demo("--output", "disk/result.h5"))
        self.refuse("disk/result.h5", *self.demo("--output", "disk/result.h5", "--patches"))

    def test_pictures_take_the_result_with_them(self):
        self.refuse("disk/new/", *self.demo("--output", "result.h5", "--png", "disk/new/pictures"))
        self.assertFalse((self.folder / "result.h5").exists())

    def test_weights(self):
        self.refuse("disk/out.h5", "convert", str(DEMO / "ptynet-s.h5"), "--output", "disk/out.h5")


if __name__ == "__main__":
    test_cli.main()
