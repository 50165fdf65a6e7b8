use pyzord_engines::codec::gdbm::{decode, encode};

use crate::record::Text;

/// A record is read back as written, to the microsecond. A readable value is written in a form with the same
/// content, which then stays the same.
pub fn gdbm_record(data: &[u8]) {
    Text { decode, encode, unit: 1 }.check(data);
}
