//! What may be done to a database.

/// What may be done to a database that is opened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// Reads records, and changes nothing. A gdbm file is shared with other readers.
    Read,
    /// Reads and changes records of a database that exists. A gdbm file is used exclusively.
    Change,
    /// As `Change`, and creates the database if there is none.
    Create,
}
