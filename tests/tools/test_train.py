#!/usr/bin/python3
"""ptynet train from outside: what it writes, and that a killed run goes on as if nothing had been.

    PTYNET_PROGRAM=build/release/bin/ptynet test_train.py [Class[.test]]

Needs NumPy and h5py.
"""
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
import unittest

import h5py
import numpy as np

sys.dont_write_bytecode = True  # beside the sources
import test_cli as cli  # noqa: E402

SIDE = 32
# Half the extent on the way, as the networks of the field have; no scaling, so that two layers can tell amplitudes.
NETWORK = {
    "name": "small",
    "input": {"quantity": "amplitude", "scale": "none"},
    "layers": [
        {"type": "conv2d", "name": "first", "in": 1, "out": 8, "kernel": 3, "stride": 2, "padding": 1, "groups": 1,
         "bias": True},
        {"type": "leaky_relu", "slope": 0.2},
        {"type": "conv_transpose2d", "name": "last", "in": 8, "out": 2, "kernel": 4, "stride": 2, "padding": 1,
         "groups": 1, "bias": True},
    ],
    "output": {"amplitude": {"channel": 0}, "phase": {"channel": 1, "scale": 3.141592653589793}},
}


class TrainCommandLine(cli.CommandLine):
    BASE = ["train", "--architecture", "small.json", "--probe", "probe.npy", "--feature-range", "8:40", "--held-out", "16", "--threads", "2", "--device", "cpu"]

    def setUp(self):
        super().setUp()
        (self.folder / "small.json").write_text(json.dumps(NETWORK))
        row, column = np.mgrid[:SIDE, :SIDE] - SIDE / 2
        square = row**2 + column**2
        np.save(self.folder / "probe.npy", (0.2 * np.exp(-square / 400 + 1j * np.pi * square / SIDE)).astype(np.complex64))

    def train(self, *more, patterns=48):
        return json.loads(self.succeed(*self.BASE, "--patterns", patterns, "--json", "--quiet", *more).stdout)

    def last_layer(self, name):
        with h5py.File(self.folder / name) as file:
            return file["weights/last.weight"][()]

    def weights(self, name):
        return (self.folder / name).read_bytes()


