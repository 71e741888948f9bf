#!/usr/bin/python3
"""The program from outside: options, exit codes, one-line errors, output for programs.

    PTYNET_PROGRAM=build/release/bin/ptynet test_cli.py [Class[.test]]

Needs NumPy and h5py. test_cli_jobs.py has the commands that reconstruct and simulate.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

import h5py
import numpy as np

PROGRAM = os.environ.get("PTYNET_PROGRAM", "")
COMMANDS = ["reconstruct", "finetune", "convert", "info", "bench", "evaluate", "simulate",
            "train"]
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

    def mount(self, size):
        """An empty file system of that size as folder `disk`; without the rights for it the test is skipped."""
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.disk)],
                                 capture_output=True, text=True)
        if mounted.returncode != 0:
            self.skipTest(f"SKIPPED: cannot mount a small file system here: {mounted.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", str(self.disk)], check=True)

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
            "evaluate": "truth-amplitude truth-phase truth-offset border convention png json",
            "finetune": "weights architecture probe output reconstruction epochs batch learning-rate schedule loss freeze "
                        "support calibrate-probe update-probe consistency validate patience shuffle seed checkpoint every "
                        "resume log frames device threads json quiet",
            "train": "architecture objects images probe probe-model output patterns epochs minutes batch learning-rate "
                     "schedule noise probe-jitter from checkpoint every resume log seed device threads json quiet",
            "simulate": "objects amplitude phase probe probe-model scan overlap overlap-of jitter photons background defocus "
                        "output truth size frame seed preset probe-norm shared json quiet",
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
            ("--precision", "fp32, tf32, bf16, fp16", ["fp64", "f16", "FP16", ""]),
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

    def test_lengths_no_instrument_has_name_the_unit(self):
        scan = ["reconstruct", "scan.npz", "--weights", "w.h5"]
        simulate = ["simulate", "--output", "scan.cxi"]
        train = ["train", "--architecture", "ptynet-s", "--output", "w.h5"]
        convert = ["convert", "w.pth", "--output", "w.h5"]
        for command, option, value, advice in [
            (scan, "--detector-pixel", "75", "; write 7.5e-05 for 75 um"),
            (scan, "--detector-pixel", "0.055", "; write 5.5e-05 for 0.055 mm"),
            (scan, "--detector-pixel", "1e-9", "found 1e-09"),
            (scan, "--distance", "2200", "; write 2.2 for 2200 mm"),
            (scan, "--distance", "1e20", "from 1e-05 to 300, found 1e+20"),
            (scan, "--object-pixel-size", "31", "; write 3.1e-08 for 31 nm"),
            (simulate, "--detector-pixel", "75", "; write 7.5e-05 for 75 um"),
            (simulate, "--distance", "5000", "; write 5 for 5000 mm"),
            (simulate, "--probe-diameter", "180", "; write 0.00018 for 180 um"),
            (simulate, "--zone-width", "50", "; write 5e-08 for 50 nm"),
            (simulate, "--central-stop", "45", "; write 4.5e-05 for 45 um"),
            (simulate, "--defocus", "-800", "; write -0.0008 for -800 um"),
            (train, "--probe-jitter", "2,50", "; write 5e-05 for 50 um"),
            (convert, "--trained-for-object-pixel", "31,32", "; write 3.1e-08 for 31 nm"),
        ]:
            with self.subTest(option=option, value=value):
                self.fail_with(2, advice, *command, option, value)
                self.fail_with(2, option, *command, option, value)
                self.fail_with(2, "expects metres", *command, option, value)

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
        self.assertGreaterEqual(report["held_mb"], report["arena_mb"])
        self.assertGreater(report["open_s"], 0)
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

    def test_every_path_and_frame_type(self):
        self.write_tiny()
        bench = ["bench", "--architecture", "tiny.json", "--height", 16, "--width", 16, "--seconds", "0.01", "--no-peak",
                 "--json"]
        for path in ["patches", "canvas", "device"]:
            for frame_type in ["u8", "u16", "u32", "f32"]:
                report = json.loads(self.succeed(*bench, "--path", path, "--frame-type", frame_type, "--batch", 2).stdout)
                self.assertEqual((report["path"], report["frame_type"]), (path, frame_type))
                self.assertGreater(report["frames_per_second"], 0)
                self.assertNotIn("peak_gflops", report)

    def test_a_precision_that_the_cpu_has_not(self):
        self.write_tiny()
        bench = ["bench", "--architecture", "tiny.json", "--device", "cpu"]
        for name in ["tf32", "fp16"]:
            self.fail_with(2, f"--precision {name} needs a CUDA device that has it; cpu computes in fp32 and bf16", *bench,
                           "--precision", name)
        self.fail_with(2, "--precision tf32 needs a CUDA device", *bench, "--finetune", "--precision", "tf32")
        self.fail_with(2, "--precision fp16 trains on a CUDA device alone; cpu trains in fp32", *bench, "--finetune", "--precision", "fp16")

    def test_floors(self):
        self.write_tiny()
        floors = ["bench", "--architecture", "tiny.json", "--floors", "--height", 16, "--width", 32, "--batch", 3]
        half = [*floors, "--precision", "fp16"]
        # No device is asked for: one that is not there does not matter.
        report = json.loads(self.succeed(*half, "--device", "cuda:63", "--floors-copy", "2", "--json").stdout)
        self.assertEqual([report[k] for k in ["job", "precision", "batch", "copy_tb_per_s"]], ["floors", "fp16", 3, 2])
        self.assertEqual(report["tflops"], {"wgmma": 790, "mma.sync": 0.6 * 790})
        first, last = report["layers"]
        self.assertEqual((first["layer"], first["input"], first["output"]), ("first", [3, 16, 32, 1], [3, 16, 32, 4]))
        # 3 frames of 512 pixels, 1 and 4 channels, 36 weights of 2 bytes and 4 biases of 4; 9 taps both ways.
        self.assertEqual((first["bytes"], first["flop"]), (2 * (3 * 512 * 5 + 36) + 16, 2 * 3 * 512 * 36))
        self.assertAlmostEqual(first["memory_us"], first["bytes"] / 2e6)
        self.assertEqual(first["by"]["wgmma"]["bound"], "memory")
        self.assertAlmostEqual(report["least_us"]["mma.sync"], first["memory_us"] + last["memory_us"])
        report = json.loads(self.succeed(*floors, "--precision", "fp32", "--floors-fp32", "1e-3", "--json").stdout)
        self.assertEqual(report["layers"][1]["by"]["fma"]["bound"], "arithmetic")
        self.assertRegex(self.succeed(*floors).stdout, r"(?m)^  1 .* m  first  16x32x1 -> 16x32x4$")
        report = json.loads(self.succeed(*half, "--finetune", "--json").stdout)
        self.assertEqual((report["job"], report["of"]), ("floors", "finetune"))
        self.assertEqual([row["layer"] for row in report["layers"]][-3:],
                         ["gradient by w, first", "adam: finite gradients", "adam"])
        self.fail_with(2, "--floors-mma-sync expects a number above 0", *floors, "--floors-mma-sync", "0")

    def other_weights(self):
        write_safetensors(self.folder / "other.safetensors", {"a.weight": np.ones((2, 1, 3, 3), np.float32)})
        return "other.safetensors"


def main():
    if not os.access(PROGRAM, os.X_OK):
        sys.exit(f"PTYNET_PROGRAM must name the built program, found {PROGRAM!r}")
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
