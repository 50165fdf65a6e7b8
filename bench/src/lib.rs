//! Measures Pyzor servers: the load generator behind `pyzor-load`.

pub mod clock;
pub mod cpu;
pub mod duration;
pub mod json;
pub mod load;
mod random;
