//! Errors of the server and of the client library, and what they mean for the connection.

use std::error::Error as _;
use std::fmt;
use std::io;

use mysql::{Error, MySqlError};

/// Two transactions waited for each other, and the server ended this one.
const DEADLOCK: u16 = 1213;
/// Another transaction held a row for too long.
const LOCK_WAIT: u16 = 1205;
/// The table does not exist.
const NO_SUCH_TABLE: u16 = 1146;
/// A column that is not named has no default.
const NO_DEFAULT: u16 = 1364;
/// Access to the table, or to a column of it, is denied.
const DENIED: [u16; 2] = [1142, 1143];
/// The server is read-only, by a setting or within its cluster, and refuses what writes: the master of yesterday,
/// whose name may lead to another server by now.
const READ_ONLY: [u16; 5] = [1036, 1290, 1792, 1836, 3100];
/// A node of a cluster is not, or no more, in its majority, and executes nothing.
const NOT_READY: u16 = 1047;
/// The server tried to commit, and failed. A node that is cut off from its cluster then does not know whether the other
/// nodes have the transaction.
const COMMIT_FAILED: u16 = 1180;
/// The server does not let the user in: to the database, by the password, or by how it is proved.
const NO_ACCESS: [u16; 3] = [1044, 1045, 1698];
/// The codes for a table that is missing, or that the user may not use: no such column, access to the table or to a
/// column denied, no such table, a name that is too long.
const UNUSABLE: [u16; 5] = [1054, 1142, 1143, NO_SUCH_TABLE, 1059];
/// The codes after which this connection, or what is known of the table, is of no more use: unknown database,
/// a cluster that is not ready, shutdown, no such column, no such table, unknown statement, statement to be
/// prepared again, a killed connection, a server that is not available, an idle connection, a failed commit.
const ENDED: [u16; 11] =
    [1049, NOT_READY, 1053, 1054, NO_SUCH_TABLE, 1243, 1615, 1927, 3168, 4031, COMMIT_FAILED];

/// The codes with which a server says that it ends the connection: shutdown, killed, idle for too long.
const LAST_WORDS: [u16; 3] = [1053, 1927, 4031];

/// An error of the client library, displayed as one line.
#[derive(Debug)]
pub(super) struct ClientError(Error);

impl ClientError {
    /// Returns whether the server did not answer in time.
    pub(super) fn is_timeout(&self) -> bool {
        // Unix systems name the time-out of a socket WouldBlock.
        let kinds = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        self.io().is_some_and(|error| kinds.contains(&error.kind()))
    }

    /// Returns whether the server closed the connection, or the network did.
    pub(super) fn is_closed(&self) -> bool {
        let kinds = [
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::NotConnected,
            io::ErrorKind::WriteZero,
        ];
        // The server's last words: it shuts down, ends this connection, or thinks that it was idle for too long.
        let last_words = |error: &MySqlError| LAST_WORDS.contains(&error.code);
        match &self.0 {
            Error::MySqlError(error) => last_words(error),
            _ => self.io().is_some_and(|error| kinds.contains(&error.kind())),
        }
    }

    fn io(&self) -> Option<&io::Error> {
        match &self.0 {
            Error::IoError(error) => Some(error),
            Error::CodecError(error) => error.source().and_then(|source| source.downcast_ref()),
            _ => None,
        }
    }

    /// Returns whether the server itself refused, with one of its error codes, so that nothing was executed.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(&self.0, Error::MySqlError(error) if error.code != COMMIT_FAILED)
    }

    /// Returns whether the server is a node of a cluster that executes nothing.
    pub(super) fn is_not_ready(&self) -> bool {
        matches!(&self.0, Error::MySqlError(error) if error.code == NOT_READY)
    }

    /// Returns whether the server does not let the user in.
    pub(super) fn is_no_access(&self) -> bool {
        matches!(&self.0, Error::MySqlError(error) if NO_ACCESS.contains(&error.code))
    }

    /// Returns whether the table, a column of it, or a right to it is missing.
    pub(super) fn is_missing_table_or_right(&self) -> bool {
        matches!(&self.0, Error::MySqlError(error) if UNUSABLE.contains(&error.code))
    }

    /// Returns whether the user lacks a right to the table, or to a column of it.
    pub(super) fn is_missing_right(&self) -> bool {
        matches!(&self.0, Error::MySqlError(error) if DENIED.contains(&error.code))
    }

    /// Returns whether a column that gets no value has no default.
    pub(super) fn is_missing_default(&self) -> bool {
        matches!(&self.0, Error::MySqlError(error) if error.code == NO_DEFAULT)
    }

    /// Returns whether the table does not exist.
    pub(super) fn is_missing_table(&self) -> bool {
        matches!(&self.0, Error::MySqlError(error) if error.code == NO_SUCH_TABLE)
    }
}

