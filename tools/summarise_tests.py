#!/usr/bin/env python3
"""Sums up a JUnit file of CTest: what failed, what was skipped, and a line `N passed, N failed, N skipped`.

Exits 1 when a test failed, when none passed, or when the file is not there. A test that could not be started
has failed, although CTest writes it down as skipped.

    summarise_tests.py FILE | --self-test
"""
import pathlib
import sys
import unittest
import xml.etree.ElementTree


def outcome(case):
    if case.get("status") == "run":
        return "passed"
    skipped = case.find("skipped")
    meant = case.get("status") == "disabled" or (skipped is not None and skipped.get("message", "").startswith("SKIP_"))
    return "skipped" if meant else "failed"


def sort_out(root):
    """Names by outcome."""
    names = {"passed": [], "failed": [], "skipped": []}
    for case in root.iter("testcase"):
        names[outcome(case)].append(case.get("name"))
    return names


class SelfTest(unittest.TestCase):
    def test_outcomes(self):
        # As CTest 3.25 writes them.
        names = sort_out(xml.etree.ElementTree.fromstring("""<testsuite>
            <testcase name="good" status="run"><system-out/></testcase>
            <testcase name="bad" status="fail"><failure message=""/></testcase>
            <testcase name="left out" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/></testcase>
            <testcase name="not built" status="notrun"><skipped message="Unable to find executable"/></testcase>
            <testcase name="off" status="disabled"/></testsuite>"""))
        self.assertEqual(names, {"passed": ["good"], "failed": ["bad", "not built"], "skipped": ["left out", "off"]})


def main():
    if sys.argv[1:] == ["--self-test"]:
        return unittest.main(argv=sys.argv[:1], verbosity=2)
    path = pathlib.Path(sys.argv[1])
    if not path.is_file():
        print(f"summarise_tests.py: {path} is not there: ctest did not run")
        return 1
    names = sort_out(xml.etree.ElementTree.parse(path).getroot())
    for which in ("skipped", "failed"):
        for name in names[which]:
            print(f"  {which}: {name}")
    counts = [len(names[which]) for which in ("passed", "failed", "skipped")]
    print("{} passed, {} failed".format(*counts) + (f", {counts[2]} skipped" if counts[2] else ""))
    return 1 if names["failed"] or not names["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