class Train(TrainCommandLine):

    def test_a_run_writes_weights_log_and_checkpoint(self):
        report = self.train("--epochs", "2", "--output", "w.h5", "--log", "log.csv", "--checkpoint", "state.h5")
        self.assertEqual((report["epochs"], report["steps"], report["patterns"], report["output"]), (2, 6, 96, "w.h5"))
        self.assertAlmostEqual(report["held_out"]["loss"]["sum"],
                               report["held_out"]["loss"]["amplitude"] + report["held_out"]["loss"]["phase_rad2"])
        with open(self.folder / "log.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([float(row["epoch"]) for row in rows], [1, 2])
        self.assertAlmostEqual(float(rows[1]["held_out_weighted_loss"]), report["held_out"]["weighted_loss"]["sum"])
        # triangular2 from a tenth of the rate on: after 6 of 60 * 3 steps up.
        self.assertAlmostEqual(float(rows[1]["learning_rate"]), 2e-5 + 1.8e-4 * 5 / 180)
        with h5py.File(self.folder / "w.h5") as file:
            self.assertEqual(file["trained_for"].attrs["frame_px"].tolist(), [SIDE, SIDE])
        self.assertTrue((self.folder / "state.h5").exists())

    def test_no_epochs_measure_weights_of_any_kind(self):
        self.train("--epochs", "1", "--output", "w.h5")
        before = sorted(self.folder.iterdir())
        reports = [self.train("--epochs", "0", "--from", "w.h5", "--seed", seed) for seed in (1, 2)]
        self.assertEqual(reports[0]["held_out"], reports[1]["held_out"])
        self.assertIsNone(reports[0]["output"])
        self.assertEqual(sorted(self.folder.iterdir()), before)
        with h5py.File(self.folder / "w.h5") as file:
            tensors = {name: values[()] for name, values in file["weights"].items()}
        cli.write_safetensors(self.folder / "w.safetensors", tensors)
        self.assertEqual(self.train("--epochs", "0", "--from", "w.safetensors")["held_out"], reports[0]["held_out"])

    def test_training_learns_more_than_the_mean(self):
        held_out = self.train("--epochs", "4", "--learning-rate", "1e-2", "--schedule", "cosine", "--batch", "4", "--output",
                              "w.h5", patterns=1024)["held_out"]
        # Two layers see amplitudes; the phase is beyond them.
        self.assertLess(held_out["weighted_loss"]["amplitude"], 0.65 * held_out["weighted_loss_of_mean"]["amplitude"])

    def test_a_seed_is_a_run(self):
        self.train("--epochs", "2", "--output", "one.h5")
        self.train("--epochs", "2", "--output", "again.h5")
        self.assertEqual(self.weights("one.h5"), self.weights("again.h5"))
        self.train("--epochs", "2", "--output", "other.h5", "--seed", "2")
        self.assertNotEqual(self.weights("one.h5"), self.weights("other.h5"))

    def test_noise_jitter_and_models(self):
        self.train("--epochs", "1", "--noise", "poisson:1e3:1e6", "--probe-jitter", "2,2e-5,0.2", "--output", "w.h5")
        self.train("--epochs", "1", "--output", "plain.h5")
        for option in [["--noise", "poisson"], ["--noise", "poisson:1e4"], ["--probe-jitter", "2"],
                       ["--probe-jitter", "0,2e-5"], ["--probe-jitter", "0,0,0.2"], ["--shared", "on"],
                       ["--probe-norm", "ortho"], ["--photons", "1e4"]]:
            with self.subTest(option=option):
                self.train("--epochs", "1", "--output", "w.h5", *option)
                self.assertFalse(np.array_equal(self.last_layer("w.h5"), self.last_layer("plain.h5")))
        report = json.loads(self.succeed("train", "--architecture", "small.json", "--probe-model", "gaussian", "--frame",
                                         SIDE, "--patterns", 32, "--epochs", 1, "--held-out", 0, "--json", "--quiet",
                                         "--objects", "siemens").stdout)
        self.assertEqual(report["output"], "weights.h5")
        self.assertNotIn("held_out", report)

    def test_bad_usage_is_one_line(self):
        for words, more in [("--epochs and --minutes", ["--epochs", "1", "--minutes", "1"]),
                            ("--from", ["--epochs", "0"]),
                            ("--objects and --images", ["--objects", "cells", "--images", "."]),
                            ("batch", ["--batch", "49", "--patterns", "48"]),
                            ("--noise", ["--noise", "poisson:0"]),
                            ("--noise", ["--noise", "gauss"]),
                            ("--photons and --noise", ["--noise", "poisson:1e4", "--photons", "1e4"]),
                            ("32 bits", ["--noise", "poisson:1e25"]),
                            ("over the frame's edges", ["--probe-jitter", "0,1"]),
                            ("--probe-jitter", ["--probe-jitter", "0,0,1"]),
                            ("--precision", ["--precision", "bf16"]),
                            ("--feature-range and --images", ["--images", "."]),
                            ("two things", ["--output", "same.h5", "--log", "./same.h5"]),
                            ("number above 0", ["--minutes", "0"]),
                            ("--epochs", ["--epochs", "-1"]),
                            ("small.json", ["--output", "small.json"]),
                            ("probe.npy", ["--frame", "64"]),
                            ("nowhere", ["--output", "nowhere/w.h5", "--epochs", "1"]),
                            ("absent.h5", ["--from", "absent.h5"]),
                            ("absent.h5", ["--resume", "absent.h5"])]:
            with self.subTest(more=more):
                self.fail_with(2, words, *self.BASE, *more)


class FromFiles(TrainCommandLine):
    FILES = ["--scans", "a.cxi,b.cxi", "--truth", "a.h5,b.h5"]
    RUN = ["train", "--architecture", "small.json", "--threads", "2", "--device", "cpu", "--quiet"]

    def setUp(self):
        super().setUp()
        for name, seed in [("a", 1), ("b", 2)]:
            self.succeed("simulate", "--probe", "probe.npy", "--size", "72x80", "--feature-range", "8:40", "--seed", seed,
                         "--output", f"{name}.cxi", "--truth", f"{name}.h5", "--quiet")

    def frames(self, name):
        with h5py.File(self.folder / name) as file:
            return len(file["entry_1/data_1/data"])

    def test_a_network_learns_from_scans_and_their_truth(self):
        frames = self.frames("a.cxi") + self.frames("b.cxi")
        report = json.loads(self.succeed(*self.RUN, *self.FILES, "--epochs", "40", "--batch", "2", "--learning-rate", "1e-2",
                                         "--schedule", "cosine", "--json").stdout)
        held_out = report["held_out"]
        self.assertEqual(held_out["patterns"], frames // 10)
        self.assertEqual(report["patterns"], 40 * (frames - frames // 10))
        self.assertLess(held_out["weighted_loss"]["amplitude"], 0.8 * held_out["weighted_loss_of_mean"]["amplitude"])
        with h5py.File(self.folder / "weights.h5") as file:
            np.testing.assert_allclose(file["trained_for/probe"][0], np.load(self.folder / "probe.npy"))
        # Judged on the whole second scan, by weights alone.
        report = json.loads(self.succeed(*self.RUN, *self.FILES, "--epochs", "0", "--from", "weights.h5", "--held-out",
                                         self.frames("b.cxi"), "--json").stdout)
        self.assertEqual(report["held_out"]["patterns"], self.frames("b.cxi"))
        self.assertIsNone(report["output"])

    def test_a_run_goes_on_with_the_files_it_began_with_only(self):
        run = [*self.RUN, *self.FILES, "--checkpoint", "state.h5"]
        self.succeed(*run, "--epochs", "4", "--output", "whole.h5")
        self.succeed(*run, "--epochs", "2", "--output", "parts.h5")
        self.succeed(*run, "--epochs", "4", "--output", "parts.h5", "--resume", "state.h5")
        self.assertEqual(self.weights("parts.h5"), self.weights("whole.h5"))
        self.fail_with(2, "had scans", *self.RUN, "--scans", "b.cxi,a.cxi", "--truth", "b.h5,a.h5", "--epochs", "5",
                       "--resume", "state.h5")

    def test_bad_usage_is_one_line(self):
        for words, more in [("--scans and --truth belong together", ["--scans", "a.cxi"]),
                            ("--scans and --truth belong together", ["--truth", "a.h5"]),
                            ("--scans expects files separated by commas", ["--scans", "a.cxi,", "--truth", "a.h5"]),
                            ("absent.cxi", ["--scans", "absent.cxi", "--truth", "a.h5"]),
                            ("absent.h5", ["--scans", "a.cxi", "--truth", "absent.h5"]),
                            ("--objects says how patterns are simulated", [*self.FILES, "--objects", "cells"]),
                            ("--noise says how", [*self.FILES, "--noise", "poisson"]),
                            ("--probe-model says how", [*self.FILES, "--probe-model", "gaussian"]),
                            ("--images says how", [*self.FILES, "--images", "."]),
                            ("lower --held-out", [*self.FILES, "--held-out", "60000"]),
                            ("is the input", [*self.FILES, "--output", "a.h5"])]:
            with self.subTest(more=more):
                self.fail_with(2, words, *self.RUN, *more)


class Kills(TrainCommandLine):
    OPTIONS = ["--patterns", "160", "--epochs", "12", "--checkpoint", "state.h5", "--quiet"]

    def start(self, *more):
        return subprocess.Popen([cli.PROGRAM, *self.BASE, *self.OPTIONS, *more], cwd=self.folder, stderr=subprocess.PIPE,
                                text=True)

    def wait_for_checkpoint(self, process):
        while not (self.folder / "state.h5").exists():
            self.assertIsNone(process.poll(), "the run ended before it wrote a checkpoint")
            time.sleep(0.002)

    def test_killed_and_resumed_it_ends_with_the_same_bytes(self):
        begin = time.perf_counter()
        self.succeed(*self.BASE, *self.OPTIONS, "--output", "whole.h5")
        whole_s = time.perf_counter() - begin
        (self.folder / "state.h5").unlink()
        moments = random.Random(4)
        resume, kills = [], 0
        for _ in range(8):
            process = self.start("--output", "killed.h5", *resume)
            self.wait_for_checkpoint(process)
            try:
                process.wait(moments.uniform(0, whole_s / 4))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.stderr.close()
            process.wait()
            resume = ["--resume", "state.h5"]
        self.assertGreater(kills, 0)
        self.succeed(*self.BASE, *self.OPTIONS, "--output", "killed.h5", *resume)
        self.assertEqual(self.weights("killed.h5"), self.weights("whole.h5"))

    def test_interrupted_it_says_how_to_go_on(self):
        self.succeed(*self.BASE, *self.OPTIONS, "--output", "whole.h5")
        (self.folder / "state.h5").unlink()
        process = self.start("--output", "stopped.h5")
        self.wait_for_checkpoint(process)
        process.send_signal(signal.SIGINT)
        error = process.communicate()[1]
        self.assertEqual(process.returncode, 1, error)
        self.assertIn("--resume state.h5", error)
        self.assertFalse((self.folder / "stopped.h5").exists())
        self.succeed(*self.BASE, *self.OPTIONS, "--output", "stopped.h5", "--resume", "state.h5")
        self.assertEqual(self.weights("stopped.h5"), self.weights("whole.h5"))


class FullDisk(TrainCommandLine):

    def test_what_does_not_fit_is_a_warning_and_the_run_goes_on(self):
        epochs = ["--patterns", "48", "--epochs", "3", "--quiet"]
        self.succeed(*self.BASE, *epochs, "--output", "whole.h5", "--checkpoint", "state.h5")
        size = (self.folder / "state.h5").stat().st_size
        # A file takes the room that it may need first, a MiB more than it has. One checkpoint fits, not the next beside it.
        self.mount(2**20 + int(1.6 * size))
        done = self.succeed(*self.BASE, *epochs, "--output", "w.h5", "--checkpoint", "disk/state.h5")
        self.assertEqual(self.weights("w.h5"), self.weights("whole.h5"))
        self.assertRegex(done.stderr, r"warning: disk/state.h5: cannot write .*No space left on device; the last good "
                                      r"checkpoint is disk/state.h5")
        self.assertEqual([path.name for path in self.disk.iterdir()], ["state.h5"])
        (self.disk / "state.h5").unlink()
        room = os.statvfs(self.disk)
        (self.disk / "filler").write_bytes(bytes(room.f_bavail * room.f_frsize))
        done = self.succeed(*self.BASE, *epochs, "--output", "w.h5", "--log", "disk/log.csv", "--checkpoint", "disk/c.h5")
        self.assertEqual(self.weights("w.h5"), self.weights("whole.h5"))
        self.assertRegex(done.stderr, r"warning: disk/log.csv: cannot be written: No space left")
        self.assertIn("there is no checkpoint yet", done.stderr)


if __name__ == "__main__":
    cli.main()
