use pyzord_engines::codec::redis_v0::{decode, encode};

use crate::record::Text;

/// A record is read back as written, to the second. A readable value is written in a form with the same content,
/// which then stays the same.
pub fn redis_v0_record(data: &[u8]) {
    Text { decode, encode, unit: 1_000_000 }.check(data);
}
