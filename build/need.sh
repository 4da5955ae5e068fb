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
		echo "need:$missing; install with: sudo apt-get install --no-install-recommends$missing" >&2
		exit 1
	fi
fi
command -v apt-get >/dev/null || { echo "need:$missing; no apt-get here: install them by hand" >&2; exit 1; }
echo "installing:$missing"
apt() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" 2>&1; }
# A fresh machine may be busy with its own upgrades: wait for the lock.
install() { apt -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing; }
# A fresh machine has no package lists, and a mirror that is just being updated fails once. Lists of others that cannot be
# had do not matter, and only what was said last is worth reading.
said=$(install) && exit 0
for pause in 0 5 20; do
	sleep "$pause"
	said=$(apt update || true; install) && exit 0
done
printf '%s\n' "$said" "cannot install:$missing" >&2
exit 1
