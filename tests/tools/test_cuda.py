#!/usr/bin/python3
"""The program with a CUDA device, which the CPU's twin plays (tests/cuda_on_cpu).

    PTYNET_PROGRAM=build/release/bin/ptynet PTYNET_TWIN=build/release/lib/libptynet_cuda_twin.so \\
    PTYNET_OTHER_BUILD=... test_cuda.py [Class[.test]]
"""
import json
import os
import unittest
from unittest import mock

import h5py
import numpy as np

from test_cli import CommandLine

TWIN = os.environ.get("PTYNET_TWIN", "")


STUB_DRIVER = os.environ.get("PTYNET_STUB_DRIVER_FOLDER", "")  # of libcuda.so.1
OTHER_BUILD = os.environ.get("PTYNET_OTHER_BUILD", "")


class OnTwin(CommandLine):

    def setUp(self):
        super().setUp()
        self.cache = self.folder / "cache"
        self.play()

    def play(self, library=TWIN, **settings):
        """Which library is the CUDA backend, and what machine the twin plays, for what follows."""
        environment = mock.patch.dict(os.environ, {"PTYNET_CUDA_LIBRARY": str(library),
                                                   "PTYNET_CACHE": str(self.cache), **settings})
        environment.start()
        self.addCleanup(environment.stop)

    def cuda_report(self):
        devices = json.loads(self.succeed("info", "--devices", "--json").stdout)
        return devices["devices"][1], devices["auto"]

    def bench(self, *more):
        self.write_tiny()
        return ["bench", "--architecture", "tiny.json", "--weights", "tiny.safetensors", "--height", 16, "--width", 16,
                "--seconds", "0.01", "--no-peak", *more]


class Devices(OnTwin):

    def test_a_device_is_listed_and_taken(self):
        found, auto = self.cuda_report()
        self.assertEqual((found["device"], found["usable"], auto), ("cuda:0", True, "cuda:0"))
        self.assertIn("17 GB, compute capability 9.0, driver for CUDA 13.0", found["description"])

    def test_why_a_device_is_not_usable(self):
        self.play(PTYNET_TWIN_CAPABILITY="75")
        found, auto = self.cuda_report()
        self.assertEqual((found["usable"], auto), (False, "cpu"))
        self.assertIn("compute capability is 7.5, the kernels need 8.0", found["description"])

    def test_why_there_is_none(self):
        self.write_tiny()
        text = self.folder / "text.so"
        text.write_text("no library")
        for library, settings, words in [
                (TWIN, {"PTYNET_TWIN_DEVICES": "0"}, "without a CUDA device"),
                ("missing.so", {}, "cannot be loaded: missing.so: cannot open shared object file"),
                (text, {}, "cannot be loaded: " + str(text) + ": file too short"),
                (OTHER_BUILD, {}, "is of another build than this program (0.0.0-of-yesterday, expected ")]:
            with self.subTest(words):
                self.play(library, **settings)
                found, auto = self.cuda_report()
                self.assertEqual((found["usable"], auto), (False, "cpu"))
                self.assertIn(words, found["description"])
                self.fail_with(1, words, *self.bench("--device", "cuda"))

    def test_a_device_that_is_not_there(self):
        self.fail_with(1, "there is no cuda:7: this machine has 1 CUDA device, cuda:0",
                       *self.bench("--device", "cuda:7"))

    def test_a_full_device(self):
        self.play(PTYNET_TWIN_MEMORY="20000")
        self.fail_with(1, "bytes wanted, ", *self.bench("--device", "cuda", "--batch", 64))


class Jobs(OnTwin):

    def test_reconstruct_as_the_cpu_does(self):
        self.write_tiny()
        self.write_scan(size=16)
        job = ["reconstruct", "scan.npz", "--weights", "tiny.safetensors", "--architecture", "tiny.json", "--patches"]
        names = ["object", "residual", "residual_stitched", "patches/amplitude", "patches/phase"]
        results = []
        for device in ["cpu", "cuda:0"]:
            self.succeed(*job, "--device", device, "--output", "result.h5")
            with h5py.File(self.folder / "result.h5") as file:
                self.assertEqual(file["process"].attrs["device"], device)
                results.append({name: file[name][()] for name in names})
        for name, expected in results[0].items():
            np.testing.assert_allclose(results[1][name], expected, rtol=0, atol=1e-5 * np.abs(expected).max())

    def test_fine_tune_as_the_cpu_does(self):
        self.write_tiny()
        self.write_scan(size=16)
        job = ["finetune", "scan.npz", "--weights", "tiny.safetensors", "--architecture", "tiny.json", "--epochs", 3,
               "--batch", 2, "--output", "tuned.h5", "--json"]
        found = [json.loads(self.succeed(*job, "--device", device).stdout) for device in ["cpu", "cuda"]]
        for name in ["first_loss", "last_loss", "r_after"]:
            self.assertAlmostEqual(found[1][name] / found[0][name], 1, delta=1e-5)
        self.assertLess(found[1]["last_loss"], found[1]["first_loss"])
        self.succeed(*job, "--device", "cuda", "--precision", "tf32")
        self.fail_with(2, "--precision tf32 needs a CUDA device that has it", *job, "--device", "cpu", "--precision", "tf32")


class Drivers(CommandLine):
    """The true backend, where it was built, with a driver that a stub plays."""

    def test_what_is_said_of_drivers(self):
        self.write_tiny()
        for driver, words in [("0", "no NVIDIA driver is loaded: install it, or use --device cpu"),
                              ("11080", "the NVIDIA driver supports CUDA 11.8, this build needs 1"),
                              ("99000", "the NVIDIA driver sees no CUDA device: check nvidia-smi")]:
            with self.subTest(words), mock.patch.dict(os.environ, {"LD_LIBRARY_PATH": STUB_DRIVER,
                                                                   "PTYNET_STUB_DRIVER": driver}):
                devices = json.loads(self.succeed("info", "--devices", "--json").stdout)
                self.assertEqual((devices["devices"][1]["usable"], devices["auto"]), (False, "cpu"))
                self.assertIn(words, devices["devices"][1]["description"])
                self.fail_with(1, "device cuda:0: " + words, "bench", "--architecture", "tiny.json", "--weights",
                               "tiny.safetensors", "--device", "cuda")


class Choices(OnTwin):

    def test_layers_and_what_each_chose_among(self):
        job = self.bench("--device", "cuda", "--precision", "fp16", "--layers", "--json")
        first = json.loads(self.succeed(*job).stdout)
        self.assertEqual(len(first["choices"]), 2)
        for task, choice in first["choices"].items():
            self.assertIn(", fp16", task)
            self.assertEqual(choice["chosen"], min(choice["us"], key=choice["us"].get))
        again = json.loads(self.succeed(*job).stdout)
        self.assertEqual(again["choices"], first["choices"])  # not timed anew
        self.assertIn("neither cuDNN nor cuBLASLt has one", self.succeed(*job[:-1]).stdout)


if __name__ == "__main__":
    unittest.main()
