#!/usr/bin/python3
"""The program from outside: options, exit codes, one-line errors, output for programs.

    PTYNET_PROGRAM=build/release/bin/ptynet test_cli.py [Class[.test]]

Needs NumPy and h5py. With the folder of reference data in PTYNET_REFERENCE the job itself is run on it; without,
those tests are skipped.
"""
import json
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

import h5py
import numpy as np

PROGRAM = os.environ.get("PTYNET_PROGRAM", "")
REFERENCE = os.environ.get("PTYNET_REFERENCE", "")
COMMANDS = ["reconstruct", "finetune", "convert", "info", "bench", "evaluate", "simulate"]
# A network small enough to be timed and reconstructed with in no time.
TINY = {
    "name": "tiny",
    "input": {"quantity": "amplitude", "scale": "frame_max", "epsilon": 1e-6},
    "layers": [
        {"type": "conv2d", "name": "first", "in": 1, "out": 4, "kernel": 3, "stride": 1, "padding": 1, "groups": 1,
         "bias": True},
        {"type": "leaky_relu", "slope": 0.1},
        {"type": "conv2d", "name": "last", "in": 4, "out": 2, "kernel": 3, "stride": 1, "padding": 1, "groups": 1,
         "bias": True},
    ],
    "output": {"amplitude": {"channel": 0}, "phase": {"channel": 1, "scale": 3.14159}},
}


def tiny_state():
    random = np.random.default_rng(1)
    return {name: random.uniform(-0.5, 0.5, shape).astype(np.float32)
            for name, shape in [("first.weight", (4, 1, 3, 3)), ("first.bias", (4,)), ("last.weight", (2, 4, 3, 3)),
                                ("last.bias", (2,))]}


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + tensor.nbytes]}
        at += tensor.nbytes
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(t.tobytes() for t in tensors.values()))


