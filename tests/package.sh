#!/usr/bin/env bash
# The Debian package: lint it, install it, serve clients, SpamAssassin and Python's server, rotate its logs, purge it; come
# and go beside Debian's package of Python's programs; run as a service of systemd, where systemd can be started.
#
#   tests/package.sh FILE.deb
#
# It needs root and the packages that the Makefile names. PYZOR_VENV is the environment of
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
    grep -q 'pyzord serves this machine, at 127.0.0.1:24441. What next:' /tmp/install || fail 'it does not say what next'
    systemd-analyze verify /usr/lib/systemd/system/pyzord.{service,socket} || fail 'systemd does not like the units'
    man -w 8 pyzord pyzorctl pyzor-migrate >/dev/null && man -w 5 pyzord.conf pyzord.access pyzord.passwd >/dev/null
    for program in pyzord pyzorctl pyzor-migrate; do
        bash -c ". /usr/share/bash-completion/completions/$program && complete -p $program" >/dev/null
        grep -q 'gdbm sqlite redis redis_v0 mysql' "/usr/share/bash-completion/completions/$program" ||
            fail "bash offers no engines for $program"
        [ -s "/usr/share/zsh/vendor-completions/_$program" ] || fail "zsh completes no $program"
        [ -s "/usr/share/fish/vendor_completions.d/$program.fish" ] || fail "fish completes no $program"
    done
}

# Runs a command as an account without rights does, with the PATH of one.
as_anyone() {
    runuser -u nobody -- env -i PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C.UTF-8 MANWIDTH=80 "$@"
}

# What a person types is ours, also where Debian's package of Python's programs is installed; those have other names.
names_are_ours() {
    local program
    for program in pyzord pyzorctl pyzor-migrate; do
        [[ $(as_anyone "$program" --version) == "$program "[0-9]* ]] || fail "$program is not ours"
        as_anyone man "$program" >/tmp/page 2>/dev/null
        grep -q "System administration" /tmp/page || fail "man $program shows another page"
    done
    [ "$(command -v pyzord)" = /usr/sbin/pyzord ] || fail 'root has another pyzord'
}

python_is_beside() {
    local program
    for program in pyzord pyzor-migrate; do
        grep -q python "/usr/bin/$program.python" || fail "$program.python is not there"
    done
    as_anyone pyzor.python --version >/dev/null 2>&1 && fail 'the client has lost its name'
    as_anyone pyzor --version >/dev/null 2>&1 || fail 'the client does not run'
}

# Debian's programs have their names again, and nothing is diverted.
python_is_back() {
    local program
    ! dpkg-divert --list | grep 'by pyzord$' || fail 'diversions are left'
    for program in pyzord pyzor-migrate; do
        grep -q python "/usr/bin/$program" || fail "$program is not Python's again"
        [ ! -e "/usr/bin/$program.python" ] || fail "$program.python is left"
    done
    [ -z "$(dpkg --verify pyzor)" ] || fail "files of pyzor have changed: $(dpkg --verify pyzor)"
}

# An installed package as a file again: there is no network here.
repack() { # PACKAGE FILE
    local path tree=/tmp/repack
    mkdir -p "$tree/DEBIAN"
    dpkg-query --listfiles "$1" | while read -r path; do
        [ -d "$path" ] || [ ! -e "$path" ] || cp --parents --no-dereference "$path" "$tree"
    done
    dpkg-query --status "$1" | grep -v '^Status: ' >"$tree/DEBIAN/control"
    dpkg-deb --build "$tree" "$2" >/dev/null
}

# Our package as it was before it diverted anything.
without_diversions() { # DEB FILE
    local tree=/tmp/old
    dpkg-deb --raw-extract "$1" "$tree"
    rm -r "$tree"/DEBIAN/preinst "$tree"/usr/bin "$tree"/usr/share/man/man1
    sed -i 's/^Version: .*/Version: 0.0.9/' "$tree/DEBIAN/control"
    sed -i '/^undivert()/,/^}/d; s/^    undivert$/    :/' "$tree/DEBIAN/postrm"
    dpkg-deb --build "$tree" "$2" >/dev/null
}

# Our package with a file of another one: dpkg breaks off while it unpacks.
that_breaks_off() { # DEB FILE
    local tree=/tmp/broken
    dpkg-deb --raw-extract "$1" "$tree"
    cp /usr/bin/env "$tree/usr/bin/env"
    dpkg-deb --build "$tree" "$2" >/dev/null
}

install_quietly() {
    dpkg --install "$1" >/tmp/install 2>&1 </dev/null || fail "$(cat /tmp/install)"
}

