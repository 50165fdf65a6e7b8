//! The engine as workers use it.

use std::time::Duration;

use ::redis::ConnectionInfo;
use pyzord_core::{Now, Progress, Store, StoreAnswer, StoreCall, StoreFailure, Task, Tick};

use super::super::dsn::Dsn;
use super::super::layout::Layout;
use super::super::old::OldRecords;
use super::super::options::Options;
use super::super::replicas::Replicas;
use super::super::reply::{self, ReplyError};
use super::super::request::Request;
use super::super::resp::Reply;
use super::super::scan::Page;
use super::super::trial;
use super::batch::Batch;
use super::router::Router;
use super::scan::Scan;
use super::slice::{Effect, Outcome, Slice};
use super::slot::Slot;
use crate::failure::failure;
use crate::hosts::Host;

/// How many slices of the search for old records a sync does. Without expiry a sync is the only task.
const SLICES_OF_SYNC: usize = 100;

/// How long a call without a batch waits for the topology at the start.
const MOMENT: Duration = Duration::from_millis(5);

/// A cluster. Each worker has an engine of its own, with a connection of its own to each master.
#[derive(Debug)]
pub(in super::super) struct Cluster {
    pub(super) router: Router,
    pub(super) layout: Layout,
    batch: Batch,
    /// Where the search for old records is: the masters that are left, and the keys of the first one.
    old: Option<OldSearch>,
    /// Whether the log says what the masters refuse.
    tried: bool,
    /// Where a scan of all records is.
    pub(super) scan: Option<Scan>,
}

#[derive(Debug)]
struct OldSearch {
    masters: Vec<Slot>,
    keys: OldRecords,
}

impl Cluster {
    /// Returns an engine for the cluster that these nodes belong to. It connects at the first use.
    pub(in super::super) fn new(
        dsn: &Dsn,
        info: &ConnectionInfo,
        seeds: Vec<Host>,
        options: Options,
        layout: Layout,
    ) -> Self {
        let replicas = dsn.replicas.map(|count| Replicas::new(count, options));
        let old = options.search_old && layout.has_old_layout();
        Self {
            router: Router::new(dsn.name(), info.clone(), seeds, options, replicas),
            layout,
            batch: Batch::default(),
            old: old.then(|| OldSearch { masters: Vec::new(), keys: OldRecords::unknown() }),
            tried: false,
            scan: None,
        }
    }

    pub(in super::super) fn name(&self) -> &str {
        self.router.name()
    }

    /// Tries what serving needs on each master. Returns the number of masters, and what they refuse.
    pub(in super::super) fn refusals(&mut self) -> Result<(usize, Vec<StoreFailure>), StoreFailure> {
        self.router.look_again();
        if !self.router.topology().is_known() {
            return Err(
                self.failure(self.router.topology_failure().unwrap_or("no slot has a node").to_owned())
            );
        }
        self.try_masters(None)
    }

    /// Sends the trials to each master.
    fn try_masters(&mut self, now: Option<Tick>) -> Result<(usize, Vec<StoreFailure>), StoreFailure> {
        let slots = self.router.topology().tagged_slots();
        let per_trial: Vec<Slot> = slots.iter().flat_map(|(slot, _)| [*slot; trial::TRIALS]).collect();
        let trial = |index: usize, layout: &mut Layout, request: &mut Request| {
            if let Some((_, tag)) = slots.get(index / trial::TRIALS) {
                trial::request(index % trial::TRIALS, Some(*tag), layout, request);
            }
        };
        let outcomes = self.send(now, per_trial, Effect::Writes, trial, |_, reply| Ok(reply::refused(reply)));
        let mut refused = Vec::new();
        let mut outcomes = outcomes.into_iter().map(Outcome::into_result);
        for (slot, _) in &slots {
            let errors: Result<Vec<_>, _> = outcomes.by_ref().take(trial::TRIALS).collect();
            let errors = errors.map_err(|why| self.failure(why))?;
            let node = self.node_name(*slot);
            refused.extend(trial::refusals(errors).into_iter().map(|refused| failure(&node, refused)));
        }
        Ok((slots.len(), refused))
    }

