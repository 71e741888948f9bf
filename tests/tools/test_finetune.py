#!/usr/bin/python3
"""ptynet finetune from outside: killed and resumed, interrupted, on a full disk, and what it prints.

    PTYNET_PROGRAM=build/release/bin/ptynet test_finetune.py [Class[.test]]

PTYNET_KILLS says how many random moments the program is killed at (default 3). Uses the scan and the weights of
examples/demo. FullDisk mounts a small file system, which takes rights; without them it is skipped.
"""
import json
import os
import pathlib
import random
import signal
import subprocess
import time

import h5py

import test_cli
from test_cli import PROGRAM, CommandLine

DEMO = pathlib.Path(__file__).resolve().parents[2] / "examples/demo"
KILLS = int(os.environ.get("PTYNET_KILLS", "3"))
EPOCHS = 8


class Finetune(CommandLine):

    def tune(self, *more, output="tuned.h5"):
        """Ten frames of 64 x 64 in three batches, with what has a state of its own; `more` goes before."""
        arguments = {"--weights": DEMO / "ptynet-s.h5", "--crop": 64, "--frames": "0:10", "--batch": 4,
                     "--epochs": EPOCHS, "--update-probe": 3, "--consistency": 5, "--every": 1, "--log": "log.csv",
                     "--output": output, "--device": "cpu", "--threads": 1}
        flags = ["--shuffle", "--quiet"]
        more = list(more)
        while more:
            option = more.pop(0)
            if more and not more[0].startswith("--"):
                arguments[option] = more.pop(0)
            else:
                flags.append(option)
        return ["finetune", str(DEMO / "scan.cxi"), *flags, *(str(w) for pair in arguments.items() for w in pair)]

    def start(self, *arguments):
        return subprocess.Popen([PROGRAM, *arguments], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)

    def bytes_of(self, name):
        return (self.folder / name).read_bytes()

    def log_without_seconds(self):
        return [line.rsplit(",", 1)[0] for line in (self.folder / "log.csv").read_text().splitlines()]


class Kills(Finetune):

    def test_killed_at_any_moment_and_resumed_it_ends_with_the_same_bytes(self):
        start = time.monotonic()
        self.succeed(*self.tune("--checkpoint", "c.h5"))
        duration = time.monotonic() - start
        undisturbed, log = self.bytes_of("tuned.h5"), self.log_without_seconds()
        self.assertEqual(len(log), EPOCHS + 1)
        self.succeed(*self.tune("--epochs", "0", output="begin.h5"))
        self.assertNotEqual(self.bytes_of("begin.h5"), undisturbed)
        moments = random.Random(5)
        resumes = 0
        for kill in range(KILLS):
            for name in ["tuned.h5", "log.csv", "c.h5"]:
                (self.folder / name).unlink(missing_ok=True)
            job = self.start(*self.tune("--checkpoint", "c.h5"))
            moment = moments.uniform(0, duration)
            if kill == 0:  # with a checkpoint for sure, however long the machine takes
                while not (self.folder / "c.h5").exists():
                    self.assertIsNone(job.poll(), "it ended before it could be killed")
                    time.sleep(0.002)
            else:
                time.sleep(moment)
            job.send_signal(signal.SIGKILL)
            job.communicate()
            resume = ["--resume", "c.h5"] if (self.folder / "c.h5").exists() else []
            resumes += len(resume) // 2
            with self.subTest(kill=kill, moment=moment, resumed=bool(resume)):
                self.succeed(*self.tune("--checkpoint", "c.h5", *resume))
                self.assertEqual(self.bytes_of("tuned.h5"), undisturbed)
                self.assertEqual(self.log_without_seconds(), log)
            print(f"kill {kill + 1} of {KILLS}: after {moment:.2f} of {duration:.2f} s, "
                  f"{'resumed' if resume else 'begun again'}", flush=True)
        self.assertGreaterEqual(resumes, 1)

    def test_interrupt_finishes_the_batch_and_writes_a_checkpoint(self):
        for stop in [signal.SIGINT, signal.SIGTERM]:
            with self.subTest(signal=stop):
                self.succeed(*self.tune())
                undisturbed = self.bytes_of("tuned.h5")
                (self.folder / "tuned.h5").unlink()
                (self.folder / "log.csv").unlink()
                job = self.start(*self.tune())
                while not (self.folder / "log.csv").exists():
                    self.assertIsNone(job.poll(), "it ended before it could be stopped")
                    time.sleep(0.002)
                job.send_signal(stop)
                error = job.communicate(timeout=60)[1]
                self.assertEqual(job.returncode, 1)
                self.assertRegex(error, r"(^|\n)ptynet: error: stopped in epoch \d+ after [0-2] of 3 batches: go on with "
                                        r"--resume tuned.h5.checkpoint\n$")
                self.assertFalse((self.folder / "tuned.h5").exists())
                self.succeed(*self.tune("--resume", "tuned.h5.checkpoint"))
                self.assertEqual(self.bytes_of("tuned.h5"), undisturbed)

    def test_the_second_interrupt_kills(self):
        # One batch of the whole scan takes a second or more, so both come within it.
        job = self.start("finetune", str(DEMO / "scan.cxi"), "--weights", str(DEMO / "ptynet-s.h5"), "--batch",
                         "1000", "--log", "log.csv", "--device", "cpu", "--threads", "1", "--quiet")
        while not (self.folder / "log.csv").exists():
            self.assertIsNone(job.poll(), "it ended before it could be stopped")
            time.sleep(0.002)
        job.send_signal(signal.SIGINT)
        time.sleep(0.1)
        job.send_signal(signal.SIGINT)
        job.communicate(timeout=60)
        self.assertEqual(job.returncode, -signal.SIGINT)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["log.csv"])


