use pyzord_core::{HeaderBlock, lines};

use crate::email::{self, Field};

/// A header block has the headers that Python's `email` package finds in it, and is the same when it is written again.
pub fn header(datagram: &[u8]) {
    let found = headers(datagram);
    assert_eq!(found, email::headers(datagram));
    assert_eq!(headers(&email::written(&found)), found);
    let size: usize = HeaderBlock::new(datagram).iter().map(|header| header.name.len() + header.value.len()).sum();
    assert!(size <= datagram.len());
}

pub(crate) fn headers(datagram: &[u8]) -> Vec<Field> {
    let lines = |value| lines(value).map(<[u8]>::to_vec).collect();
    HeaderBlock::new(datagram).iter().map(|header| (header.name.to_vec(), lines(header.value))).collect()
}
