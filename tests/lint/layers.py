#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may include whom. layers.py [ROOT] checks the tree; layers.py --self-test proves that it can fail.

Prints one line per breach and, last, "N passed, N failed, N skipped" (a pass is a file).
"""
import contextlib
import io
import re
import sys
import tempfile
from pathlib import Path

# folder -> folders it may include besides itself
BASE = set()
OBS = {"shared/base"}
PURE = {"shared/base"}
IO = {"shared/base", "shared/obs"}
LINK = {"shared/base", "shared/obs", "shared/io", "shared/wire", "shared/state"}
CONTROL = LINK | {"shared/link", "proto"}
PROGRAM = CONTROL | {"shared/control"}
MAY = {
    "shared/base": BASE,
    "shared/obs": OBS,
    "shared/io": IO,
    "shared/wire": PURE,
    "shared/state": PURE,
    "shared/link": LINK,
    "shared/control": CONTROL,
    "ztunnel": PROGRAM,
    "waypoint": PROGRAM,
}
# System headers that a pure layer has no business with: it does no I/O. (A lock over a shared cache is no I/O.)
PURE_FOLDERS = {"shared/wire", "shared/state"}
IMPURE = re.compile(r"^(liburing|sys/(socket|epoll|eventfd|mman|ioctl|un)|unistd|fcntl|poll|netdb|signal)\.h|^liburing")
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.M)


def folder_of(path):
    """The layer that a path relative to the root belongs to, or None."""
    for layer in MAY:
        if path.startswith(layer + "/"):
            return layer
    return "proto" if path.startswith("proto/") else None


def check_file(root, file):
    rel = file.relative_to(root).as_posix()
    layer = folder_of(rel)
    found = []
    for style, name in INCLUDE.findall(file.read_text(errors="replace")):
        if style == "<":
            if layer in PURE_FOLDERS and IMPURE.match(name):
                found.append(f"{rel}: a pure layer includes <{name}>")
            continue
        if name.startswith(("tests/", "bench/")):
            found.append(f"{rel}: includes {name}")
            continue
        target = folder_of(name)
        if target is None:
            beside = (file.parent / name).resolve()
            if not beside.is_relative_to(root) or not beside.exists():
                found.append(f'{rel}: "{name}" is neither beside it nor a path from the root')
                continue
            target = folder_of(beside.relative_to(root).as_posix())
        if target != layer and target not in MAY[layer]:
            found.append(f"{rel}: {layer} may not include {name}")
    return found


def check(root):
    root = Path(root).resolve()
    passed = failed = 0
    for layer in MAY:
        for file in sorted((root / layer).rglob("*")):
            if file.suffix not in (".c", ".h", ".def"):
                continue
            found = check_file(root, file)
            for line in found:
                print(line)
            failed += bool(found)
            passed += not found
    return passed, failed


def self_test():
    cases = [
        ("shared/base/a.c", '#include "a.h"\n#include "shared/base/a.h"\n#include <unistd.h>\n', 0),
        ("shared/base/a.c", '#include "shared/obs/a.h"\n', 1),
        ("shared/wire/a.c", '#include "shared/state/a.h"\n', 1),
        ("shared/wire/a.c", '#include <sys/socket.h>\n', 1),
        ("shared/state/a.c", '#include "shared/obs/a.h"\n', 1),
        ("shared/io/a.c", '#include "shared/obs/a.h"\n#include <sys/socket.h>\n', 0),
        ("shared/io/a.c", '#include "../wire/a.h"\n', 1),
        ("shared/link/a.c", '#include "shared/control/a.h"\n', 1),
        ("shared/control/a.c", '#include "proto/zds.pb-c.h"\n#include "shared/io/a.h"\n', 0),
        ("shared/wire/a.c", '#include "proto/zds.pb-c.h"\n', 1),
        ("ztunnel/a.c", '#include "waypoint/a.h"\n', 1),
        ("ztunnel/a.c", '#include "nowhere.h"\n', 1),
        ("ztunnel/a.c", '#include "tests/sim/a.h"\n', 1),
    ]
    for name, text, want in cases:
        with tempfile.TemporaryDirectory() as tmp:
            for layer in MAY:
                (Path(tmp) / layer).mkdir(parents=True)
                (Path(tmp) / layer / "a.h").write_text("")
            (Path(tmp) / name).write_text(text)
            _, failed = check(tmp)
            if failed != want:
                sys.exit(f"self-test: {name} with {text!r}: {failed} failed, expected {want}")


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
