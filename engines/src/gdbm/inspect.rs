//! Finds what is broken in a gdbm file before libgdbm works on it.
//!
//! libgdbm checks some of this itself, and fails well. What it does not check is a bucket whose count of keys is
//! not the number of its occupied slots: storing into one never returns when the count is too small, and writes
//! beyond a buffer when it is too large. Nor does it see keys in space that counts as free. A process killed in
//! the middle of a write can leave both. Recovery, on the other hand, stores into a new file and only reads the
//! damaged one, so a file with such a fault is recovered before anything is stored into it.
//!
//! All buckets are read twice. It takes about as long as counting the keys, and the count that follows finds them
//! in memory.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::bucket::Place;
use super::free::FreeSpace;
use super::header::{self, Header, Malformed, Mismatch, OFFSET, Rule, check, offset, signed};

/// Why a file cannot be inspected to the end.
#[derive(Debug)]
pub(super) enum Hopeless {
    Io(io::Error),
    Malformed(Malformed),
    /// No bucket is intact or has a record, so a recovery would save nothing; the first fault found.
    NoBucket(Fault),
}

/// Something broken, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    Header(Mismatch),
    FreeSpace(Mismatch),
    /// The bucket's address in the file.
    Bucket(i64, Mismatch),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(mismatch) => write!(f, "in its header, {mismatch}"),
            Self::FreeSpace(mismatch) => write!(f, "in its free space, {mismatch}"),
            Self::Bucket(address, mismatch) => write!(f, "in its bucket at {address}, {mismatch}"),
        }
    }
}

/// Checks the header of a file that may belong to another process.
pub(super) fn header(file: &File) -> Result<Header, Hopeless> {
    let length = file.metadata()?.len();
    let start = block(file, 0, usize::try_from(length).unwrap_or(usize::MAX).min(header::LENGTH))?;
    let header = Header::parse(&start, length)?;
    header.check_free_table(&block(file, 0, header.block_size)?)?;
    Ok(header)
}

/// Checks the rest of a file that nobody writes meanwhile; `None` is a sound one.
pub(super) fn body(file: &File, header: &Header) -> Result<Option<Fault>, Hopeless> {
    let directory = block(file, header.directory, header.directory_size)?;
    let directory: Vec<i64> = directory.chunks_exact(OFFSET).map(|entry| offset(entry, 0)).collect();
    let length = i64::try_from(file.metadata()?.len()).unwrap_or(i64::MAX);
    let mut body = Body { file, header, directory, length, free: FreeSpace::default() };
    if let Err(fault) = body.check_extent() {
        return body.hopeful(fault);
    }
    if let Err(fault) = body.read_free_space()? {
        return body.hopeful(fault);
    }
    let mut free = std::mem::take(&mut body.free);
    if let Err(fault) = body.each_bucket(|place, bucket| place.check(bucket, &mut free))? {
        return body.hopeful(fault);
    }
    if let Err(mismatch) = free.settle() {
        return Ok(Some(Fault::FreeSpace(mismatch)));
    }
    let used = body.each_bucket(|place, bucket| place.check_used(bucket, &free))?;
    let fixed = body.fixed_used(&free).map_err(Fault::Header);
    Ok(used.and(fixed).err())
}

/// Everything but the header.
struct Body<'a> {
    file: &'a File,
    header: &'a Header,
    /// The addresses of the buckets, by the leading bits of the hash values.
    directory: Vec<i64>,
    length: i64,
    free: FreeSpace,
}

