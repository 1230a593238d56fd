#!/bin/sh
# The first process of a system that host.sh holds.
#
#   machine.sh NAME DIR POOL
set -eu
name=$1 dir=$2 pool=$3
root=$dir/ram/$name/root
disk=$dir/$name.pool
mkdir -p "$root"
mount -t overlay -o "lowerdir=/,upperdir=$dir/ram/$name/upper,workdir=$dir/ram/$name/work" lab "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t sysfs sys "$root/sys"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mkdir -p "$root/run/sshd" "$root/run/lock" "$root$dir"
mount --bind "$dir" "$root$dir"
hostname "$name"

if [ ! -e "$root/etc/lab.seeded" ]; then
	: >"$root/etc/lab.seeded"
	rm -rf "$root/root/.ssh" "$root"/etc/ssh/ssh_host_* "$root/etc/ssh/sshd_config.d"
	for user in rep repsudo; do
		chroot "$root" id "$user" >/dev/null 2>&1 || chroot "$root" useradd --create-home --shell /bin/bash --password '*' "$user"
	done
	tar -xf "$dir/$name.seed" -C "$root"
	for user in rep repsudo; do chroot "$root" chown -R "$user:" "/home/$user"; done
	chroot "$root" usermod --password '*' --shell /bin/sh root
	zfs=$(chroot "$root" sh -c 'PATH=/usr/local/sbin:/usr/sbin:/sbin:$PATH; command -v zfs')
	mkdir -p "$root/etc/sudoers.d"
	echo "repsudo ALL=(root) NOPASSWD: $zfs" >"$root/etc/sudoers.d/repsudo"
	chmod 0440 "$root/etc/sudoers.d/repsudo"
	cp "$(dirname "$0")/sshd_config" "$root/etc/ssh/sshd_config"
	mkdir -p "$root/var/log"
fi

if [ -e "$disk/made" ]; then
	chroot "$root" zpool import -f -o cachefile=none -d "$disk" "$pool"
else
	chroot "$root" zpool create -f -o ashift=12 -o cachefile=none "$pool" "$disk/zferry-lab-$name"
	: >"$disk/made"
fi
chroot "$root" "$(command -v sshd)" -E /var/log/sshd.log
: >"$dir/$name.up"
while :; do
	sleep 86400 &
	wait $!
done
