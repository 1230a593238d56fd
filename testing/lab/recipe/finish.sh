#!/bin/sh
# Turns the installed root tree in WORKDIR/root into base.img, vmlinuz and initrd.
#
#   finish.sh VARIANT WORKDIR
set -eu
variant=$1 work=$2
here=$(dirname "$0")
root=$work/root

kernel=$(ls "$root/lib/modules" | head -n 1)
modules=$root/lib/modules/$kernel
version=$(ls "$root/var/lib/dkms/zfs" | grep -E '^[0-9]' | head -n 1)
case $version in
"$variant".*) echo "lab: OpenZFS $version on Linux $kernel" ;;
*)
	echo "the image has OpenZFS $version, wanted $variant" >&2
	exit 1
	;;
esac
find "$modules" -name 'zfs.ko*' | grep -q . || {
	echo "the OpenZFS module was not compiled for Linux $kernel" >&2
	exit 1
}

# People of the lab: rep has no rights beyond its own, repsudo may run zfs as root.
chroot "$root" useradd --create-home --shell /bin/bash --uid 1001 --password '*' rep
chroot "$root" useradd --create-home --shell /bin/bash --uid 1002 --password '*' repsudo
# A plain sh as login shell runs the scripts of the lab without a second shell around them.
chroot "$root" usermod --password '*' --shell /bin/sh root
cat >"$root/etc/sudoers.d/repsudo" <<'SUDO'
repsudo ALL=(root) NOPASSWD: /usr/sbin/zfs
SUDO
chmod 0440 "$root/etc/sudoers.d/repsudo"

cat >"$root/etc/ssh/sshd_config" <<'SSHD'
HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_ecdsa_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
X11Forwarding no
MaxStartups 200:30:400
MaxSessions 400
LogLevel VERBOSE
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
SSHD
rm -f "$root"/etc/ssh/ssh_host_*

# The cache of records stays small, so that a saved machine does too.
mkdir -p "$root/etc/modprobe.d"
echo 'options zfs zfs_arc_max=402653184' >"$root/etc/modprobe.d/lab.conf"
install -m 0755 "$here/init.sh" "$root/sbin/lab-init"

echo "lab: removing compilers, headers and documents"
mv "$root"/boot/vmlinuz-* "$work/vmlinuz"
(
	cd "$root"
	rm -rf boot/* usr/src/* usr/lib/gcc usr/libexec/gcc var/lib/dkms/* usr/include \
		usr/share/doc usr/share/man usr/share/locale usr/share/info usr/share/zoneinfo usr/share/bug \
		usr/share/perl/*/pod usr/share/perl/*/unicore/Name.pl usr/share/lintian usr/share/initramfs-tools \
		var/cache/* var/lib/apt/lists/* var/log/* initrd.img* vmlinuz* \
		usr/bin/x86_64-linux-gnu-* usr/bin/*gcc* usr/bin/*g++* usr/bin/cpp* \
		usr/lib/x86_64-linux-gnu/*.a usr/lib/x86_64-linux-gnu/*san.so* \
		usr/lib/x86_64-linux-gnu/libbfd-* usr/lib/x86_64-linux-gnu/libopcodes-* \
		usr/lib/linux-kbuild-* "lib/modules/$kernel/build" "lib/modules/$kernel/source"
	cd "lib/modules/$kernel/kernel"
	rm -rf sound drivers/gpu drivers/media drivers/infiniband drivers/scsi drivers/usb drivers/hv drivers/xen \
		drivers/net/ethernet drivers/net/wireless net/bluetooth net/ceph fs/ceph fs/btrfs fs/xfs fs/nfs fs/nfsd \
		fs/ocfs2 fs/gfs2 fs/cifs fs/smb
)
chroot "$root" depmod "$kernel"

echo "lab: making the first RAM disk"
ird=$root/ird
mkdir -p "$ird/bin" "$ird/dev" "$ird/proc" "$ird/new" "$ird/modules"
cp "$root/bin/busybox" "$ird/bin/busybox"
: >"$ird/order"
chroot "$root" modprobe -S "$kernel" --show-depends virtio_pci >"$work/depends"
chroot "$root" modprobe -S "$kernel" --show-depends virtio_blk >>"$work/depends"
awk '$1 == "insmod" && !seen[$2]++ {print $2}' "$work/depends" | while read -r file; do
	cp "$root$file" "$ird/modules/"
	basename "$file" >>"$ird/order"
done
cat >"$ird/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
while read -r m; do /bin/busybox insmod "/modules/$m"; done </order
n=0
until [ -b /dev/vda ] || [ "$n" -gt 500 ]; do /bin/busybox usleep 20000; n=$((n + 1)); done
/bin/busybox mount -t ext4 /dev/vda /new
/bin/busybox umount /dev
exec /bin/busybox switch_root /new /sbin/lab-init
INIT
sed -i '1s,.*,#!/bin/busybox sh,' "$ird/init"
ln -s busybox "$ird/bin/sh"
chmod 0755 "$ird/init"
chroot "$root" sh -c 'cd /ird && find . | cpio --quiet -o -H newc' >"$work/initrd"
rm -rf "$ird"

echo "lab: making the disk image"
mke2fs -q -t ext4 -L lab -m 0 -E lazy_itable_init=0 -d "$root" "$work/base.img" 2G
rm -rf "$root" "$work/pin" "$work/depends"
