//! The status page, its figures as JSON, metrics for Prometheus and a health check, over HTTP.
//!
//! One thread serves all of them. It reads the workers' counters, and no worker waits for it.

mod connections;
mod document;
mod exposition;
mod http;
mod page;
mod routes;
mod server;
mod snapshot;

pub(crate) use server::{StatusError, StatusPage, StatusServer};
pub(crate) use snapshot::{Facts, SettingRows};
