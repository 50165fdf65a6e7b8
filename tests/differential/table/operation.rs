//! What an administrator meets: the daemon, its configuration, forwarding, and the logs.

use super::{Row, Section};

pub(super) const DAEMON: Section = Section {
    level: 2,
    title: "Daemon and configuration",
    rows: &[
        Row {
            id: "detach-status",
            matter: "exit status of `--detach`",
            python: "0 at once, even if the start fails later",
            pyzord: "0 when the server serves, else 1 with the error on the terminal",
            why: "scripts can rely on it",
        },
        Row {
            id: "pid-file",
            matter: "pid file",
            python: "is overwritten without a check; stays after a failed start",
            pyzord: "of a running server is an error, a stale one is taken over; a failed start leaves \
                none",
            why: "two servers must not use one file",
        },
        Row {
            id: "umask",
            matter: "files created after `--detach`",
            python: "every user can read and write them (umask 0)",
            pyzord: "only the owner can read and write them (umask 077)",
            why: "the database is private",
        },
        Row {
            id: "relative-paths",
            matter: "relative FILE of `--detach`, relative `--homedir` with it",
            python: "are resolved against `/`",
            pyzord: "are resolved against the current folder",
            why: "the user expects that",
        },
        Row {
            id: "signals",
            matter: "signals",
            python: "TERM stops, USR1 reloads; HUP kills",
            pyzord: "TERM and INT stop, USR1 and HUP reload rules, limits and the log level, and reopen the log files",
            why: "log files can be rotated",
        },
        Row {
            id: "stop",
            matter: "stop",
            python: "requests in the receive buffer are lost",
            pyzord: "they are answered first",
            why: "no report is lost",
        },
        Row {
            id: "concurrency-settings",
            matter: "`Threads`, `Processes`, `PreFork`, `Gevent`",
            python: "four kinds of servers; some combinations, engines and values are errors",
            pyzord: "upper bounds of the number of workers, in any combination, with a log line",
            why: "one kind of server is enough",
        },
        Row {
            id: "sentry",
            matter: "`SentryDSN`, `UsageSentryDSN`",
            python: "errors are sent to Sentry",
            pyzord: "ignored, with a log line",
            why: "errors are in the log",
        },
        Row {
            id: "unknown-setting",
            matter: "unknown setting",
            python: "no warning",
            pyzord: "a warning with the nearest known name",
            why: "it shows spelling mistakes",
        },
        Row {
            id: "repeated-setting",
            matter: "repeated setting or section",
            python: "the start fails",
            pyzord: "the last line of a setting counts, sections are put together, with a warning",
            why: "the meaning is clear",
        },
        Row {
            id: "percent-sign",
            matter: "single `%` in a value, `%(name)s` of no value or more than ten levels deep",
            python: "the start fails",
            pyzord: "stands for itself, with a warning",
            why: "the meaning is clear",
        },
        Row {
            id: "configuration-mark",
            matter: "byte order mark in the configuration",
            python: "the start fails, or the setting behind it is unknown",
            pyzord: "is no part of the line behind it, with a warning",
            why: "editors write it, and it cannot be seen",
        },
        Row {
            id: "configuration-encoding",
            matter: "configuration that is not UTF-8",
            python: "the start fails",
            pyzord: "wrong bytes count as U+FFFD, with a warning; UTF-16 is an error",
            why: "a comment in another encoding does no harm",
        },
        Row {
            id: "failed-start",
            matter: "failed start, home directory that cannot be created, surplus arguments",
            python: "a Python traceback, or exit status 0",
            pyzord: "a one-line error and exit status 1; 2 for the command line",
            why: "scripts can rely on it",
        },
        Row {
            id: "version-stream",
            matter: "`--version`",
            python: "on standard error",
            pyzord: "on standard output",
            why: "other programs do the same",
        },
        Row {
            id: "db-connections",
            matter: "`DBConnections`",
            python: "connections for the threads of some kinds of servers",
            pyzord: "connections to a database server; 0 = as many as workers, and at least 2",
            why: "one kind of server is enough",
        },
        Row {
            id: "new-settings",
            matter: "new",
            python: "",
            pyzord: "`Runtime`, `Workers`, `Durability`, `DatabaseCache`, `AccessOrder`, `LogLevel`, `ControlSocket`, `StatusAddress`, `StatusHosts`, `User`, `Group`, \
                `--check-config` with `--all`, `--create-table`; environment variables for all settings; \
                messages to systemd, and a socket from it; \
                `pyzorctl`, and the socket for it",
            why: "operators need them",
        },
    ],
};

