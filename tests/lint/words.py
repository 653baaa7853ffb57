#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Words that have no place in the tree: unfinished work, paths of one machine, hosts that serve packages.

words.py [ROOT] looks at the files git knows (or will know); --self-test proves that it can fail. Last line: totals.
"""
import contextlib
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# written apart, so that this file passes its own check
RULES = [
    ("unfinished work", re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")),
    ("a path of one machine", re.compile(r"(?<![\w.$})])/(wo" r"rk|ho" r"me|Us" r"ers|ro" r"ot)/\w")),
    ("a host that serves packages", re.compile(
        r"\b(?:deb|ftp|security|snapshot|archive)\.(?:deb" r"ian|ubu" r"ntu)\.\w+|\bpy" r"pi\.(?:org|io)|\bpythonhos" r"ted\.org"
        r"|\bregistry\.[\w.-]+\.\w+|\bproxy\.gol" r"ang\.org|\bcrat" r"es\.io|\bmaven\.[\w.-]+|\bghcr\.io|\bdocker\.io", re.I)),
    ("a leftover of a merge", re.compile(r"^(<<<<<<<|>>>>>>>) ", re.M)),
    ("white space at the end of a line", re.compile(r"[ \t]+$", re.M)),
]
BINARY = re.compile(rb"\0")


def files(root):
    out = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                         capture_output=True, check=True).stdout
    for name in sorted(out.decode().split("\0")):
        path = Path(root) / name
        if name and path.is_file() and "/corpus/" not in name and name != "LICENSE":
            yield name, path


def check(root):
    passed = failed = 0
    for name, path in files(root):
        raw = path.read_bytes()
        if BINARY.search(raw):
            passed += 1
            continue
        text = raw.decode(errors="replace")
        bad = False
        for why, rule in RULES:
            hit = rule.search(text)
            if hit:
                line = text.count("\n", 0, hit.start()) + 1
                print(f"{name}:{line}: {why}: {hit.group(0).strip() or 'blank'}")
                bad = True
        failed += bad
        passed += not bad
    return passed, failed


def self_test():
    cases = [
        ("all is well\n", 0),
        ("/* TO" "DO later */\n", 1),
        ("FIX" "ME\n", 1),
        ("cat /wo" "rk/x\n", 1),
        ("network/workers, a/work/b\n", 0),
        ("http://deb.deb" "ian.org/debian\n", 1),
        ("trailing \n", 1),
        ("<<<<<<" "< ours\n", 1),
    ]
    for text, want in cases:
        with tempfile.TemporaryDirectory() as tmp:
            subprocess.run(["git", "init", "-q", tmp], check=True)
            (Path(tmp) / "a.c").write_text(text)
            _, failed = check(tmp)
            if failed != want:
                sys.exit(f"self-test: {failed} failed, expected {want}, of {text!r}")


def main():
    if sys.argv[1:] == ["--self-test"]:
        with contextlib.redirect_stdout(io.StringIO()):
            self_test()
        print("1 passed, 0 failed, 0 skipped")
        return 0
    root = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).resolve().parents[2])
    passed, failed = check(root)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
