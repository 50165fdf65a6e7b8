#!/usr/bin/env bash
# The Debian package: lint it, install it, serve clients, SpamAssassin and Python's server, rotate its logs, purge it.
#
#   tests/package.sh FILE.deb
#
# It needs root and the packages that the Makefile names (systemd need not run). PYZOR_VENV is the environment of
# Python's client and server 1.1.2. All of it happens on a copy-on-write view of this system with a network of its
# own, which is gone when this script ends, and so are all processes that it started.
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

# Makes a client's home directory.
make_client() { # HOME SERVER
    mkdir -p "$1"
    echo "$2" >"$1/servers"
}

# A message of its own for each word.
message() {
    printf 'Subject: %s\n\nBuy one of these %s now, and get another one for nothing at all!\n' "$1" "$1"
}

digest_of() {
    printf %s "$1" | sha1sum | cut -c1-40
}

# Whether a client is told these counts for a digest.
counts_are() { # HOME DIGEST REPORTS WHITELISTINGS
    local answer
    # The status says whether it is spam.
    answer=$("$PYZOR_VENV/bin/pyzor" --homedir "$1" --style digests check <<<"$2") || true
    [[ $answer == *"(200, 'OK')"$'\t'"$3"$'\t'"$4" ]]
}

start_server() {
    local -a server
    read -ra server < <(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/pyzord.service)
    runuser -u pyzord -- env -i "${server[@]}" 2>>/tmp/stderr &
    make_client /tmp/packaged 127.0.0.1:24441
    wait_for "$PYZOR_VENV/bin/pyzor" --homedir /tmp/packaged ping
}

stop_server() {
    start-stop-daemon --stop --quiet --retry TERM/60 --user pyzord --exec /usr/sbin/pyzord
}

# Python's server with a gdbm file, and a client's home directory for it.
start_python() { # NAME PORT OPTIONS...
    local name=$1 port=$2
    shift 2
    mkdir "/tmp/$name"
    echo 'all : anonymous : allow' >"/tmp/$name/pyzord.access"
    "$PYZOR_VENV/bin/pyzord" --homedir "/tmp/$name" -a 127.0.0.1 -p "$port" "$@" >"/tmp/$name/output" 2>&1 &
    make_client "/tmp/$name-client" "127.0.0.1:$port"
    wait_for "$PYZOR_VENV/bin/pyzor" --homedir "/tmp/$name-client" ping
}

files_are_in_place() {
    local expected program
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
}

# An account that may whitelist, with a key that pyzorctl makes.
make_account() {
    pyzorctl --homedir /etc/pyzor genkey alice --random >/tmp/key
    grep '^alice : ' /tmp/key >>/etc/pyzor/pyzord.passwd
    make_client /tmp/alice 127.0.0.1:24441
    grep '^127.0.0.1 : 24441 : alice : ' /tmp/key >/tmp/alice/accounts
    runuser -u pyzord -- pyzorctl --homedir /etc/pyzor explain alice whitelist | grep -q 'allowed by line' ||
        fail 'alice may not whitelist'
    start-stop-daemon --stop --quiet --signal HUP --user pyzord --exec /usr/sbin/pyzord
    wait_for pyzorctl --homedir /etc/pyzor whitelist --user alice "$(digest_of account)"
}

