#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# format.sh [FILE...]: our C is as .clang-format says (all of it, or the files named). --fix rewrites instead.
# --self-test proves that it can fail. Versions of clang-format differ in taste, so it is always version 14: the one
# that tests/requirements.txt pins (CLANG_FORMAT), or the distribution's if that is what it has.
set -euo pipefail
cd "$(dirname "$0")/../.."

tool=
for candidate in "${CLANG_FORMAT-}" clang-format-14 clang-format; do
	if [ -n "$candidate" ] && "$candidate" --version 2>/dev/null | grep -q 'version 14\.'; then
		tool=$candidate
		break
	fi
done
if [ -z "$tool" ]; then
	echo "clang-format 14 is not here: formatting not checked"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi

if [ "${1-}" = --self-test ]; then
	printf 'int f(void)\n{\n\treturn 0;\n}\n' | "$tool" --assume-filename=a.c --dry-run -Werror
	if printf 'int f( void ) {\n  return 0;}\n' | "$tool" --assume-filename=a.c --dry-run -Werror 2>/dev/null; then
		echo "self-test: bad format was accepted"
		exit 1
	fi
	echo "1 passed, 0 failed, 0 skipped"
	exit 0
fi
fix=
if [ "${1-}" = --fix ]; then
	fix=1
	shift
fi
if [ $# -eq 0 ]; then
	mapfile -t files < <(git ls-files --cached --others --exclude-standard '*.c' '*.h' | while read -r f; do [ ! -f "$f" ] || echo "$f"; done)
	set -- "${files[@]}"
fi
if [ -n "$fix" ]; then
	"$tool" -i "$@"
	exit 0
fi
# One call for all: starting the tool costs more than looking at a file.
wrong=$("$tool" --dry-run -Werror "$@" 2>&1 | sed -n 's/^\(.*\):[0-9]*:[0-9]*: error: code should be clang-formatted.*/\1/p' | sort | uniq -c || true)
failed=0
while read -r places file; do
	[ -n "$file" ] || continue
	failed=$((failed + 1))
	echo "$file: $places places differ (tests/lint/format.sh --fix $file)"
done <<<"$wrong"
passed=$(($# - failed))
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