does_not_install() {
    ! dpkg --install "$1" >/tmp/install 2>&1 </dev/null || fail "$1 can be installed"
}

# Both packages come and go in every order, with installations and upgrades that break off.
packages_come_and_go() {
    local deb=$1
    repack pyzor /tmp/pyzor.deb
    without_diversions "$deb" /tmp/old.deb
    that_breaks_off "$deb" /tmp/broken.deb
    does_not_install /tmp/broken.deb
    python_is_back
    install_quietly /tmp/old.deb
    does_not_install /tmp/broken.deb
    python_is_back
    [ "$(dpkg-query --show --showformat '${Version}' pyzord)" = 0.0.9 ] || fail 'the old version is gone'
    install_quietly "$deb"
    ! grep -q 'What next' /tmp/install || fail 'an upgrade says what to do next'
    names_are_ours && python_is_beside
    does_not_install /tmp/broken.deb
    names_are_ours && python_is_beside
    install_quietly "$deb"
    names_are_ours && python_is_beside
    dpkg --remove pyzor >/dev/null 2>&1
    names_are_ours
    [ ! -e /usr/bin/pyzord.python ] || fail 'the programs of pyzor are left'
    install_quietly /tmp/pyzor.deb
    names_are_ours && python_is_beside
    dpkg --remove pyzord >/dev/null 2>&1
    python_is_back
    install_quietly "$deb"
    dpkg --remove pyzor >/dev/null 2>&1
    dpkg --purge pyzord >/dev/null 2>&1
    ! ls /usr/bin/pyzo* /usr/share/man/man1/pyzo* 2>/dev/null || fail 'programs or pages are left'
    ! dpkg-divert --list | grep 'by pyzord$' || fail 'diversions are left'
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

only_this_machine_is_served() {
    local addresses check="runuser -u pyzord -- pyzord --homedir /etc/pyzor --check-config"
    addresses=$(ss -ulnH 'sport = :24441' | awk '{print $4}' | sort -u)
    [ -S /run/pyzord/control ] || fail 'it has no control socket'
    [ "$addresses" = 127.0.0.1:24441 ] || fail "it listens on $addresses"
    ! $check | grep 'every host' || fail 'it warns of a server that only this machine reaches'
    PYZORD_LISTEN_ADDRESS=0.0.0.0 $check | grep -q '^warning: every host that reaches 0.0.0.0:24441 may ask for ' ||
        fail 'it does not warn of a server that is open to all'
    ! PYZORD_LISTEN_ADDRESS=0.0.0.0 PYZORD_REQUEST_RATE=50 $check | grep 'every host' || fail 'it warns in spite of a limit'
    PYZORD_REQUEST_RATE=50 $check | grep -qxF 'RequestRate = 50 (environment variable PYZORD_REQUEST_RATE)' ||
        fail 'it does not read its environment'
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
    # A variable of the shell that installs is none of the service.
    PYZORD_PORT=many dpkg --install "$deb" >/tmp/install 2>&1 || fail "$(cat /tmp/install)"
    ! grep 'is not started' /tmp/install || fail 'the configuration is found to be bad'
    files_are_in_place
    echo 'installed: owners, units, man pages, completions'
    names_are_ours
    python_is_beside
    echo "what a person types is ours, beside Debian's package of Python's programs"
    start_server
    only_this_machine_is_served
    echo 'it serves this machine alone, and warns before it is open to all'
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
    python_is_back
    echo 'a purge leaves nothing'
    packages_come_and_go "$deb"
    echo "both packages come and go in every order, and what breaks off leaves each program its name"
}

# Runs a command in the namespaces of the systemd that `boot` has started.
in_booted() {
    nsenter --all --target "$init" "$@"
}

# The service, as systemd runs it after the installation.
under_systemd() {
    local pid
    export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
    make_client /tmp/packaged 127.0.0.1:24441
    ping() { /usr/bin/pyzor --homedir /tmp/packaged ping; }
    main_pid() { systemctl show --value --property MainPID pyzord; }
    install_quietly "$1"
    systemctl is-active --quiet pyzord || fail "the service does not run: $(journalctl --no-pager -u pyzord)"
    systemctl is-enabled --quiet pyzord || fail 'the service does not start at boot'
    ping | grep -q "(200, 'OK')" || fail 'the service does not answer'
    systemctl show --property StatusText pyzord | grep -q 'Listening on 127.0.0.1:24441' || fail 'systemd has no status'
    pyzorctl --homedir /etc/pyzor status >/tmp/status || fail "pyzorctl does not find it well: $(cat /tmp/status)"
    pid=$(main_pid)
    pyzorctl --homedir /etc/pyzor reload >/tmp/reload || fail "pyzorctl cannot reload it: $(cat /tmp/reload)"
    systemctl reload pyzord
    wait_for grep -q 'datagrams received' /var/log/pyzord/pyzord.log
    [ "$(main_pid)" = "$pid" ] || fail 'a reload has started another process'
    # An upgrade restarts it; with a broken configuration it goes on with the old one.
    install_quietly "$1"
    [ "$(main_pid)" != "$pid" ] || fail 'an upgrade has not restarted it'
    pid=$(main_pid)
    sed -i 's/^# Port = .*/Port = many/' /etc/pyzor/config
    install_quietly "$1"
    [ "$(main_pid)" = "$pid" ] || fail 'an upgrade has ended a server whose configuration is broken'
    sed -i 's/^Port = many/# Port = 24441/' /etc/pyzor/config
    # A drop-in is how an administrator sets what a container has in its environment.
    mkdir -p /etc/systemd/system/pyzord.service.d
    printf '[Service]\nEnvironment=PYZORD_REQUEST_RATE=50\n' >/etc/systemd/system/pyzord.service.d/rate.conf
    systemctl daemon-reload
    systemctl restart pyzord
    ping >/dev/null || fail 'it does not answer after a restart'
    kill -KILL "$(main_pid)"
    wait_for ping
    systemctl stop pyzord
    systemctl start pyzord.socket
    ss -ulnH 'sport = :24441' | grep -q '127.0.0.1:24441' || fail 'the socket is not on the loopback address'
    wait_for ping
    grep -q 'Serving on the sockets that the service manager passed' /var/log/pyzord/pyzord.log || fail 'the socket is not used'
    dpkg --purge pyzord >/tmp/purge 2>&1 || fail "$(cat /tmp/purge)"
    ! systemctl is-active --quiet pyzord || fail 'the service runs on'
}

# A view with systemd as its first process, which starts nothing that the package does not need.
boot() {
    local deb=$1 work=$2 root=$2/root device
    make_view "$work"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount -o remount,ro,bind "$root/proc/sys"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for device in null zero full random urandom tty; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir "$root"/dev/{pts,shm}
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
    # Not in /tmp, which a boot clears.
    cp "$deb" "$root/pyzord.deb"
    rm -f "$root/etc/fstab" "$root/usr/sbin/policy-rc.d"
    hostname package-test
    cd "$root"
    mkdir run/old
    pivot_root . run/old
    umount --lazy run/old
    exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        chroot . /lib/systemd/systemd systemd.unit=basic.target </dev/null >/dev/null 2>&1
}

# Boots, and runs the test of the service in it. Says so where systemd does not start.
test_under_systemd() {
    local deb=$1 work=$2 init unshare deadline=$((SECONDS + 60)) result=0
    unshare --mount --net --pid --uts --ipc --cgroup --fork --kill-child "$0" --boot "$deb" "$work" &
    unshare=$!
    until init=$(pgrep --parent "$unshare") && in_booted systemctl is-active --quiet basic.target 2>/dev/null; do
        if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$unshare" 2>/dev/null; then
            kill -KILL "$unshare" 2>/dev/null || true
            echo 'NOT TESTED under systemd, which does not start in a namespace here'
            return
        fi
        sleep 0.1
    done
    in_booted bash -euo pipefail -c "$(declare -f); under_systemd /pyzord.deb" || result=$?
    kill -KILL "$unshare"
    wait "$unshare" 2>/dev/null || true
    [ "$result" = 0 ] || fail 'the test under systemd has failed'
    echo 'systemd starts the service, reloads, restarts and stops it, and passes it a socket'
}

# The view: this system below, a file system in memory above.
make_view() {
    local work=$1 root=$1/root
    ip link set lo up
    mount --make-rprivate /
    mount -t tmpfs tmpfs "$work"
    mkdir "$work"/{upper,work,root}
    mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$root"
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
}

enter() {
    local deb=$1 work=$2 root=$2/root
    make_view "$work"
    mount --rbind /dev "$root/dev"
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
if [ "${1:-}" = --boot ]; then
    boot "$2" "$3"
fi
[ $# = 1 ] || fail 'usage: tests/package.sh FILE.deb'
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=PYZOR_VENV "$0" "$@"
PYZOR_VENV=$(realpath "${PYZOR_VENV:-target/pyzor-venv}")
export PYZOR_VENV
lintian --allow-root --fail-on error,warning --info "$1"
work=$(mktemp -d)
trap 'rmdir "$work"' EXIT
unshare --mount --net --pid --fork --kill-child "$0" --enter "$(realpath "$1")" "$work"
test_under_systemd "$(realpath "$1")" "$work"
echo 'the package is sound'
