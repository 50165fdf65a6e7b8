#!/usr/bin/env bash
# A new user's way: from a Debian 12 that debootstrap has made to a mail that SpamAssassin finds on the server, by the
# commands of README and the guide as they are written there, with the output that is written there. It ends with the
# time that they took; downloads and the build of the package do not count.
#
#   tests/tour.sh FILE.deb FOLDER
#
# It needs root and debootstrap. FOLDER keeps the Debian and what it has downloaded. The tour itself happens on a
# copy-on-write view of that Debian, with systemd as its first process and no network but its own loopback device.
set -euo pipefail

# The sections whose blocks of commands are the tour, in this order. An empty section is the part before the first one.
STEPS=('README.md:' 'docs/quick-start.md:The service' 'docs/spamassassin.md:Ask the server' 'docs/spamassassin.md:See it work'
    'docs/quick-start.md:An account')
VISITOR=visitor

fail() {
    echo "tour.sh: $*" >&2
    exit 1
}

# Prints the lines of a section's blocks of commands: each `$ ` line is a command, the lines below it are its output.
console() { # FILE:SECTION
    awk -v section="${1#*:}" '
        /^## / { title = substr($0, 4) }
        /^ *```/ { inside = !inside && /```console/ && title == section; next }
        inside' "${1%%:*}"
}

# Runs a command of the pages as the visitor does, in the source tree.
as_visitor() {
    local home=/home/$VISITOR
    "${enter[@]}" runuser -u "$VISITOR" -- env -i HOME="$home" USER="$VISITOR" TERM=dumb LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        PATH=/usr/local/bin:/usr/bin:/bin bash -c "cd '$home/pyzord' && $1" </dev/null
}

# A Debian as its installer leaves it, but for the kernel: with sudo, a user who may use it, and security updates.
make_debian() {
    local root=$1
    [ ! -e "$root/ready" ] || return 0
    # What an attempt left that was broken off.
    rm -rf --one-file-system "$root"
    debootstrap bookworm "$root"
    cp /etc/resolv.conf "$root/etc/"
    cat >"$root/etc/apt/sources.list" <<'END'
deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian bookworm-updates main
deb http://deb.debian.org/debian-security bookworm-security main
END
    # Questions are answered with yes, and those about the configuration of packages with their defaults.
    echo 'APT::Get::Assume-Yes "true";' >"$root/etc/apt/apt.conf.d/tour"
    printf 'Defaults env_keep += DEBIAN_FRONTEND\n%s ALL=(ALL) NOPASSWD: ALL\n' "$VISITOR" >"$root/etc/sudoers.tour"
    chroot "$root" apt-get update
    DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install sudo
    install -m 440 "$root/etc/sudoers.tour" "$root/etc/sudoers.d/tour"
    chroot "$root" useradd --create-home --shell /bin/bash "$VISITOR"
    touch "$root/ready"
}

# Downloads what the commands install, so that the tour needs no network.
download() {
    local step command enter=(chroot "$1")
    chroot "$1" apt-get update
    for step in "${STEPS[@]}"; do
        while read -r command; do
            as_visitor "${command/apt install/apt-get install --download-only}"
        done < <(console "$step" | sed -n 's/^\$ \(sudo apt install .*\)/\1/p' | sed 's/ && make deb$//')
    done
}

# One command: shows it with its output, and compares the output with the page.
walk() { # COMMAND EXPECTED
    local command=$1 expected=$2 output line status=0 began=$EPOCHREALTIME
    case $command in *'make deb'*)
        echo "\$ $command"
        echo '(built before: not counted)'
        return ;;
    esac
    echo "\$ $command"
    output=$(as_visitor "$command" 2>"$work/errors") || status=$?
    [ -z "$output" ] || printf '%s\n' "$output"
    printf '(%.1f s)\n' "$(awk "BEGIN { print $EPOCHREALTIME - $began }")"
    [ "$status" = 0 ] || fail "this failed with $status: $command: $(cat "$work/errors")"
    # Times differ from run to run.
    plain() { sed -E 's/[0-9.]+ ms/N ms/g'; }
    while IFS= read -r line; do
        [ -z "$line" ] || plain <<<"$output" | grep -qxF -- "$(plain <<<"$line")" ||
            fail "the page says '$line', and this says '$output': $command"
    done <<<"$expected"
}

# All commands of a section.
walk_section() {
    local line command='' expected=''
    echo "== ${1%%:*} ${1#*:}"
    while IFS= read -r line; do
        if [ "${line:0:2}" = '$ ' ]; then
            [ -z "$command" ] || walk "$command" "$expected"
            command=${line:2} expected=''
        else
            expected+=$line$'\n'
        fi
    done < <(console "$1")
    [ -n "$command" ] || fail "$1 has no commands"
    walk "$command" "$expected"
}

# Starts systemd on a view of the Debian. It runs in the namespaces that this script was called in.
boot() { # DEBIAN WORK
    local lower=$1 work=$2 root=$2/root device
    ip link set lo up
    mount --make-rprivate /
    mount -t tmpfs tmpfs "$work"
    mkdir "$work"/{upper,work,root}
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/upper,workdir=$work/work" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for device in null zero full random urandom tty; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir "$root/dev/shm" "$root/dev/pts"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    else
        mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
        mkdir "$root/sys/fs/cgroup/systemd"
        mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
    fi
    hostname mail
    # The unit has a user namespace of its own, which a process in a chroot may not make.
    cd "$root"
    mkdir run/old
    pivot_root . run/old
    umount --lazy run/old
    exec env -i container=tour PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        chroot . /lib/systemd/systemd systemd.unit=multi-user.target </dev/null >/dev/null 2>&1
}

if [ "${1:-}" = --boot ]; then
    boot "$2" "$3"
fi
[ $# = 2 ] || fail 'usage: tests/tour.sh FILE.deb FOLDER'
[ "$(id -u)" = 0 ] || exec sudo "$0" "$@"
cd "$(dirname "$0")/.."
deb=$(realpath "$1")
mkdir -p "$2"
debian=$(realpath "$2")/debian
make_debian "$debian"
install -D -m 644 "$deb" "$debian/home/$VISITOR/pyzord/target/debian/pyzord.deb"
chroot "$debian" chown -R "$VISITOR:" "/home/$VISITOR/pyzord"
export DEBIAN_FRONTEND=noninteractive
download "$debian" >/dev/null

work=$(mktemp -d)
unshare --mount --net --pid --uts --ipc --cgroup --fork --kill-child "$0" --boot "$debian" "$work" &
unshare=$!
trap 'kill -KILL "$unshare"; wait "$unshare" 2>/dev/null || true; rm "$work/errors"; rmdir "$work"' EXIT
for ((tries = 0; ; tries++)); do
    [ "$tries" -lt 600 ] || fail 'systemd does not start'
    init=$(pgrep --parent "$unshare") || true
    enter=(nsenter --all --target "$init")
    [ -z "$init" ] || ! "${enter[@]}" systemctl is-active --quiet multi-user.target 2>/dev/null || break
    sleep 0.1
done

began=$EPOCHREALTIME
for step in "${STEPS[@]}"; do
    walk_section "$step"
done
echo "the tour took $(awk "BEGIN { print int($EPOCHREALTIME - $began) }") seconds, without downloads and the build"
