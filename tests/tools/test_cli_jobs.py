#!/usr/bin/python3
"""The program from outside: the commands that reconstruct and simulate.

    PTYNET_PROGRAM=build/release/bin/ptynet test_cli_jobs.py [Class[.test]]

Needs NumPy and h5py. With the folder of reference data in PTYNET_REFERENCE its files are looked at too; without,
those tests are skipped.
"""
import json
import os
import pathlib
import pty
import select
import subprocess
import sys
import unittest
import zlib

import h5py
import numpy as np

sys.dont_write_bytecode = True  # beside the sources
import test_cli  # noqa: E402
from test_cli import PROGRAM, CommandLine  # noqa: E402

REFERENCE = os.environ.get("PTYNET_REFERENCE", "")
DEMO = pathlib.Path(__file__).resolve().parents[2] / "examples/demo"


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

    def test_results_side_by_side(self):
        self.succeed(*self.BASE, "--quiet")
        with h5py.File(self.folder / "result.h5") as file:
            np.savez(self.folder / "truth.npz", amplitude=np.abs(file["object"][()]), phase=np.angle(file["object"][()]))
        self.succeed(*self.BASE[:-1], "twice.h5", "--stitch", "mean", "--quiet")
        evaluate = ["evaluate", "result.h5", "twice.h5", "--truth-amplitude", "truth.npz:amplitude", "--truth-phase",
                    "truth.npz:phase"]
        done = self.succeed(*evaluate, "--png", "pictures")
        self.assertIn("results: result.h5 -> twice.h5\n", done.stdout)
        self.assertRegex(done.stdout, r"(?m)^physical: phase RMS \S+ -> \S+ rad, amplitude RMS \S+ -> \S+, "
                                      r"R of the scan \S+ -> \S+ \(flat object \S+, mean frame \S+\)$")
        self.assertEqual(done.stderr, "ptynet: wrote pictures/comparison.png\n")
        self.assertTrue((self.folder / "pictures/comparison.png").read_bytes().startswith(b"\x89PNG"))
        scores = json.loads(self.succeed(*evaluate, "--json").stdout)
        self.assertEqual([one["result"] for one in scores], ["result.h5", "twice.h5"])
        self.assertLess(scores[0]["physical"]["phase_rms_rad"], 1e-5)
        self.assertGreater(scores[1]["physical"]["phase_rms_rad"], 1e-5)
        self.fail_with(2, "nothing.h5", *evaluate[:2], "nothing.h5", *evaluate[3:], "--png", "more")
        self.assertFalse((self.folder / "more").exists())

    def test_the_demo_lies_on_its_truth(self):
        self.succeed("reconstruct", DEMO / "scan.cxi", "--weights", DEMO / "ptynet-s.h5", "--output", "demo.h5", "--quiet")
        errors = {}
        for offset in ["0,0", "6,0", "-6,0", "0,6", "0,-6"]:
            scores = json.loads(self.succeed("evaluate", "demo.h5", "--truth-amplitude", f"{DEMO}/truth.npz:amplitude",
                                             "--truth-phase", f"{DEMO}/truth.npz:phase", "--border", "32",
                                             f"--truth-offset={offset}", "--json").stdout)
            errors[offset] = scores["physical"]["amplitude_rms"]
        self.assertEqual(min(errors, key=errors.get), "0,0", errors)

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
        self.fail_with(2, "--precision fp16 needs a CUDA device that has it; cpu computes in fp32 and bf16",
                       *base("scan.npz", "--precision", "fp16"))

    def test_output_folder_that_is_not_there(self):
        self.fail_with(2, "nowhere", *self.BASE[:-1], "nowhere/result.h5")


