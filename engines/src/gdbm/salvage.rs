//! Reads what is left of a file, damaged or not, without libgdbm.
//!
//! First by the directory: each slot of each bucket names a key and its value. A loss of power leaves any mixture of
//! old and new pages, in which an old directory leads to buckets that have been split since, and all their records
//! seem lost. But a split moves buckets, and never a record. So the whole file is searched for records, too: one that
//! was on the disk and has not changed is found, whatever became of its bucket.
//!
//! A record that has expired may still be there, in space that counts as free. It is not taken from space that any table
//! lists as free, and goes in the next round of expiry. One that an operator removes is cleared
//! before; one that a migration has moved may come back.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use pyzord_core::Digest;

use super::bucket::{BucketLocation, Slot};
use super::format::{self, Mismatch, OFFSET, block, offset, signed};
use super::free::FreeSpace;
use super::hash::hash;
use super::header::Header;
use crate::codec::gdbm::written_length;

/// How many bytes a search reads at once.
const CHUNK: usize = 1 << 20;
/// The length of a key that is a digest.
const KEY: usize = 40;
/// No key and value that pyzord or Python's server writes is longer than this.
const LONGEST: usize = 256;

/// What the directory of a file did not lead to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Lost {
    /// Slots whose key or value cannot be read.
    pub(super) slots: u64,
    pub(super) buckets: u64,
}

/// Gives every key and value that the directory leads to. The same key may come twice in a damaged file.
pub(super) fn by_directory<E: From<io::Error>>(
    file: &File,
    header: &Header,
    mut sink: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<Lost, E> {
    let (length, mut lost) = (format::length(file)?, Lost::default());
    for location in locations(header, &directory(file, header)?, length) {
        let Ok(bucket) = read_bucket(file, &location)? else {
            lost.buckets += 1;
            continue;
        };
        let sound = location.check_fixed(&bucket, &mut FreeSpace::default()).is_ok();
        lost.buckets += u64::from(!sound);
        for slot in location.occupied(&bucket) {
            match read_slot(file, &location, slot)? {
                Some((key, value)) => sink(&key, &value)?,
                // What is no bucket has no slots, either.
                None => lost.slots += u64::from(sound),
            }
        }
    }
    Ok(lost)
}

/// Searches the whole file for records of digests, as pyzord and Python's server write them, outside of free space.
pub(super) fn by_search<E: From<io::Error>>(
    file: &File,
    header: &Header,
    mut sink: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let free = free_space(file, header)?;
    let mut window = vec![0; CHUNK + LONGEST];
    let mut start = 0_u64;
    loop {
        let filled = fill(file, start, &mut window)?;
        let bytes = window.get(..filled).unwrap_or_default();
        // What begins in the last bytes is complete in the next window.
        let ends = if filled < window.len() { filled } else { CHUNK };
        for at in keys(bytes).take_while(|at| *at < ends) {
            let (key, rest) = bytes.split_at(at).1.split_at(KEY);
            let Some(value) = written_length(rest).and_then(|length| rest.get(..length)) else { continue };
            let address = signed(at).saturating_add_unsigned(start);
            if free.check_used("the address of a key", address, signed(KEY + value.len())).is_ok() {
                sink(key, value)?;
            }
        }
        if filled < window.len() {
            return Ok(());
        }
        start += CHUNK as u64;
    }
}

/// Returns whether a search finds anything.
pub(super) fn has_records(file: &File, header: &Header) -> io::Result<bool> {
    match by_search(file, header, |_, _| Err(End::Found)) {
        Ok(()) => Ok(false),
        Err(End::Found) => Ok(true),
        Err(End::Failed(error)) => Err(error),
    }
}

/// Why a search ends early.
enum End {
    Found,
    Failed(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Returns whether the value of a digest was never written: a page that is lost reads as zeros.
pub(super) fn is_blank(key: &[u8], value: &[u8]) -> bool {
    value.contains(&0) && Digest::parse(key).is_some()
}

/// Returns where keys may begin: the last [`KEY`] hexadecimal digits before a value.
fn keys(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut digits = 0;
    bytes.iter().enumerate().filter_map(move |(at, byte)| {
        let run = digits;
        digits = if matches!(byte, b'0'..=b'9' | b'a'..=b'f') { run + 1 } else { 0 };
        // The value begins with its version, one digit and a comma.
        (*byte == b',' && run > KEY).then(|| at - KEY - 1)
    })
}

/// Reads the whole file, from its start to its end, so that the system has it in memory.
pub(super) fn read_ahead(file: &File) -> io::Result<()> {
    let (mut window, mut start) = (vec![0; CHUNK], 0);
    loop {
        match fill(file, start, &mut window)? {
            0 => return Ok(()),
            read => start += read as u64,
        }
    }
}

fn fill(file: &File, start: u64, window: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    loop {
        let rest = window.get_mut(filled..).unwrap_or_default();
        match file.read_at(rest, start + filled as u64)? {
            0 => return Ok(filled),
            read => filled += read,
        }
    }
}

/// Returns the space that the tables list as free, as far as they can be read.
fn free_space(file: &File, header: &Header) -> io::Result<FreeSpace> {
    let (length, mut free) = (format::length(file)?, FreeSpace::default());
    let size = signed(header.free_block_size());
    let mut table = header.free_table(&block(file, 0, header.block_size)?).to_vec();
    for _ in 0..=length / size {
        let Ok(next) = header.read_free_table(&table, &mut free) else { break };
        if next < signed(header.block_size) || next > length - size {
            break;
        }
        table = block(file, next, header.free_block_size())?;
    }
    for location in locations(header, &directory(file, header)?, length) {
        if let Ok(bucket) = read_bucket(file, &location)? {
            // A table that is no table adds nothing, or what precedes its first error.
            let _table = location.check_fixed(&bucket, &mut free);
        }
    }
    free.join();
    Ok(free)
}

pub(super) fn directory(file: &File, header: &Header) -> io::Result<Vec<i64>> {
    let directory = block(file, header.directory, header.directory_size)?;
    Ok(directory.chunks_exact(OFFSET).map(|entry| offset(entry, 0)).collect())
}

/// Returns the buckets that the directory names: neighbouring entries with one address are one bucket.
pub(super) fn locations<'a>(
    header: &'a Header,
    directory: &'a [i64],
    length: i64,
) -> impl Iterator<Item = BucketLocation<'a>> {
    let mut next = 0;
    directory.chunk_by(|a, b| a == b).filter_map(move |same| {
        let (entry, entries) = (next, signed(same.len()));
        next += entries;
        // A chunk has at least one element.
        let address = *same.first()?;
        Some(BucketLocation { header, address, entry, entries, length })
    })
}

fn read_bucket(file: &File, location: &BucketLocation<'_>) -> io::Result<Result<Vec<u8>, Mismatch>> {
    location.check_address().map_or_else(
        |mismatch| Ok(Err(mismatch)),
        |()| block(file, location.address, location.header.bucket_size).map(Ok),
    )
}

/// Returns the key and the value of a slot, if it belongs to the bucket and the key has its hash value.
pub(super) fn read_slot(
    file: &File,
    location: &BucketLocation<'_>,
    slot: Slot,
) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    // A slot that passes names bytes within the file, so an error is one of the disk.
    let sizes = location.check_slot(slot).and_then(|()| slot.sizes(location.length));
    let Ok([key, value]) = sizes else { return Ok(None) };
    let mut key_and_value = block(file, slot.address, key + value)?;
    let value = key_and_value.split_off(key);
    Ok((hash(&key_and_value) == slot.hash).then_some((key_and_value, value)))
}
