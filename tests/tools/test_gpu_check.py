#!/usr/bin/python3
"""tools/gpu_check.sh without a GPU: stand-ins for the driver's and the project's programs.

    test_gpu_check.py [Class[.test]]
"""
import os
import pathlib
import subprocess
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools/gpu_check.sh"
DEVICES = "echo 'devices:\n  - device: cuda:0\n    usable: yes'"


class GpuCheck(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.write("path/nvidia-smi", "echo an excellent GPU")
        self.write("path/compute-sanitizer", "echo sanitized")
        # All libraries are on the loader's path.
        self.write("path/ldconfig", "echo libcudnn.so.9 libcublasLt.so.13 libcufft.so.12")
        self.write("build/bin/cuda_on_gpu", "echo 9 cases, 0 failed")

    def write(self, name, commands):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{commands}\n")
        path.chmod(0o755)

    def run_part(self, part, **environment):
        """Status, stdout and the report."""
        done = subprocess.run(
            [SCRIPT, part, self.folder / "build"], stdout=subprocess.PIPE, text=True, timeout=120,
            env={**os.environ, "PATH": f"{self.folder}/path:{os.environ['PATH']}", "RESULTS": f"{self.folder}/results",
                 **environment})
        report = self.folder / f"results/{part}.txt"
        return done.returncode, done.stdout, report.read_text() if report.exists() else None

    def test_without_a_gpu_every_part_says_so_and_leaves_its_report(self):
        self.write("path/nvidia-smi", "exit 9")
        for part in ["correctness", "sanitize", "speed", "learn", "baseline", "soak"]:
            status, out, report = self.run_part(part)
            self.assertEqual(status, 1)
            self.assertIn("*** no usable GPU", out)
            self.assertIn("*** no usable GPU", report)
            self.assertNotIn("9 cases", report)

    def test_unknown_parts_are_refused(self):
        status, out, report = self.run_part("everything")
        self.assertEqual((status, report), (2, None))
        self.assertIn("correctness|sanitize", out)

    def test_a_step_that_fails_is_loud_and_the_rest_still_runs(self):
        self.write("build/bin/cuda_on_gpu", "echo conv2d is FAILED; seq 100; exit 3")
        self.write("build/bin/test_cuda_session", 'echo "required: $PTYNET_REQUIRE_CUDA"')
        self.write("build/bin/ptynet", "echo no devices")
        status, out, report = self.run_part("correctness")
        self.assertEqual(status, 1)
        self.assertIn("conv2d is FAILED", out)  # though far above the last lines
        self.assertIn("*** the kernels' cases: FAILED with status 3", out)
        self.assertIn("\n50\n", report)
        self.assertIn("required: 1", report)
        self.assertIn("*** ptynet itself can use no CUDA device", report)

    def test_all_is_well(self):
        self.write("build/bin/ptynet", f'[ "$1" != info ] || {DEVICES}')
        status, out, report = self.run_part("correctness")
        self.assertEqual(status, 0, out)
        self.assertIn("9 cases, 0 failed", report)
        self.assertIn("the demo on cuda", report)

    def test_cases_that_this_device_cannot_run_are_named_and_no_failure(self):
        self.write("build/bin/ptynet", f'[ "$1" != info ] || {DEVICES}')
        self.write("build/bin/test_cuda_session", "echo SKIPPED: memory of a GPU; exit 77")
        status, out, report = self.run_part("correctness")
        self.assertEqual(status, 0, out)
        self.assertRegex(report, r"(?m)^ok, \d+ s: sessions and trainers; SKIPPED: 1\nSKIPPED: memory of a GPU$")

    def test_a_part_that_is_killed_leaves_what_it_had(self):
        for number in [9, 15]:
            with self.subTest(number):
                self.write("build/bin/cuda_on_gpu", f"echo so far; kill -{number} $(ps -o ppid= $PPID); sleep 1")
                status, _, report = self.run_part("correctness")
                self.assertEqual(status, -number)
                self.assertIn("=== the kernels' cases", report)
                self.assertEqual((self.folder / "results/correctness.step").read_text(), "so far\n")
        self.write("build/bin/cuda_on_gpu", "echo done")
        self.run_part("correctness")
        self.assertFalse((self.folder / "results/correctness.step").exists())

    def test_less_time(self):
        self.assertIn("left out, no time left", self.run_part("correctness", PART_SECONDS="4")[1])

    def test_a_sanitizer_that_is_refused_or_finds_something(self):
        self.assertEqual(self.run_part("sanitize")[0], 0)
        self.write("path/compute-sanitizer", "echo Error: Device not supported; exit 1")
        status, out, report = self.run_part("sanitize")
        self.assertEqual(status, 1)
        self.assertIn("*** compute-sanitizer is REFUSED", report)
        self.assertNotIn("racecheck", report)
        self.write("path/compute-sanitizer", '[ "$2" != racecheck ] || exit 9')
        status, out, report = self.run_part("sanitize")
        self.assertEqual(status, 1)
        self.assertIn("*** racecheck: FAILED with status 9", report)
        self.assertRegex(report, r"(?m)^ok, \d+ s: synccheck$")

    def soak(self):
        self.write("build/bin/ptynet", f'[ "$1" != info ] || {DEVICES}\n'
                   'for word; do case "$word" in */first | */again) mkdir "$word" ;; esac; done')
        self.write("build/bin/test_cuda_session", "sleep 1")
        return self.run_part("soak", SAMPLE_SECONDS="0.05", SOAK_RUNS="1")

    def test_memory_that_stays_behind_is_loud(self):
        self.write("path/nvidia-smi", f'echo x >>"{self.folder}/asked"; echo $(($(wc -l <"{self.folder}/asked") * 20))')
        status, out, report = self.soak()
        self.assertEqual(status, 1)
        self.assertRegex(report, r"\*\*\* sessions of random shapes leave memory behind: \d+ MiB early, \d+ MiB late")

    def test_memory_that_comes_and_goes_is_not(self):
        self.write("path/nvidia-smi", f'echo x >>"{self.folder}/asked"; echo $((500 + $(wc -l <"{self.folder}/asked") % 3 * 100))')
        self.write("build/bin/demo/scan.cxi", "")
        status, out, report = self.soak()
        self.assertEqual(status, 0, out)
        self.assertIn("early and late: 500, 500 MiB", report)
        self.assertIn("2 runs of one job, all with the same pictures", report)

    def test_libraries_are_found_in_a_python_environment(self):
        self.write("path/ldconfig", "echo nothing")
        library = self.folder / "site/nvidia/cudnn/lib/libcudnn.so.9"
        library.parent.mkdir(parents=True)
        library.touch()
        self.write("build/bin/cuda_on_gpu", 'echo "path: $LD_LIBRARY_PATH"')
        self.write("build/bin/ptynet", f'[ "$1" != info ] || {DEVICES}')
        _, _, report = self.run_part("correctness", PYTHONPATH=f"{self.folder}/site")
        self.assertRegex(report, rf"(?m)^path: (.*:)?{library.parent}(:|$)")


if __name__ == "__main__":
    unittest.main(verbosity=2)