class Simulate(CommandLine):
    BASE = ["simulate", "--size", "160", "--frame", "64", "--distance", "1", "--defocus", "4e-4", "--output", "scan.cxi"]
    NO_SIZE = [BASE[0], *BASE[3:]]

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
        pictures = ["--amplitude", "a.png", "--phase", "a.png", "--probe", "probe.npy", "--photons", "1e4"]
        summary = json.loads(self.succeed(*self.NO_SIZE, "--json", *pictures, "--truth", "truth.h5").stdout)
        self.assertEqual(summary["object_px"], [80, 100])
        with h5py.File(self.folder / "truth.h5") as file:
            np.testing.assert_allclose(file["amplitude"][0, [0, -1]], [0.3, 1], atol=1e-5)
            np.testing.assert_allclose(file["phase"][0, [0, -1]], [-0.6, 0.6], atol=1e-5)
        self.fail_with(2, "one size", *self.NO_SIZE[:-1], "x.cxi", "--amplitude", "a.png", "--phase", "other.png")
        self.fail_with(2, "at least 64x64", *self.NO_SIZE[:-1], "x.cxi", "--amplitude", "small.png", "--phase", "small.png")
        self.fail_with(2, "128x128", "simulate", "--output", "x.cxi", "--frame", "128", "--probe", "probe.npy")
        self.fail_with(2, "exclude", *self.BASE, "--probe", "probe.npy", "--probe-model", "gaussian")
        for more in [["--feature-range", "8:9"], ["--shared", "off"], ["--objects", "text"]]:
            self.fail_with(2, more[0] + " and --amplitude", "simulate", "--output", "x.cxi", "--amplitude", "a.png",
                           "--phase", "a.png", *more)

    def test_an_invented_geometry_is_said(self):
        np.save(self.folder / "probe.npy", np.exp(-((np.mgrid[:64, :64] - 32)**2).sum(0) / 50).astype(np.complex64))
        base = ["simulate", "--size", "100", "--output", "x.cxi", "--photons", "1e4", "--probe", "probe.npy"]
        self.assertIn("no geometry was given for probe.npy", self.succeed(*base).stderr)
        geometry = ["--energy", "9000", "--distance", "1", "--detector-pixel", "5e-5"]
        self.assertNotIn("geometry", self.succeed(*base, *geometry).stderr)

    def test_the_paper_preset(self):
        summary = json.loads(self.succeed("simulate", "--preset", "ptynet", "--overlap", "0.5", "--size", "330", "--output",
                                          "scan.cxi", "--truth", "truth.h5", "--json").stdout)
        self.assertEqual((summary["frame_px"], summary["step_px"]), (128, 64))
        self.assertAlmostEqual(summary["object_pixel_m"] * 128, 1e-6, places=12)
        with h5py.File(self.folder / "truth.h5") as file:
            amplitude, phase = file["amplitude"][()], file["phase"][()]
        self.assertGreater(amplitude.min(), 1 / 3 - 1e-5)
        np.testing.assert_allclose(phase, amplitude * np.pi / 2, atol=1e-5)
        self.succeed("simulate", "--preset", "ptynet", "--shared", "off", "--size", "200", "--output", "scan.cxi", "--truth",
                     "truth.h5")
        with h5py.File(self.folder / "truth.h5") as file:
            self.assertGreater(np.abs(file["phase"][()] - file["amplitude"][()] * np.pi / 2).max(), 0.1)

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
            ("holds", "--probe-model", "gaussian", "--probe-diameter", "1e-4"), ("central stop", "--central-stop", "1e-3"),
            ("belong to", "--probe-model", "gaussian", "--zone-width", "5e-8"), ("0 or more", "--seed", "-1"),
            ("32 bits", "--background", "1e20"), ("32 bits", "--photons", "1e25"), ("photons", "--photons", "1e40"),
            ("--probe FILE", "--probe-norm", "ortho"), ("on, off", "--shared", "yes"),
            ("--size and --amplitude", "--amplitude", "a.png", "--phase", "a.png"),
            ("ptynet", "--preset", "paper"), ("nowhere", "--truth", "nowhere/truth.h5"),
        ]:
            with self.subTest(arguments=arguments):
                base = self.BASE
                if arguments[0] == "--size" or "missing.png" in arguments or "only.png" in arguments:
                    base = self.NO_SIZE
                if "--probe-diameter" in arguments or arguments[0] == "--probe":
                    base = [a for a in base if a not in ("--defocus", "4e-4")]
                self.fail_with(2, words, *base, *arguments)
        self.fail_with(2, "--output", "simulate")
        self.fail_with(2, "nowhere", *self.BASE[:-1], "nowhere/scan.cxi")
        self.fail_with(2, "two things", *self.BASE, "--truth", "./scan.cxi")


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


if __name__ == "__main__":
    test_cli.main()
