//! What a client meets: the protocol, the limits, the access to operations.

use super::{Row, Section};

pub(super) const PROTOCOL: Section = Section {
    level: 2,
    title: "Protocol",
    rows: &[
        Row {
            id: "request-without-op",
            matter: "datagram without `Op`, such as a reply",
            python: "answers it, with 403 or 400",
            pyzord: "does not answer it, and counts it",
            why: "one forged datagram makes two Python servers, or one and itself, answer each other \
                for ever (the class of CVE-2024-2169)",
        },
        Row {
            id: "reply-size",
            matter: "size of replies",
            python: "has no limit",
            pyzord: "at most three times the request on the wire, 28 bytes of headers included; for tiny \
                requests the text of `Diag` is cut to its first words",
            why: "a server must not amplify traffic to a forged address",
        },
        Row {
            id: "request-length",
            matter: "request of more than 8192 bytes",
            python: "is cut, and a part is counted",
            pyzord: "400 `Bad request: Request is longer than 8192 bytes`; nothing is counted",
            why: "a partial report is worse than an error",
        },
        Row {
            id: "digest-form",
            matter: "digest that is not 40 hex digits",
            python: "any text is stored and counted",
            pyzord: "400 `Bad request: Digest is not 40 hexadecimal digits`; no digest of the request is \
                counted. With ping and pong too",
            why: "such text fills the database and can damage its records",
        },
        Row {
            id: "digest-case",
            matter: "digest in upper case",
            python: "is a separate key",
            pyzord: "is stored in lower case",
            why: "it is the same digest",
        },
        Row {
            id: "no-digest",
            matter: "check, info, report, whitelist without a digest",
            python: "200 without fields",
            pyzord: "400 `Bad request: Digest not specified in request`",
            why: "the client must learn that nothing was counted",
        },
        Row {
            id: "pong-without-digest",
            matter: "pong without a digest",
            python: "200 without fields",
            pyzord: "200 with the counts",
            why: "a self-test needs no digest",
        },
        Row {
            id: "no-thread",
            matter: "request without `Thread`",
            python: "the reply has an empty `Thread:` line",
            pyzord: "the reply has no `Thread` line",
            why: "there is no value to return",
        },
        Row {
            id: "odd-thread",
            matter: "`Thread` with bytes beyond ASCII, with a vertical tab, form feed or one of the \
                separators 0x1c to 0x1e, or folded behind a blank",
            python: "is encoded as in a mail, is broken into other lines, or gets no answer",
            pyzord: "is returned unchanged",
            why: "the client recognises its reply by it",
        },
        Row {
            id: "signed-oddities",
            matter: "signed request with such bytes or folds in a header, or with lines behind the \
                headers",
            python: "checks the signature against another text than the client's, so 401",
            pyzord: "checks the headers as they were sent",
            why: "the client signed these bytes",
        },
        Row {
            id: "time-form",
            matter: "`Time` missing or not a number, in a signed request",
            python: "500 with Python's message",
            pyzord: "401 `Invalid signature.`",
            why: "the error is the client's",
        },
        Row {
            id: "version-infinite",
            matter: "`PV` infinite",
            python: "500",
            pyzord: "400 `Invalid Protocol Version`",
            why: "the error is the client's",
        },
        Row {
            id: "number-form",
            matter: "`Time` or `PV` with `_` between its digits, or with a vertical tab or a byte 0x1c to \
                0x1f around them",
            python: "is read as a number",
            pyzord: "is not a number",
            why: "no client sends such numbers",
        },
        Row {
            id: "not-ascii",
            matter: "`Op`, `PV`, `User`, `Time` or `Op-Digest` with bytes beyond ASCII",
            python: "500 with Python's message",
            pyzord: "is an ordinary value: refused, unless it is the name of an account",
            why: "the error is the client's",
        },
        Row {
            id: "database-words",
            matter: "failure of the database",
            python: "500 with the exception's message",
            pyzord: "500 `Database temporarily unavailable.` or `The record of this digest is \
                unreadable.`",
            why: "internal details belong in the log",
        },
        Row {
            id: "port-zero",
            matter: "datagram from UDP port 0",
            python: "tries to answer",
            pyzord: "ignores it and counts it",
            why: "no client can receive a reply there",
        },
        Row {
            id: "constant-time",
            matter: "comparison of signatures",
            python: "ends at the first difference",
            pyzord: "takes constant time",
            why: "a signature cannot be guessed digit by digit",
        },
    ],
};

