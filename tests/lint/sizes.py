#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files of at most 600 lines, functions of at most 70. sizes.py [ROOT]; sizes.py --self-test proves that it can fail.

A function that is better in one piece is named in sizes.allow with its reason: "path function reason...". An entry
that is no longer needed is a failure too. Prints one line per breach and, last, the totals (a pass is a file).
"""
import contextlib
import io
import re
import sys
import tempfile
from pathlib import Path

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
FOLDERS = ("shared", "ztunnel", "waypoint", "tests", "bench", "deploy")
SUFFIXES = (".c", ".h", ".def", ".py", ".sh", "")


def functions(text):
    """(name, lines) of each function: house style has its braces alone in column 0."""
    lines = text.split("\n")
    start = None
    for i, line in enumerate(lines):
        if line == "{":
            start = i
        elif line == "}" and start is not None:
            head = []
            j = start - 1
            while j >= 0 and lines[j] and lines[j][0] not in "}#/" and not lines[j].endswith(";"):
                head.insert(0, lines[j])
                j -= 1
            name = re.search(r"(\w+)\s*\(", " ".join(head))
            # cmocka and the like: the first word before a parenthesis that is not an attribute
            names = [n for n in re.findall(r"(\w+)\s*\(", " ".join(head)) if n not in ("printf_like", "__attribute__")]
            yield (names[0] if names else name.group(1) if name else "?"), i - start + 1
            start = None


def read_allow(root):
    allow = {}
    file = root / "tests/lint/sizes.allow"
    if file.exists():
        for line in file.read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                path, name, reason = line.split(None, 2)
                allow[path, name] = reason
    return allow


def check(root):
    root = Path(root).resolve()
    allow = read_allow(root)
    used = set()
    passed = failed = 0
    files = [f for folder in FOLDERS for f in sorted((root / folder).rglob("*")) if f.is_file()]
    for file in files:
        if file.suffix not in SUFFIXES or "corpus" in file.parts or "__pycache__" in file.parts:
            continue
        rel = file.relative_to(root).as_posix()
        text = file.read_text(errors="replace")
        found = []
        count = text.count("\n")
        if count > FILE_LINES_MAX:
            found.append(f"{rel}: {count} lines (at most {FILE_LINES_MAX})")
        for name, length in functions(text) if file.suffix in (".c", ".h") else ():
            if length <= FUNCTION_LINES_MAX:
                continue
            if (rel, name) in allow:
                used.add((rel, name))
            else:
                found.append(f"{rel}: {name} has {length} lines (at most {FUNCTION_LINES_MAX})")
        for line in found:
            print(line)
        failed += bool(found)
        passed += not found
    for path, name in sorted(set(allow) - used):
        print(f"tests/lint/sizes.allow: {path} {name} needs no exception")
        failed += 1
    return passed, failed


def self_test():
    def function(n):
        return "static int\tf(int a,\n\t\tint b)\n{\n" + "\tx();\n" * (n - 2) + "}\n"

    cases = [
        ("x\n" * 600, "", 0),
        ("x\n" * 601, "", 1),
        (function(70), "", 0),
        (function(71), "", 1),
        (function(71), "shared/a.c f a table reads best whole\n", 0),
        (function(70), "shared/a.c f a table reads best whole\n", 1),
        (function(71), "shared/a.c g another\n", 2),
    ]
    for text, allow, want in cases:
        with tempfile.TemporaryDirectory() as tmp:
            (Path(tmp) / "shared").mkdir()
            (Path(tmp) / "tests/lint").mkdir(parents=True)
            (Path(tmp) / "shared/a.c").write_text(text)
            (Path(tmp) / "tests/lint/sizes.allow").write_text(allow)
            _, failed = check(tmp)
            if failed != want:
                sys.exit(f"self-test: {failed} failed, expected {want}, of {text[:60]!r} allowing {allow!r}")


def main():
    if sys.argv[1:] == ["--self-test"]:
        with contextlib.redirect_stdout(io.StringIO()):
            self_test()
        print("1 passed, 0 failed, 0 skipped")
        return 0
    root = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    passed, failed = check(root)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
