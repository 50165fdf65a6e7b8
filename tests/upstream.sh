#!/usr/bin/env bash
# Runs the functional tests of Python's pyzor with our server in place of its own.
#     tests/upstream.sh ARCHIVE PYZORD [ROUNDS]
# ARCHIVE is the source of pyzor. PYZOR_VENV is the environment with its client. The runtimes take turns. The tests use fixed
# ports, so they run in a network of their own; all processes end with it.
set -euo pipefail

fail() {
    echo "$1" >&2
    exit 1
}

wait_for() {
    local left=600
    until "$@" > /dev/null 2>&1; do
        [ $((left -= 1)) -gt 0 ] || fail "no success within a minute: $*"
        sleep 0.1
    done
}

# Starts the servers that the tests expect: redis, and a MariaDB whose administrator has no password.
start_databases() {
    local user=()
    [ "$(id -u)" != 0 ] || user=(--user=root)
    export MYSQL_UNIX_PORT=$work/mysql.socket
    redis-server --bind 127.0.0.1 --port 6379 --save '' --dir "$work" > "$work/redis.log" &
    mariadb-install-db --no-defaults --auth-root-authentication-method=normal --skip-test-db "${user[@]}" \
        --datadir="$work/mysql" > "$work/install.log" 2>&1
    /usr/sbin/mariadbd --no-defaults --bind-address=127.0.0.1 --port=3306 --datadir="$work/mysql" --tmpdir="$work" \
        --socket="$MYSQL_UNIX_PORT" --pid-file="$work/mysql.pid" "${user[@]}" > "$work/mysql.log" 2>&1 &
    wait_for redis-cli ping
    wait_for mariadb --no-defaults --user=root -e 'SELECT 1'
    mariadb --no-defaults --user=root \
        -e "CREATE DATABASE pyzor_test; CREATE USER root@'%'; GRANT ALL ON *.* TO root@'%'"
}

# Puts our server and Python's client on PATH. The tests rely on the order in which Python reads an access file. Python 3
# has the module `gdbm` under another name; without it the tests of that engine are skipped.
prepare_programs() {
    mkdir "$work/bin" "$work/modules"
    printf '#!/bin/sh\nexec "%s" --runtime "$RUNTIME" --access-order last-match "$@"\n' "$pyzord" \
        > "$work/bin/pyzord"
    chmod +x "$work/bin/pyzord"
    ln -s "$PYZOR_VENV/bin/pyzor" "$work/bin/pyzor"
    echo 'from dbm.gnu import *' > "$work/modules/gdbm.py"
    export PATH=$work/bin:$PATH PYTHONPATH=$work/modules
}

inside() {
    local failed=0 round
    ip link set lo up
    start_databases
    prepare_programs
    tar -xzf "$archive" -C "$work" --strip-components=1
    cd "$work"
    for ((round = 1; round <= rounds; round++)); do
        export RUNTIME=smol
        [ $((round % 2)) = 0 ] || RUNTIME=std
        "$PYZOR_VENV/bin/python" -m unittest discover -s tests/functional -t . > round.log 2>&1 || failed=$((failed + 1))
        echo "round $round of $rounds, $RUNTIME: $(grep -E '^(Ran|OK|FAILED)' round.log | tr '\n' ' ')"
        grep -E '^(FAIL|ERROR): |^[A-Za-z.]*(Error|Exception): ' round.log || true
    done
    [ "$failed" = 0 ] || fail "$failed of $rounds rounds have failures"
}

[ $# -ge 2 ] || fail 'usage: tests/upstream.sh ARCHIVE PYZORD [ROUNDS]'
archive=$(realpath "$1") pyzord=$(realpath "$2") rounds=${3:-1}
if [ -n "${PYZORD_UPSTREAM:-}" ]; then
    work=$PYZORD_UPSTREAM
    inside
    exit
fi
PYZOR_VENV=$(realpath "${PYZOR_VENV:-target/pyzor-venv}")
PYZORD_UPSTREAM=$(mktemp -d)
export PYZOR_VENV PYZORD_UPSTREAM
trap 'rm -rf "$PYZORD_UPSTREAM"' EXIT
unshare --map-root-user --net --pid --fork --kill-child "$0" "$archive" "$pyzord" "$rounds"
