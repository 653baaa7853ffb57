#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts of a test run: count.py meson TESTLOG.JSON | junit FILE.XML. Prints "passed failed skipped".

A meson test is counted by the cases that cmocka or the simulation say they ran, or as one when it says nothing.
"""
import json
import re
import sys
import xml.etree.ElementTree as xml

PASSED = re.compile(r"^\[  PASSED  \] (\d+) test", re.M)
FAILED = re.compile(r"^\[  FAILED  \] (?:.*?: )?(\d+) test", re.M)
SKIPPED = re.compile(r"^\[  SKIPPED \] (?:.*?: )?(\d+) test", re.M)


def count_meson(path):
    passed = failed = skipped = 0
    with open(path, encoding="utf-8", errors="replace") as log:
        for line in log:
            test = json.loads(line)
            text = test.get("stdout", "") + "\n" + test.get("stderr", "")
            p, f, s = (sum(map(int, rule.findall(text))) for rule in (PASSED, FAILED, SKIPPED))
            if test["result"] == "SKIP":
                s = max(s, 1)
            elif test["result"] not in ("OK", "EXPECTEDFAIL"):
                f = max(f, 1)
            elif p + f + s == 0:
                p = 1
            passed, failed, skipped = passed + p, failed + f, skipped + s
    return passed, failed, skipped


def count_junit(path):
    total = failed = skipped = 0
    for suite in xml.parse(path).getroot().iter("testsuite"):
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    # an error in tear-down comes on top of a test that passed
    return max(total - failed - skipped, 0), failed, skipped


if __name__ == "__main__":
    print(*{"meson": count_meson, "junit": count_junit}[sys.argv[1]](sys.argv[2]))