class CommandLine(unittest.TestCase):
    """Runs the program in a folder of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_program(self, *arguments, stdout=subprocess.PIPE):
        return subprocess.run([PROGRAM, *map(str, arguments)], stdout=stdout, stderr=subprocess.PIPE, text=True,
                              cwd=self.folder, timeout=300)

    def succeed(self, *arguments):
        done = self.run_program(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def fail_with(self, code, words, *arguments):
        """Expects exactly one line on stderr which holds `words`, nothing on stdout, and no new file."""
        before = sorted(self.folder.iterdir())
        done = self.run_program(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stdout, "")
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertTrue(lines[0].startswith("ptynet: error: "), lines[0])
        self.assertIn(words, lines[0])
        self.assertEqual(sorted(self.folder.iterdir()), before)

    def write_tiny(self):
        (self.folder / "tiny.json").write_text(json.dumps(TINY))
        write_safetensors(self.folder / "tiny.safetensors", tiny_state())

    def write_scan(self, frames=6, size=32):
        """A tike file: counts, zero frequency at the corner, positions in pixels, a probe."""
        random = np.random.default_rng(2)
        row, column = np.mgrid[:size, :size] - size / 2
        probe = np.exp(-(row**2 + column**2) / 50).astype(np.complex64)
        counts = random.poisson(np.abs(np.fft.fft2(probe))**2, (frames, size, size))
        scan = np.stack([np.arange(frames) // 3 * 8.0, np.arange(frames) % 3 * 8.0], axis=1)
        np.savez(self.folder / "scan.npz", data=counts.astype(np.float32), scan=scan.astype(np.float32), probe=probe)


class Basics(CommandLine):

    def test_version(self):
        out = self.succeed("--version").stdout.splitlines()
        self.assertRegex(out[0], r"^ptynet \d+\.\d+\.\d+$")
        self.assertRegex(out[1], r"^build: .+")
        self.assertRegex(out[2], r"^backends: .*\bcpu\b")
        self.assertEqual(len(out), 3)

    def test_version_matches_the_project(self):
        source = pathlib.Path(__file__).resolve().parents[2] / "CMakeLists.txt"
        version = re.search(r"project\(ptynet VERSION (\S+)", source.read_text()).group(1)
        self.assertEqual(self.succeed("--version").stdout.splitlines()[0], f"ptynet {version}")

    def test_help_of_the_program_lists_the_commands(self):
        out = self.succeed("--help").stdout
        for command in COMMANDS:
            self.assertRegex(out, rf"(?m)^  {command} +\w")

    def test_help_explains_every_option(self):
        for command in COMMANDS:
            out = self.succeed(command, "--help").stdout
            self.assertTrue(all(len(line) <= 100 for line in out.splitlines()), out)
            entries = re.split(r"(?m)^  (?=\S)", out)[1:]
            self.assertGreater(len(entries), 5)
            for entry in entries:
                self.assertRegex(entry, r"^\S+( ?,? ?\S+)*?\s{2,}\S", f"{command}: no description in {entry!r}")

    def test_help_of_scan_options_is_shared(self):
        parts = {c: self.succeed(c, "--help").stdout.partition("Scan options:")[2] for c in ["reconstruct", "info"]}
        self.assertIn("--positions-order rc|xy", parts["info"])
        self.assertEqual(parts["reconstruct"], parts["info"])

    def test_promised_options_are_there(self):
        promised = {
            "reconstruct": "weights architecture probe output png patches stitch phase-align subpixel border device "
                           "precision threads batch data positions positions-unit positions-order positions-sign raster "
                           "step energy distance detector-pixel object-pixel-size zero-frequency orientation center crop "
                           "bin mask dark frames probe-norm input-rule max-canvas force quiet",
            "convert": "architecture output",
            "info": "devices architectures json",
            "bench": "architecture weights batch threads device json layers precision height width seconds",
            "evaluate": "truth-amplitude truth-phase truth-offset border convention json",
            "simulate": "objects amplitude phase probe probe-model scan overlap overlap-of jitter photons background defocus "
                        "output truth size frame seed preset json quiet",
        }
        for command, names in promised.items():
            out = self.succeed(command, "--help").stdout
            for name in names.split():
                self.assertRegex(out, rf"(?m)^  --{name}( |$)", f"{command} --{name}")

    def test_full_standard_output_is_a_failure(self):
        with open("/dev/full", "w") as full:
            done = self.run_program("info", "--devices", stdout=full)
        self.assertEqual((done.returncode, done.stderr), (1, "ptynet: error: cannot write to standard output\n"))


class Start(CommandLine):

    def test_version_is_immediate(self):
        # The best of many, since other work may share the machine.
        times = []
        for _ in range(20):
            start = time.perf_counter()
            self.succeed("--version")
            times.append(time.perf_counter() - start)
        self.assertLess(min(times), 0.05)


class BadUsage(CommandLine):

    def test_no_command(self):
        self.fail_with(2, "see ptynet --help")

    def test_unknown_command(self):
        self.fail_with(2, "'frobnicate'", "frobnicate")
        self.fail_with(2, "'--frobnicate'", "--frobnicate")

    def test_unknown_option(self):
        self.fail_with(2, "--frobnicate", "bench", "--architecture", "ptynet-s", "--frobnicate")

    def test_missing_arguments(self):
        self.fail_with(2, "SCAN", "reconstruct", "--weights", "w.h5")
        self.fail_with(2, "--weights", "reconstruct", "scan.npz")
        self.fail_with(2, "--output", "convert", "in.pth")
        self.fail_with(2, "--truth-phase", "evaluate", "r.h5", "--truth-amplitude", "a.npy")

    def test_option_without_value(self):
        self.fail_with(2, "--architecture", "bench", "--architecture")

    def test_option_given_twice(self):
        self.fail_with(2, "--batch", "bench", "--architecture", "ptynet-s", "--batch", "1", "--batch", "2")

    def test_info_wants_one_subject(self):
        self.fail_with(2, "found none", "info")
        self.fail_with(2, "found several", "info", "--devices", "--architectures")

    def test_forms_are_strict_and_shown(self):
        scan = ["reconstruct", "scan.npz", "--weights", "w.h5"]
        for option, form, values in [
            ("--frames", "A:B", ["5", "5:5", "7:3", "-1:3", "a:b", "1:2:3", "1: 2", "1:", ""]),
            ("--center", "R,C", ["5", "1,2,3", "-1,4", "x,y", "1;2", "nan,1", "inf,1", "1,2 "]),
            ("--raster", "RxC", ["5", "5x", "0x4", "4x-1", "4,4", "4x4x4", "4X4"]),
            ("--positions-sign", "++", ["+", "+++", "pm"]),
            ("--positions-order", "rc", ["yx"]),
            ("--positions-unit", "nm", ["mm"]),
            ("--zero-frequency", "corner", ["middle"]),
            ("--orientation", "transpose", ["rotate"]),
            ("--probe-norm", "ortho", ["x"]),
            ("--stitch", "probe", ["median"]),
            ("--phase-align", "on", ["yes"]),
            ("--subpixel", "bilinear", ["cubic"]),
            ("--input-rule", "hxn", ["none"]),
            ("--precision", "bf16", ["fp16"]),
            ("--device", "cuda", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0"]),
            ("--energy", "above 0", ["0", "-1", "8keV", "nan", "inf", "1e999"]),
            ("--step", "above 0", ["0"]),
            ("--batch", "1 to 65536", ["0", "-1", "1.5", "65537", "99999999999999999999", "1e3"]),
            ("--bin", "1 to 1024", ["0"]),
            ("--crop", "0 to 65536", ["-1"]),
            ("--threads", "0 to 4096", ["-1", "5000"]),
            ("--border", "0 to 32768", ["-1"]),
            ("--output", "not empty", [""]),
        ]:
            for value in values:
                with self.subTest(option=option, value=value):
                    # The name is asked for separately: devices have their own message.
                    self.fail_with(2, form, *scan, option, value)

    def test_right_forms_pass(self):
        # Everything is fine up to the scan that does not exist.
        self.write_tiny()
        for option in [["--frames", "0:5"], ["--center", "63.5,64"], ["--raster", "4x4", "--step", "8"],
                       ["--positions-sign", "--"], ["--positions-sign", "-+"], ["--positions-unit", "um"],
                       ["--orientation", "anti-transpose"], ["--device", "cpu"], ["--energy", "8.333e3"],
                       ["--bin=2"], ["--distance", "2.2"]]:
            with self.subTest(option=option):
                self.fail_with(2, "missing.npz", "reconstruct", "missing.npz", "--weights", "tiny.safetensors",
                               "--architecture", "tiny.json", *option)

    def test_options_that_belong_together(self):
        self.fail_with(2, "--step", "info", "scan.npz", "--raster", "4x4")
        self.fail_with(2, "--raster", "info", "scan.npz", "--step", "4")
        self.fail_with(2, "--positions", "info", "scan.npz", "--raster", "4x4", "--step", "4", "--positions", "p.npy")

    def test_unknown_architecture_lists_those_there_are(self):
        self.fail_with(2, "ptynet-s, ptynet-b, ptychonn", "bench", "--architecture", "resnet")

    def test_architecture_files(self):
        self.fail_with(2, "nowhere.json", "bench", "--architecture", "nowhere.json")
        self.fail_with(2, "./nowhere", "bench", "--architecture", "./nowhere")
        (self.folder / "broken.json").write_text("{")
        self.fail_with(2, "not JSON", "bench", "--architecture", "broken.json")

    def test_frames_the_network_cannot_take(self):
        self.fail_with(2, "100x100", "bench", "--architecture", "ptynet-s", "--height", "100", "--width", "100")

    def test_a_device_that_is_not_there_is_a_failure_while_running(self):
        self.write_tiny()
        self.fail_with(1, "cuda:63", "bench", "--architecture", "tiny.json", "--device", "cuda:63")


class Info(CommandLine):

    def json(self, *arguments):
        return json.loads(self.succeed("info", *arguments, "--json").stdout)

    def test_devices(self):
        report = self.json("--devices")
        self.assertEqual(report["devices"][0]["device"], "cpu")
        self.assertTrue(report["devices"][0]["usable"])
        self.assertIn("threads", report["devices"][0]["description"])
        self.assertIn("device: cpu", self.succeed("info", "--devices").stdout)

    def test_architectures(self):
        found = {a["name"]: a["parameters"] for a in self.json("--architectures")["architectures"]}
        # Counted from the published code; PtyNet-B's last layer is in its state dict, but never applied.
        self.assertEqual(found["ptynet-s"], 324452)
        self.assertEqual(found["ptychonn"], 1247074)
        self.assertEqual(found["ptychonet"], 5512322)
        self.assertEqual(sorted(found), ["ptychonet", "ptychonn", "ptychonn-small-phase", "ptynet-b", "ptynet-s"])

    def test_scan(self):
        self.write_scan()
        report = self.json("scan.npz")
        self.assertEqual((report["kind"], report["format"]), ("scan", "tike"))
        self.assertEqual([report["frames"][k] for k in ["count", "rows", "columns", "type", "zero_frequency"]],
                         [6, 32, 32, "f32", "corner"])
        self.assertEqual(report["positions"]["count"], 6)
        self.assertEqual(report["positions"]["unit"], "object pixels")
        self.assertEqual(report["positions"]["from_to"], {"rows": [0, 8], "columns": [0, 16]})
        self.assertEqual(report["probe"], [1, 32, 32])
        self.assertTrue(report["reconstruction"]["possible"])
        self.assertIn("count: 6", self.succeed("info", "scan.npz").stdout)

    def test_scan_options_apply(self):
        self.write_scan()
        report = self.json("scan.npz", "--crop", "16", "--frames", "1:4")["reconstruction"]
        self.assertEqual([report["frames"], report["rows"], report["columns"]], [3, 16, 16])

    def test_scan_that_cannot_be_reconstructed_says_why(self):
        np.save(self.folder / "frames.npy", np.ones((3, 16, 16), np.uint16))
        report = self.json("frames.npy")
        self.assertEqual(report["frames"]["type"], "u16")
        self.assertIsNone(report["positions"])
        self.assertFalse(report["reconstruction"]["possible"])
        self.assertIn("positions", report["reconstruction"]["why_not"])

    def test_weights(self):
        self.write_tiny()
        report = self.json("tiny.safetensors")
        self.assertEqual((report["kind"], report["format"], report["tensors"]), ("weights", "safetensors", 4))
        self.assertEqual(report["values"], sum(t.size for t in tiny_state().values()))
        self.assertEqual(report["fits"], [])
        self.assertEqual(report["shapes"]["last.weight"], [2, 4, 3, 3])

    def test_other_files_are_refused(self):
        (self.folder / "letter.txt").write_text("Dear reader")
        self.fail_with(2, "letter.txt", "info", "letter.txt")
        (self.folder / "empty").write_bytes(b"")
        self.fail_with(2, "empty", "info", "empty")
        self.fail_with(2, "missing", "info", "missing")
        (self.folder / "folder").mkdir()
        self.fail_with(2, "folder", "info", "folder")
        (self.folder / "cut.npz").write_bytes(b"PK\x03\x04" + bytes(40))
        self.fail_with(2, "cut.npz", "info", "cut.npz")


class Convert(CommandLine):

    def test_round_trip(self):
        self.write_tiny()
        np.save(self.folder / "probe.npy", np.ones((1, 8, 8), np.complex64))
        done = self.succeed("convert", "tiny.safetensors", "--architecture", "tiny.json", "--output", "tiny.h5",
                            "--trained-for-frame", "32x48", "--trained-for-object-pixel", "1e-8",
                            "--trained-for-photons", "1e6", "--trained-for-orientation", "flip-rows",
                            "--trained-for-probe", "probe.npy")
        self.assertEqual(done.stdout, "")
        with h5py.File(self.folder / "tiny.h5") as file:
            for name, tensor in tiny_state().items():
                np.testing.assert_array_equal(file["weights"][name][...], tensor)
            self.assertEqual(json.loads(file.attrs["architecture"]), TINY)
        report = json.loads(self.succeed("info", "tiny.h5", "--json").stdout)
        self.assertEqual((report["kind"], report["architecture"]), ("weights", "tiny"))
        self.assertEqual(report["trained_for"]["frame_px"], [32, 48])
        self.assertEqual(report["trained_for"]["object_pixel_m"], [1e-8, 1e-8])
        self.assertEqual(report["trained_for"]["photons"], 1e6)
        self.assertEqual(report["trained_for"]["orientation"], "flip-rows")
        self.assertEqual(len(report["trained_for"]["probe_sha256"]), 64)
        # What it carries is kept, the architecture too.
        self.succeed("convert", "tiny.h5", "--output", "again.h5", "--quiet")
        again = json.loads(self.succeed("info", "again.h5", "--json").stdout)
        self.assertEqual(again["trained_for"], report["trained_for"])

    def test_extra_tensors_are_a_warning_that_lists_them(self):
        self.write_tiny()
        write_safetensors(self.folder / "more.safetensors", {**tiny_state(), "spare.weight": np.ones(3, np.float32)})
        done = self.succeed("convert", "more.safetensors", "--architecture", "tiny.json", "--output", "o.h5", "--quiet")
        self.assertRegex(done.stderr, r"^ptynet: warning: .*spare\.weight\n$")
        with h5py.File(self.folder / "o.h5") as file:
            self.assertEqual(sorted(file["weights"]), sorted(tiny_state()))

    def test_refusals_write_nothing(self):
        self.write_tiny()
        convert = ["convert", "tiny.safetensors", "--output", "o.h5"]
        self.fail_with(2, "--architecture", *convert)
        self.fail_with(2, "missing", *convert, "--architecture", "ptynet-s")
        state = tiny_state()
        state["last.bias"][1] = np.nan
        write_safetensors(self.folder / "nan.safetensors", state)
        self.fail_with(2, "last.bias", "convert", "nan.safetensors", "--architecture", "tiny.json", "--output", "o.h5")
        self.fail_with(2, "nowhere", "convert", "tiny.safetensors", "--architecture", "tiny.json", "--output",
                       "nowhere/o.h5")


class Bench(CommandLine):

    def test_json(self):
        self.write_tiny()
        out = self.succeed("bench", "--architecture", "tiny.json", "--weights", "tiny.safetensors", "--height", "16",
                           "--width", "32", "--batch", "3", "--threads", "1", "--device", "cpu", "--seconds", "0.05",
                           "--layers", "--json")
        report = json.loads(out.stdout)
        self.assertEqual(out.stderr, "")
        latency = report["latency_ms"]
        self.assertLessEqual(0, latency["p50"])
        self.assertTrue(latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p999"])
        self.assertEqual([report[k] for k in ["batch", "height", "width", "threads", "device", "precision"]],
                         [3, 16, 32, 1, "cpu", "fp32"])
        # 2 * 9 taps, 1 * 4 + 4 * 2 pairs of channels, 16 * 32 pixels.
        self.assertAlmostEqual(report["gflop_per_frame"], 2 * 9 * 12 * 16 * 32 / 1e9)
        self.assertAlmostEqual(report["gflops"] * latency["p50"] / 1e3, 3 * report["gflop_per_frame"])
        self.assertAlmostEqual(report["peak_share"], report["gflops"] / report["peak_gflops"])
        self.assertGreaterEqual(report["calls"], 20)
        self.assertGreater(report["peak_memory_mb"], 1)
        self.assertGreater(report["frames_per_second"], 0)
        self.assertAlmostEqual(sum(layer["share"] for layer in report["layers"]), 1)
        self.assertEqual([l["layer"] for l in report["layers"] if l["layer"]], ["first", "last"])
        self.assertTrue(all((l["gflops"] is None) == (l["layer"] is None) for l in report["layers"]))

    def test_text(self):
        self.write_tiny()
        out = self.succeed("bench", "--architecture", "tiny.json", "--height", "16", "--width", "16", "--seconds",
                           "0.05", "--layers").stdout
        self.assertRegex(out, r"(?m)^peak_share: [\d.e-]+$")
        self.assertRegex(out, r"(?m)^ +us +share +GFLOP/s +step$")

    def test_weights_of_another_network(self):
        self.write_tiny()
        self.fail_with(2, "first.weight", "bench", "--architecture", "tiny.json", "--weights", self.other_weights())

    def other_weights(self):
        write_safetensors(self.folder / "other.safetensors", {"a.weight": np.ones((2, 1, 3, 3), np.float32)})
        return "other.safetensors"


class Reconstruct(CommandLine):
    BASE = ["reconstruct", "scan.npz", "--weights", "tiny.safetensors", "--architecture", "tiny.json", "--device", "cpu",
            "--threads", "1", "--output", "result.h5"]

    def setUp(self):
        super().setUp()
        self.write_tiny()
        self.write_scan()

    def test_result_summary_and_evaluation(self):
        done = self.succeed(*self.BASE, "--png", "pictures", "--patches", "--json", "--batch", "4")
        summary = json.loads(done.stdout)
        self.assertEqual(summary["frames"], 6)
        self.assertEqual(summary["object_px"], [40, 48])
        self.assertEqual(done.stderr.splitlines()[-1], "ptynet: " + summary["verdict"])
        self.assertIn("flat object", summary["verdict"])
        for picture in summary["pictures"]:
            self.assertTrue((self.folder / picture).read_bytes().startswith(b"\x89PNG"))
        with h5py.File(self.folder / "result.h5") as file:
            self.assertEqual(file["object"].shape, (40, 48))
            self.assertEqual(file["patches/phase"].shape, (6, 32, 32))
            self.assertTrue(file["process"].attrs["command_line"].startswith("ptynet reconstruct scan.npz --weights"))
            truth = file["object"][...]
        report = json.loads(self.succeed("info", "result.h5", "--json").stdout)
        self.assertEqual((report["kind"], report["object_px"], report["frames"]), ("result", [40, 48], 6))
        self.assertAlmostEqual(report["r_factor"]["stitched"], summary["r_stitched"], places=6)
        # Judged against itself the result is perfect; against something else it is not.
        np.save(self.folder / "amplitude.npy", np.abs(truth))
        np.save(self.folder / "phase.npy", np.angle(truth))
        evaluate = ["evaluate", "result.h5", "--truth-amplitude", "amplitude.npy", "--truth-phase", "phase.npy", "--json"]
        scores = json.loads(self.succeed(*evaluate).stdout)
        self.assertLess(scores["physical"]["phase_rms_rad"], 1e-5)
        self.assertEqual(set(scores["amplitude"]), {"paper", "standard"})
        np.save(self.folder / "phase.npy", np.angle(truth)[::-1])
        worse = json.loads(self.succeed(*evaluate, "--convention", "physical", "--border", "2").stdout)
        self.assertGreater(worse["physical"]["phase_rms_rad"], 1e-3)
        self.assertNotIn("amplitude", worse)

    def test_quiet_says_nothing(self):
        done = self.succeed(*self.BASE, "--quiet")
        self.assertEqual((done.stdout, done.stderr), ("", ""))

    def test_no_progress_bar_outside_a_terminal(self):
        done = self.succeed(*self.BASE)
        self.assertEqual(done.stdout, "")
        self.assertNotIn("\r", done.stderr)
        self.assertTrue(all(line.startswith("ptynet: ") for line in done.stderr.splitlines()), done.stderr)

    def test_progress_bar_on_a_terminal(self):
        out = self.on_terminal(*self.BASE, "--batch", "1")
        self.assertRegex(out, r"\rreconstructing \[[#.]{24}\] \d+/6, [\d.]+/s, .*s left")
        self.assertRegex(out, r"6/6")
        # The bar is gone before the next line begins.
        self.assertRegex(out, "\r\x1b\\[Kptynet: ")
        self.assertNotIn("[#", self.on_terminal(*self.BASE, "--quiet"))

    def on_terminal(self, *arguments):
        """stderr as a terminal shows it."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen([PROGRAM, *arguments], stderr=theirs, stdout=subprocess.DEVNULL, cwd=self.folder)
        os.close(theirs)
        out = b""
        while select.select([ours], [], [], 120)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not piece:
                break
            out += piece
        os.close(ours)
        self.assertEqual(process.wait(timeout=120), 0, out)
        return out.decode()

    def test_bad_input_writes_nothing(self):
        np.save(self.folder / "frames.npy", np.ones((3, 32, 32), np.uint16))
        np.save(self.folder / "none.npy", np.ones((0, 32, 32), np.uint16))
        (self.folder / "text.h5").write_text("no HDF5")
        huge = np.zeros((6, 2))
        huge[5] = 1e9
        np.save(self.folder / "huge.npy", huge)

        def base(scan, *more):
            return ["reconstruct", scan, *self.BASE[2:], *more]

        self.fail_with(2, "positions", *base("frames.npy"))
        self.fail_with(2, "none.npy", *base("none.npy"))
        self.fail_with(2, "text.h5", *base("text.h5"))
        self.fail_with(2, "canvas", *base("scan.npz", "--positions", "huge.npy", "--positions-unit", "px"))
        self.fail_with(2, "canvas", *base("scan.npz", "--max-canvas", "1000"))
        self.fail_with(2, "architecture", "reconstruct", "scan.npz", "--weights", "tiny.safetensors")

    def test_output_folder_that_is_not_there(self):
        self.fail_with(2, "nowhere", *self.BASE[:-1], "nowhere/result.h5")


