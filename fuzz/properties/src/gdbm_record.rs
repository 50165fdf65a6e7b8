use pyzord_engines::codec::gdbm::{decode, encode};

use crate::record::Text;

/// A record is read back as it was written, to the microsecond. A value that can be read is written in a form that
/// says the same and stays.
pub fn gdbm_record(data: &[u8]) {
    Text { decode, encode, unit: 1 }.check(data);
}
