#!/usr/bin/env python3
"""Breaks the CUDA kernels one small change at a time, and expects their cases to notice.

    mutate_kernels.py [--list] [--only FILE[:LINE]] [--shard I/N] [--jobs 2]
    mutate_kernels.py --self-test

Each barrier and each commit of asynchronous copies is taken away, each wait for copies is taken away and made to
wait for one group less, and each comparison in a kernel or device function is shifted by one. (Loops under
PTYNET_UNROLL run over extents fixed at compile time and are left alone.) A mutant is caught when cuda_on_cpu fails a
case, crashes or hangs; one that passes is tried again under AddressSanitizer. One that passes there too must stand in
tests/cuda_on_cpu/surviving_mutants.json with the reason why no case can see it, and what stands there must survive.

Prints a line per mutant and `N mutants, M caught, K justified, J survived`; exits 1 when one survived or the list is
out of date. --list only prints them, --only takes one file (conv_kernel.h) or line, --shard the I-th of N parts.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import io
import json
import pathlib
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = "kernels/cuda"
NOT_KERNELS = {"device.h", "device_gpu.h", "device_host.h", "stream.h"}
JUSTIFIED = "tests/cuda_on_cpu/surviving_mutants.json"
# Words in the names of the cases that run a file, where not all do.
CASES = {"conv_transpose.cu": "conv_transpose2d", "thin_conv.cu": "thin_"}

REGION = re.compile(r"\bPTYNET_(DEVICE|KERNEL)\b")
DELETED = re.compile(r"\b(?:barrier|warp_barrier|commit_copies|wait_copies<\d+>)\(\);")
WAIT = re.compile(r"(?<=\bwait_copies<)\d+(?=>)")
# clang-format puts blanks around an operator, and none around the brackets of a template.
COMPARISON = re.compile(r" (<=|>=|<|>) ")
SHIFTED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
EXTENT = re.compile(r"(?<= == )p_?\.\w+")


@dataclasses.dataclass(frozen=True)
class Mutant:
    file: str    # "conv_kernel.h"
    number: int  # of the line, from 1
    before: str  # the line without its indent and comment
    after: str
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
    """Every mutation of a line of device code."""
    for match in DELETED.finditer(line):
        yield line[:match.start()] + ";" + line[match.end():]
    for match in WAIT.finditer(line):
        yield line[:match.start()] + str(int(match[0]) + 1) + line[match.end():]
    for match in COMPARISON.finditer(line):
        yield line[:match.start(1)] + SHIFTED[match[1]] + line[match.end(1):]
    for match in EXTENT.finditer(line):
        yield line[:match.end()] + " + 1" + line[match.end():]


def mutants_of(name, text):
    inside = device_lines(text)
    lines = text.splitlines()
    met = collections.Counter()
    for number, line in enumerate(lines, 1):
        unrolled = number > 1 and lines[number - 2].strip() == "PTYNET_UNROLL"
        if number not in inside or unrolled or "if constexpr" in line:
            continue
        code = line.split("//")[0].strip()
        for after in changes(code):
            met[code, after] += 1
            yield Mutant(name, number, code, after, met[code, after])


def all_mutants(root):
    files = sorted(f for f in (root / FOLDER).iterdir() if f.suffix in (".h", ".cu") and f.name not in NOT_KERNELS)
    return [mutant for file in files for mutant in mutants_of(file.name, file.read_text(encoding="utf-8"))]


def mutated(text, mutant):
    lines = text.splitlines(keepends=True)
    lines[mutant.number - 1] = mutant.after + "\n"
    return "".join(lines)


class Tree:
    """A copy of the sources, and its cases built plainly and, when first asked for, under AddressSanitizer."""

    # How each is configured, and the CPU seconds after which a run hangs: some 5 times what it takes.
    KINDS = {"plain": ([], 120), "address": (["-DPTYNET_SANITIZERS=address"], 900)}
    proven = set()  # the kinds whose cases pass when nothing is broken
    proving = threading.Lock()

    def __init__(self, folder):
        self.folder = folder
        self.ready = set()
        shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(".git", "build", "demo"))

    def prepare(self, kind):
        """Builds the kernels as they are, which must pass."""
        if kind in self.ready:
            return
        flags, _ = self.KINDS[kind]
        command = ["cmake", "-S", self.folder / "source", "-B", self.folder / kind, "-G", "Ninja", *flags,
                   "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1", "-DPTYNET_BUILD_BENCHMARKS=OFF"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        why = self.build(kind)
        with self.proving:
            if not why and kind not in self.proven:
                why = self.run(kind, "")
            if why:
                raise RuntimeError(f"expected the kernels as they are to pass, found: {why}")
            self.proven.add(kind)
        self.ready.add(kind)

    def build(self, kind):
        """None, or why there is no program."""
        done = subprocess.run(["cmake", "--build", self.folder / kind, "--target", "cuda_on_cpu", "-j", "1"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        errors = [line for line in done.stdout.splitlines() if "error" in line]
        return None if done.returncode == 0 else f"does not compile: {(errors or ['?'])[0]}"

    def run(self, kind, words):
        """None, or how the cases with these words failed."""
        _, seconds = self.KINDS[kind]
        program = self.folder / kind / "bin" / "cuda_on_cpu"
        done = subprocess.run(["sh", "-c", f"ulimit -t {seconds}; exec {program} --first-failure {words}"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace")
        if done.returncode == 0:
            return None
        telling = [line for line in done.stdout.splitlines() if "FAILED" in line or "ERROR" in line]
        return (telling or [f"exit status {done.returncode}"])[0]

    def how_caught(self, mutant):
        """None when every case passes."""
        file = self.folder / "source" / FOLDER / mutant.file
        original = file.read_text(encoding="utf-8")
        for kind in self.KINDS:
            self.prepare(kind)
            file.write_text(mutated(original, mutant), encoding="utf-8")
            try:
                why = self.build(kind) or self.run(kind, CASES.get(mutant.file, ""))
            finally:
                file.write_text(original, encoding="utf-8")
            if why:
                return why
        return None


def try_all(mutants, scratch, jobs):
    """Yields (mutant, how it was caught or None) as they are done."""
    trees = queue.SimpleQueue()
    for i in range(jobs):
        trees.put(Tree(scratch / str(i)))

    def one(mutant):
        tree = trees.get()
        try:
            return mutant, tree.how_caught(mutant)
        finally:
            trees.put(tree)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for done in concurrent.futures.as_completed([pool.submit(one, mutant) for mutant in mutants]):
            yield done.result()


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

    def test_mutated(self):
        mutant = next(mutants_of("scale.cu", self.TEXT))
        changed = [pair for pair in zip(self.TEXT.splitlines(), mutated(self.TEXT, mutant).splitlines())
                   if pair[0] != pair[1]]
        self.assertEqual(len(changed), 1)
        self.assertEqual(changed[0][1], mutant.after)

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
    parser.add_argument("--only", metavar="FILE[:LINE]", default="")
    parser.add_argument("--shard", default="1/1", metavar="I/N")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    shard, shards = map(int, arguments.shard.split("/"))
    mutants = [m for m in all_mutants(ROOT) if arguments.only in ("", m.file, f"{m.file}:{m.number}")]
    mutants = mutants[shard - 1::shards]
    if not mutants:
        parser.error("no mutants: expected --only with a file of kernels/cuda, --shard I/N with 1 <= I <= N")
    if arguments.list:
        print(*mutants, sep="\n")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        results = try_all(mutants, pathlib.Path(temporary), arguments.jobs)
        return 0 if report(results, read_justified(ROOT / JUSTIFIED)) else 1


if __name__ == "__main__":
    sys.exit(main())
