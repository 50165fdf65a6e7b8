//! Causes for which no files are written.

use std::io;
use std::path::PathBuf;

/// A cause of failure, with its words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "docs/{document} has no section `{title}`, which a man page takes: restore it, or change pages.rs"
    )]
    MissingSection { document: &'static str, title: &'static str },
    #[error("contrib/debian/changelog has no date as in `Sun, 22 Nov 2026`, which is that of the man pages")]
    NoDate,
    #[error("cannot render a man page: {0}")]
    Render(#[from] io::Error),
    #[error("{}: {cause}", path.display())]
    Write { path: PathBuf, cause: io::Error },
}
