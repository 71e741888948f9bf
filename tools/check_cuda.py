#!/usr/bin/env python3
"""Compiles CUDA kernels, and looks at what nvcc made of them.

    check_cuda.py --compile COMMAND...                  runs nvcc's COMMAND, which ends with a success or an
                                                        error; leaves beside the object what ptxas said of it
                                                        and its PTX (CMake's compiler launcher)
    check_cuda.py --architectures 80,90 OBJECT...       prints registers and shared memory of every kernel,
                                                        exits 1 when one spills, was not compiled for an
                                                        architecture, lacks an instruction of INSTRUCTIONS, or
                                                        has wgmma that wait for each other
    check_cuda.py --self-test
"""
import argparse
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import unittest

# What must be in the PTX of kernels of these names, and all that use tensor cores must be named here.
INSTRUCTIONS = {
    r"conv_kernel<(Half|Bfloat16|Tf32), .*, true>": ("mma.sync", "ldmatrix", "cp.async"),
    # Arrays that are not aligned are copied element by element.
    r"conv_kernel<(Half|Bfloat16|Tf32), .*, false>": ("mma.sync", "ldmatrix"),
    r"conv_kernel<float, .*, true>": ("cp.async",),
    r"fused_first_kernel<(Half|Bfloat16|Tf32), .*>": ("mma.sync", "ldmatrix", "cp.async"),
    r"fused_first_kernel<float, .*>": ("cp.async",),
    r"weight_gradient_kernel<(Half|Bfloat16), .*>": ("mma.sync", "ldmatrix", "cp.async"),
    # In 32 bits lanes read their own elements: ldmatrix transposes 16 bits.
    r"weight_gradient_kernel<Tf32, .*>": ("mma.sync", "cp.async"),
    r"weight_gradient_kernel<float, .*>": ("cp.async",),
}
# Kernels of compute capability 9.x alone, compiled for sm_90a and nothing else.
HOPPER_INSTRUCTIONS = {
    r"wgmma_kernel<.*>": ("wgmma.mma_async", "wgmma.fence", "fence.proxy.async", "cp.async"),
}
TENSOR_CORES = ("mma.sync", "wgmma.mma_async")

