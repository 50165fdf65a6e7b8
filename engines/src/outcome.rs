//! The answer to a count whose connection broke.

use pyzord_core::StoreError;

/// The answer to a count that the server may have executed: it was sent, and its answer is missing. It must not be
/// sent again.
///
/// Everything that was certainly not executed is [`StoreError::Unavailable`].
pub(crate) const MAYBE_COUNTED: StoreError = StoreError::Unavailable;
