//! A Pyzor server as a WebAssembly module without imports: it needs no WASI and no JavaScript of its own.
//!
//! The host writes bytes into the memory of the module, calls a function, and reads the reply; the host brings time and
//! random numbers as arguments. `make wasm` builds the module and calls it from Node (`tests/server.test.mjs`).
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

pub mod exports;
mod instance;
#[cfg(target_arch = "wasm32")]
mod target;

pub use instance::Instance;
