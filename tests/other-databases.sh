#!/bin/bash
# The tests of the engines redis and mysql on other servers than this Debian's: redis, Valkey, MariaDB and MySQL from
# Debian's next releases, each in a folder of its own, where they run with their own libraries. Needs root and debootstrap.
#
#     tests/other-databases.sh FOLDER     the releases are fetched into FOLDER, unless they are there
set -eu -o pipefail
folder=$(realpath -m "$1")
# The servers' temporary files have the same path inside and outside.
export TMPDIR=$folder/tmp
mkdir -p "$TMPDIR"
releases=(trixie sid)
path=$PATH
trap 'for release in "${releases[@]}"; do umount "$folder/$release$TMPDIR" "$folder/$release/proc" || true; done' EXIT

fetch() { # NAME PACKAGES
    [ -e "$folder/$1/ready" ] || { debootstrap --variant=minbase --include="$2" "$1" "$folder/$1"; touch "$folder/$1/ready"; }
    mkdir -p "$folder/$1$TMPDIR"
    mount --bind "$TMPDIR" "$folder/$1$TMPDIR"
    mount -t proc proc "$folder/$1/proc"
}
program() { # FOLDER NAME RELEASE COMMAND: a program that is this command in a release
    mkdir -p "$folder/$1"
    printf '#!/bin/sh\nexec chroot %q %s\n' "$folder/$3" "$4" >"$folder/$1/$2"
    chmod +x "$folder/$1/$2"
}
fetch trixie valkey-server,redis-server,mariadb-server-core,mariadb-client-core
fetch sid valkey-server,redis-server,mysql-server-core,mysql-client-core

for release in "${releases[@]}"; do
    for server in valkey redis; do
        program "$release-$server" redis-server "$release" "/usr/bin/$server-server \"\$@\""
    done
done
program trixie-mariadb mariadb-install-db trixie '/usr/bin/mariadb-install-db "$@" --force'
program trixie-mariadb mariadb trixie '/usr/bin/mariadb "$@"'
program trixie-mariadb mariadbd trixie '/usr/sbin/mariadbd "$@"'
program sid-mysql mariadb sid '/usr/bin/mysql "$@"'
program sid-mysql mariadbd sid '/usr/sbin/mysqld "$@" --mysqlx=0 --secure-file-priv='
# Of the options of MariaDB's program, MySQL's server knows the folder alone.
cat >"$folder/sid-mysql/mariadb-install-db" <<END
#!/bin/sh
for option; do case \$option in --datadir=*) datadir=\$option ;; esac; done
exec chroot $folder/sid /usr/sbin/mysqld --no-defaults --initialize-insecure --user=root "\$datadir"
END
chmod +x "$folder/sid-mysql/mariadb-install-db"

for engine in redis mysql; do
    case $engine in
        redis) servers=(trixie-valkey sid-valkey trixie-redis sid-redis) version='redis-server --version' ;;
        mysql) servers=(trixie-mariadb sid-mysql) version='mariadbd --version' ;;
    esac
    for server in "${servers[@]}"; do
        export PATH="$folder/$server:$path" PYZORD_MARIADBD="$folder/$server/mariadbd"
        echo "== $($version)"
        cargo test --locked -p pyzord-engines --all-features --test "$engine"
        cargo test --locked -p pyzord-engines --all-features --test suite -- "$engine"
    done
done
