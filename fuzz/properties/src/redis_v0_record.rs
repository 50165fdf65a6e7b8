use pyzord_engines::codec::redis_v0::{decode, encode};

use crate::record::Text;

/// A record is read back as it was written, to the second. A value that can be read is written in a form that says
/// the same and stays.
pub fn redis_v0_record(data: &[u8]) {
    Text { decode, encode, unit: 1_000_000 }.check(data);
}
