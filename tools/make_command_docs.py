#!/usr/bin/env python3
"""Puts what `ptynet COMMAND --help` prints into docs/command-line.md.

    make_command_docs.py build/release/bin/ptynet             rewrites the page
    make_command_docs.py --check build/release/bin/ptynet     exits 1 when the page is not current

A block of the page that follows a line `<!-- help: COMMAND -->` belongs to this script, everything else to people.
"""
import argparse
import pathlib
import re
import subprocess
import sys

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs/command-line.md"
BLOCK = re.compile(r"(<!-- help: ?([a-z]*) ?-->\n)```text\n.*?```\n", re.DOTALL)


def help_of(program, command):
    return subprocess.run([program, *([command] if command else []), "--help"], check=True, capture_output=True,
                          text=True).stdout


def current(program, page):
    commands = set(re.findall(r"(?m)^  ([a-z]+) {2,}", help_of(program, "").partition("Commands")[2].partition("\n\n")[0]))
    shown = {match.group(2) for match in BLOCK.finditer(page)}
    if shown != commands | {""}:
        sys.exit(f"{PAGE}: expected blocks for {sorted(commands)} and the program itself, found {sorted(shown)}")
    return BLOCK.sub(lambda match: f"{match.group(1)}```text\n{help_of(program, match.group(2))}```\n", page)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    wanted = current(arguments.program, page)
    if not arguments.check:
        PAGE.write_text(wanted, encoding="utf-8")
    elif page != wanted:
        sys.exit(f"{PAGE} is not what --help says; run tools/make_command_docs.py {arguments.program}")


if __name__ == "__main__":
    main()
