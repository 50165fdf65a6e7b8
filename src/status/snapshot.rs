//! The state of the server at one moment.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyzord_core::{Now, UnixTime};
use pyzord_runtime::{Counts, Details, ForwardTarget};

use super::rates::Rate;
use crate::health::{DiskUse, Verdict};
use crate::kernel_drops::KernelDrops;
use crate::logs::{LoggedError, Logs};
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
    /// What the system drops before the server sees it.
    pub(crate) kernel_drops: Arc<KernelDrops>,
    /// Whether the database tells which records are new.
    pub(crate) tells_new_records: bool,
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
    pub(super) disk_use: DiskUse,
    pub(super) kernel_drops: Option<u64>,
    pub(super) errors: Vec<LoggedError>,
    pub(super) counts: Counts,
    pub(super) details: Details,
    /// What was counted in the last seconds.
    pub(super) rates: Vec<Rate>,
    /// The servers that digests are forwarded to.
    pub(super) forwarding: Vec<ForwardTarget>,
}

impl Snapshot<'_> {
    /// Returns the number of records that were made; `None` with a database that does not tell it.
    pub(super) fn new_records(&self) -> Option<u64> {
        self.facts.tells_new_records.then_some(self.details.new_records)
    }

    /// Returns the number of checks that were answered with 200.
    pub(super) fn checks(&self) -> u64 {
        replies(&self.details, "check")
    }
}

/// Returns how many requests of an operation were answered with 200.
pub(super) fn replies(details: &Details, operation: &str) -> u64 {
    let wanted = |(name, code, _): &&(&str, u16, u64)| *name == operation && *code == 200;
    details.requests.iter().filter(wanted).map(|(_, _, count)| count).sum()
}

/// Returns a time as Prometheus and the status page take it.
pub(super) fn unix_seconds(time: UnixTime) -> f64 {
    time.micros() as f64 / 1e6
}
