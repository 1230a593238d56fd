#!/bin/sh
# Builds the disk image, kernel and first RAM disk of a lab machine, as root.
#
#   build.sh MIRROR KEYRING VARIANT WORKDIR [APT-OPTION...]
#
# WORKDIR receives base.img, vmlinuz and initrd. Lines that start with "lab:" are progress for people.
set -eu
mirror=$1 keyring=$2 variant=$3 work=$4
shift 4
here=$(dirname "$0")
root=$work/root

pin=
if [ "$variant" = 2.3 ]; then
	# Without "src:" the pin leaves the libraries behind and the install fails.
	pin='Package: src:zfs-linux
Pin: version 2.3.*
Pin-Priority: 900
'
fi
printf '%s' "$pin" >"$work/pin"

packages=$(grep -v '^#' "$here/packages" | tr '\n' ',' | sed 's/,*$//')
suites="bookworm bookworm-updates bookworm-backports"

echo "lab: installing Debian bookworm and compiling OpenZFS $variant"
for option in "$@"; do
	set -- "$@" "--aptopt=$option"
	shift
done
for suite in $suites; do
	set -- "$@" "deb [signed-by=$keyring] $mirror $suite main contrib"
done
mmdebstrap --mode=root --variant=minbase --format=directory \
	--aptopt='Apt::Install-Recommends "false"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--setup-hook="mkdir -p \"\$1/etc/apt/preferences.d\"; cp '$work/pin' \"\$1/etc/apt/preferences.d/zfs\"" \
	--include="$packages" \
	bookworm "$root" "$@"

exec sh "$here/finish.sh" "$variant" "$work"
