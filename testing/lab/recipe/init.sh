#!/bin/sh
# The first process of a lab machine. A plain script is up much sooner than systemd.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620 devpts /dev/pts
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs -o mode=1777 shm /dev/shm
ln -sf /proc/self/fd /dev/fd
mkdir -p /run/sshd /run/lock
# The second disk holds what makes this machine itself: its name, keys and addresses.
if [ ! -e /etc/lab.conf ]; then
	tar -xf /dev/vdc -C /
fi
. /etc/lab.conf
hostname "$LAB_NAME"

modprobe -a virtio_net virtio_rng zfs sch_netem
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
ip addr add "$LAB_ADDR/24" dev eth1
ip -6 addr add "$LAB_ADDR6/64" dev eth1 nodad
ip link set eth1 up

# Device nodes of volumes are made by udev.
/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add --subsystem-match=block --subsystem-match=misc

/usr/sbin/sshd -E /var/log/sshd.log
zpool import -a -f -d /dev >/var/log/import.log 2>&1
zfs load-key -a </dev/null >/dev/null 2>&1
zfs mount -a >/dev/null 2>&1
echo "lab: $LAB_NAME is up"

# Orphans are given to this process; wait takes them.
while :; do
	sleep 86400 &
	wait $!
done
