//! Why the server does not start, or stops early.

use std::error::Error;
use std::io;

use pyzord_runtime::BindError;

use crate::detach::DetachError;
use crate::driver::DriverError;
use crate::engine::EngineError;
use crate::forward::ForwardError;
use crate::home::HomeError;
use crate::logs::LogError;
use crate::pidfile::PidFileError;
use crate::rules::RulesError;
use crate::settings::{Origin, SettingsError};
use crate::status::StatusError;
use crate::system_account::SystemAccount;
use crate::systemd::SystemdError;

/// An error that ends the program; each part of the program finds the words for its own causes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("{0}")]
    SystemAccount(#[source] Box<dyn Error + Send + Sync>),
    /// An error about the value of a setting.
    #[error("{origin}: {cause}")]
    Setting {
        origin: Origin,
        #[source]
        cause: Box<StartError>,
    },
    #[error("{0}")]
    Bind(#[from] BindError),
    #[error("{0}")]
    Detach(#[from] DetachError),
    #[error("{0}")]
    Driver(#[from] DriverError),
    #[error("{0}")]
    Engine(#[from] EngineError),
    #[error("{0}")]
    Forward(#[from] ForwardError),
    #[error("{0}")]
    Home(#[from] HomeError),
    #[error("{0}")]
    Log(#[from] LogError),
    #[error("option --nice: {0}")]
    Nice(#[source] io::Error),
    #[error("{0}")]
    PidFile(#[from] PidFileError),
    #[error("{0}")]
    Rules(#[from] RulesError),
    #[error("{0}")]
    Settings(#[from] SettingsError),
    #[error("signals: {0}")]
    Signals(#[source] io::Error),
    #[error("{0}")]
    Status(#[from] StatusError),
    #[error("a pair of sockets: {0}")]
    SocketPair(#[source] io::Error),
    #[error("{0}")]
    Systemd(#[from] SystemdError),
    /// The system refuses a thread.
    #[error("cannot start all threads (a limit of processes or memory?): {0}")]
    Threads(#[source] io::Error),
    /// The system has no random numbers.
    #[error("random numbers: {0}")]
    RandomNumbers(#[source] io::Error),
    /// The system denied the account of the settings something that the account that started the server may do.
    #[error("{cause} (as {account})")]
    Denied { account: SystemAccount, cause: Box<StartError> },
}

impl StartError {
    /// Names the account in an error about permissions: root starts the server and reads the message.
    pub(crate) fn of_account(self, account: Option<&SystemAccount>) -> Self {
        match account {
            Some(account) if is_permission_denied(&self) => {
                Self::Denied { account: account.clone(), cause: Box::new(self) }
            }
            _ => self,
        }
    }
}

/// Returns whether an error is that an address is in use.
pub(crate) fn is_address_in_use(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref::<io::Error>() {
        Some(cause) => cause.kind() == io::ErrorKind::AddrInUse,
        None => error.source().is_some_and(is_address_in_use),
    }
}

/// Returns whether the last cause of an error is that the system denies permission.
fn is_permission_denied(error: &(dyn Error + 'static)) -> bool {
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    #[cfg(feature = "gdbm")]
    if let Some(open) = error.downcast_ref::<pyzord_engines::OpenError>() {
        return matches!(&open.cause, pyzord_engines::OpenCause::Io(cause) if denied(cause));
    }
    #[cfg(feature = "sqlite")]
    if let Some(open) = error.downcast_ref::<pyzord_engines::sqlite::OpenError>() {
        return matches!(&open.cause, pyzord_engines::sqlite::OpenCause::Io(cause) if denied(cause));
    }
    match error.downcast_ref::<io::Error>() {
        Some(cause) => denied(cause),
        None => error.source().is_some_and(is_permission_denied),
    }
}
