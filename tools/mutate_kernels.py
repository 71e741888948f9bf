#!/usr/bin/env python3
"""Breaks the CUDA kernels one small change at a time, and expects their cases to notice.

    mutate_kernels.py [--list] [--only FILE[:LINE] ...] [--shard I/N] [--jobs 2] [--folder FOLDER]
    mutate_kernels.py --self-test

Each barrier, each fence and each commit of asynchronous copies or products is taken away, each wait for them is taken
away and made to wait for one group less, and each comparison in a kernel or device function is shifted by one. (Loops under
PTYNET_UNROLL run over extents fixed at compile time and are left alone.) A mutant is caught when cuda_on_cpu fails a
case, crashes or hangs; one that passes is tried again under AddressSanitizer. One that passes there too must stand in
tests/cuda_on_cpu/surviving_mutants.json with the reason why no case can see it, and what stands there must survive.

All mutants are compiled into one program, as switches in a copy of the sources. PTYNET_MUTANT says which is on.

Prints a line per mutant and `N mutants, M caught, K justified, J survived`; exits 1 when one survived or the list is
out of date. --list only prints them, --only takes some files (conv_kernel.h) or lines, --shard the I-th of N parts.
--folder keeps what was built there for the next run.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = "kernels/cuda"
NOT_KERNELS = {"device.h", "device_gpu.h", "device_host.h", "stream.h"}
JUSTIFIED = "tests/cuda_on_cpu/surviving_mutants.json"
# The cases that run a file: those whose line contains one of these words.
CASES = {
    "add_parts.cu": ["add_parts"],
    "batch_norm.cu": ["batch_norm "],
    "batch_norm_training.cu": ["batch_norm_"],
    "block_sums.h": ["_loss", "_error", "residual"],
    "channel_sums.h": ["batch_norm_"],
    "complex.h": ["far_field"],
    "conv_copies.h": ["conv2d", "weight_gradient"],
    "conv_kernel.h": ["conv2d", "conv_transpose2d"],
    "conv_tile.h": ["conv2d", "conv_transpose2d"],
    "conv_transpose.cu": ["conv_transpose2d"],
    "conv_weight_gradient.cu": ["weight_gradient"],
    "conv_weight_products.h": ["weight_gradient"],
    "conv_wgmma_kernel.cu": ["wgmma"],
    "diffraction.cu": ["far_field_gradient", "exit_wave_gradient"],
    "drawing.cu": ["draw_objects"],
    "far_field.cu": ["far_field", "intensity_residual"],
    "frame_reader.h": ["input_rule", "far_field", "intensity_residual"],
    "input_rule.cu": ["input_rule"],
    "losses.cu": ["_loss", "_error"],
    "object.cu": ["compose_patches", "exit_waves"],
    "optimiser.cu": ["adam", "keep_power"],
    "photon_noise.cu": ["photon_noise"],
    "pointwise.cu": ["activation", "add ", "concat_channels", "slice_channels", "output_heads_gradient"],
    "resize.cu": ["max_pool2d", "upsample_bilinear2d"],
    "step_queue.cu": ["take_", "put_rows", "advance"],
    "stitch.cu": ["stitch"],
    "sum_gradient.cu": ["sum_gradient"],
    "thin_conv.cu": ["thin_"],
    "thin_input.h": ["thin_conv2d", "fused_first"],
    "thin_output.cu": ["thin_"],
    "thin_output_block.h": ["thin"],
    "fused_first.cu": ["fused_first"],
    "fused_thin.cu": ["fused_thin"],
    "values.cu": ["convert", "scale fp32", "multiply", "random_uniform"],
    "vary_spectra.cu": ["vary_spectra"],
}
# The CPU seconds after which a program hangs, some 3 times what all cases take, and how it is configured.
KINDS = {"plain": (200, []), "address": (1200, ["-DPTYNET_SANITIZERS=address"])}

REGION = re.compile(r"\bPTYNET_(DEVICE|KERNEL)\b")
DELETED = re.compile(r"\b(?:barrier|warp_barrier|commit_copies|wait_copies<\d+>|fence_async_proxy|"
                     r"warpgroup_fence|warpgroup_commit|warpgroup_wait<\d+>)\(\);")
WAIT = re.compile(r"\b(wait_copies|warpgroup_wait)<(\d+)>")
# clang-format puts blanks around an operator, and none around the brackets of a template.
COMPARISON = re.compile(r" (<=|>=|<|>) ")
SHIFTED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
EXTENT = re.compile(r"(?<= == )p_?\.\w+")

# What the kernels' copies are given. `a < shiftable(7) > b` is `a < b`, and under mutant 7 `a <= b`.
SWITCHES = """
#include <cstdlib>

