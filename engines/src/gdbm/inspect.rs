//! Detects damage in a gdbm file before libgdbm works on it.
//!
//! libgdbm checks some of this itself, and fails well. It does not check that a bucket's count of keys is the
//! number of its occupied slots: storing into a bucket loops for ever if the count is too small, and writes
//! beyond a buffer if it is too large. Nor does it detect keys in space that counts as free. A process that
//! is killed in the middle of a write can leave both. Recovery stores into a new file and only reads the
//! damaged one, so a file with such damage is recovered before anything is stored into it.
//!
//! All buckets are read twice, which takes about as long as to count the keys; the count that follows finds
//! them in memory.

use std::fs::File;
use std::io;

use super::bucket::BucketLocation;
use super::ffi::GdbmError;
use super::format::Expected::Within;
use super::format::{self, Mismatch, OFFSET, block, check, offset, signed};
use super::free::FreeSpace;
use super::header::{self, Header, HeaderError};
use super::salvage;

/// Why a file cannot be used, nor be recovered.
#[derive(Debug, thiserror::Error)]
pub(super) enum InspectError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// No bucket is intact, and there is no record, so a recovery would save nothing; the first damage found.
    #[error("nothing in it can be recovered: {0}")]
    Unrecoverable(Damage),
}

/// What is damaged in a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The header, or space that it refers to.
    #[error("in its header, {0}")]
    Header(Mismatch),
    /// The tables of free space.
    #[error("in its free space, {0}")]
    FreeSpace(Mismatch),
    /// A bucket.
    #[error("in its bucket at {address}, {mismatch}")]
    Bucket {
        /// Where it is in the file.
        address: i64,
        /// What is wrong with it.
        mismatch: Mismatch,
    },
    /// A key, or its value.
    #[error("the record at {address} is not the one that its bucket names")]
    Record {
        /// Where it is in the file.
        address: i64,
    },
    /// What libgdbm says.
    #[error(transparent)]
    Library(GdbmError),
}

/// Checks the header of a file, which another process may be using.
pub(super) fn header(file: &File) -> Result<Header, InspectError> {
    let length = format::length(file)?;
    if length < signed(header::LENGTH) {
        return Err(HeaderError::Short(length).into());
    }
    let header = Header::parse(&block(file, 0, header::LENGTH)?, length)?;
    header.check_free_table(&block(file, 0, header.block_size)?)?;
    Ok(header)
}

/// Checks the rest of a file, which must not be written meanwhile; returns `None` for a sound one.
pub(super) fn body(file: &File, header: &Header) -> Result<Option<Damage>, InspectError> {
    let directory = block(file, header.directory, header.directory_size)?;
    let directory: Vec<i64> = directory.chunks_exact(OFFSET).map(|entry| offset(entry, 0)).collect();
    let length = format::length(file)?;
    let mut body = Body { file, header, directory, length, free: FreeSpace::default() };
    if let Err(damage) = body.check_extent() {
        return body.recoverable(damage);
    }
    if let Err(damage) = body.read_free_space()? {
        return body.recoverable(damage);
    }
    let mut free = std::mem::take(&mut body.free);
    if let Err(damage) = body.each_bucket(|location, bucket| location.check(bucket, &mut free))? {
        return body.recoverable(damage);
    }
    if let Err(mismatch) = free.settle() {
        return Ok(Some(Damage::FreeSpace(mismatch)));
    }
    let used = body.each_bucket(|location, bucket| location.check_used(bucket, &free))?;
    let fixed = body.fixed_used(&free).map_err(Damage::Header);
    Ok(used.and(fixed).err())
}

/// Checks that each bucket names the keys that are where it says. A kill leaves no other, but a loss of power does, if the
/// page of a record was not written. Reads the whole file.
pub(super) fn keys(file: &File, header: &Header) -> Result<Option<Damage>, InspectError> {
    salvage::read_ahead(file)?;
    let directory = salvage::directory(file, header)?;
    for location in salvage::locations(header, &directory, format::length(file)?) {
        let bucket = block(file, location.address, header.bucket_size)?;
        for slot in location.occupied(&bucket) {
            let record = salvage::read_slot(file, &location, slot)?;
            if record.is_none_or(|(key, value)| salvage::is_blank(&key, &value)) {
                return Ok(Some(Damage::Record { address: slot.address }));
            }
        }
    }
    Ok(None)
}

