#!/usr/bin/env bash
# The Debian package: lint it, install it, serve as its unit says, rotate its logs, purge it.
#
#   tests/package.sh FILE.deb
#
# It needs root and lintian, logrotate, iproute2, man-db and systemd (which need not run). PYZOR_VENV is the Python
# client's environment. All of it happens on a copy-on-write view of this system with a network of its own, which is
# gone when this script ends, and so are all processes that it started.
set -euo pipefail

fail() {
    echo "package.sh: $*" >&2
    exit 1
}

# Asks again and again until the command succeeds.
wait_for() {
    local deadline=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || fail "this did not happen in 60 seconds: $*"
        sleep 0.1
    done
}

# All files but what dpkg, the indices and backups of other programs are made of; and all users and groups.
snapshot() {
    find /etc /usr /var /lib /run -xdev \
        -path /var/lib/dpkg -prune -o -path /var/cache -prune -o -path /var/lib/systemd -prune -o \
        -path /run/systemd -prune -o -print |
        grep -vE '^/etc/(passwd|group|shadow|gshadow)-$|^/etc/\.pwd\.lock$|/__pycache__(/|$)'
    sort /etc/passwd /etc/group /etc/shadow /etc/gshadow
}

inside() {
    local deb=$1 server
    export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
    snapshot >/tmp/before
    dpkg --install "$deb" >/tmp/install 2>&1 || fail "$(cat /tmp/install)"

    for expected in '640 root:pyzord /etc/pyzor/pyzord.passwd' '640 root:pyzord /etc/pyzor/config' \
        '644 root:root /etc/pyzor/pyzord.access' '750 pyzord:pyzord /var/lib/pyzord' '750 pyzord:pyzord /var/log/pyzord'; do
        [ "$(stat -c '%a %U:%G %n' "${expected##* }")" = "$expected" ] || fail "it is not $expected"
    done
    systemd-analyze verify /usr/lib/systemd/system/pyzord.{service,socket} || fail 'systemd does not like the units'
    man -w 8 pyzord pyzorctl pyzor-migrate >/dev/null && man -w 5 pyzord.conf >/dev/null
    for program in pyzord pyzorctl pyzor-migrate; do
        bash -c ". /usr/share/bash-completion/completions/$program && complete -p $program" >/dev/null
        [ -s "/usr/share/zsh/vendor-completions/_$program" ] || fail "zsh completes no $program"
        [ -s "/usr/share/fish/vendor_completions.d/$program.fish" ] || fail "fish completes no $program"
    done

    echo 'the installed server serves'
    read -ra server < <(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/pyzord.service)
    runuser -u pyzord -- env -i "${server[@]}" 2>/tmp/stderr &
    mkdir /tmp/client
    echo 127.0.0.1:24441 >/tmp/client/servers
    client() { "$PYZOR_VENV/bin/pyzor" --homedir /tmp/client "$@"; }
    wait_for client ping
    printf 'Subject: x\n\nBuy one of these now, and get another one for nothing at all!\n' >/tmp/spam.eml
    client report </tmp/spam.eml >/dev/null
    client check </tmp/spam.eml | grep -q "(200, 'OK')"$'\t1\t0' || fail 'the report was not counted'

    echo 'logrotate rotates its log, and the server writes to the new one'
    logrotate --force --state /tmp/logrotate /etc/logrotate.d/pyzord
    [ -s /var/log/pyzord/pyzord.log.1 ] || fail 'nothing was rotated'
    wait_for grep -q 'datagrams received' /var/log/pyzord/pyzord.log
    client ping >/dev/null

    echo 'a broken configuration does not start, and does not break the installation'
    sed -i 's/^# Port = .*/Port = many/' /etc/pyzor/config
    /var/lib/dpkg/info/pyzord.postinst configure 0.0.1 2>&1 | grep -q 'pyzord is not started' || fail 'it would start'

    start-stop-daemon --stop --quiet --retry TERM/60 --user pyzord --exec /usr/sbin/pyzord
    grep -q 'Server shutdown.' /var/log/pyzord/pyzord.log || fail 'the server did not stop cleanly'
    echo 'a purge leaves nothing'
    dpkg --purge pyzord >/tmp/purge 2>&1 || fail "$(cat /tmp/purge)"
    snapshot >/tmp/after
    diff /tmp/before /tmp/after || fail 'files or users are left'
}

# The view: this system below, a file system in memory above.
enter() {
    local deb=$1 work=$2 root=$2/root
    ip link set lo up
    mount -t tmpfs tmpfs "$work"
    mkdir "$work"/{upper,work,root}
    mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/run"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    mkdir -p "$root$PYZOR_VENV"
    mount --bind "$PYZOR_VENV" "$root$PYZOR_VENV"
    cp "$deb" "$root/tmp/pyzord.deb"
    PYZOR_VENV=$PYZOR_VENV chroot "$root" bash -euo pipefail -c \
        "$(declare -f fail wait_for snapshot inside); inside /tmp/pyzord.deb"
}

if [ "${1:-}" = --enter ]; then
    enter "$2" "$3"
    exit
fi
[ $# = 1 ] || fail 'usage: tests/package.sh FILE.deb'
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=PYZOR_VENV "$0" "$@"
PYZOR_VENV=$(realpath "${PYZOR_VENV:-target/pyzor-venv}")
export PYZOR_VENV
lintian --allow-root --fail-on error,warning --info "$1"
work=$(mktemp -d)
trap 'rmdir "$work"' EXIT
unshare --mount --net --pid --fork --kill-child "$0" --enter "$(realpath "$1")" "$work"
echo 'the package is sound'