COMPILING = re.compile(r"Compiling entry function '(\w+)' for '(sm_\d+a?)'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
# What ptxas says when it cannot tell that the sums of products under way are left alone.
SERIALIZED = re.compile(r"wgmma.mma_async instructions are serialized due to (.*) in (?:the )?function '(\w+)'")
ENTRY = re.compile(r"\.entry\s+(\w+)")
# Lines of `ptxas -v`, which only the table wants to see.
CHATTER = re.compile(r"^ptxas info|^\s+\d+ bytes stack frame")


def log_of(object_file):
    return pathlib.Path(f"{object_file}.ptxas")


def ptx_folder(object_file):
    return pathlib.Path(f"{object_file}.ptx")


def compile_and_keep(command):
    """Runs nvcc; its exit status."""
    object_file = command[command.index("-o") + 1]
    folder = ptx_folder(object_file)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run = subprocess.run([*command, "--keep", "--keep-dir", str(folder)], stderr=subprocess.PIPE, text=True)
    for file in folder.iterdir():
        if file.suffix != ".ptx":
            file.unlink()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    log_of(object_file).write_text(f"seconds: {used.ru_utime + used.ru_stime:.1f}\n{run.stderr}")
    for line in run.stderr.splitlines():
        if not CHATTER.match(line):
            print(line, file=sys.stderr)
    return run.returncode


def demangled(names):
    """Short names of kernels, by mangled ones."""
    names = sorted(names)
    text = subprocess.run(["c++filt"], input="\n".join(names), stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(zip(names, map(short, text.splitlines())))


def short(name):
    name = name.replace("(anonymous namespace)::", "").replace("ptynet::cuda::", "").replace("ptynet::", "")
    return re.sub(r"^void ", "", re.sub(r"\(.*$", "", name))


def read_log(text):
    """{(mangled name, architecture): {registers, shared, spilled}} of what `ptxas -v` printed."""
    found = {}
    kernel = None
    for line in text.splitlines():
        if match := COMPILING.search(line):
            kernel = found.setdefault(match.groups(), {"registers": 0, "shared": 0, "spilled": 0})
        elif kernel is None:
            continue
        elif match := SPILLS.search(line):
            kernel["spilled"] = int(match[2]) + int(match[3])
        elif match := REGISTERS.search(line):
            kernel["registers"] = int(match[1])
            shared = SHARED.search(line)
            kernel["shared"] = int(shared[1]) if shared else 0
    return found


def read_ptx(text):
    """The PTX of each kernel by its mangled name."""
    at = list(ENTRY.finditer(text))
    ends = [match.start() for match in at[1:]] + [len(text)]
    return {match[1]: text[match.start():end] for match, end in zip(at, ends)}


def check_resources(kernels, names, architectures):
    """Complaints about spills and missing architectures."""
    for (name, architecture), kernel in sorted(kernels.items()):
        if kernel["spilled"]:
            yield f"{names[name]} for {architecture}: {kernel['spilled']} bytes of spills: let a lane hold less"
    for name in sorted({name for name, _ in kernels}):
        for architecture in architectures:
            if (name, architecture) not in kernels and (name, "sm_90a") not in kernels:
                yield f"{names[name]}: not compiled for {architecture}"


def check_serialized(log):
    """Complaints about products that wait for each other."""
    for match in SERIALIZED.finditer(log):
        yield f"{demangled([match[2]])[match[2]]}: its wgmma run one after the other, due to {match[1].strip()}"


def check_instructions(ptx, names, rules):
    """Complaints about instructions. ptx: [(name, text)]."""
    met = set()
    for name, text in ptx:
        wanted = ()
        for pattern, instructions in rules.items():
            if re.fullmatch(pattern, names[name]):
                met.add(pattern)
                wanted += instructions
        for instruction in wanted:
            if instruction not in text:
                yield f"{names[name]}: no {instruction} in its PTX"
        for instruction in TENSOR_CORES:
            if instruction in text and instruction not in wanted:
                yield f"{names[name]}: has {instruction}, but no line in INSTRUCTIONS of check_cuda.py"
    for pattern in rules:
        if pattern not in met:
            yield f"no kernel is named as {pattern}: mend INSTRUCTIONS of check_cuda.py"


def table(kernels, names, architectures):
    shown = {names[name]: name for name, _ in kernels}
    width = max(map(len, shown))
    yield f"{'registers / bytes of static shared memory':{width}}" + "".join(f"{a:>12}" for a in architectures)
    for label, name in sorted(shown.items()):
        cells = [kernels.get((name, a)) or kernels.get((name, f"{a}a")) for a in architectures]
        texts = [f"{cell['registers']} / {cell['shared']}" if cell else "-" for cell in cells]
        yield f"{label:{width}}" + "".join(f"{text:>12}" for text in texts)


def check(objects, architectures):
    """Prints the table and the complaints; whether there was none."""
    kernels, ptx, seconds, complaints = {}, [], 0.0, set()
    for object_file in objects:
        text = log_of(object_file).read_text()
        seconds += float(text.splitlines()[0].split()[1])
        kernels.update(read_log(text))
        complaints.update(check_serialized(text))
        for file in sorted(ptx_folder(object_file).iterdir()):
            ptx += read_ptx(file.read_text()).items()
    if not kernels or not ptx:
        print("check_cuda.py: error: expected kernels in the objects given, found none: was ptxas -v left out?")
        return False
    names = demangled({name for name, _ in kernels} | {name for name, _ in ptx})
    print(*table(kernels, names, architectures), sep="\n")
    rules = INSTRUCTIONS | (HOPPER_INSTRUCTIONS if "sm_90" in architectures else {})
    complaints.update(check_resources(kernels, names, architectures), check_instructions(ptx, names, rules))
    for line in sorted(complaints):
        print(f"FAILED {line}")
    spills = sum(kernel["spilled"] > 0 for kernel in kernels.values())
    print(f"{len({name for name, _ in kernels})} kernels for {len(architectures)} architectures, {spills} with spills, "
          f"{len(complaints)} complaints; nvcc took {seconds:.0f} s of one core")
    return not complaints


class SelfTest(unittest.TestCase):
    LOG = """seconds: 2.0
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z3onev' for 'sm_80'
ptxas info    : Function properties for _Z3onev
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 512 bytes smem, 376 bytes cmem[0]
ptxas info    : Compiling entry function '_Z3onev' for 'sm_90'
ptxas info    : Function properties for _Z3onev
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers
"""
    NAMES = {"_Z3onev": "one", "_Z3twov": "two"}

    def test_log(self):
        self.assertEqual(read_log(self.LOG),
                         {("_Z3onev", "sm_80"): {"registers": 40, "shared": 512, "spilled": 0},
                          ("_Z3onev", "sm_90"): {"registers": 255, "shared": 0, "spilled": 12}})

    def test_spill_and_missing_architecture(self):
        found = list(check_resources(read_log(self.LOG), self.NAMES, ["sm_80", "sm_86", "sm_90"]))
        self.assertEqual(len(found), 2, found)
        self.assertIn("sm_90: 12 bytes of spills", found[0])
        self.assertIn("not compiled for sm_86", found[1])

    def test_kernel_of_one_architecture(self):
        kernels = {("_Z3onev", "sm_90a"): {"registers": 9, "shared": 0, "spilled": 0}}
        self.assertEqual(list(check_resources(kernels, self.NAMES, ["sm_80", "sm_90"])), [])
        self.assertIn("9 / 0", list(table(kernels, self.NAMES, ["sm_80", "sm_90"]))[1])

    def test_serialized(self):
        log = ("ptxas info    : (C7514) Potential Performance Loss: wgmma.mma_async instructions are serialized due to "
               "registers in the function '_Z3onev'\n")
        self.assertEqual(list(check_serialized(log)), ["one: its wgmma run one after the other, due to registers"])
        self.assertEqual(list(check_serialized(self.LOG)), [])

    def test_instructions(self):
        ptx = ".visible .entry _Z3onev(\n)\n{ mma.sync.aligned; ret; }\n.entry _Z3twov()\n{ ldmatrix.sync; }\n"
        kernels = list(read_ptx(ptx).items())
        rules = {"one": ("mma.sync",), "tw.": ("ldmatrix",)}
        self.assertEqual(list(check_instructions(kernels, self.NAMES, rules)), [])
        found = list(check_instructions(kernels, self.NAMES, {"two": ("ldmatrix", "cp.async"), "three": ()}))
        self.assertEqual(len(found), 3, found)
        self.assertIn("one: has mma.sync, but no line", found[0])
        self.assertIn("two: no cp.async", found[1])
        self.assertIn("no kernel is named as three", found[2])

    def test_names(self):
        self.assertEqual(short("void ptynet::cuda::conv_kernel<ptynet::Half, 16, true>(ptynet::cuda::ConvProblem)"),
                         "conv_kernel<Half, 16, true>")


def main():
    if sys.argv[1:2] == ["--compile"]:
        return compile_and_keep(sys.argv[2:])
    if sys.argv[1:] == ["--self-test"]:
        return unittest.main(argv=sys.argv[:1], verbosity=2)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", required=True)
    parser.add_argument("objects", nargs="+")
    arguments = parser.parse_args()
    return 0 if check(arguments.objects, [f"sm_{a}" for a in arguments.architectures.split(",")]) else 1


if __name__ == "__main__":
    sys.exit(main())
