//! States that the code rules out.

use std::fmt;

/// Makes a state visible that cannot exist: panics in a debug build, and logs an error in a release build,
/// where the caller goes on with an answer that does no harm.
#[cold]
pub(crate) fn bug(what: fmt::Arguments<'_>) {
    log::error!("bug in pyzord, please report it: {what}");
    debug_assert!(false, "{what}");
}
