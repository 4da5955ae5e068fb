#!/bin/sh
# need.sh PACKAGE:FILE ... - makes sure that each FILE (a program on PATH, or an absolute path) is there, and installs the Debian
# packages of those that are not. Where it may not install, it says what to do and fails: a missing tool never skips a test.
set -eu
missing=
for want in "$@"; do
	package=${want%%:*} file=${want#*:}
	case $file in
	/*) [ -e "$file" ] || missing="$missing $package" ;;
	*) PATH="$PATH:/usr/sbin:/sbin" command -v "$file" >/dev/null 2>&1 || missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
	if sudo -n true 2>/dev/null; then sudo=sudo; else
		echo "need:$missing; install with: sudo apt-get install$missing" >&2
		exit 1
	fi
fi
command -v apt-get >/dev/null || { echo "need:$missing; no apt-get here: install them by hand" >&2; exit 1; }
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
install() { $sudo apt-get -qq install -y --no-install-recommends $missing >/dev/null; }
# One retry with new package lists: a mirror that is just being updated fails once.
install 2>/dev/null || { $sudo apt-get -qq update && install; } || { sleep 5; $sudo apt-get -qq update && install; }
