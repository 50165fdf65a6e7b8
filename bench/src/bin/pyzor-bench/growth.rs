//! What calls of the gdbm engine cost while its file grows, without a server.

use anyhow::{Context as _, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use pyzord_bench::load::numbered;
use pyzord_core::{Digest, Now, Record, Store, StoreCall, StoreOp, Task, Tick, UnixTime};
use pyzord_engines::{Gdbm, RecordStore};

use crate::status_line;
use crate::table::Table;

/// Calls between two syncs, as a part of the records.
const WINDOW_SHARE: u64 = 10;
/// Windows that are measured.
const WINDOWS: u64 = 2;
/// Calls of a batch.
const BATCH: usize = 64;
/// Syncs without a load, which take a server more than a minute.
const REST: u32 = 13;
const NOW: Now =
    Now { wall: UnixTime::from_seconds(1_704_800_000), tick: Tick::new(std::time::Duration::ZERO) };
/// The count of each record at first, see `subjects::REPORTS`.
const REPORTS: u64 = 100;

/// The extent of the measurement.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct GrowthOptions {
    /// Records in the file
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "50000,200000,1000000")]
    records: Vec<u64>,
}

/// A load: of 100 calls, how many report a new digest and how many a known one. The others check known digests.
struct GrowthLoad {
    name: &'static str,
    /// In windows with an even number, and in the others.
    mixes: [(u64, u64); 2],
    /// Windows before those that are measured.
    before: u64,
}

impl GrowthLoad {
    const fn steady(name: &'static str, new: u64, known: u64) -> Self {
        let before = match new {
            0 => 20,
            1..=10 => 8,
            _ => 1,
        };
        Self { name, mixes: [(new, known); 2], before }
    }
}

const LOADS: [GrowthLoad; 7] = [
    GrowthLoad::steady("check", 0, 0),
    GrowthLoad::steady("report of a known digest", 0, 100),
    GrowthLoad::steady("report of a new digest", 100, 0),
    GrowthLoad::steady("reports, a tenth of them new", 10, 90),
    GrowthLoad::steady("checks, and 5 % new reports", 5, 0),
    GrowthLoad::steady("checks, and 1 % new reports", 1, 0),
    GrowthLoad { name: "new reports and checks in turns", mixes: [(100, 0), (0, 0)], before: 2 },
];

/// What a number of calls has cost.
#[derive(Clone, Copy, Default)]
struct Cost {
    micros: f64,
    faults: f64,
}

/// An engine, and the number of records in its file.
struct Growing {
    store: Gdbm,
    records: u64,
    /// Calls between two syncs.
    window: u64,
    /// Draws the digests.
    random: oorandom::Rand64,
}

/// Runs the measurement and prints its table.
pub(crate) fn run(options: &GrowthOptions) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for &records in &options.records {
        let folder = tempfile::tempdir().context("there is no place for a file")?;
        let store = Gdbm::open(&folder.path().join("pyzord.db"))?;
        let window = (records / WINDOW_SHARE).max(1);
        let random = oorandom::Rand64::new(records.into());
        let mut growing = Growing { store, records: 0, window, random };
        let mut row = |name: &str, cost: Cost| {
            let cells = [format!("{:.2}", cost.micros), format!("{:.2}", cost.faults)];
            rows.push([name.to_owned(), records.to_string()].into_iter().chain(cells).collect());
        };
        status_line::show(&format!("adding {records} records"));
        row("record of a migration", growing.fill(records)?);
        for load in &LOADS {
            status_line::show(&format!("{records} records: {}", load.name));
            row(load.name, growing.load(load)?);
        }
    }
    status_line::show("");
    let header = vec!["call", "records", "CPU us", "page faults"];
    print!("{}", Table { title: "Growth of a gdbm file", header, rows }.text());
    Ok(())
}

impl Growing {
    /// Puts records as a migration does, and returns the cost of each.
    fn fill(&mut self, records: u64) -> anyhow::Result<Cost> {
        let mut record = Record::default();
        record.reports.count = REPORTS;
        record.reports.entered = Some(NOW.wall);
        record.reports.updated = Some(NOW.wall);
        let mut cost = Cost::default();
        while self.records < records {
            let end = records.min(self.records + self.window);
            let put: Vec<(Digest, Record)> =
                (self.records..end).map(|number| (numbered(number), record)).collect();
            let before = usage()?;
            let mut results = Vec::new();
            put.chunks(BATCH).for_each(|batch| RecordStore::put(&mut self.store, batch, &mut results));
            cost.add(before, usage()?);
            results.into_iter().collect::<Result<(), _>>()?;
            self.records = end;
        }
        self.rest()?;
        Ok(cost.of_one(records))
    }

    /// Puts a load on the engine, and returns the cost of a call.
    fn load(&mut self, load: &GrowthLoad) -> anyhow::Result<Cost> {
        let mut cost = Cost::default();
        for window in 0..load.before + WINDOWS {
            let (new, known) = if window % 2 == 0 { load.mixes[0] } else { load.mixes[1] };
            let calls: Vec<StoreCall> = (0..self.window).map(|_| self.call(new, known)).collect();
            let mut answers = Vec::new();
            let before = usage()?;
            calls.chunks(BATCH).for_each(|batch| self.store.execute(NOW, batch, &mut answers));
            if window >= load.before {
                cost.add(before, usage()?);
            }
            ensure!(answers.iter().all(Result::is_ok), "the engine has failed");
            self.store.upkeep(NOW, Task::Sync)?;
        }
        self.rest()?;
        Ok(cost.of_one(WINDOWS * self.window))
    }

    fn call(&mut self, new: u64, known: u64) -> StoreCall {
        let drawn = self.random.rand_range(0..100);
        if drawn < new {
            self.records += 1;
            return StoreCall::new(numbered(self.records - 1), StoreOp::Report);
        }
        let op = if drawn < new + known { StoreOp::Report } else { StoreOp::Read };
        StoreCall::new(numbered(self.random.rand_range(0..self.records)), op)
    }

    fn rest(&mut self) -> anyhow::Result<()> {
        for _ in 0..REST {
            self.store.upkeep(NOW, Task::Sync)?;
        }
        Ok(())
    }
}

impl Cost {
    fn add(&mut self, before: Self, after: Self) {
        self.micros += after.micros - before.micros;
        self.faults += after.faults - before.faults;
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    fn of_one(self, calls: u64) -> Self {
        Self { micros: self.micros / calls as f64, faults: self.faults / calls as f64 }
    }
}

/// Returns what this process has used so far.
#[expect(clippy::cast_precision_loss, reason = "figures far below 2^53")]
fn usage() -> anyhow::Result<Cost> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let time = usage.user_time() + usage.system_time();
    Ok(Cost { micros: time.num_microseconds() as f64, faults: usage.minor_page_faults() as f64 })
}
