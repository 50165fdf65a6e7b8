//! What went wrong with a statement, and what that means for the connection.

use mysql::Error;

/// Two transactions waited for each other, and the server ended this one.
const DEADLOCK: u16 = 1213;
/// Another transaction held a row for too long.
const LOCK_WAIT: u16 = 1205;
/// The server's own word that this connection, or what is known of the table, is of no more use: unknown database,
/// a cluster that is not ready, shutdown, no such column, no such table, unknown statement, statement to be prepared
/// again, a killed connection, a server that is not available, an idle connection.
const ENDED: [u16; 10] = [1049, 1047, 1053, 1054, 1146, 1243, 1615, 1927, 3168, 4031];

/// The cause of a failure that took all the time there is.
pub(super) const TIMED_OUT: &str = "it does not answer in time";

/// Why a statement failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The connection is of no more use.
    Lost(String),
    /// The server took the statement's effect back because of another one: it can be tried again.
    Contention(String),
    /// The server refused the statement; the next one may work.
    Refused(String),
}

impl Fault {
    /// The cause, in one line.
    pub(super) fn into_cause(self) -> String {
        match self {
            Self::Lost(cause) | Self::Contention(cause) | Self::Refused(cause) => cause,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let cause = cause(&error);
        match error {
            Error::MySqlError(error) if [DEADLOCK, LOCK_WAIT].contains(&error.code) => {
                Self::Contention(cause)
            }
            Error::MySqlError(error) if !ENDED.contains(&error.code) => Self::Refused(cause),
            _ => Self::Lost(cause),
        }
    }
}

/// An error in one line. The server's own words are in it, and those are not to be trusted with the log's lines.
pub(super) fn cause(error: &Error) -> String {
    let text = match error {
        Error::MySqlError(error) => format!("{} (error {})", error.message, error.code),
        Error::IoError(error) => error.to_string(),
        Error::CodecError(error) => error.to_string(),
        Error::DriverError(error) => error.to_string(),
        Error::UrlError(error) => error.to_string(),
        Error::TlsError(error) => format!("TLS: {error}"),
        Error::FromValueError(_) | Error::FromRowError(_) => "a value of an unexpected type".to_owned(),
    };
    // What a socket's time-out is called by the system.
    if text.contains("(os error 11)") {
        return TIMED_OUT.to_owned();
    }
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use mysql::MySqlError;

    use super::*;

    fn refusal(code: u16, message: &str) -> Error {
        Error::MySqlError(MySqlError { state: "HY000".into(), message: message.into(), code })
    }

    #[test]
    fn causes_are_told_apart_and_take_one_line() {
        let table = [
            (refusal(1213, "Deadlock"), Fault::Contention("Deadlock (error 1213)".into())),
            (refusal(1205, "Lock wait"), Fault::Contention("Lock wait (error 1205)".into())),
            (refusal(1114, "full\nFAKE"), Fault::Refused("full FAKE (error 1114)".into())),
            (refusal(1146, "no table"), Fault::Lost("no table (error 1146)".into())),
            (
                Error::IoError(io::Error::from_raw_os_error(11)),
                Fault::Lost("it does not answer in time".into()),
            ),
            (Error::server_disconnected(), Fault::Lost("server disconnected".into())),
        ];
        for (error, fault) in table {
            assert_eq!(Fault::from(error), fault);
        }
    }
}
