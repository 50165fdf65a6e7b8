//! The engine for the shape that the database has: one server, or a cluster.

use std::mem;
use std::time::Duration;

use jiff::tz::TimeZone;
use pyzord_core::{
    Digest, Now, Progress, Record, Store, StoreAnswer, StoreCall, StoreError, StoreFailure, Task,
};

use super::cluster::{self, Cluster, TopologyError};
use super::dsn::Dsn;
use super::engine::Single;
use super::layout::Layout;
use super::old::OldRecords;
use super::options::Options;
use crate::change::{Change, ChangeError};
use crate::record_store::{Exchange, RecordStore, StoredEntry};

/// How long a server is asked whether it belongs to a cluster.
const QUESTION: Duration = Duration::from_secs(2);

/// A redis database. Each worker has an engine of its own, with connections of its own.
///
/// A server that belongs to a cluster is served as that cluster, also if the DSN names it alone.
#[derive(Debug)]
pub struct Redis {
    dsn: Dsn,
    options: Options,
    kind: Kind,
    shape: Shape,
    /// It is known whether the server belongs to a cluster.
    asked: bool,
    /// The calls that a server has refused as it belongs to a cluster, and their answers.
    refused: Vec<StoreCall>,
    answers: Vec<StoreAnswer>,
}

#[derive(Debug)]
enum Shape {
    Single(Box<Single>),
    Cluster(Box<Cluster>),
}

/// The layout of the records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Hash,
    Text,
}

impl Redis {
    /// Returns an engine for the layout `redis`, a hash for each record. It connects at the first use, and
    /// again after a connection was lost.
    #[must_use]
    pub fn new(dsn: &Dsn, options: Options) -> Self {
        Self::with(dsn, options, Kind::Hash)
    }

    /// Returns an engine for the deprecated layout `redis_v0`, a text for each record with dates in the
    /// system's local time.
    #[must_use]
    pub fn v0(dsn: &Dsn, options: Options) -> Self {
        Self::with(dsn, options, Kind::Text)
    }

    fn with(dsn: &Dsn, options: Options, kind: Kind) -> Self {
        let layout = kind.layout(options);
        let asked = dsn.cluster.is_some();
        let shape = match (&dsn.cluster, dsn.info()) {
            (Some(seeds), Some(info)) => {
                Shape::Cluster(Box::new(Cluster::new(dsn, info, seeds.clone(), options, layout)))
            }
            _ => {
                let old = options.search_old && kind == Kind::Hash;
                let old = if old { OldRecords::unknown() } else { OldRecords::known() };
                Shape::Single(Box::new(Single::with(dsn, options, layout, old)))
            }
        };
        let (refused, answers) = (Vec::new(), Vec::new());
        Self { dsn: dsn.clone(), options, kind, shape, asked, refused, answers }
    }

