//! The runtimes as libraries: one suite for each of them, with real sockets and commands instead of signals.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod large;
mod parity;
#[cfg(target_os = "linux")]
mod slow;
mod split;
mod stop;
mod stuck;
mod suite;
mod supervisor;

use std::sync::mpsc::Receiver;

use pyzord_core::Store;
use pyzord_runtime::{Command, Service};

/// A way to serve until a command says stop.
trait Drive {
    fn serve<S: Store>(service: Service<'_, S>, commands: Receiver<Command>);
}

/// Blocking threads.
#[cfg(feature = "runtime-std")]
struct Std;

#[cfg(feature = "runtime-std")]
impl Drive for Std {
    fn serve<S: Store>(service: Service<'_, S>, commands: Receiver<Command>) {
        pyzord_runtime_std::serve(service, &commands).unwrap();
    }
}

/// smol.
#[cfg(feature = "runtime-smol")]
struct Smol;

#[cfg(feature = "runtime-smol")]
impl Drive for Smol {
    fn serve<S: Store>(service: Service<'_, S>, commands: Receiver<Command>) {
        let (sender, receiver) = smol::channel::unbounded();
        std::thread::scope(|scope| {
            scope.spawn(move || commands.into_iter().try_for_each(|command| sender.send_blocking(command)));
            pyzord_runtime_smol::serve(service, Box::pin(receiver)).unwrap();
        });
    }
}

/// Instantiates generic tests for every runtime of this build.
macro_rules! for_every_runtime {
    ($($test:ident,)*) => {
        #[cfg(feature = "runtime-std")]
        mod on_std {
            $(#[test] fn $test() { super::$test::<crate::Std>(); })*
        }
        #[cfg(feature = "runtime-smol")]
        mod on_smol {
            $(#[test] fn $test() { super::$test::<crate::Smol>(); })*
        }
    };
}
use for_every_runtime;
