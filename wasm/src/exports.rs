//! The functions that a host calls.
//!
//! A handle is the value that [`pyzord_new`] returns, until [`pyzord_free`]. An address is an offset in the module's
//! memory, valid until the next call: a call may move the buffers, and the host must make its views of a memory that
//! has grown again.
#![expect(
    unsafe_code,
    reason = "a host finds a function by its symbol, and an attribute that sets a symbol counts as unsafe; \
              nothing else here is unsafe: references and boxes are the handles"
)]

use alloc::boxed::Box;
use core::time::Duration;

use pyzord_core::{Now, Tick, UnixTime};

use crate::instance::Instance;

/// Returns a handle to a new server. The arguments are 16 random bytes.
// SAFETY: no other symbol of the module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn pyzord_new(secret_low: u64, secret_high: u64) -> Box<Instance> {
    let secret = u128::from(secret_high) << 64 | u128::from(secret_low);
    Box::new(Instance::new(secret.to_le_bytes()))
}

/// Frees a server.
// SAFETY: no other symbol of the module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn pyzord_free(instance: Box<Instance>) {
    drop(instance);
}

/// Sets the length of the input buffer, and returns the address at which the host writes a datagram or a file.
// SAFETY: no other symbol of the module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn pyzord_input(instance: &mut Instance, length: usize) -> *mut u8 {
    instance.input(length).as_mut_ptr()
}

/// Takes the input as the accounts file, `user : key` a line, and returns the number of warnings about both files.
// SAFETY: no other symbol of the module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn pyzord_set_accounts(instance: &mut Instance) -> usize {
    instance.set_accounts()
}

/// Takes the input as the access file, of which the first matching line decides, and returns the number of warnings
/// about both files.
// SAFETY: no other symbol of the module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn pyzord_set_access(instance: &mut Instance) -> usize {
    instance.set_access()
}

/// Takes the input as a datagram, and returns the length of the reply in bytes; 0 if the datagram is not answered.
///
/// `wall_micros` are microseconds since 1970-01-01 UTC. `tick_micros` are microseconds of a clock that is never set
/// back.
// SAFETY: no other symbol of the module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn pyzord_accept(instance: &mut Instance, wall_micros: i64, tick_micros: u64) -> usize {
    let wall = UnixTime::from_micros(wall_micros);
    let tick = Tick::new(Duration::from_micros(tick_micros));
    instance.accept(Now { wall, tick }).len()
}

/// Returns the address of the last reply.
// SAFETY: no other symbol of the module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn pyzord_reply(instance: &Instance) -> *const u8 {
    instance.reply().as_ptr()
}
