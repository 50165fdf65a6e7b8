//! The cryptography of TLS connections.

use rustls::crypto::ring;

/// Chooses `ring` for all TLS connections of the process, unless the process has chosen already.
pub(crate) fn choose_provider() {
    if ring::default_provider().install_default().is_err() {
        log::trace!("the process has a TLS provider already");
    }
}
