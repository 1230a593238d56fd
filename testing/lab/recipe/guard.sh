#!/bin/sh
# Runs a command in mount and process namespaces of its own, and ends all of it when standard input ends: whoever
# started the guard holds the other end, so that even its sudden death leaves no process and no mount behind.
#
#   guard.sh COMMAND [ARGUMENT...]
exec 3<&0
unshare --mount --pid --fork --kill-child --mount-proc -- "$@" </dev/null 3<&- &
work=$!
(
	cat <&3 >/dev/null
	kill -KILL "$work"
) >/dev/null 2>&1 &
watch=$!
exec 3<&-
wait "$work"
code=$?
kill "$watch" 2>/dev/null
exit "$code"