class Simulate(CommandLine):
    BASE = ["simulate", "--size", "160", "--frame", "64", "--distance", "1", "--defocus", "4e-4", "--output", "scan.cxi"]

    def simulate(self, *more):
        return json.loads(self.succeed(*self.BASE, "--json", *more).stdout)

    def frames(self, name="scan.cxi"):
        with h5py.File(self.folder / name) as file:
            return file["entry_1/data_1/data"][()]

    def write_picture(self, name, rows, columns):
        """A grey PNG whose columns grow brighter."""
        def chunk(kind, content):
            return (len(content).to_bytes(4, "big") + kind + content +
                    zlib.crc32(kind + content).to_bytes(4, "big"))
        line = b"\0" + bytes(255 * c // (columns - 1) for c in range(columns))
        header = columns.to_bytes(4, "big") + rows.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
        (self.folder / name).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) +
                                         chunk(b"IDAT", zlib.compress(line * rows)) + chunk(b"IEND", b""))

    def test_a_simulated_scan_is_reconstructed_and_judged_with_no_further_options(self):
        summary = self.simulate("--truth", "truth.h5", "--png", "pictures")
        self.assertEqual((summary["output"], summary["truth"], len(summary["pictures"])), ("scan.cxi", "truth.h5", 4))
        self.write_tiny()
        done = self.succeed("reconstruct", "scan.cxi", "--weights", "tiny.safetensors", "--architecture", "tiny.json",
                            "--output", "result.h5", "--json", "--quiet")
        self.assertEqual(json.loads(done.stdout)["frames"], summary["frames"])
        evaluate = ["evaluate", "--truth-amplitude", "truth.h5:amplitude", "--truth-phase", "truth.h5:phase", "--json"]
        worse = json.loads(self.succeed(*evaluate, "result.h5").stdout)
        perfect = json.loads(self.succeed(*evaluate, "truth.h5").stdout)
        self.assertGreater(worse["physical"]["phase_rms_rad"], 0.01)
        self.assertLess(perfect["physical"]["phase_rms_rad"], 1e-5)
        info = json.loads(self.succeed("info", "scan.cxi", "--json").stdout)
        self.assertTrue(info["reconstruction"]["possible"])
        self.assertEqual(info["notes"] or [], [])

    def test_physics_with_numpy(self):
        """Each frame is |fftshift(fft2(probe * object))|^2 where the file says that the beam is."""
        self.simulate("--truth", "truth.h5", "--noise", "none", "--background", "0.5", "--scan", "fermat", "--jitter", "2")
        with h5py.File(self.folder / "truth.h5") as file:
            truth = file["object"][()]
        with h5py.File(self.folder / "scan.cxi") as file:
            detector, source = file["entry_1/instrument_1/detector_1"], file["entry_1/instrument_1/source_1"]
            pixel = source["wavelength"][()] * detector["distance"][()] / (64 * detector["x_pixel_size"][()])
            # Upright: the sample moves left (+x) and up (+y) as the beam moves right and down.
            x, y, _ = file["entry_1/data_1/translation"][()].T / pixel
            probe = source["illumination"][0]
            frames = file["entry_1/data_1/data"][()]
        self.assertEqual(frames.dtype, np.float32)
        for frame, row, column in zip(frames, y - 32, x - 32):
            self.assertAlmostEqual(row, round(row), places=6)
            row, column = round(row), round(column)
            exit_wave = probe * truth[row:row + 64, column:column + 64]
            expected = np.abs(np.fft.fftshift(np.fft.fft2(exit_wave)))**2 + 0.5
            np.testing.assert_allclose(frame, expected, rtol=1e-3, atol=1e-3 * expected.max())

    def test_the_same_seed_gives_the_same_bytes(self):
        self.simulate("--threads", "1")
        first = (self.folder / "scan.cxi").read_bytes()
        self.simulate("--threads", "2")
        self.assertEqual((self.folder / "scan.cxi").read_bytes(), first)
        self.simulate("--seed", "2")
        self.assertNotEqual((self.folder / "scan.cxi").read_bytes(), first)

    def test_photons_are_those_of_a_frame_without_a_sample(self):
        clear = ["--amplitude-range", "1:1", "--phase-range", "0:0", "--photons", "250000"]
        summary = self.simulate(*clear)
        self.assertAlmostEqual(summary["photons"], 250000, delta=1)
        self.assertAlmostEqual(summary["mean_counts"], 250000, delta=4 * 500 / summary["frames"]**0.5)
        self.assertEqual(self.frames().dtype, np.uint16)
        self.assertAlmostEqual(self.frames().sum() / summary["frames"], summary["mean_counts"], places=3)

    def test_overlap_is_measured_as_it_is_defined(self):
        for of, extent in [("probe", "probe_diameter_px"), ("frame", "frame_px")]:
            summary = self.simulate("--overlap", "0.7", "--overlap-of", of)
            self.assertAlmostEqual(summary["step_px"], 0.3 * summary[extent], places=6)
            self.assertAlmostEqual(summary["overlap_of_" + of], 0.7, places=6)
            with h5py.File(self.folder / "scan.cxi") as file:
                columns = file["entry_1/data_1/translation"][()][:, 0] / summary["object_pixel_m"]
            steps = np.diff(columns[:np.argmax(np.diff(columns) < 0) + 1])
            self.assertLess(abs(steps.mean() - summary["step_px"]), 1)

    def test_every_object_probe_and_scan(self):
        for objects in ["dead-leaves", "siemens", "cells", "text"]:
            self.assertGreater(self.simulate("--objects", objects)["mean_counts"], 0)
        for model in [["pinhole", "--probe-diameter", "1e-6"], ["gaussian"], ["fresnel-zone-plate", "--central-stop", "0"]]:
            self.assertGreater(self.simulate("--probe-model", *model)["probe_diameter_px"], 5)
        counts = [self.simulate("--scan", scan)["frames"] for scan in ["raster", "fermat", "concentric"]]
        self.assertLess(max(counts), 1.5 * min(counts))

    def test_pictures_as_object_and_a_file_as_probe(self):
        self.write_picture("a.png", 80, 100)
        self.write_picture("small.png", 60, 100)
        self.write_picture("other.png", 81, 100)
        np.save(self.folder / "probe.npy", np.exp(-((np.mgrid[:64, :64] - 32)**2).sum(0) / 50).astype(np.complex64))
        summary = self.simulate("--amplitude", "a.png", "--phase", "a.png", "--probe", "probe.npy", "--photons", "1e4",
                                "--truth", "truth.h5")
        self.assertEqual(summary["object_px"], [80, 100])
        with h5py.File(self.folder / "truth.h5") as file:
            np.testing.assert_allclose(file["amplitude"][0, [0, -1]], [0.3, 1], atol=1e-5)
            np.testing.assert_allclose(file["phase"][0, [0, -1]], [-0.6, 0.6], atol=1e-5)
        self.fail_with(2, "one size", *self.BASE[:-1], "x.cxi", "--amplitude", "a.png", "--phase", "other.png")
        self.fail_with(2, "at least 64x64", *self.BASE[:-1], "x.cxi", "--amplitude", "small.png", "--phase", "small.png")
        self.fail_with(2, "128x128", "simulate", "--output", "x.cxi", "--frame", "128", "--probe", "probe.npy")
        self.fail_with(2, "exclude", *self.BASE, "--probe", "probe.npy", "--probe-model", "gaussian")

    def test_the_paper_preset(self):
        summary = json.loads(self.succeed("simulate", "--preset", "ptynet", "--overlap", "0.5", "--size", "330", "--output",
                                          "scan.cxi", "--truth", "truth.h5", "--json").stdout)
        self.assertEqual((summary["frame_px"], summary["step_px"]), (128, 64))
        self.assertAlmostEqual(summary["object_pixel_m"] * 128, 1e-6, places=12)
        with h5py.File(self.folder / "truth.h5") as file:
            amplitude, phase = file["amplitude"][()], file["phase"][()]
        self.assertGreater(amplitude.min(), 1 / 3 - 1e-5)
        np.testing.assert_allclose(phase, amplitude * np.pi / 2, atol=1e-5)

    def test_quiet_says_nothing(self):
        done = self.succeed(*self.BASE, "--quiet")
        self.assertEqual((done.stdout, done.stderr), ("", ""))

    def test_bad_input_writes_nothing(self):
        for words, *arguments in [
            ("--overlap", "--overlap", "1"), ("--overlap", "--overlap", "-0.1"), ("step", "--overlap", "0.999"),
            ("above 0", "--photons", "-5"), ("above 0", "--photons", "0"), ("0 or more", "--background", "-1"),
            ("0 or more", "--jitter", "-1"), ("0.3:1", "--amplitude-range", "1:0.3"), ("phases", "--phase-range", "0:4"),
            ("dead-leaves", "--objects", "cats"), ("gaussian", "--probe-model", "lens"), ("fermat", "--scan", "spiral"),
            ("512x768", "--size", "0"), ("at least 64x64", "--size", "63"), ("missing.png", "--amplitude", "missing.png",
             "--phase", "missing.png"), ("missing.npy", "--probe", "missing.npy"), ("only.png", "--phase", "only.png"),
            ("holds", "--probe-model", "gaussian", "--probe-diameter", "1e-4"), ("central stop", "--central-stop", "1"),
            ("belong to", "--probe-model", "gaussian", "--zone-width", "5e-8"), ("0 or more", "--seed", "-1"),
            ("ptynet", "--preset", "paper"), ("nowhere", "--truth", "nowhere/truth.h5"),
        ]:
            with self.subTest(arguments=arguments):
                base = [a for a in self.BASE]
                if arguments[0] == "--size":
                    base[1:3] = []
                if "--probe-diameter" in arguments or arguments[0] == "--probe":
                    base = [a for a in base if a not in ("--defocus", "4e-4")]
                self.fail_with(2, words, *base, *arguments)
        self.fail_with(2, "--output", "simulate")
        self.fail_with(2, "nowhere", *self.BASE[:-1], "nowhere/scan.cxi")
        self.fail_with(2, "two files", *self.BASE, "--truth", "./scan.cxi")


