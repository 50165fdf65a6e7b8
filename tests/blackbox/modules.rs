// The black-box tests, the same for every runtime: the test crate of each runtime includes this file.

mod account;
mod alerts;
mod backup;
#[cfg(all(feature = "redis", feature = "mysql"))]
mod batch_client;
#[cfg(all(feature = "redis", feature = "mysql"))]
mod bob;
mod check_config;
mod client;
mod control;
#[cfg(all(feature = "redis", feature = "mysql"))]
mod copies;
mod daemon;
mod environment;
mod explain;
mod forward;
mod genkey;
mod harness;
mod health;
mod hostile;
mod help;
mod http;
mod interop;
mod limits;
mod log_targets;
mod logging;
#[cfg(all(feature = "redis", feature = "mysql"))]
mod merging;
#[cfg(all(feature = "redis", feature = "mysql"))]
mod migrate;
mod operator;
#[cfg(all(feature = "redis", feature = "mysql"))]
mod order;
mod protocol;
mod pyzorctl;
mod reload;
#[cfg(all(feature = "redis", feature = "mysql"))]
mod remote;
mod removed;
mod signals;
#[cfg(feature = "sqlite")]
mod sqlite;
mod status;
mod supervised;
mod unlist;