impl Body<'_> {
    /// A fault is worth a recovery only when one bucket at least is intact, or has a record that can be read.
    fn hopeful(&self, fault: Fault) -> Result<Option<Fault>, Hopeless> {
        let mut worth = false;
        for place in self.places() {
            let judge = |bucket: &[u8]| match place.check(bucket, &mut FreeSpace::default()) {
                Err(mismatch) if !place.has_records(bucket) => Err(mismatch),
                _ => Ok(()),
            };
            worth |= self.bucket(&place, judge)?.is_ok();
        }
        if worth { Ok(Some(fault)) } else { Err(Hopeless::NoBucket(fault)) }
    }

    /// Space that the header claims beyond the file's end. Old libraries left some, and so does a process that
    /// is killed while the file grows; but libgdbm would fill any amount of it with zeros.
    fn check_extent(&self) -> Result<(), Fault> {
        let slack = signed(8 * self.header.block_size + 4 * self.header.directory_size);
        let most = Rule::Within(signed(self.header.block_size), self.length.saturating_add(slack));
        check("next_block", self.header.next_block, most).map_err(Fault::Header)
    }

    /// Adds the header's table of free space and those that follow it in a list.
    fn read_free_space(&mut self) -> io::Result<Result<(), Fault>> {
        let mut table = self.header.free_table(&block(self.file, 0, self.header.block_size)?).to_vec();
        let size = signed(self.header.free_block_size());
        // Each table takes space of its own, which bounds the number of them: the list may have been bent into
        // a circle.
        for _ in 0..=self.length / size {
            let next = match self.header.read_free_table(&table, &mut self.free) {
                Ok(0) => return Ok(Ok(())),
                Ok(next) => next,
                Err(mismatch) => return Ok(Err(Fault::FreeSpace(mismatch))),
            };
            let within = Rule::Within(signed(self.header.block_size), self.length - size);
            if let Err(mismatch) = check("the address of the next table", next, within) {
                return Ok(Err(Fault::FreeSpace(mismatch)));
            }
            table = block(self.file, next.unsigned_abs(), self.header.free_block_size())?;
        }
        let circle =
            check("the number of tables", self.length / size + 1, Rule::Within(0, self.length / size));
        Ok(circle.map_err(Fault::FreeSpace))
    }

    /// The header's block and the directory must not lie in free space.
    fn fixed_used(&self, free: &FreeSpace) -> Result<(), Mismatch> {
        free.check_used("the header's address", 0, signed(self.header.block_size))?;
        let directory = i64::try_from(self.header.directory).unwrap_or(i64::MAX);
        free.check_used("dir", directory, signed(self.header.directory_size))
    }

    /// Checks every bucket, up to the first fault.
    fn each_bucket(
        &self,
        mut check: impl FnMut(&Place<'_>, &[u8]) -> Result<(), Mismatch>,
    ) -> io::Result<Result<(), Fault>> {
        for place in self.places() {
            if let Err(mismatch) = self.bucket(&place, |bucket| check(&place, bucket))? {
                return Ok(Err(Fault::Bucket(place.address, mismatch)));
            }
        }
        Ok(Ok(()))
    }

    fn bucket(
        &self,
        place: &Place<'_>,
        check: impl FnOnce(&[u8]) -> Result<(), Mismatch>,
    ) -> io::Result<Result<(), Mismatch>> {
        if let Err(mismatch) = place.check_address() {
            return Ok(Err(mismatch));
        }
        block(self.file, place.address.unsigned_abs(), self.header.bucket_size).map(|bucket| check(&bucket))
    }

    /// The buckets as the directory names them: neighbouring entries with one address are one bucket.
    fn places(&self) -> impl Iterator<Item = Place<'_>> {
        let mut next = 0;
        self.directory.chunk_by(|a, b| a == b).map(move |same| {
            let (entry, entries) = (next, signed(same.len()));
            next += entries;
            let address = same.first().copied().unwrap_or(0);
            Place { header: self.header, address, entry, entries, length: self.length }
        })
    }
}

/// So many bytes of the file.
pub(super) fn block(file: &File, address: u64, size: usize) -> io::Result<Vec<u8>> {
    let mut block = vec![0; size];
    file.read_exact_at(&mut block, address)?;
    Ok(block)
}

impl From<io::Error> for Hopeless {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Malformed> for Hopeless {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for Hopeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "it cannot be read: {error}"),
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::NoBucket(fault) => write!(f, "nothing in it can be recovered: {fault}"),
        }
    }
}