impl From<Error> for ClientError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl std::error::Error for ClientError {}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_timeout() {
            return f.write_str("it does not answer in time");
        }
        let text = match &self.0 {
            Error::MySqlError(error) => format!("{} (error {})", error.message, error.code),
            Error::IoError(error) => error.to_string(),
            Error::CodecError(error) => self.io().map_or_else(|| error.to_string(), ToString::to_string),
            Error::DriverError(error) => error.to_string(),
            Error::UrlError(error) => error.to_string(),
            Error::TlsError(error) => format!("TLS: {error}"),
            Error::FromValueError(_) | Error::FromRowError(_) => "a value of an unexpected type".to_owned(),
        };
        // The server chooses its texts: they must not forge lines of the log.
        f.write_str(&text.replace(char::is_control, " "))
    }
}

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StatementError {
    /// The connection is of no more use.
    #[error(transparent)]
    Lost(ClientError),
    /// The server undid the statement because of another transaction: it can be tried again.
    #[error(transparent)]
    Contention(ClientError),
    /// The server refused to write, now and later. It still reads.
    #[error(transparent)]
    ReadOnly(ClientError),
    /// The server refused the statement; the next one may work.
    #[error(transparent)]
    Refused(ClientError),
}

impl StatementError {
    /// Returns whether the host executes nothing that is written, and has not executed the statement.
    pub(super) fn leaves_host(&self) -> bool {
        match self {
            Self::ReadOnly(_) => true,
            Self::Lost(cause) => cause.is_not_ready(),
            Self::Contention(_) | Self::Refused(_) => false,
        }
    }
}

impl From<Error> for StatementError {
    fn from(error: Error) -> Self {
        let code = if let Error::MySqlError(error) = &error { Some(error.code) } else { None };
        match code {
            Some(DEADLOCK | LOCK_WAIT) => Self::Contention(error.into()),
            Some(code) if READ_ONLY.contains(&code) => Self::ReadOnly(error.into()),
            Some(code) if !ENDED.contains(&code) => Self::Refused(error.into()),
            _ => Self::Lost(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u16, message: &str) -> Error {
        Error::MySqlError(MySqlError { state: "HY000".into(), message: message.into(), code })
    }

    #[test]
    fn causes_are_told_apart_and_take_one_line() {
        let table = [
            (refusal(1213, "Deadlock"), "Contention", "Deadlock (error 1213)"),
            (refusal(1205, "Lock wait"), "Contention", "Lock wait (error 1205)"),
            (refusal(1114, "full\nFAKE"), "Refused", "full FAKE (error 1114)"),
            (refusal(1290, "read-only"), "ReadOnly", "read-only (error 1290)"),
            (refusal(1036, "read-only"), "ReadOnly", "read-only (error 1036)"),
            (refusal(1146, "no table"), "Lost", "no table (error 1146)"),
            (refusal(1047, "not ready"), "Lost", "not ready (error 1047)"),
            (refusal(1180, "not in the majority"), "Lost", "not in the majority (error 1180)"),
            (Error::IoError(io::Error::from_raw_os_error(11)), "Lost", "it does not answer in time"),
            (
                Error::CodecError(io::Error::from_raw_os_error(11).into()),
                "Lost",
                "it does not answer in time",
            ),
            (Error::server_disconnected(), "Lost", "server disconnected"),
        ];
        for (error, expected, text) in table {
            let error = StatementError::from(error);
            let kind = match &error {
                StatementError::Lost(_) => "Lost",
                StatementError::Contention(_) => "Contention",
                StatementError::ReadOnly(_) => "ReadOnly",
                StatementError::Refused(_) => "Refused",
            };
            assert_eq!((kind, error.to_string().as_str()), (expected, text));
        }
    }
}