@unittest.skipUnless(REFERENCE, "SKIPPED: set PTYNET_REFERENCE to the folder of reference data")
class RealFiles(CommandLine):

    def test_trained_weights_are_recognised(self):
        path = pathlib.Path(REFERENCE) / "weights/ptynet-s-demo.pth"
        report = json.loads(self.succeed("info", path, "--json").stdout)
        self.assertEqual(report["format"], "pytorch")
        self.assertEqual([f["architecture"] for f in report["fits"]], ["ptynet-s"])
        self.assertIn("data.pkl", report["recognised_by"])

    def test_near_field_scan_shows_its_geometry(self):
        path = pathlib.Path(REFERENCE) / "data/petra3-p25-near-field.cxi"
        report = json.loads(self.succeed("info", path, "--json").stdout)
        self.assertEqual((report["format"], report["frames"]["count"]), ("cxi", 200))
        self.assertTrue(report["near_field"])
        self.assertFalse(report["reconstruction"]["possible"])
        for key in ["energy_ev", "distance_m", "detector_pixel_m"]:
            self.assertIsNotNone(report[key])

    def test_siemens_star(self):
        path = pathlib.Path(REFERENCE) / "data/siemens-star-small.npz"
        report = json.loads(self.succeed("info", path, "--json").stdout)
        self.assertEqual((report["format"], report["frames"]["count"]), ("tike", 516))
        self.assertEqual(report["frames"]["zero_frequency"], "corner")


def main():
    if not os.access(PROGRAM, os.X_OK):
        sys.exit(f"PTYNET_PROGRAM must name the built program, found {PROGRAM!r}")
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