    /// Sends commands, and returns what became of each. Without a time there are no clients that wait.
    pub(super) fn send<T>(
        &mut self,
        now: Option<Tick>,
        slots: Vec<Slot>,
        effect: Effect,
        command: impl FnMut(usize, &mut Layout, &mut Request),
        read: impl Fn(&Layout, Reply<'_>) -> Result<T, ReplyError>,
    ) -> Vec<Outcome<T>> {
        let limits = self.router.limits();
        let mut slice = Slice::new(slots, effect, &mut self.layout, command, read);
        self.router.run(now, limits, &mut slice);
        slice.outcomes()
    }

    pub(super) fn failure(&self, cause: String) -> StoreFailure {
        failure(self.router.name(), cause)
    }

    fn node_name(&self, slot: Slot) -> String {
        let topology = self.router.topology();
        let host = topology.owner(slot).and_then(|owner| topology.masters.get(owner));
        host.map_or_else(|| self.name().to_owned(), |host| format!("{}, node {host}", self.name()))
    }

    fn follow(&mut self, now: Option<Tick>) {
        let wait = self.router.limits().deadline.left().unwrap_or_default();
        self.router.follow(now, wait);
    }

    /// Looks at one slice of a master's keys for old records. If the master is away, the search goes on another time.
    fn look_for_old_records(&mut self, now: Now) -> Progress {
        let Some(mut search) = self.old.take() else { return Progress::Done };
        if search.masters.is_empty() {
            search.masters =
                self.router.topology().tagged_slots().into_iter().map(|(slot, _)| slot).collect();
        }
        let Some(slot) = search.masters.last().copied() else {
            self.old = Some(search);
            return Progress::Done;
        };
        let look = |_: usize, _: &mut Layout, request: &mut Request| {
            search.keys.look(request);
        };
        let page =
            self.send(Some(now.tick), vec![slot], Effect::Reads, look, |_, reply| Page::read(Some(reply)));
        let page = page.into_iter().next().map_or(Err(String::new()), Outcome::into_result);
        let found = page.as_ref().is_ok_and(|page| !page.keys.is_empty());
        let progress = match page {
            Ok(page) => search.keys.found(page, self.router.name()),
            Err(error) => {
                log::debug!("{}: {error}: the search for old records failed", self.name());
                self.old = Some(search);
                return Progress::Done;
            }
        };
        if progress == Progress::Done {
            search.masters.pop();
            if found || search.masters.is_empty() {
                return Progress::Done;
            }
            search.keys = OldRecords::unknown();
        }
        self.old = Some(search);
        Progress::More
    }

    /// Logs once what serving needs and the masters refuse. If one is away, they are tried later.
    fn try_once(&mut self, now: Now) {
        self.follow(Some(now.tick));
        if let Ok((masters, refused)) = self.try_masters(Some(now.tick))
            && masters > 0
        {
            self.tried = true;
            refused.iter().for_each(|refused| log::error!("{refused}"));
        }
    }
}

impl Store for Cluster {
    fn prepare(&mut self, now: Now) -> bool {
        self.router.prepare(now.tick, MOMENT)
    }

    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        if calls.is_empty() {
            return;
        }
        let limits = self.router.limits();
        self.layout.stamp(now.wall);
        let mut executing = self.batch.begin(calls, &mut self.layout, now.tick);
        self.router.run(Some(now.tick), limits, &mut executing);
        self.batch.answers(answers);
    }

    /// Each master must accept counts.
    fn probe(&mut self, now: Now) -> Result<(), StoreFailure> {
        self.follow(Some(now.tick));
        let slots = self.router.topology().tagged_slots();
        if slots.is_empty() {
            return Err(
                self.failure(self.router.topology_failure().unwrap_or("no slot has a node").to_owned())
            );
        }
        let probe = |index: usize, layout: &mut Layout, request: &mut Request| {
            if let Some((_, tag)) = slots.get(index) {
                layout.probe(Some(*tag), request);
            }
        };
        let numbers = slots.iter().map(|(slot, _)| *slot).collect();
        let outcomes = self.send(Some(now.tick), numbers, Effect::Writes, probe, |_, reply| {
            reply::refused(reply).map_or(Ok(()), Err)
        });
        for (outcome, (slot, _)) in outcomes.into_iter().zip(&slots) {
            outcome.into_result().map_err(|why| failure(self.node_name(*slot), why))?;
        }
        Ok(())
    }

    /// Counts all keys of the masters; as a rule they are all records.
    fn record_count(&mut self, now: Now) -> Option<u64> {
        self.count_keys(Some(now.tick))
    }

    /// Looks for records of the old layout, until one is found or all keys were seen. The cluster syncs and expires by
    /// itself, as it is configured.
    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        if let Task::Survey(_) = task {
            return Ok(Progress::Done);
        }
        if !self.tried {
            self.try_once(now);
        }
        let slices = if task == Task::Sync { SLICES_OF_SYNC } else { 1 };
        let done = (0..slices).any(|_| self.look_for_old_records(now) == Progress::Done);
        // A sync is over after its slices; the next one goes on with the search.
        Ok(if done || task == Task::Sync { Progress::Done } else { Progress::More })
    }
}

impl Cluster {
    /// Returns how many keys all masters have; `None` if one of them does not tell.
    pub(super) fn count_keys(&mut self, now: Option<Tick>) -> Option<u64> {
        self.follow(now);
        let slots = self.router.topology().tagged_slots().into_iter().map(|(slot, _)| slot).collect();
        let count = |_: usize, _: &mut Layout, request: &mut Request| request.command(&[b"DBSIZE"]);
        let counts = self.send(now, slots, Effect::Reads, count, |_, reply| reply::number(Some(reply)));
        let counts: Result<Vec<u64>, _> = counts.into_iter().map(Outcome::into_result).collect();
        let counts = counts.inspect_err(|why| log::debug!("{}: {why}: DBSIZE", self.name())).ok()?;
        (!counts.is_empty()).then(|| counts.iter().sum())
    }
}