pub(super) const LIMITS: Section = Section {
    level: 2,
    title: "Limits",
    rows: &[
        Row {
            id: "replays",
            matter: "unchanged copy of a signed report or whitelisting",
            python: "counts each copy",
            pyzord: "counts the first and answers each, while the signature is valid",
            why: "an eavesdropper could repeat it for ten minutes, and networks duplicate datagrams",
        },
        Row {
            id: "failure-limit",
            matter: "many wrong signatures from one network",
            python: "answers each",
            pyzord: "answers 50 at once and 5 a second; drops and counts the others",
            why: "keys cannot be guessed, and a forged address gets no flood of answers",
        },
        Row {
            id: "limits",
            matter: "new",
            python: "",
            pyzord: "limits for the requests of a network; lists of networks that are served or not",
            why: "a public server needs them",
        },
    ],
};

pub(super) const ACCESS: Section = Section {
    level: 2,
    title: "Access and accounts",
    rows: &[
        Row {
            id: "access-order",
            matter: "several matching lines in the access file",
            python: "documents the first, applies the last",
            pyzord: "applies the first, or with `AccessOrder = last-match` the last; warns about each \
                pair of lines that differs",
            why: "the documentation is the contract, and a move must not change rights unnoticed",
        },
        Row {
            id: "all-in-a-list",
            matter: "`all` among other words",
            python: "is a keyword only alone; in a list it is an ordinary word",
            pyzord: "is a keyword in a list too: `all anonymous`",
            why: "the documented last line, `all : all anonymous : deny`, needs it",
        },
        Row {
            id: "names-with-capitals",
            matter: "names of users in the access file",
            python: "are all lower case; no line can name an account with capitals",
            pyzord: "compare exactly; a name that matches an account only in lower case means that \
                account, with a warning",
            why: "accounts with capitals can get rights",
        },
        Row {
            id: "unknown-names",
            matter: "unknown users and operations in the access file",
            python: "no warning",
            pyzord: "a warning",
            why: "it shows spelling mistakes",
        },
        Row {
            id: "bad-line-warning",
            matter: "bad lines",
            python: "a warning that contains the line, in the accounts file perhaps with a key",
            pyzord: "a warning that contains the line's number",
            why: "keys do not belong in logs",
        },
        Row {
            id: "indented-comment",
            matter: "line whose first word begins with `#`, indented or behind a byte order mark",
            python: "is a comment only if `#` is the file's or the line's first character; else it is a rule or an account",
            pyzord: "is a comment; a byte order mark is no part of the line behind it, with a warning",
            why: "a rule that is commented out grants nothing",
        },
        Row {
            id: "empty-part",
            matter: "line without user, key or operation",
            python: "is accepted",
            pyzord: "is skipped with a warning",
            why: "it is a mistake",
        },
        Row {
            id: "file-encoding",
            matter: "file that is not UTF-8",
            python: "the start fails",
            pyzord: "is read",
            why: "names and keys are bytes",
        },
        Row {
            id: "file-blanks",
            matter: "white space around names and keys",
            python: "Unicode white space is dropped",
            pyzord: "ASCII white space is dropped",
            why: "names and keys are bytes",
        },
        Row {
            id: "account-named-anonymous",
            matter: "account named `anonymous`",
            python: "`all` in the access file includes it",
            pyzord: "has no use, with a warning",
            why: "`all` does not include `anonymous`",
        },
        Row {
            id: "account-warnings",
            matter: "repeated account; key with a comma",
            python: "no warning",
            pyzord: "a warning",
            why: "these mistakes are common",
        },
        Row {
            id: "keys-in-log",
            matter: "keys at debug level",
            python: "are logged",
            pyzord: "are never logged",
            why: "keys do not belong in logs",
        },
        Row {
            id: "vanished-file",
            matter: "accounts or access file that is gone at a reload",
            python: "the defaults hold: anonymous users may report",
            pyzord: "the old accounts and rules stay, with an error in the log; at a start the defaults hold",
            why: "an accident changes no rights",
        },
        Row {
            id: "irregular-file",
            matter: "FIFO or device in place of the configuration, accounts, access or a client's file",
            python: "is read",
            pyzord: "is an error, apart from `/dev/null`; so is a file of more than 64 MiB",
            why: "a FIFO without a writer stops the server",
        },
        Row {
            id: "failed-reload",
            matter: "file that cannot be read at a reload",
            python: "the reload's thread ends; accounts may be new and rules old",
            pyzord: "the old accounts and rules stay, with an error in the log",
            why: "a policy is replaced as a whole",
        },
    ],
};
