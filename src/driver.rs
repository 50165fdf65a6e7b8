//! The runtimes of this build, behind one interface.

use std::io;

#[cfg(feature = "runtime-smol")]
use nix::sys::signal::{SigSet, Signal};
use pyzord_core::Store;
use pyzord_runtime::Service;
use thiserror::Error;

use crate::settings::Runtime;

/// A runtime that receives the signals of this process.
pub(crate) enum RuntimeDriver {
    #[cfg(feature = "runtime-std")]
    Std(pyzord_runtime_std::Signals),
    #[cfg(feature = "runtime-smol")]
    Smol(pyzord_runtime_smol::Signals),
}

/// Why a runtime cannot serve.
#[derive(Debug, Error)]
pub(crate) enum DriverError {
    /// The signals cannot be received.
    #[error("signals: {0}")]
    Signals(#[source] io::Error),
    /// The system refuses a thread.
    #[error("cannot start all threads (a limit of processes or memory?): {0}")]
    Threads(#[source] io::Error),
}

impl RuntimeDriver {
    /// Starts to receive the signals, which all threads block. Call it in the main thread.
    pub(crate) fn new(runtime: Runtime) -> Result<Self, DriverError> {
        let signals = match runtime {
            #[cfg(feature = "runtime-std")]
            Runtime::Std => pyzord_runtime_std::Signals::block().map(Self::Std),
            #[cfg(feature = "runtime-smol")]
            Runtime::Smol => pyzord_runtime_smol::Signals::install().and_then(|signals| {
                // The handlers run in this thread and in those that it starts from here on.
                SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1, Signal::SIGHUP])
                    .thread_unblock()?;
                Ok(Self::Smol(signals))
            }),
        };
        signals.map_err(DriverError::Signals)
    }

    /// Serves until a signal stops the server.
    pub(crate) fn serve<S: Store>(self, service: Service<'_, S>) -> Result<(), DriverError> {
        match self {
            #[cfg(feature = "runtime-std")]
            Self::Std(signals) => {
                let (commands, receiver) = std::sync::mpsc::channel();
                signals.forward(commands).and_then(|()| pyzord_runtime_std::serve(service, &receiver))
            }
            #[cfg(feature = "runtime-smol")]
            Self::Smol(signals) => pyzord_runtime_smol::serve(service, signals.commands()),
        }
        .map_err(DriverError::Threads)
    }
}