class Options(Finetune):

    def test_summary_as_json_and_reconstruction_of_the_whole_scan(self):
        out = json.loads(self.succeed(*self.tune("--json", "--validate", "0.2", "--epochs", "10", "--consistency", "0",
                                                 "--crop", "0", "--loss", "amplitude", "--reconstruction", "object.h5",
                                                 "--png", "png")).stdout)
        self.assertEqual((out["frames"], out["held_out"], out["epochs"], out["steps"]), (10, 2, 10, 20))
        self.assertLess(out["last_loss"], out["first_loss"])
        # These weights know such frames already: eight of them teach nothing about the two held out, so what was
        # there before is kept.
        self.assertEqual(out["best_epoch"], 0)
        self.assertEqual((out["r_after"], out["validation_r_after"]), (out["r_before"], out["validation_r_before"]))
        with h5py.File(DEMO / "scan.cxi") as file:
            frames = len(file["entry_1/data_1/data"])
        self.assertEqual(out["reconstruction"]["frames"], frames)
        self.assertEqual(len(out["reconstruction"]["pictures"]), 3)
        with h5py.File(self.folder / "object.h5") as file:
            self.assertEqual(len(file["positions"]), frames)
        with h5py.File(self.folder / "tuned.h5") as file:
            record = file["trained_for"]
            self.assertEqual(record["scores/r_after"][0], out["r_after"])
            self.assertIn("--loss amplitude\n", record.attrs["settings"])
            self.assertEqual(record["probe"].shape, (1, 128, 128))

    def test_two_runs_at_different_times_give_the_same_bytes(self):
        self.succeed(*self.tune())
        first = self.bytes_of("tuned.h5")
        time.sleep(1.1)  # HDF5's times are whole seconds
        self.succeed(*self.tune())
        self.assertEqual(self.bytes_of("tuned.h5"), first)

    def test_progress_lines_name_epoch_loss_and_r(self):
        arguments = self.tune()
        arguments.remove("--quiet")
        error = self.succeed(*arguments).stderr
        self.assertRegex(error, rf"ptynet: epoch 1/{EPOCHS}: loss \S+, R 0\.\d+\n")
        self.assertRegex(error, rf"ptynet: epoch {EPOCHS}/{EPOCHS}: ")
        self.assertIn("the patches reach R 0.", error)

    def test_bad_usage_is_one_line(self):
        for words, option in [("--schedule expects one of", ["--schedule", "linear"]),
                              ("--loss expects one of l1, amplitude, poisson", ["--loss", "l2"]),
                              ("--support expects none, probe", ["--support", "probe:2"]),
                              ("--calibrate-probe expects", ["--calibrate-probe", "empty-beam:"]),
                              ("--freeze expects", ["--freeze", "a,,b"]),
                              ("no parameter is called like 'x*'", ["--freeze", "x*"]),
                              ("--learning-rate expects a number above 0", ["--learning-rate", "0"]),
                              ("--validate expects a number from 0 to 0.5", ["--validate", "0.7"]),
                              ("expected --frames A:B", ["--frames", "0:1000"]),
                              ("missing.h5", ["--resume", "missing.h5"])]:
            with self.subTest(option=option):
                self.fail_with(2, words, *self.tune(*option))

    def test_frames_of_another_scan_are_not_resumed_on(self):
        self.succeed(*self.tune("--checkpoint", "c.h5"))
        (self.folder / "tuned.h5").unlink()
        self.fail_with(2, "had frames sha256", *self.tune("--resume", "c.h5", "--frames", "1:11"))
        self.fail_with(2, "had --epochs 8, this one has 9", *self.tune("--resume", "c.h5", "--epochs", "9"))


class FullDisk(Finetune):

    def test_a_checkpoint_that_does_not_fit_keeps_the_last_good_one(self):
        self.succeed(*self.tune("--checkpoint", "c.h5"))
        undisturbed, size = self.bytes_of("tuned.h5"), (self.folder / "c.h5").stat().st_size
        self.mount(int(2.5 * size))  # one, and the next while it is written with the room that it asks for
        done = self.succeed(*self.tune("--checkpoint", "disk/c.h5"))
        self.assertNotIn("disk/c.h5", done.stderr)
        (self.disk / "c.h5").unlink()
        # From now on there is room for one only.
        (self.disk / "filler").write_bytes(bytes(size))
        done = self.succeed(*self.tune("--checkpoint", "disk/c.h5"))
        self.assertEqual(self.bytes_of("tuned.h5"), undisturbed)
        self.assertRegex(done.stderr, r"warning: disk/c.h5: cannot write .*No space left on device; the last good "
                                      r"checkpoint is disk/c.h5 \(1 epochs and 0 batches\)")
        self.assertEqual(sorted(path.name for path in self.disk.iterdir()), ["c.h5", "filler"])
        self.succeed(*self.tune("--resume", "disk/c.h5", output="resumed.h5"))
        self.assertEqual(self.bytes_of("resumed.h5"), undisturbed)

    def test_weights_that_do_not_fit_leave_nothing(self):
        self.mount("100k")
        done = self.run_program(*self.tune(output="disk/tuned.h5"))
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"(^|\n)ptynet: error: disk/tuned.h5: cannot write .*No space left on device\n$")
        self.assertEqual(list(self.disk.iterdir()), [])


if __name__ == "__main__":
    test_cli.main()
