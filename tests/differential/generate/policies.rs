//! The policies that the servers run with.

/// The accounts and access files of one policy, and the users that can sign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerFiles {
    pub(crate) accounts: Option<&'static str>,
    pub(crate) access: Option<&'static str>,
    pub(crate) users: &'static [(&'static str, &'static str)],
}

pub(super) const USERS: [(&str, &str); 3] = [("bob", "5ecre7"), ("eve", "ABCdef0123"), ("Ann", "a b,c")];
pub(super) const ACCOUNTS: &str = "bob : 5ecre7\neve:ABCdef0123\n\n# the others\nAnn : a b,c\nmarker : m\n";

/// The policies that the servers run with. In the access files the last match decides.
pub(crate) const POLICIES: [ServerFiles; 4] = [
    ServerFiles { accounts: None, access: None, users: &[] },
    ServerFiles {
        accounts: Some(ACCOUNTS),
        access: Some(
            "all : all : allow\nwhitelist : eve : deny\nfrobnicate : bob : allow\n\
             check report ping pong info train : anonymous : allow\nreport : anonymous : deny\n",
        ),
        users: &USERS,
    },
    ServerFiles {
        accounts: Some(ACCOUNTS),
        access: Some(
            "check report:bob:allow\nALL : eve : Allow\nreport : eve : deny\nping : marker bob : allow\n",
        ),
        users: &USERS,
    },
    ServerFiles {
        accounts: Some(ACCOUNTS),
        access: Some("all : anonymous bob eve marker : allow\ntrain frobnicate : anonymous eve : allow\n"),
        users: &USERS,
    },
];