namespace ptynet::cuda {

inline const int mutant_that_is_on = std::atoi(std::getenv("PTYNET_MUTANT"));
inline bool mutant(int number) { return number == mutant_that_is_on; }

struct Shiftable {
  bool shifted;
};
inline Shiftable shiftable(int number) { return {mutant(number)}; }

template <typename Left, typename Operator, typename Shifted>
struct HalfComparison {
  Left left;
  bool shifted;
  template <typename Right>
  bool operator>(Right right) const {
    return shifted ? Shifted{}(left, right) : Operator{}(left, right);
  }
};
template <typename T>
HalfComparison<T, std::less<>, std::less_equal<>> operator<(T left, Shiftable s) {
  return {left, s.shifted};
}
template <typename T>
HalfComparison<T, std::less_equal<>, std::less<>> operator<=(T left, Shiftable s) {
  return {left, s.shifted};
}
template <typename T>
HalfComparison<T, std::greater<>, std::greater_equal<>> operator>(T left, Shiftable s) {
  return {left, s.shifted};
}
template <typename T>
HalfComparison<T, std::greater_equal<>, std::greater<>> operator>=(T left, Shiftable s) {
  return {left, s.shifted};
}

}  // namespace ptynet::cuda
"""


@dataclasses.dataclass(frozen=True)
class Mutant:
    file: str    # "conv_kernel.h"
    number: int  # of the line, from 1
    before: str  # the line without its indent and comment
    after: str
    column: int  # of `before`, where `switch` makes either of the two of it
    switch: str  # with its number to be filled in
    nth: int = 1  # of the file's mutants of the same words

    def key(self):
        return self.file, self.before, self.after, self.nth

    def __str__(self):
        return f"{self.file}:{self.number}: {self.before}  ->  {self.after}"


def device_lines(text):
    """Numbers of the lines within kernels and device functions."""
    lines = set()
    for match in REGION.finditer(text):
        if text.rfind("#", text.rfind("\n", 0, match.start()) + 1, match.start()) >= 0:
            continue  # its definition
        depth = 0
        start = None
        for at in range(match.start(), len(text)):
            c = text[at]
            if c == ";" and depth == 0:
                break  # a declaration
            if start is None and c == "{" and depth == 0:
                start = at
            depth += (c in "({") - (c in ")}")
            if start is not None and depth == 0:
                lines.update(range(text.count("\n", 0, start) + 1, text.count("\n", 0, at) + 2))
                break
    return lines


def changes(line):
    """Every mutation of a line of device code: what becomes of it, and the column and words of its switch."""
    for match in DELETED.finditer(line):
        yield line[:match.start()] + ";" + line[match.end():], match.start(), "mutant({}) ? void() : "
    for match in WAIT.finditer(line):
        more = f"{match[1]}<{int(match[2]) + 1}>"
        yield line[:match.start()] + more + line[match.end():], match.start(), "mutant({}) ? " + more + "() : "
    for match in COMPARISON.finditer(line):
        yield line[:match.start(1)] + SHIFTED[match[1]] + line[match.end(1):], match.end(1), " shiftable({}) >"
    for match in EXTENT.finditer(line):
        yield line[:match.end()] + " + 1" + line[match.end():], match.end(), " + mutant({})"


def mutants_of(name, text):
    inside = device_lines(text)
    lines = text.splitlines()
    met = collections.Counter()
    for number, line in enumerate(lines, 1):
        unrolled = number > 1 and lines[number - 2].strip() == "PTYNET_UNROLL"
        if number not in inside or unrolled or "if constexpr" in line:
            continue
        code = line.split("//")[0].strip()
        for after, column, switch in changes(code):
            met[code, after] += 1
            yield Mutant(name, number, code, after, column, switch, met[code, after])


def all_mutants(root):
    files = sorted(f for f in (root / FOLDER).iterdir() if f.suffix in (".h", ".cu") and f.name not in NOT_KERNELS)
    return [mutant for file in files for mutant in mutants_of(file.name, file.read_text(encoding="utf-8"))]


def switched(text, numbered):
    """The text of a file with the switches of its mutants, given as (number, mutant)."""
    lines = text.splitlines()
    for number, mutant in sorted(numbered, key=lambda pair: -pair[1].column):
        # From right to left: what stands left of a column is as it was.
        line = lines[mutant.number - 1]
        at = len(line) - len(line.lstrip()) + mutant.column
        lines[mutant.number - 1] = line[:at] + mutant.switch.format(number) + line[at:]
    return "\n".join(lines) + "\n"


def write_changed(file, text):
    """A file that stays as it was is not built again."""
    if not file.exists() or file.read_bytes() != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)


def write_sources(folder, mutants):
    """A copy of the project with all mutants in it, switched off. Number i is mutants[i - 1]."""
    of_file = collections.defaultdict(list)
    for number, mutant in enumerate(mutants, 1):
        of_file[mutant.file].append((number, mutant))
    for top, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in (".git", "build", "demo")]
        for file in (pathlib.Path(top) / name for name in files):
            text = file.read_bytes()
            if file.parent == ROOT / FOLDER:
                text = switched(text.decode(), of_file[file.name]).encode()
            if file == ROOT / FOLDER / "device_host.h":
                text += SWITCHES.encode()
            write_changed(folder / file.relative_to(ROOT), text)


class Program:
    """The cases with all mutants in them, of one kind."""

    def __init__(self, folder, kind, jobs, words):
        self.seconds, flags = KINDS[kind]
        self.path = folder / kind / "bin" / "cuda_on_cpu"
        configure = ["cmake", "-S", folder / "source", "-B", folder / kind, "-G", "Ninja", *flags,
                     "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1", "-DPTYNET_BUILD_BENCHMARKS=OFF"]
        build = ["cmake", "--build", folder / kind, "--target", "cuda_on_cpu", "-j", str(jobs)]
        for command in (configure, build):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"expected the kernels with their mutants to compile, found:\n{done.stdout}")
        why = self.failure(0, words)
        if why:
            raise RuntimeError(f"expected the kernels as they are to pass, found: {why}")

    def failure(self, number, words):
        """None, or how the cases with these words fail under a mutant (0: none)."""
        limited = ["sh", "-c", f'ulimit -t {self.seconds}; exec "$@"', "sh", self.path, "--first-failure", *words]
        done = subprocess.run(limited, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              env={**os.environ, "PTYNET_MUTANT": str(number)})
        if done.returncode == 0:
            return None
        lines = done.stdout.splitlines()
        if "0 cases, 0 failed" in lines:
            raise RuntimeError(f"expected words of some cases, found {words}: mend CASES")
        return next((line for line in lines if "FAILED" in line or "ERROR" in line), f"exit status {done.returncode}")


def try_all(numbered, folder, jobs):
    """Yields (mutant, how it was caught or None): first what the plain program catches."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for kind in KINDS:
            if not numbered:
                return
            words = sorted({word for _, mutant in numbered for word in CASES[mutant.file]})
            program = Program(folder, kind, jobs, words)
            tried = {pool.submit(program.failure, number, CASES[mutant.file]): (number, mutant)
                     for number, mutant in numbered}
            numbered = []
            for done in concurrent.futures.as_completed(tried):
                if done.result():
                    yield tried[done][1], done.result()
                else:
                    numbered.append(tried[done])
    for _, mutant in numbered:
        yield mutant, None


