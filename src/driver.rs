//! The runtime that drives the server, of those of this build.

use pyzord_core::Store;
use pyzord_runtime::Service;

use crate::settings::Runtime;

/// A runtime that has taken the signals over.
pub(crate) enum Driver {
    #[cfg(feature = "runtime-std")]
    Std(pyzord_runtime_std::Signals),
    #[cfg(feature = "runtime-smol")]
    Smol(pyzord_runtime_smol::Signals),
}

impl Driver {
    /// Takes the signals over. Call it before any thread exists.
    pub(crate) fn new(runtime: Runtime) -> Result<Self, String> {
        let signals = |error| format!("signals: {error}");
        pyzord_runtime::outlive_file_limits().map_err(signals)?;
        let taken = match runtime {
            #[cfg(feature = "runtime-std")]
            Runtime::Std => pyzord_runtime_std::Signals::block().map(Self::Std),
            #[cfg(feature = "runtime-smol")]
            Runtime::Smol => pyzord_runtime_smol::Signals::install().map(Self::Smol),
        };
        taken.map_err(signals)
    }

    /// Serves until a signal says stop.
    pub(crate) fn serve<S: Store>(self, service: Service<'_, S>) -> Result<(), String> {
        match self {
            #[cfg(feature = "runtime-std")]
            Self::Std(signals) => {
                let (commands, receiver) = std::sync::mpsc::channel();
                signals.forward(commands);
                pyzord_runtime_std::serve(service, &receiver);
                Ok(())
            }
            #[cfg(feature = "runtime-smol")]
            Self::Smol(signals) => {
                let served = pyzord_runtime_smol::serve(service, signals.commands());
                served.map_err(|error| format!("socket: {error}"))
            }
        }
    }
}
