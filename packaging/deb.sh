#!/bin/sh
# Makes build/zferry_VERSION_ARCH.deb from bin/. The same files give the same package.
set -eu
cd "$(dirname "$0")/.."
version=$1
arch=$(dpkg --print-architecture)
# A version of Debian begins with a digit.
case $version in v*) version=${version#v} ;; [0-9]*.*) ;; *) version=0.0.0+$version ;; esac
version=$(printf %s "$version" | tr _ -)

tree=build/deb
rm -rf "$tree"
install -d "$tree/DEBIAN" "$tree/usr/bin" "$tree/lib/systemd/system" "$tree/usr/share/doc/zferry" "$tree/usr/share/zferry"
install -m 755 bin/zferry bin/zferry-plugin "$tree/usr/bin"
install -m 644 packaging/zferry.service "$tree/lib/systemd/system"
install -m 644 manifest.json "$tree/usr/share/zferry"
install -m 644 LICENSE "$tree/usr/share/doc/zferry/copyright"
install -m 644 README.md CHANGELOG.md docs/host-protocol.md "$tree/usr/share/doc/zferry"
cat > "$tree/DEBIAN/control" <<END
Package: zferry
Version: $version
Architecture: $arch
Maintainer: the zferry project <zferry@localhost>
Section: admin
Priority: optional
Recommends: zfsutils-linux
Description: ZFS replication with an API
 Replicates ZFS datasets from one machine to another over SSH: whole trees,
 volumes and encrypted datasets, resumed after a cut. Offers the JSON-RPC
 methods of the TrueNAS API for replication tasks and credentials.
END
# State stays when the package goes: it holds the only copy of keys and tasks.
cat > "$tree/DEBIAN/postinst" <<'END'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
	install -d -m 700 /var/lib/zferry
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload
		if [ -z "$2" ]; then
			systemctl enable --now zferry.service
		elif systemctl is-active --quiet zferry.service; then
			systemctl reload zferry.service # transfers go on
		fi
	fi
fi
END
cat > "$tree/DEBIAN/prerm" <<'END'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	systemctl disable --now zferry.service
fi
END
cat > "$tree/DEBIAN/postrm" <<'END'
#!/bin/sh
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
if [ "$1" = purge ] && [ -d /var/lib/zferry ]; then
	echo "zferry: /var/lib/zferry is kept: it holds tasks and keys. Remove it yourself if they are not needed any more." >&2
fi
END
chmod 755 "$tree/DEBIAN/postinst" "$tree/DEBIAN/prerm" "$tree/DEBIAN/postrm"
dpkg-deb --root-owner-group --build "$tree" "build/zferry_${version}_$arch.deb" >/dev/null
rm -rf "$tree"
echo "build/zferry_${version}_$arch.deb"