    /// Tries what serving needs. Returns what the database is and that it answers, and what it refuses. Leaves no record
    /// behind.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn check(&mut self) -> Result<(String, Vec<StoreFailure>), StoreFailure> {
        self.ask();
        let name = self.dsn.name();
        match &mut self.shape {
            Shape::Single(single) => Ok((format!("{name} answers"), single.refusals()?)),
            Shape::Cluster(cluster) => {
                let (masters, refused) = cluster.refusals()?;
                let state = format!("{name} answers, a cluster of {masters} masters");
                Ok(match (&self.dsn.cluster, self.dsn.host()) {
                    (None, Some(host)) => {
                        (format!("{state}; its DSN is {}", self.dsn.cluster_form(&host)), refused)
                    }
                    _ => (state, refused),
                })
            }
        }
    }

    /// Tries what serving needs, and returns what the server refuses. It leaves no record behind.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn refusals(&mut self) -> Result<Vec<StoreFailure>, StoreFailure> {
        self.check().map(|(_, refused)| refused)
    }

    /// Asks the server once whether it belongs to a cluster, for callers that can wait.
    fn ask(&mut self) {
        if self.asked {
            return;
        }
        let Some(host) = self.dsn.host() else {
            self.asked = true;
            return;
        };
        let Some(info) = self.dsn.info() else { return };
        match cluster::is_node(info, &host, self.options.handshake.min(QUESTION)) {
            Ok(()) => self.become_cluster(),
            Err(TopologyError::Connect(..) | TopologyError::Exchange(..)) => (),
            // It is no cluster, or the user lacks the right to ask; then a redirection tells.
            Err(_) => self.asked = true,
        }
    }

    /// Serves the cluster that the server belongs to from now on.
    fn become_cluster(&mut self) {
        self.asked = true;
        let (Shape::Single(single), Some(host), Some(info)) = (&self.shape, self.dsn.host(), self.dsn.info())
        else {
            return;
        };
        if self.dsn.found_cluster() {
            log::warn!(
                "{} belongs to a Redis Cluster; all masters of it are used; the DSN of the cluster is {}",
                single.name(),
                self.dsn.cluster_form(&host)
            );
        }
        let layout = self.kind.layout(self.options);
        self.shape =
            Shape::Cluster(Box::new(Cluster::new(&self.dsn, info, vec![host], self.options, layout)));
    }

    /// Learns from the other engines of this DSN, and from redirections, that there is a cluster.
    fn look(&mut self) {
        if let Shape::Single(single) = &self.shape
            && (single.met_cluster() || self.dsn.is_found_cluster())
        {
            self.become_cluster();
        }
    }

    fn store(&mut self) -> &mut dyn RecordStore {
        match &mut self.shape {
            Shape::Single(single) => &mut **single,
            Shape::Cluster(cluster) => &mut **cluster,
        }
    }

    /// Returns the database for callers that can wait.
    fn bulk(&mut self) -> &mut dyn RecordStore {
        self.ask();
        self.look();
        self.store()
    }

    /// Executes once more what a server has refused since it belongs to a cluster.
    fn execute_refused(&mut self, now: Now, calls: &[StoreCall], answers: &mut [StoreAnswer]) {
        let (mut refused, mut new) = (mem::take(&mut self.refused), mem::take(&mut self.answers));
        let is_refused = |answer: &StoreAnswer| matches!(answer, Err(StoreError::Unavailable));
        refused.clear();
        refused.extend(
            calls.iter().zip(&*answers).filter(|(_, answer)| is_refused(answer)).map(|(call, _)| *call),
        );
        new.clear();
        self.store().execute(now, &refused, &mut new);
        let open = answers.iter_mut().filter(|answer| is_refused(answer));
        open.zip(&new).for_each(|(answer, new)| *answer = *new);
        (self.refused, self.answers) = (refused, new);
    }
}

impl Kind {
    fn layout(self, options: Options) -> Layout {
        match self {
            Self::Hash => Layout::hash(options.cleanup_age),
            Self::Text => Layout::text(TimeZone::system(), options.cleanup_age),
        }
    }
}

impl Store for Redis {
    fn prepare(&mut self, now: Now) -> bool {
        self.look();
        self.store().prepare(now)
    }

    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        self.look();
        let before = answers.len();
        self.store().execute(now, calls, answers);
        if let Shape::Single(single) = &self.shape
            && single.met_cluster()
        {
            self.become_cluster();
            self.execute_refused(now, calls, answers.get_mut(before..).unwrap_or_default());
        }
    }

    fn probe(&mut self, now: Now) -> Result<(), StoreFailure> {
        self.look();
        self.store().probe(now)
    }

    fn record_count(&mut self, now: Now) -> Option<u64> {
        self.look();
        self.store().record_count(now)
    }

    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        if !matches!(task, Task::Survey(_)) {
            self.ask();
        }
        self.look();
        self.store().upkeep(now, task)
    }
}

impl RecordStore for Redis {
    fn scan(&mut self, found: &mut Vec<StoredEntry>) -> Result<Progress, StoreFailure> {
        self.bulk().scan(found)
    }

    fn put(&mut self, records: &[(Digest, Record)], results: &mut Vec<Result<(), StoreFailure>>) {
        self.bulk().put(records, results);
    }

    fn change(&mut self, changes: &[(Digest, Change)], results: &mut Vec<Result<(), ChangeError>>) {
        self.bulk().change(changes, results);
    }

    fn fetch(&mut self, digests: &[Digest], results: &mut Vec<Result<Record, StoreFailure>>) {
        self.bulk().fetch(digests, results);
    }

    fn remove(&mut self, digests: &[Digest]) -> Result<(), StoreFailure> {
        self.bulk().remove(digests)
    }

    fn exchange(&mut self, changes: &[Exchange], results: &mut Vec<Result<bool, StoreFailure>>) {
        self.bulk().exchange(changes, results);
    }

    fn estimate(&mut self) -> Option<u64> {
        self.bulk().estimate()
    }

    fn rounded(&self, record: &Record) -> Record {
        match &self.shape {
            Shape::Single(single) => single.rounded(record),
            Shape::Cluster(cluster) => cluster.rounded(record),
        }
    }
}