def read_justified(path):
    entries = json.loads(path.read_text(encoding="utf-8"))
    return {(entry["file"], entry["before"], entry["after"], entry.get("nth", 1)): entry["why"] for entry in entries}


def report(results, justified):
    """Prints each result and the sum; whether none survived and none is listed that was caught."""
    count = {"caught": 0, "justified": 0, "survived": 0, "caught, though listed": 0}
    for mutant, why in results:
        reason = justified.get(mutant.key())
        word = "caught" if why else "justified" if reason else "survived"
        if why and reason:
            word = "caught, though listed"
        count[word] += 1
        print(f"{word}: {mutant}  ({why or reason or 'every case passes'})", flush=True)
    caught = count["caught"] + count["caught, though listed"]
    print(f"{sum(count.values())} mutants, {caught} caught, {count['justified']} justified, "
          f"{count['survived']} survived")
    return count["survived"] == 0 and count["caught, though listed"] == 0


class SelfTest(unittest.TestCase):
    TEXT = """#define PTYNET_DEVICE inline
bool host(int a) { return a < 3; }
PTYNET_DEVICE int declared(int a);
PTYNET_KERNEL(kThreads, 1)
scale(Problem p, const float* x) {
  if (thread() >= p.count || 1 << 3 > 4) return;  // a < b
  PTYNET_UNROLL
  for (int i = 0; i < 4; ++i) load<float, 2>(x);
  wait_copies<1>();
  barrier();  // all there
  if (step + 1 == p.stages) step = 0;
}
int after(int a) { barrier(); return a > 3; }
"""

    def test_mutants(self):
        found = [(mutant.number, mutant.after) for mutant in mutants_of("scale.cu", self.TEXT)]
        self.assertEqual(found, [
            (6, "if (thread() > p.count || 1 << 3 > 4) return;"),
            (6, "if (thread() >= p.count || 1 << 3 >= 4) return;"),
            (9, ";"),
            (9, "wait_copies<2>();"),
            (10, ";"),
            (11, "if (step + 1 == p.stages + 1) step = 0;")])

    def test_switched(self):
        numbered = list(enumerate(mutants_of("scale.cu", self.TEXT), 1))
        changed = [line.strip() for line in switched(self.TEXT, numbered).splitlines()
                   if line not in self.TEXT.splitlines()]
        self.assertEqual(changed, [
            "if (thread() >= shiftable(1) > p.count || 1 << 3 > shiftable(2) > 4) return;  // a < b",
            "mutant(4) ? wait_copies<2>() : mutant(3) ? void() : wait_copies<1>();",
            "mutant(5) ? void() : barrier();  // all there",
            "if (step + 1 == p.stages + mutant(6)) step = 0;"])

    def test_every_file_has_cases(self):
        self.assertLessEqual({mutant.file for mutant in all_mutants(ROOT)}, set(CASES), "CASES needs words for it")

    def test_report(self):
        one, two = list(mutants_of("scale.cu", self.TEXT))[:2]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            self.assertTrue(report([(one, "FAILED"), (two, None)], {two.key(): "never there"}))
            self.assertFalse(report([(one, None)], {}))
            self.assertFalse(report([(one, "FAILED")], {one.key(): "never there"}))
        self.assertIn("2 mutants, 1 caught, 1 justified, 0 survived", printed.getvalue())

    def test_justified_are_mutants(self):
        known = {mutant.key() for mutant in all_mutants(ROOT)}
        for key, why in read_justified(ROOT / JUSTIFIED).items():
            self.assertIn(key, known, "surviving_mutants.json lists what is no mutant any more")
            self.assertTrue(why)


def main():
    if sys.argv[1:] == ["--self-test"]:
        return unittest.main(argv=sys.argv[:1], verbosity=2)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", metavar="FILE[:LINE]", nargs="+")
    parser.add_argument("--shard", default="1/1", metavar="I/N")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder")
    arguments = parser.parse_args()
    shard, shards = map(int, arguments.shard.split("/"))
    only = arguments.only
    everything = list(enumerate(all_mutants(ROOT), 1))
    numbered = [(i, m) for i, m in everything if not only or m.file in only or f"{m.file}:{m.number}" in only]
    numbered = numbered[shard - 1::shards]
    if not numbered:
        parser.error("no mutants: expected --only with files of kernels/cuda, --shard I/N with 1 <= I <= N")
    if arguments.list:
        print(*(mutant for _, mutant in numbered), sep="\n")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(arguments.folder or temporary)
        write_sources(folder / "source", [mutant for _, mutant in everything])
        results = try_all(numbered, folder, arguments.jobs)
        return 0 if report(results, read_justified(ROOT / JUSTIFIED)) else 1


if __name__ == "__main__":
    sys.exit(main())
