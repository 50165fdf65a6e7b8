# Two commands do everything on a Debian machine: `make run` and `make test`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# Debian's own Python: its standard library has dbm.gnu, which the tests compare files with.
PYTHON := /usr/bin/python3
VENV := $(CURDIR)/target/pyzor-venv
PYZOR_VERSION := 1.1.2
RUN_HOME := $(CURDIR)/.run

BUILD_PACKAGES := gcc libc6-dev libgdbm-dev pkg-config
# Debian's newest Rust, which it has for its browsers, where no other is installed; cargo fetches crates over TLS.
RUST_PACKAGES := $(if $(shell command -v cargo),,cargo-web rustc-web ca-certificates)
# Sentinels are `redis-server --sentinel`. Galera copies a node's data with rsync.
TEST_PACKAGES := python3 python3-gdbm python3-venv python3-redis python3-mysqldb openssl \
	redis-server redis-tools mariadb-server-core mariadb-client-core galera-4 rsync valgrind iproute2 util-linux strace \
	chromium chromium-driver python3-yaml man-db mandoc systemd
# With Debian's own client (pyzor) and SpamAssassin, whose Pyzor plugin asks the packaged server.
DEB_TEST_PACKAGES := lintian logrotate iproute2 man-db systemd pyzor spamassassin
# A compiler for WebAssembly: Debian's, with the source of core and alloc, and the linker of the same LLVM.
WASM_PACKAGES := cargo-web rustc-web rust-web-src nodejs
WASM_LLVM = $$(/usr/bin/rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
WASM_TARGET := wasm32-unknown-unknown
CARGO_DEB_VERSION := 3.8.0
CARGO_DENY_VERSION := 0.20.2
TOOLS := $(CURDIR)/target/tools
DEB := $(CURDIR)/target/debian/pyzord.deb

# apt-get, through sudo for other users than root; it installs only what is missing. Services that come with a package,
# such as redis-server's, are ended and do not start at boot: the tests start servers of their own.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get
define install
	@missing=$$(for package in $(1); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; done); \
	if [ -n "$$missing" ]; then \
		$(APT) update -q && $(APT) install -q -y --no-install-recommends $$missing; \
		for service in $$missing; do \
			if [ -e /etc/init.d/$$service ]; then \
				$(SUDO) service $$service stop; $(SUDO) update-rc.d $$service disable; fi; done; fi
endef

.PHONY: run test test-databases test-upstream siege wasm deny package-crates deb release image test-deb tour fuzz soak bench build lint build-packages test-packages client clean

# pyzord in the foreground, in a home directory of its own. The engine has its database there: gdbm or sqlite.
ENGINE := gdbm
run: build-packages
	cargo run --release --locked --bin pyzord -- --homedir $(RUN_HOME) --database-engine $(ENGINE)

build: build-packages
	cargo build --release --locked

# All tests: unit, property, documentation and black-box, with the real Python client and server as the peer, and
# with database servers of their own, which they start on free ports and end again.
test: build-packages test-packages client
	PYZOR_VENV=$(VENV) cargo test --workspace --locked

# The functional tests of Python's pyzor on our server, so often. Debian has the source of that version; the package
# on PyPI has no tests.
UPSTREAM_ROUNDS := 1
UPSTREAM := $(CURDIR)/target/pyzor_$(PYZOR_VERSION).orig.tar.gz
UPSTREAM_SHA256 := d1939f9ca836b13b07a1250f53b4f91a29a678de8955e9fc4f4a3c139d5906c3
test-upstream: build-packages test-packages client $(UPSTREAM)
	cargo build --locked --bin pyzord
	PYZOR_VENV=$(VENV) tests/upstream.sh $(UPSTREAM) target/debug/pyzord $(UPSTREAM_ROUNDS)

$(UPSTREAM): | test-packages
	mkdir -p $(@D)
	site=$$(apt-get indextargets --format '$$(SITE)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | head -n 1); \
	$(PYTHON) -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' \
		$$site/pool/main/p/pyzor/$(@F) $@.part
	echo '$(UPSTREAM_SHA256)  $@.part' | sha256sum --check --quiet
	mv $@.part $@

# Every fuzz target for so many seconds; needs a nightly compiler and cargo-fuzz.
FUZZ_SECONDS := 60
fuzz: build-packages
	fuzz/run $(FUZZ_SECONDS)

# Servers' lives in virtual time with new seeds, then kills of real processes and power cuts of recorded ones, then
# configuration files that Python reads as well, then Python's own tests, after all attacks at once, for a few hours.
SOAK_SECONDS := 3600
SOAK_ROUNDS := 300
SOAK_REPORTS := 100000
SOAK_CASES := 100000
SIEGE_SECONDS := 1200
soak: build-packages test-packages client siege
	cargo run --release --locked -p pyzord-simulator -- --seeds $$(date +%s)000000.. --seconds $(SOAK_SECONDS)
	PYZOR_VENV=$(VENV) PYZORD_CRASH_ROUNDS=$(SOAK_ROUNDS) PYZORD_CRASH_REPORTS=$(SOAK_REPORTS) \
		cargo test --locked --test crash -- --nocapture
	PYZOR_VENV=$(VENV) PYZORD_CUTS=$(SOAK_ROUNDS) cargo test --locked --test cuts -- --nocapture
	PYZOR_VENV=$(VENV) PYZORD_DIFFERENTIAL_SEED=$$(date +%s) PYZORD_DIFFERENTIAL_CASES=$(SOAK_CASES) \
		cargo test --locked --test differential configuration_files -- --nocapture
	$(MAKE) test-upstream UPSTREAM_ROUNDS=20

# All attacks at once beside an honest client, on each runtime, with gdbm and with redis: four times so many seconds. In a
# network of its own, where one destination drains slowly.
siege: build-packages test-packages
	cargo test --release --locked --test siege --no-run
	PYZORD_SIEGE_SECONDS=$(SIEGE_SECONDS) unshare --map-root-user --net tests/siege/slow-destination.sh \
		cargo test --release --locked --test siege -- --nocapture --test-threads 1

# The tests of the engines on redis, Valkey, MariaDB and MySQL of Debian's next releases. Needs root.
test-databases: build-packages test-packages client
	$(call install,debootstrap)
	PYZOR_VENV=$(VENV) tests/other-databases.sh target/databases

# The server beside an echo and Python's, each in turn, in short rounds; BENCH holds options, such as --quick.
BENCH :=
bench: build-packages test-packages client
	cargo build --release --locked -p pyzord
	PYZOR_VENV=$(VENV) cargo run --release --locked -p pyzord-bench --bin pyzor-bench -- $(BENCH)

# The packages of all published crates, each built from its package alone.
package-crates: build-packages
	.ci/packages

# The core as a WebAssembly module, called from Node. Debian's cargo builds core and alloc with it, which a stable
# compiler allows with RUSTC_BOOTSTRAP alone. A folder of its own keeps the other builds' files from being built anew.
wasm:
	$(call install,$(WASM_PACKAGES))
	$(call install,lld-$(WASM_LLVM))
	RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
		CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=/usr/bin/wasm-ld-$(WASM_LLVM) \
		/usr/bin/cargo build --release --locked -p pyzord-wasm --target $(WASM_TARGET) \
		--target-dir target/wasm -Zbuild-std=core,alloc
	PYZORD_WASM=target/wasm/$(WASM_TARGET)/release/pyzord_wasm.wasm node --test wasm/tests/server.test.mjs

# The Debian package, with man pages and completions.
deb: build $(TOOLS)/bin/cargo-deb
	cargo run --release --locked -p pyzord-packaging -- target/packaging
	$(TOOLS)/bin/cargo-deb --no-build --output $(DEB)

# The files of a release in target/dist: the Debian package, an archive of the programs for systems without dpkg, sums.
# Those of one commit are the same each time. The date is exported, since cargo-deb reads it, too.
release: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
release: deb
	packaging/release $(DEB) target/packaging target/dist

# A container image, by podman or docker. DEBIAN is the image that it begins with.
IMAGE_TOOL := podman
DEBIAN := docker.io/library/debian:bookworm-slim
image:
	$(IMAGE_TOOL) build $(if $(filter podman,$(IMAGE_TOOL)),--format docker) --build-arg DEBIAN=$(DEBIAN) \
		--file contrib/Containerfile --tag pyzord .

# Lints the package, and installs, runs and purges it on a copy-on-write view of this system. Needs root.
test-deb: deb client
	$(call install,$(DEB_TEST_PACKAGES))
	PYZOR_VENV=$(VENV) tests/package.sh $(DEB)

# A new user's way by the commands of the pages, in a Debian that debootstrap makes. Needs root.
tour: deb
	$(call install,debootstrap)
	tests/tour.sh $(DEB) target/tour

$(TOOLS)/bin/cargo-deb:
	cargo install cargo-deb --version $(CARGO_DEB_VERSION) --root $(TOOLS) --locked

# The licences, versions and sources of all dependencies, by deny.toml. Advisories change without a commit, so they are
# no part of it: `target/tools/bin/cargo-deny check advisories` fetches and reads them.
deny: build-packages $(TOOLS)/bin/cargo-deny
	$(TOOLS)/bin/cargo-deny --workspace --locked check -D warnings bans licenses sources

$(TOOLS)/bin/cargo-deny:
	cargo install cargo-deny --version $(CARGO_DENY_VERSION) --root $(TOOLS) --locked

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

build-packages:
	$(call install,$(BUILD_PACKAGES) $(RUST_PACKAGES))

test-packages:
	$(call install,$(TEST_PACKAGES))

# The Python client and server, in an environment of their own.
client: $(VENV)/pyzor-$(PYZOR_VERSION)
$(VENV)/pyzor-$(PYZOR_VERSION): | test-packages
	$(PYTHON) -m venv --clear --system-site-packages $(VENV)
	$(VENV)/bin/pip install --quiet pyzor==$(PYZOR_VERSION)
	touch $@

clean:
	rm -rf target $(RUN_HOME)
