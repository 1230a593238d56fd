#!/bin/sh
# Holds two systems on this machine's own OpenZFS: each has a network, processes and mounts of its own, a throw-away
# layer over this machine's files, and a pool in a file. Run as root in a mount namespace of its own.
#
#   host.sh DIR
#
# Reads commands from standard input, one a line, and answers each with "ok" or "error: ...". When the input ends,
# everything is taken away again, so that nothing survives whoever holds the other end.
set -u
dir=$1
here=$(dirname "$0")
say() { printf '%s\n' "$*"; }

pool_of() { [ "$1" = nas1 ] && echo tank || echo backup; }

# drop_pool ends a pool of a lab, whose last users may only just be dying. A pool of anybody else is left alone.
drop_pool() {
	tries=0
	while zpool list -H -o name "$1" >/dev/null 2>&1; do
		zpool list -HvP "$1" 2>/dev/null | grep -qE '/zferry-lab-nas[12]([[:space:]]|$)' || return 1
		zpool "$2" -f "$1" >/dev/null 2>&1 && return 0
		tries=$((tries + 1))
		[ "$tries" -gt 100 ] && return 1
		sleep 0.1
	done
}

boot() {
	name=$1
	rm -f "$dir/$name.up"
	ip netns exec "$name" unshare --mount --uts --pid --fork --kill-child -- \
		sh "$here/machine.sh" "$name" "$dir" "$(pool_of "$name")" <&- >"$dir/$name.log" 2>&1 &
	echo $! >"$dir/$name.pid"
	tries=0
	until [ -e "$dir/$name.up" ]; do
		tries=$((tries + 1))
		if [ "$tries" -gt 300 ] || ! kill -0 "$(cat "$dir/$name.pid")" 2>/dev/null; then
			tail -n 5 "$dir/$name.log" | tr '\n' ' '
			return 1
		fi
		sleep 0.1
	done
}

halt() {
	pid=$(cat "$dir/$1.pid" 2>/dev/null) || return 0
	kill -KILL "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	rm -f "$dir/$1.pid"
}

save() {
	halt "$1"
	drop_pool "$(pool_of "$1")" export || { say "$(pool_of "$1") is busy"; return 1; }
	rm -rf "$dir/ram/saved/$1/$2"
	mkdir -p "$dir/ram/saved/$1/$2" "$dir/saved" &&
		cp -a "$dir/ram/$1/upper" "$dir/ram/saved/$1/$2/upper" &&
		cp --sparse=always "$dir/$1.pool/zferry-lab-$1" "$dir/saved/$1.$2" || return 1
	boot "$1"
}

load() {
	[ -d "$dir/ram/saved/$1/$2" ] || { say "no such state was saved"; return 1; }
	halt "$1"
	drop_pool "$(pool_of "$1")" destroy || { say "$(pool_of "$1") is busy"; return 1; }
	rm -rf "$dir/ram/$1/upper" "$dir/ram/$1/work"
	mkdir -p "$dir/ram/$1/work"
	cp -a "$dir/ram/saved/$1/$2/upper" "$dir/ram/$1/upper" &&
		cp --sparse=always "$dir/saved/$1.$2" "$dir/$1.pool/zferry-lab-$1" &&
		link up && boot "$1"
}

link() {
	ip -n hub link set sw1 "$1" && ip -n hub link set sw2 "$1"
}

network() {
	mkdir -p /run/netns && mount -t tmpfs lab /run/netns
	for n in hub nas1 nas2; do ip netns add "$n" || return 1; done
	ip -n hub link add br0 type bridge && ip -n hub link set br0 up || return 1
	for i in 1 2; do
		ip -n hub link add "sw$i" type veth peer name eth1 netns "nas$i" &&
			ip -n hub link set "sw$i" master br0 up &&
			ip link add "zflab$i" type veth peer name eth0 netns "nas$i" &&
			ip addr add "198.18.77.$((i * 4 + 1))/30" dev "zflab$i" &&
			ip link set "zflab$i" up &&
			ip -n "nas$i" addr add "198.18.77.$((i * 4 + 2))/30" dev eth0 &&
			ip -n "nas$i" addr add "10.77.0.$i/24" dev eth1 &&
			ip -n "nas$i" addr add "fd00:77::$i/64" dev eth1 nodad &&
			ip -n "nas$i" link set lo up && ip -n "nas$i" link set eth0 up && ip -n "nas$i" link set eth1 up || return 1
	done
}

clean() {
	trap '' TERM INT HUP
	halt nas1
	halt nas2
	drop_pool tank destroy
	drop_pool backup destroy
	for i in 1 2; do ip link del "zflab$i" 2>/dev/null; done
	umount -l "$dir/ram" 2>/dev/null
	rm -rf --one-file-system "$dir"
}
trap clean EXIT
trap 'exit 1' TERM INT HUP

setup() {
	for n in nas1 nas2; do
		drop_pool "$(pool_of $n)" destroy || { say "this machine has a pool named $(pool_of $n)"; return 1; }
	done
	mkdir -p "$dir/ram" && mount -t tmpfs -o mode=755 lab "$dir/ram" && network || return 1
	for n in nas1 nas2; do
		mkdir -p "$dir/ram/$n/upper" "$dir/ram/$n/work" "$dir/ram/$n/root" "$dir/$n.pool" &&
			truncate -s 16G "$dir/$n.pool/zferry-lab-$n" && boot "$n" && save "$n" ready || return 1
	done
}

# answer runs a command and tells how it went. What the command says goes to a file: in a subshell it could not start
# machines that outlive it.
answer() {
	if "$@" >"$dir/words" 2>&1; then
		say ok
	else
		say "error: $(tr '\n' ' ' <"$dir/words")"
	fi
}

answer setup
while read -r command machine tag; do
	case $command in
	save | load) answer "$command" "$machine" "$tag" ;;
	link) answer link "$machine" ;;
	*) say "error: $command is no command" ;;
	esac
done
