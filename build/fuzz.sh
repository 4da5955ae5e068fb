#!/bin/sh
# fuzz.sh TIME - runs every fuzz target of the module for TIME, one after the other.
set -eu
grep -rl '^func Fuzz' --include='*_test.go' . | sort | while read -r file; do
	grep -o '^func Fuzz[A-Za-z0-9_]*' "$file" | sed 's/^func //' | while read -r target; do
		echo "$(dirname "$file") $target"
		${GO:-go} test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "$(dirname "$file")"
	done
done
