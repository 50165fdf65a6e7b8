#!/bin/sh
# Makes what is sent to 127.0.0.9 leave at 8 kbit/s, and runs the given command. For a network namespace of its own:
#     unshare --map-root-user --net tests/siege/slow-destination.sh COMMAND
set -eu
ip link set lo up
tc qdisc add dev lo root handle 1: htb
tc class add dev lo parent 1: classid 1:3 htb rate 8kbit burst 1k
tc filter add dev lo parent 1: protocol ip prio 1 u32 match ip dst 127.0.0.9/32 flowid 1:3
exec "$@"
