#!/usr/bin/python3
"""The program with a CUDA device, which the CPU's twin plays (tests/cuda_on_cpu).

    PTYNET_PROGRAM=build/release/bin/ptynet PTYNET_TWIN=build/release/lib/libptynet_cuda_twin.so \\
    PTYNET_OTHER_BUILD=... test_cuda.py [Class[.test]]
"""
import hashlib
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
        self.fail_with(1, "there is no cuda:7: this machine has 1 CUDA device, cuda:0; or use --device cpu",
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

    def write_probe(self):
        with np.load(self.folder / "scan.npz") as scan:
            np.save(self.folder / "probe.npy", scan["probe"])

    def train(self, *more, epochs=2):
        job = ["train", "--architecture", "tiny.json", "--batch", 4, "--epochs", epochs, "--output", "w.h5", "--json"]
        return json.loads(self.succeed(*job, *more).stdout)

    def test_train_as_the_cpu_does(self):
        self.write_tiny()
        self.write_scan(size=16)
        self.write_probe()
        job = ["--probe", "probe.npy", "--probe-jitter", "1,0,0.1", "--patterns", 10, "--held-out", 70]
        found = [self.train(*job, "--device", device) for device in ["cpu", "cuda"]]
        self.assertEqual(found[1]["patterns"], 20)
        self.assertAlmostEqual(found[1]["loss"] / found[0]["loss"], 1, delta=1e-5)
        for name, expected in found[0]["held_out"]["loss"].items():
            self.assertAlmostEqual(found[1]["held_out"]["loss"][name] / expected, 1, delta=1e-5)
        self.assertLess(0, found[1]["simulated_seconds"])
        self.assertLess(found[1]["simulated_seconds"], found[1]["seconds"])

    def test_train_on_scans_as_the_cpu_does(self):
        self.write_tiny()
        self.succeed("simulate", "--size", 40, "--probe-model", "gaussian", "--frame", 16, "--overlap", 0.3, "--output", "a.cxi",
                     "--truth", "a.h5", "--quiet")
        job = ["--scans", "a.cxi", "--truth", "a.h5", "--held-out", 2]
        found = [self.train(*job, "--device", device) for device in ["cpu", "cuda"]]
        # Where the pairs have no room on the device, they are gathered on the host.
        self.play(PTYNET_TWIN_MEMORY="3000000")
        found.append(self.train(*job, "--device", "cuda"))
        for other in found[1:]:
            self.assertAlmostEqual(other["loss"] / found[0]["loss"], 1, delta=1e-5)
        self.assertEqual(found[1]["loss"], found[2]["loss"])

    def test_epochs_of_several_stretches(self):
        """A GPU is asked for 32 batches at a time."""
        self.write_tiny()
        self.write_scan(size=16)
        self.write_probe()
        job = ["--probe", "probe.npy", "--patterns", 140, "--held-out", 0, "--device", "cuda"]
        whole = self.train(*job)
        self.assertEqual((whole["steps"], whole["patterns"]), (70, 280))
        weights = (self.folder / "w.h5").read_bytes()
        one = self.train(*job, "--checkpoint", "state.h5", epochs=1)
        self.assertLess(whole["loss"], one["loss"])
        self.assertEqual(self.train(*job, "--resume", "state.h5")["loss"], whole["loss"])
        self.assertEqual((self.folder / "w.h5").read_bytes(), weights)

    def test_training_by_the_clock_is_a_run_of_as_many_steps(self):
        self.write_tiny()
        self.write_scan(size=16)
        self.write_probe()
        job = ["train", "--architecture", "tiny.json", "--batch", 1, "--schedule", "constant", "--probe", "probe.npy",
               "--held-out", 0, "--output", "w.h5", "--device", "cuda", "--json"]
        done = json.loads(self.succeed(*job, "--minutes", 0.02, "--patterns", 40).stdout)
        self.assertGreater(done["steps"], 0)
        self.assertEqual(done["patterns"], done["steps"])
        weights = self.weights()
        self.succeed(*job, "--epochs", 1, "--patterns", done["steps"])
        self.assertEqual(self.weights(), weights)

    def weights(self):
        with h5py.File(self.folder / "w.h5") as file:
            return {name: values[()].tobytes() for name, values in file["weights"].items()}


class Drivers(CommandLine):
    """The true backend, where it was built, with a driver that a stub plays."""

    def test_what_is_said_of_drivers(self):
        self.write_tiny()
        for driver, words in [("0", "no NVIDIA driver is loaded: install it"),
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


class Resuming(OnTwin):
    """Runs of three epochs, and what goes on from their checkpoint of two."""
    # In tf32, where "direct" and "tile of ..." add in another order.
    MORE = ["--device", "cuda", "--precision", "tf32", "--epochs", 3, "--batch", 4, "--output", "tuned.h5"]
    FINETUNE = ["finetune", "scan.npz", "--weights", "tiny.safetensors", "--architecture", "tiny.json", *MORE]
    TRAIN = ["train", "--architecture", "tiny.json", "--probe", "probe.npy", "--patterns", 10, "--held-out", 4, *MORE]

    def setUp(self):
        super().setUp()
        self.write_tiny()
        self.write_scan(size=16)
        with np.load(self.folder / "scan.npz") as scan:
            np.save(self.folder / "probe.npy", scan["probe"])
        self.choices = self.cache / "choices.json"

    def choose(self, way):
        """The first or the last way by name (min, max) becomes the cache's for every task."""
        all_devices = json.loads(self.choices.read_text())
        for tasks in all_devices.values():
            for choice in tasks.values():
                choice["chosen"] = way(choice["seconds"])
        self.choices.write_text(json.dumps(all_devices))

    def run_whole(self, job):
        """What tells the weight file's bytes; state.h5 is the checkpoint."""
        self.succeed(*job, "--checkpoint", "state.h5", "--every", 2)
        return self.tuned()

    def resume(self, job):
        """The same, and the warnings."""
        done = self.succeed(*job, "--resume", "state.h5")
        return self.tuned(), [line for line in done.stderr.splitlines() if "warning" in line]

    def tuned(self):
        return hashlib.sha256((self.folder / "tuned.h5").read_bytes()).hexdigest()

    def state(self):
        return h5py.File(self.folder / "state.h5", "r+")

    def test_it_computes_as_the_run_did_whatever_the_cache_says(self):
        for job in [self.FINETUNE, self.TRAIN]:
            with self.subTest(job[0]):
                self.run_whole(job)
                self.choose(max)
                other = self.run_whole(job)
                self.choose(min)
                whole = self.run_whole(job)
                self.assertNotEqual(whole, other)
                with h5py.File(self.folder / "tuned.h5") as file:
                    lines = file["trained_for/choices"][()].decode().splitlines()
                with self.state() as file:
                    self.assertEqual(lines, [f"{task}: {way[()].decode()}" for task, way in file["choices"].items()])
                self.assertIn("conv2d [4, 16, 16, 1] -> 4, 3x3, stride 1, padding 1, groups 1, leaky_relu 0.1, tf32: direct",
                              lines)
                self.choose(max)
                cached = self.choices.read_text()
                self.assertEqual(self.resume(job), (whole, []))
                self.assertEqual(json.loads(self.choices.read_text()), json.loads(cached))
                self.choices.unlink()
                self.assertEqual(self.resume(job), (whole, []))

    def test_another_device_and_an_old_checkpoint_make_them_anew(self):
        for job in [self.FINETUNE, self.TRAIN]:
            with self.subTest(job[0]):
                self.run_whole(job)
                self.choose(min)
                whole = self.run_whole(job)
                self.choose(max)
                with self.state() as file:
                    file["choices"].attrs["device"] = "another one"
                resumed, warnings = self.resume(job)
                self.assertNotEqual(resumed, whole)
                self.assertEqual(len(warnings), 1)
                self.assertIn("state.h5: the run began on 'another one' and goes on on 'ptynet ", warnings[0])
                with self.state() as file:
                    del file["choices"]
                self.assertEqual(self.resume(job), (resumed, []))

    def test_a_probe_scaled_by_the_network_is_the_same_whatever_the_cache_says(self):
        job = [*self.FINETUNE, "--calibrate-probe", "network"]
        self.run_whole(job)
        self.choose(min)
        whole = self.run_whole(job)
        self.choose(max)
        self.assertEqual(self.resume(job), (whole, []))

    def test_damaged_choices_are_refused(self):
        self.run_whole(self.FINETUNE)
        resume = [*self.FINETUNE, "--resume", "state.h5"]
        with self.state() as file:
            task = next(iter(file["choices"]))
            way = file["choices"][task][()]
            del file["choices"][task]
            file["choices"][task] = 5.0
        self.fail_with(2, "state.h5:/choices/" + task, *resume)
        with self.state() as file:
            del file["choices"][task]
            file["choices"][task] = way
            del file["choices"].attrs["device"]
        self.fail_with(2, "state.h5: expected choices in /choices and the device they hold for", *resume)

    def test_a_result_tells_its_choices(self):
        self.succeed("reconstruct", "scan.npz", "--weights", "tiny.safetensors", "--architecture", "tiny.json", "--device",
                     "cuda", "--output", "result.h5")
        with h5py.File(self.folder / "result.h5") as file:
            lines = file["process"].attrs["choices"].splitlines()
        self.assertEqual(len(lines), 2)
        self.assertTrue(lines[0].startswith("conv2d [6, 16, 16, 1] -> 4, 3x3, "), lines[0])


if __name__ == "__main__":
    unittest.main()
