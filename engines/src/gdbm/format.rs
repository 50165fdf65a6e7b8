//! The numbers in a gdbm file: reads and checks them.
//!
//! They are C ints and file offsets in the machine's own byte order.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::bug::bug;

/// The size of a file offset in bytes.
pub(super) const OFFSET: usize = 8;
/// The number of bits of a hash value.
pub(super) const HASH_BITS: i64 = 31;

/// A number in the file that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} is {found} where it must be {expected}")]
pub struct Mismatch {
    field: &'static str,
    found: i64,
    expected: Expected,
}

/// What a number must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expected {
    Exactly(i64),
    /// At least the first, and at most the second.
    Within(i64, i64),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(value) => write!(f, "{value}"),
            Self::Within(least, most) => write!(f, "{least} to {most}"),
        }
    }
}

/// Checks a number.
pub(super) fn check(field: &'static str, found: i64, expected: Expected) -> Result<(), Mismatch> {
    let right = match expected {
        Expected::Exactly(value) => found == value,
        Expected::Within(least, most) => (least..=most).contains(&found),
    };
    if right { Ok(()) } else { Err(Mismatch { field, found, expected }) }
}

/// Checks a number that is a size in memory, and returns it as one.
pub(super) fn check_size(field: &'static str, found: i64, expected: Expected) -> Result<usize, Mismatch> {
    check(field, found, expected)?;
    usize::try_from(found).map_err(|_| Mismatch { field, found, expected })
}

/// Returns the C int at a position of a structure.
pub(super) fn int(structure: &[u8], at: usize) -> i64 {
    i32::from_ne_bytes(bytes_at(structure, at)).into()
}

/// Returns the file offset at a position of a structure.
pub(super) fn offset(structure: &[u8], at: usize) -> i64 {
    i64::from_ne_bytes(bytes_at(structure, at))
}

/// Returns the bytes at a position. Callers give structures of a fixed size and positions in them.
pub(super) fn bytes_at<const N: usize>(structure: &[u8], at: usize) -> [u8; N] {
    structure.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_else(|| {
        bug(format_args!("{N} bytes at {at} of a structure of {}", structure.len()));
        [0; N]
    })
}

/// Returns what follows a position of a structure.
pub(super) fn rest(structure: &[u8], from: usize) -> &[u8] {
    structure.get(from..).unwrap_or_else(|| {
        bug(format_args!("the bytes from {from} of a structure of {}", structure.len()));
        &[]
    })
}

/// Converts a size in memory to a number of the file. No object in memory is larger than `isize::MAX`.
pub(super) fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Returns the length of a file.
pub(super) fn length(file: &File) -> io::Result<i64> {
    i64::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

/// Reads the bytes at an address of the file.
pub(super) fn array<const N: usize>(file: &File, address: i64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, unsigned(address)?)?;
    Ok(bytes)
}

/// Reads `size` bytes at an address of the file.
pub(super) fn block(file: &File, address: i64, size: usize) -> io::Result<Vec<u8>> {
    let mut block = vec![0; size];
    file.read_exact_at(&mut block, unsigned(address)?)?;
    Ok(block)
}

/// Returns an address as the system takes it.
fn unsigned(address: i64) -> io::Result<u64> {
    u64::try_from(address).map_err(|_| io::ErrorKind::InvalidInput.into())
}
