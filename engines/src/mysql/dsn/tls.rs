//! TLS options of a DSN.

use std::path::PathBuf;

/// A TLS connection: what the server must prove.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Tls {
    pub(in super::super) verify: Verify,
    /// A PEM file of authorities besides the well-known ones.
    pub(in super::super) authorities: Option<PathBuf>,
}

/// What the server's certificate must prove.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Verify {
    Nothing,
    /// A known authority has signed it.
    Authority,
    /// As `Authority`, and it names the host.
    Identity,
}
