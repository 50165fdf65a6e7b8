//! Measures Pyzor servers: the load generator of `pyzor-load` and `pyzor-bench`, and the cases of the
//! micro-benchmarks and the instruction counts of the core.

pub mod cases;
pub mod clock;
pub mod cpu;
pub mod duration;
pub mod load;
mod random;
