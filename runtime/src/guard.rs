//! The guard that all threads of a server share.

use std::io;
use std::sync::{Mutex, PoisonError};

use pyzord_core::{Guard, GuardMemory, Limits, Lock, Server};

/// A guard that threads share.
pub type SharedGuard = Guard<SharedLock<GuardMemory>>;

/// A server handle that threads share by cloning it.
pub type SharedServer = Server<SharedLock<GuardMemory>>;

/// A mutex, as the core wants it.
#[derive(Debug)]
pub struct SharedLock<T>(Mutex<T>);

impl<T> Lock<T> for SharedLock<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, access: impl FnOnce(&mut T) -> R) -> R {
        // A panic within the core's short accesses would be a bug, and would leave the tables whole.
        access(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns a guard with a random secret that has seen nothing.
///
/// # Errors
/// The system has no random numbers.
pub fn shared_guard(limits: Limits) -> io::Result<SharedGuard> {
    Ok(Guard::new(limits, random_secret()?))
}

/// Returns 16 random bytes of the system.
pub(crate) fn random_secret() -> io::Result<[u8; 16]> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret)?;
    Ok(secret)
}