# Every command of a client, with alice's account.
client_works() { # NAME PYZOR
    local name=$1 pyzor=$2 home=/tmp/client-$1 digest
    cp -r /tmp/alice "$home"
    message "$name" >"/tmp/$name.eml"
    does() { # COMMAND EXPECTED
        local output
        # Away from a terminal, genkey takes the passphrase from standard input.
        output=$(setsid --wait "$pyzor" --homedir "$home" "$1" 2>"/tmp/$name.err") || true
        [[ $output =~ $2 ]] || fail "$name: $1 says '$output', not '$2': $(cat "/tmp/$name.err")"
    }
    local ok="\\(200, 'OK'\\)" tab=$'\t'
    does ping "$ok" <<<''
    does pong "$ok$tab[0-9]+${tab}0$" <"/tmp/$name.eml"
    does digest '^[0-9a-f]{40}$' <"/tmp/$name.eml"
    does predigest "Buyoneofthese" <"/tmp/$name.eml"
    does genkey '[0-9a-f]{40},[0-9a-f]{40}$' <<<$'secret\nsecret'
    does check "$ok${tab}0${tab}0$" <"/tmp/$name.eml"
    does report "$ok" <"/tmp/$name.eml"
    does check "$ok${tab}1${tab}0$" <"/tmp/$name.eml"
    # Debian's cannot check what it has whitelisted locally, so its file is looked at.
    does local_whitelist '^$' <"/tmp/$name.eml"
    [ -s "$home/whitelist" ] || fail "$name: local_whitelist wrote nothing"
    does local_unwhitelist '^$' <"/tmp/$name.eml"
    [ ! -s "$home/whitelist" ] || fail "$name: local_unwhitelist removed nothing"
    does whitelist "$ok" <"/tmp/$name.eml"
    does check "$ok${tab}1${tab}1$" <"/tmp/$name.eml"
    does info "Count: 1.*WL-Count: 1" <"/tmp/$name.eml"
}

# SpamAssassin's plugin, with Debian's client: a hit by five reports, as many as it wants, and none before.
spamassassin_works() {
    local report
    message spamassassin >/tmp/spamassassin.eml
    scan() {
        # Without the others' tests of the network, of which there is none here.
        HOME=/tmp spamassassin --test-mode --debug pyzor --cf='dns_available no' --cf='pyzor_timeout 60' \
            --cf='pyzor_options --homedir /tmp/packaged' </tmp/spamassassin.eml 2>/tmp/scan.err
        cat /tmp/scan.err
    }
    # The line of the rule in the report below the message.
    hits() { grep -qE '^ *[0-9.]+ PYZOR_CHECK ' <<<"$1"; }
    report=$(scan)
    grep -q 'pyzor: result: COUNT=0/' <<<"$report" || fail "SpamAssassin did not ask: $report"
    ! hits "$report" || fail "SpamAssassin hits a mail without a report: $report"
    for _ in 1 2 3 4 5; do
        /usr/bin/pyzor --homedir /tmp/packaged report </tmp/spamassassin.eml >/dev/null
    done
    report=$(scan)
    hits "$report" || fail "SpamAssassin does not hit what was reported: $report"
}

pyzorctl_works() {
    local digest false_listing
    digest=$(digest_of pyzorctl)
    false_listing=$(digest_of 'a false listing')
    "$PYZOR_VENV/bin/pyzor" --homedir /tmp/packaged --style digests report <<<"$digest" >/dev/null
    ctl() { pyzorctl --homedir /etc/pyzor "$@"; }
    ctl status | grep -q 'says 200 OK' || fail 'status: the server does not answer'
    ctl lookup "$digest" | grep -q 'reports: 1, first' || fail 'lookup: the report is not there'
    ctl explain anonymous whitelist | grep -q 'anonymous whitelist: denied' || fail 'explain: not denied'
    # The server has the file, and lends it.
    "$PYZOR_VENV/bin/pyzor" --homedir /tmp/packaged --style digests report <<<"$false_listing" >/dev/null
    ctl check-database | grep -q ': served' || fail 'check-database: a running server does not lend its file'
    ctl export | grep -q "^$false_listing,1," || fail 'export: the report is not there'
    ctl delete "$false_listing" | grep -q 'deleted (1 reports' || fail 'delete: a false listing stays'
    counts_are /tmp/packaged "$false_listing" 0 0 || fail 'delete: the server still has the record'
    stop_server
    grep -q 'Server shutdown.' /var/log/pyzord/pyzord.log || fail 'the server did not stop cleanly'
    ctl check-database | grep -q ': sound' || fail 'check-database: the database is not sound'
    ctl lookup "$digest" | grep -q 'reports: 1, first' || fail 'lookup: the report is not in the file'
    start_server
}

