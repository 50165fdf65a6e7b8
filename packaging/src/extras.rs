//! What a page of a program has beside its options and the sections of the guide: examples and files.

use clap_mangen::roff::{Roff, bold, roman};

/// Lines of a page: what is typed or named, and what it does or is.
type Entries = &'static [(&'static str, &'static str)];

/// The examples and files of a program.
pub(crate) struct Extras {
    examples: Entries,
    files: Entries,
}

const CONFIGURATION: (&str, &str) =
    ("/etc/pyzor/config, ~/.pyzor/config", "the settings, see pyzord.conf(5)");
const PASSWD: (&str, &str) =
    ("pyzord.passwd", "accounts, see pyzord.passwd(5); in the folder of the settings");
const ACCESS: (&str, &str) =
    ("pyzord.access", "access rules, see pyzord.access(5); in the folder of the settings");
const DATABASE: (&str, &str) = ("/var/lib/pyzord", "the database of the Debian package");

const OF_PYZORD: Extras = Extras {
    examples: &[
        ("pyzord --homedir /etc/pyzor --check-config", "Check the configuration of the Debian package."),
        (
            "pyzord --homedir ~/test --address 127.0.0.1",
            "Serve this machine in the foreground, with a database in ~/test.",
        ),
        (
            "pyzord --database-engine redis --dsn redis://localhost/0",
            "Serve every IPv4 address of this machine, with the records in redis.",
        ),
        (
            "PYZORD_ENGINE=redis PYZORD_DIGEST_DB=redis://localhost/0 pyzord",
            "The same, with the settings from the environment.",
        ),
        (
            "pyzord --homedir /etc/pyzor --user pyzord --detach /var/log/pyzord/output",
            "Start in the background as the user pyzord, without systemd.",
        ),
    ],
    files: &[
        CONFIGURATION,
        PASSWD,
        ACCESS,
        DATABASE,
        ("/var/log/pyzord", "the logs of the Debian package"),
        (
            "/run/pyzord",
            "the control socket of the Debian package, and the pid file of a start with --detach",
        ),
    ],
};

const OF_PYZORCTL: Extras = Extras {
    examples: &[
        ("pyzorctl --homedir /etc/pyzor status", "Is something wrong with the server of the Debian package?"),
        ("pyzorctl top", "Show which networks send most, and which users are refused."),
        (
            "pyzorctl reload",
            "Apply changes of the files, and show what has changed and what needs a restart.",
        ),
        ("pyzor digest < mail | pyzorctl lookup -", "Show the record of a mail."),
        (
            "pyzorctl whitelist --user alice DIGEST",
            "Count a whitelisting, signed by an account of the server.",
        ),
        ("pyzorctl backup /var/backups/pyzord.db", "Copy the database while the server runs."),
        ("pyzorctl genkey alice --random", "Make a key, and print the line of the account for each side."),
        ("pyzorctl explain --all", "Show which user may ask for what."),
    ],
    files: &[
        CONFIGURATION,
        PASSWD,
        ACCESS,
        DATABASE,
        ("/run/pyzord/control", "the control socket of the Debian package"),
    ],
};

const OF_MIGRATE: Extras = Extras {
    examples: &[
        (
            "pyzor-migrate --dry-run --se gdbm --sd ~/.pyzor/pyzord.db --de sqlite --dd /var/lib/pyzord/pyzord.sqlite",
            "Read every record of a gdbm file, and name those that cannot be moved to sqlite.",
        ),
        (
            "pyzor-migrate --se gdbm --sd ~/.pyzor/pyzord.db --de redis --dd localhost,6379,,0 --cleanup-age 10368000",
            "Copy the records to redis, where they expire after 120 days.",
        ),
        (
            "pyzor-migrate --delete --se redis_v0 --sd localhost,6379,,0 --de redis --dd localhost,6379,,0",
            "Bring a database of Python's pyzor 0.x into the new layout.",
        ),
    ],
    files: &[("FILE.migration", "with --delete, the journal by which an interrupted migration goes on")],
};

/// Returns the examples and files of a program.
pub(crate) fn of(program: &str) -> &'static Extras {
    match program {
        "pyzord" => &OF_PYZORD,
        "pyzorctl" => &OF_PYZORCTL,
        _ => &OF_MIGRATE,
    }
}

impl Extras {
    /// Appends both sections to a page.
    pub(crate) fn to_roff(&self, page: &mut Roff) {
        section(page, "FILES", self.files);
        section(page, "EXAMPLES", self.examples);
    }
}

fn section(page: &mut Roff, title: &str, entries: Entries) {
    page.control("SH", [title]);
    for (name, meaning) in entries {
        page.control("TP", []).text([bold(*name)]).text([roman(*meaning)]);
    }
}