pub(super) const FORWARDING: Section = Section {
    level: 2,
    title: "Forwarding",
    rows: &[
        Row {
            id: "forwarding-1",
            matter: "servers that can forward",
            python: "servers with processes (`Processes`, `PreFork`) forward nothing, without a warning",
            pyzord: "all servers",
            why: "the setting asks for it",
        },
        Row {
            id: "forwarding-2",
            matter: "batches",
            python: "ten digests; fewer wait until there are ten, and a stop loses them",
            pyzord: "ten digests, or fewer after a second and at a stop",
            why: "every count arrives",
        },
        Row {
            id: "forwarding-3",
            matter: "replies",
            python: "are not read",
            pyzord: "are read; errors are logged, lost or failed requests are sent again",
            why: "every count arrives",
        },
        Row {
            id: "forwarding-4",
            matter: "full queue",
            python: "10,000 digests for all servers; newer ones are dropped without a warning",
            pyzord: "10,000 reports and 10,000 whitelistings for each server; the oldest are dropped, \
                counted and logged",
            why: "one slow server does not delay the others, and new digests are worth most",
        },
        Row {
            id: "forwarding-5",
            matter: "loops",
            python: "servers that forward to each other never stop",
            pyzord: "forwarded requests have the header `Forwarded` and are not forwarded again; \
                nothing is sent to the host that it came from; a server counts nothing that it has forwarded itself",
            why: "one report must not count for ever",
        },
        Row {
            id: "forwarding-6",
            matter: "chains",
            python: "a report travels from server to server",
            pyzord: "a report travels one hop",
            why: "one report must not count for ever",
        },
        Row {
            id: "forwarding-7",
            matter: "`ForwardClientHomeDir`",
            python: "is relative to the working directory; a missing one means the public server",
            pyzord: "is relative to the home directory; a missing one is an error",
            why: "a spelling mistake must not send reports to strangers",
        },
        Row {
            id: "forwarding-8",
            matter: "lines of `servers`",
            python: "names and IPv4 addresses",
            pyzord: "also IPv6 addresses; a bad or repeated line is skipped with a warning",
            why: "servers use IPv6",
        },
        Row {
            id: "forwarding-9",
            matter: "`LogFile` and `Style` of the client",
            python: "configure the client's own log",
            pyzord: "have no effect; the server's log has all messages",
            why: "one log is enough",
        },
    ],
};

pub(super) const LOGS: Section = Section {
    level: 2,
    title: "Logs",
    rows: &[
        Row {
            id: "terminal-log",
            matter: "no `LogFile`",
            python: "standard error gets critical errors only",
            pyzord: "standard error gets INFO and up; with a `LogFile`, errors",
            why: "a terminal, container or journal shows where the server listens",
        },
        Row {
            id: "refused-in-usage-log",
            matter: "refused request in the usage log",
            python: "`403: Forbidden: ...`",
            pyzord: "the same, followed by ` (user,ip,op)`",
            why: "the line shows the client",
        },
        Row {
            id: "names-in-usage-log",
            matter: "user and operation in the usage log",
            python: "as they were sent",
            pyzord: "commas, brackets, quotes, control characters and spaces at an end are escaped, and names cut \
                after 64 bytes",
            why: "no client can forge lines or fields",
        },
        Row {
            id: "mapped-address",
            matter: "IPv4 peer on an IPv6 socket",
            python: "`::ffff:192.0.2.7`",
            pyzord: "`192.0.2.7`",
            why: "it is the same host",
        },
        Row {
            id: "start-log",
            matter: "accounts and rules at a start",
            python: "all names and rules",
            pyzord: "the number of accounts",
            why: "a list of thousands is not useful",
        },
        Row {
            id: "debug-log",
            matter: "debug level",
            python: "whole requests and replies",
            pyzord: "events only",
            why: "requests are private",
        },
        Row {
            id: "counters",
            matter: "counters at a reload and a stop",
            python: "none",
            pyzord: "one line with counters of datagrams",
            why: "it shows losses",
        },
        Row {
            id: "log-reopening",
            matter: "log files at a reload",
            python: "stay open",
            pyzord: "are opened again by their names",
            why: "log files can be rotated",
        },
    ],
};
