//! The state of the server at one moment.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyzord_core::{Now, UnixTime};
use pyzord_runtime::{Counts, Details};

use super::rates::Rate;
use crate::health::Verdict;
use crate::logs::Logs;
use crate::settings::SettingRow;

/// The facts about a server; only a reload changes one of them, its settings.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) version: &'static str,
    pub(crate) engine: String,
    pub(crate) runtime: String,
    /// The address that requests are received on.
    pub(crate) listen: String,
    pub(crate) started: UnixTime,
    /// All settings as they are in effect, passwords hidden.
    pub(crate) settings: SettingRows,
    pub(crate) logs: &'static Logs,
}

/// The settings that the page shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettingRows(Arc<Mutex<Arc<[SettingRow]>>>);

impl SettingRows {
    pub(crate) fn replace(&self, rows: Vec<SettingRow>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rows.into();
    }

    pub(super) fn current(&self) -> Arc<[SettingRow]> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The server at one moment. All counts are since its start.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    pub(super) facts: &'a Facts,
    pub(super) settings: Arc<[SettingRow]>,
    pub(super) uptime: Duration,
    /// What time it is.
    pub(super) now: Now,
    pub(super) verdict: Verdict,
    pub(super) store_answers: bool,
    /// The approximate number of records, if the database tells it cheaply.
    pub(super) records: Option<u64>,
    pub(super) counts: Counts,
    pub(super) details: Details,
    /// What was counted in the last seconds.
    pub(super) rates: Vec<Rate>,
}

/// Returns a time as Prometheus and the status page take it.
pub(super) fn unix_seconds(time: UnixTime) -> f64 {
    time.micros() as f64 / 1e6
}
