//! Which table of which database on which server: the setting `DigestDB` of this engine.

mod error;
mod host;
mod parse;
mod table;
mod target;
mod tls;
mod url;

pub use error::DsnError;
pub(super) use host::{Host, PORT};
pub use target::Dsn;
pub(super) use tls::{Tls, Verify};
