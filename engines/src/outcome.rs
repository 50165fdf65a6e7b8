//! The answer to a call that was sent and has no reply.

use pyzord_core::{StoreError, StoreOp};

/// Returns the answer to a call that the server may have executed, or may execute later: it was sent, and its reply is
/// missing. `marked` says that the store keeps the call's mark, so that a repeat counts once at most.
///
/// A call that was certainly not executed is [`StoreError::Unavailable`].
pub(crate) const fn in_doubt(op: StoreOp, marked: bool) -> StoreError {
    match op {
        StoreOp::Read => StoreError::Unavailable,
        StoreOp::Report | StoreOp::Whitelist if marked => StoreError::Unsettled,
        StoreOp::Report | StoreOp::Whitelist => StoreError::Unknown,
    }
}