/// Everything except for the header.
struct Body<'a> {
    file: &'a File,
    header: &'a Header,
    /// The addresses of the buckets, by the leading bits of the hash values.
    directory: Vec<i64>,
    length: i64,
    free: FreeSpace,
}

impl Body<'_> {
    /// Returns the damage if a recovery would save something: at least one bucket is intact or has a readable
    /// record, or a search of the file finds one.
    fn recoverable(&self, damage: Damage) -> Result<Option<Damage>, InspectError> {
        let mut worth = false;
        for location in self.locations() {
            let judge = |bucket: &[u8]| match location.check(bucket, &mut FreeSpace::default()) {
                Err(mismatch) if !location.has_records(bucket) => Err(mismatch),
                _ => Ok(()),
            };
            worth |= self.bucket(&location, judge)?.is_ok();
        }
        if worth || salvage::has_records(self.file, self.header)? {
            Ok(Some(damage))
        } else {
            Err(InspectError::Unrecoverable(damage))
        }
    }

    /// Checks how much space the header claims beyond the file's end. Old libraries left some, and so does a
    /// process that is killed while the file grows; but libgdbm fills any amount of it with zeros.
    fn check_extent(&self) -> Result<(), Damage> {
        let slack = signed(8 * self.header.block_size + 4 * self.header.directory_size);
        let most = Within(signed(self.header.block_size), self.length.saturating_add(slack));
        check("next_block", self.header.next_block, most).map_err(Damage::Header)
    }

    /// Reads the header's table of free space and the list of those that follow it.
    fn read_free_space(&mut self) -> io::Result<Result<(), Damage>> {
        let mut table = self.header.free_table(&block(self.file, 0, self.header.block_size)?).to_vec();
        let size = signed(self.header.free_block_size());
        // The list may be a circle. Each table takes space of its own, which bounds their number.
        for _ in 0..=self.length / size {
            let next = match self.header.read_free_table(&table, &mut self.free) {
                Ok(0) => return Ok(Ok(())),
                Ok(next) => next,
                Err(mismatch) => return Ok(Err(Damage::FreeSpace(mismatch))),
            };
            let within = Within(signed(self.header.block_size), self.length - size);
            if let Err(mismatch) = check("the address of the next table", next, within) {
                return Ok(Err(Damage::FreeSpace(mismatch)));
            }
            table = block(self.file, next, self.header.free_block_size())?;
        }
        let circle = check("the number of tables", self.length / size + 1, Within(0, self.length / size));
        Ok(circle.map_err(Damage::FreeSpace))
    }

    /// Checks that the header's block and the directory do not lie in free space.
    fn fixed_used(&self, free: &FreeSpace) -> Result<(), Mismatch> {
        free.check_used("the header's address", 0, signed(self.header.block_size))?;
        free.check_used("dir", self.header.directory, signed(self.header.directory_size))
    }

    /// Applies a check to every bucket, up to the first damage.
    fn each_bucket(
        &self,
        mut check: impl FnMut(&BucketLocation<'_>, &[u8]) -> Result<(), Mismatch>,
    ) -> io::Result<Result<(), Damage>> {
        for location in self.locations() {
            if let Err(mismatch) = self.bucket(&location, |bucket| check(&location, bucket))? {
                return Ok(Err(Damage::Bucket { address: location.address, mismatch }));
            }
        }
        Ok(Ok(()))
    }

    /// Reads a bucket and applies a check to it.
    fn bucket(
        &self,
        location: &BucketLocation<'_>,
        check: impl FnOnce(&[u8]) -> Result<(), Mismatch>,
    ) -> io::Result<Result<(), Mismatch>> {
        if let Err(mismatch) = location.check_address() {
            return Ok(Err(mismatch));
        }
        block(self.file, location.address, self.header.bucket_size).map(|bucket| check(&bucket))
    }

    /// Returns the buckets that the directory names.
    fn locations(&self) -> impl Iterator<Item = BucketLocation<'_>> {
        salvage::locations(self.header, &self.directory, self.length)
    }
}
