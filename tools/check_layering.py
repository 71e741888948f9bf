#!/usr/bin/env python3
"""Checks the #include lines of the storeys: nothing includes what stands above it or beside it.

    check_layering.py [--root FOLDER]     prints file:line of every violation, exits 1 when there is one
    check_layering.py --self-test         plants every kind of violation in a small tree and expects it to be found

A header is internal when it lies in a folder below its storey (kernels/cpu/), belongs to tools/, or its first line
begins with `// Internal:`. All other headers of the storeys are public: they are installed, name no vendor header
and include no internal one.
"""
import argparse
import pathlib
import re
import sys
import tempfile
import unittest

BELOW = {
    "kernels": [],
    "autograd": ["kernels"],
    "layers": ["autograd", "kernels"],
    "io": ["kernels"],
    "engine": ["layers", "io", "autograd", "kernels"],
    "tools": ["engine", "layers", "io", "autograd", "kernels"],
}
SUFFIXES = {".h", ".hpp", ".cpp", ".c", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
VENDOR = re.compile(r"^(hdf5|H5\w*|dnnl|oneapi/dnnl|fftw3|kiss_|kissfft|png|zip|openssl/|zmq|lz4|httplib|nlohmann/|spdlog/|"
                    r"CLI/|omp|mpi|nccl|cuda|cudnn|cublas|cufft|curand|nvrtc)")
# The reference backend is the oracle of the others and leans on no library.
WITHOUT_LIBRARIES = "kernels/reference/"


def is_public(root, path):
    parts = path.split("/")
    if len(parts) != 2 or parts[0] not in BELOW or parts[0] == "tools" or not path.endswith(".h"):
        return False
    try:
        with open(root / path, encoding="utf-8") as file:
            return not file.readline().startswith("// Internal:")
    except OSError:
        return True


def complaint(root, path, bracket, header):
    """Why `path` may not include `header`, or None."""
    tests = path.startswith("tests/")
    storey = path.split("/")[1 if tests else 0]
    if bracket == "<":
        if VENDOR.match(header) and path.startswith(WITHOUT_LIBRARIES):
            return f"the reference backend includes the library header <{header}>"
        if VENDOR.match(header) and not tests and is_public(root, path):
            return (f"the public header includes the vendor header <{header}>: move that into a .cpp file, a header in a "
                    "folder below the storey, or one whose first line begins with `// Internal:`")
        return None
    target = header.split("/")[0]
    if target == "tests" and tests:
        return None
    if target not in BELOW:
        return f'"{header}" begins with no storey: includes start at the repository root'
    if target != storey and target not in BELOW[storey]:
        return f'{storey}/ includes "{header}", and {target}/ does not stand below {storey}/'
    if not tests and is_public(root, path) and not is_public(root, header):
        return f'the public header includes the internal header "{header}", which is not installed'
    return None


def files(root):
    for storey in BELOW:
        for folder in (root / storey, root / "tests" / storey):
            yield from (f for f in sorted(folder.rglob("*")) if f.suffix in SUFFIXES)


def check(root):
    """(number of files, violations as `file:line: why`)."""
    count, found = 0, []
    for file in files(root):
        count += 1
        path = file.relative_to(root).as_posix()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            why = match and complaint(root, path, *match.groups())
            if why:
                found.append(f"{path}:{number}: {why}")
    return count, found


class SelfTest(unittest.TestCase):
    CLEAN = {
        "kernels/array.h": "#include <vector>\n",
        "kernels/cpu/conv.h": '#include <dnnl.hpp>\n#include "kernels/array.h"\n',
        "kernels/cpu/conv.cpp": '#include "kernels/cpu/conv.h"\n',
        "kernels/reference/conv.cpp": '#include "kernels/array.h"\n',
        "autograd/tape.h": '#include "kernels/array.h"\n',
        "layers/layer.h": '#include "autograd/tape.h"\n',
        "io/scan.h": '#include "kernels/array.h"\n',
        "io/handle.h": "// Internal: owns a handle.\n#include <hdf5.h>\n",
        "io/scan.cpp": '#include "io/handle.h"\n',
        "engine/session.h": '#include "layers/layer.h"\n#include "io/scan.h"\n',
        "tools/main.h": '#include <CLI/CLI.hpp>\n#include "engine/session.h"\n',
        "tests/io/test_scan.cpp": '#include <hdf5.h>\n#include "io/handle.h"\n#include "tests/support.h"\n',
    }

    def found(self, planted):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, text in {**self.CLEAN, **planted}.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
            return check(root)

    def expect(self, path, text, line, words):
        _, found = self.found({path: text})
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(f"{path}:{line}: "), found[0])
        self.assertIn(words, found[0])

    def test_clean_tree_passes(self):
        self.assertEqual(self.found({}), (len(self.CLEAN), []))

    def test_upwards(self):
        self.expect("kernels/bad.cpp", '\n#include "autograd/tape.h"\n', 2, "does not stand below")
        self.expect("engine/bad.cpp", '#include "tools/main.h"\n', 1, "does not stand below")

    def test_neighbours(self):
        self.expect("layers/bad.cpp", '#include "io/scan.h"\n', 1, "does not stand below")
        self.expect("io/bad.cpp", '#  include "layers/layer.h"\n', 1, "does not stand below")
        self.expect("io/bad.h", '#include "autograd/tape.h"\n', 1, "does not stand below")

    def test_test_of_a_storey(self):
        self.expect("tests/kernels/bad.cpp", '#include "engine/session.h"\n', 1, "does not stand below")

    def test_vendor_header(self):
        for header in ("hdf5.h", "dnnl.hpp", "oneapi/dnnl/dnnl.hpp", "fftw3.h", "png.h", "zip.h", "cuda_runtime.h", "cudnn.h"):
            self.expect("io/bad.h", f"#pragma once\n#include <{header}>\n", 2, "vendor header")
        self.expect("kernels/reference/bad.cpp", "#include <fftw3.h>\n", 1, "reference backend")

    def test_internal_header(self):
        self.expect("kernels/bad.h", '#include "kernels/cpu/conv.h"\n', 1, "internal header")
        self.expect("io/bad.h", '#include "io/handle.h"\n', 1, "internal header")

    def test_not_from_the_root(self):
        self.expect("io/bad.cpp", '#include "scan.h"\n', 1, "begins with no storey")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        return unittest.main(argv=sys.argv[:1], verbosity=2)
    count, found = check(arguments.root)
    if count == 0:
        print(f"check_layering.py: no source files under {arguments.root}: wrong --root?", file=sys.stderr)
        return 1
    for line in found:
        print(line)
    print(f"layering: {count} files, {len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
