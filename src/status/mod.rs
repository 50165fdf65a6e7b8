//! The status page, its figures as JSON, metrics for Prometheus and a health check, over HTTP.
//!
//! One thread serves all of them. It reads the workers' counters, and no worker waits for it. The figures exist without a
//! page, too: the control socket writes the same document.

mod connections;
mod document;
mod exposition;
mod figures;
mod forwarding;
mod history;
mod http;
mod page;
mod rates;
mod routes;
mod server;
mod snapshot;

pub(crate) use figures::Figures;
pub(crate) use server::{StatusError, StatusPage, StatusServer};
pub(crate) use snapshot::{Facts, SettingRows};
