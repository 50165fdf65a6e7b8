//! Files whose creation was cut short.
//!
//! libgdbm writes the header of a new file first, then its directory and its bucket. A process that is killed in between,
//! or a loss of power, leaves a file that cannot be opened. No record was ever stored into it, so it is created anew.

use std::fs::File;
use std::io;

use super::format::{self, block, signed};
use super::header::{self, Header};
use super::inspect::{self, InspectError};

/// A new file is not larger, in bytes.
const LARGEST: i64 = 1 << 30;

/// The length of the parts of a new file, in bytes, if its blocks have this length: header, directory, bucket, and one block
/// for records.
const BLOCK: usize = 4096;
const NEW: usize = 4 * BLOCK;

/// Returns whether a file is one without records, of which the header, or what has to follow it, is missing.
///
/// The file must not be written meanwhile.
pub(super) fn was_cut_short(file: &File) -> io::Result<bool> {
    let length = format::length(file)?;
    if length <= signed(NEW) && has_no_header(&block(file, 0, usize::try_from(length).unwrap_or_default())?) {
        return Ok(true);
    }
    if length < signed(header::LENGTH) {
        return Ok(false);
    }
    let Ok(header) = Header::parse(&block(file, 0, header::LENGTH)?, length.max(LARGEST)) else {
        return Ok(false);
    };
    // libgdbm puts a larger directory behind the records.
    if header.directory != signed(header.block_size) {
        return Ok(false);
    }
    // A new file ends with one block for records, which its only bucket lists as free.
    let records = header.directory + signed(header.directory_size + header.bucket_size);
    if length.max(header.next_block) > records + signed(header.block_size) {
        return Ok(false);
    }
    let stored = block(file, records, usize::try_from(length - records).unwrap_or_default())?;
    if stored.iter().any(|byte| *byte != 0) {
        return Ok(false);
    }
    if length < records {
        return Ok(true);
    }
    match inspect::body(file, &header) {
        Err(InspectError::Io(error)) => Err(error),
        Err(InspectError::Unrecoverable(_)) => Ok(true),
        _ => Ok(false),
    }
}

/// Returns whether a new file has neither a header nor records. A file gets records after its header has been synced, so
/// that no loss of power leaves them without it.
fn has_no_header(bytes: &[u8]) -> bool {
    let mut blocks = bytes.chunks(BLOCK);
    let is_zero = |block: Option<&[u8]>| block.is_none_or(|block| block.iter().all(|byte| *byte == 0));
    !bytes.is_empty() && is_zero(blocks.next()) && is_zero(blocks.nth(2))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt as _;

    use super::super::open::{OpenCause, open};
    use crate::access::Access;

    /// A server that was killed while it created its database never started again.
    #[test]
    fn a_file_whose_creation_was_cut_anywhere_is_created_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        drop(open(&path, Access::Create).unwrap());
        let whole = fs::read(&path).unwrap();
        let cuts = (1..=whole.len()).filter(|length| length % 512 == 0 || length % 4096 == 1 && *length > 1);
        for length in cuts {
            // A killed process leaves a shorter file, and a loss of power zeros.
            for padded in [false, true] {
                let mut cut = whole[..length].to_vec();
                if padded {
                    cut.resize(whole.len(), 0);
                }
                fs::write(&path, &cut).unwrap();
                if !padded && length < 12288 {
                    let error = open(&path, Access::Read).unwrap_err();
                    assert!(matches!(error.cause, OpenCause::CreationCutShort), "{length}: {error}");
                }
                let mut file =
                    open(&path, Access::Create).unwrap_or_else(|error| panic!("{length}: {error}"));
                assert!(file.insert(b"key", b"value").unwrap(), "{length}");
                drop(file);
                assert_eq!(open(&path, Access::Read).unwrap().count, Some(1), "{length}");
            }
        }
    }

    /// A loss of power left a file of zeros, or one whose other parts the disk had: the start was refused.
    #[test]
    fn a_new_file_without_its_header_is_created_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        drop(open(&path, Access::Create).unwrap());
        let whole = fs::read(&path).unwrap();
        for (length, others) in [(16384, true), (16384, false), (8192, true), (512, false)] {
            let mut cut = if others { whole.clone() } else { vec![0; whole.len()] };
            cut.resize(length, 0);
            cut[..length.min(4096)].fill(0);
            fs::write(&path, &cut).unwrap();
            let error = open(&path, Access::Read).unwrap_err();
            assert!(matches!(error.cause, OpenCause::CreationCutShort), "{length}: {error}");
            assert!(open(&path, Access::Create).unwrap().insert(b"key", b"value").unwrap());
            assert_eq!(open(&path, Access::Read).unwrap().count, Some(1));
        }
        // With records, it stays as it is.
        let mut damaged = fs::read(&path).unwrap();
        damaged[..4096].fill(0);
        fs::write(&path, &damaged).unwrap();
        assert!(open(&path, Access::Create).is_err());
        assert!(fs::read(&path).unwrap() == damaged);
    }

    #[test]
    fn a_file_with_records_is_never_created_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let mut file = open(&path, Access::Create).unwrap();
        assert!(file.insert(b"key", b"value").unwrap());
        drop(file);
        let (whole, descriptor) =
            (fs::read(&path).unwrap(), fs::File::options().write(true).open(&path).unwrap());
        // Its directory is lost.
        descriptor.write_all_at(&[0; 4096], 4096).unwrap();
        assert!(open(&path, Access::Create).is_err());
        let mut left = whole.clone();
        left[4096..8192].fill(0);
        assert!(fs::read(&path).unwrap() == left);
        // It is no database.
        for text in ["text", &"text".repeat(2000)] {
            fs::write(&path, text).unwrap();
            assert!(open(&path, Access::Create).is_err());
            assert_eq!(fs::read(&path).unwrap(), text.as_bytes());
        }
    }
}