# The packaged server forwards to Python's: a report, and a whitelisting of alice.
forwards_to_python() {
    local digest
    digest=$(digest_of forwarded)
    start_python receiver 24442
    stop_server
    make_client /etc/pyzor/forward 127.0.0.1:24442
    echo 'ForwardClientHomeDir = forward' >>/etc/pyzor/config
    start_server
    counts_are /tmp/receiver-client "$digest" 0 0 || fail 'the counts of a new server are not 0'
    "$PYZOR_VENV/bin/pyzor" --homedir /tmp/alice --style digests report <<<"$digest" >/dev/null
    pyzorctl --homedir /etc/pyzor whitelist --user alice "$digest" >/dev/null
    wait_for counts_are /tmp/receiver-client "$digest" 1 1
}

# Python's server forwards to the packaged one. It sends full batches of ten digests only, and no rest of one until it
# ends; with alice's account, since others may not whitelist here.
python_forwards() {
    local number command
    local -a digests=()
    start_python sender 24443 --forward-client-homedir /tmp/alice
    for number in {1..10}; do
        digests+=("$(digest_of "batch $number")")
    done
    counts_are /tmp/packaged "${digests[9]}" 0 0 || fail 'the digests of the batch are known already'
    for command in report whitelist; do
        printf '%s\n' "${digests[@]}" |
            "$PYZOR_VENV/bin/pyzor" --homedir /tmp/sender-client --style digests "$command" >/dev/null
    done
    for number in {0..9}; do
        wait_for counts_are /tmp/packaged "${digests[number]}" 1 1
    done
}

logs_rotate() {
    logrotate --force --state /tmp/logrotate /etc/logrotate.d/pyzord
    [ -s /var/log/pyzord/pyzord.log.1 ] || fail 'nothing was rotated'
    wait_for grep -q 'datagrams received' /var/log/pyzord/pyzord.log
    "$PYZOR_VENV/bin/pyzor" --homedir /tmp/packaged ping >/dev/null
}

broken_configuration_does_not_start() {
    sed -i 's/^# Port = .*/Port = many/' /etc/pyzor/config
    /var/lib/dpkg/info/pyzord.postinst configure 0.0.1 2>&1 | grep -q 'pyzord is not started' || fail 'it would start'
}

purge_leaves_nothing() {
    # Not the package's, but this test's.
    rm -r /etc/pyzor/forward
    stop_server
    dpkg --purge pyzord >/tmp/purge 2>&1 || fail "$(cat /tmp/purge)"
    snapshot >/tmp/after
    diff /tmp/before /tmp/after || fail 'files or users are left'
}

inside() {
    local deb=$1
    export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
    snapshot >/tmp/before
    dpkg --install "$deb" >/tmp/install 2>&1 || fail "$(cat /tmp/install)"
    files_are_in_place
    echo 'installed: owners, units, man pages, completions'
    start_server
    make_account
    echo 'it serves as its unit says, and takes an account after a reload'
    client_works upstream "$PYZOR_VENV/bin/pyzor"
    echo 'every command of the client 1.1.2 works'
    client_works debian /usr/bin/pyzor
    echo "every command of Debian's client works"
    spamassassin_works
    echo 'SpamAssassin hits what was reported, and nothing before'
    pyzorctl_works
    echo 'pyzorctl shows the status of the server, its records and rights, and checks the database'
    forwards_to_python
    echo "it forwards a report and a whitelisting to Python's server"
    python_forwards
    echo "Python's server forwards reports and whitelistings to it"
    logs_rotate
    echo 'logrotate rotates its log, and it writes to the new one'
    broken_configuration_does_not_start
    echo 'a broken configuration does not start, and does not break the installation'
    purge_leaves_nothing
    echo 'a purge leaves nothing'
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
        "$(declare -f); inside /tmp/pyzord.deb"
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
