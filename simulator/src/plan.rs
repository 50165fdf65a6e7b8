//! The plan of a run: a seed, the excluded faults, and a sabotage.

use std::collections::BTreeSet;

/// All input of a run: equal plans give equal runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The seed of all random choices.
    pub seed: u64,
    /// The most phases. A phase is a burst of requests and incidents, and a pause.
    pub phases: u64,
    /// The faults that are excluded.
    pub without: BTreeSet<Fault>,
    /// A bug in the server, which the run must find.
    pub sabotage: Option<Sabotage>,
}

impl Plan {
    /// The most phases of a run.
    pub const PHASES: u64 = 6;

    /// Returns the plan of a run with all faults.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, phases: Self::PHASES, without: BTreeSet::new(), sabotage: None }
    }
}

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Fault {
    /// The network drops datagrams.
    Loss,
    /// The network delivers datagrams twice.
    Repeats,
    /// The network delays datagrams, so that they overtake each other.
    Delays,
    /// Attackers forge, replay, tamper and send garbage.
    Hostile,
    /// One host floods the server, or many do, or one with the address of a waiting client.
    Floods,
    /// The accounts and the access file change or cannot be read.
    Reloads,
    /// The server's civil time is set.
    Clock,
    /// The server is killed, or its machine loses power.
    Crashes,
    /// The server is stopped and started.
    Stops,
    /// The store fails, hangs and loses connections.
    Database,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 10] = [
        Self::Loss,
        Self::Repeats,
        Self::Delays,
        Self::Hostile,
        Self::Floods,
        Self::Reloads,
        Self::Clock,
        Self::Crashes,
        Self::Stops,
        Self::Database,
    ];

    /// Returns its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Repeats => "repeats",
            Self::Delays => "delays",
            Self::Hostile => "hostile",
            Self::Floods => "floods",
            Self::Reloads => "reloads",
            Self::Clock => "clock",
            Self::Crashes => "crashes",
            Self::Stops => "stops",
            Self::Database => "database",
        }
    }

    /// Parses the name of a fault.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }
}

/// A bug that is built into the server on purpose. Each breaks one [`Invariant`](crate::Invariant).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sabotage {
    /// The store counts each report twice.
    CountsTwice,
    /// A report is acknowledged before the store is asked.
    AcknowledgesFirst,
    /// A batch whose connection was lost is sent again.
    RepeatsLostBatches,
    /// A reload combines the new accounts with the old access rules.
    MixesPolicies,
    /// A failed reload leaves the server without rules.
    FailedReloadForgets,
    /// A reply is sent twice.
    AnswersTwice,
    /// A batch is forgotten when the queue is full.
    ForgetsOverflow,
    /// A forbidden report is counted.
    CountsForbidden,
    /// A reload forgets the signed counts.
    ReloadForgetsCopies,
    /// Signed counts are remembered, but not their results: batches are resolved with the guard of another server.
    NeverSettles,
    /// A call that may have been executed is taken for one that was not.
    TakesUnknownForRefused,
    /// The database promises to keep marks and does not.
    ForgetsMarks,
    /// Each worker has a guard of its own, and batches are resolved with that of one of them.
    GuardPerWorker,
    /// There are no limits.
    LimitsNobody,
    /// All hosts share one limit.
    LimitsEverybody,
    /// A host with too many wrong signatures gets no service.
    FailuresShutOut,
    /// Datagrams without `Op` are answered.
    AnswersReplies,
    /// Port 0 is answered.
    AnswersPortZero,
    /// Replies are padded.
    PadsReplies,
    /// Replies go to the sender of the previous request.
    MixesPeers,
    /// The counts of a check are those of an earlier one.
    StaleReads,
    /// Half of the store's answers are lost: their calls count as failed.
    LosesAnswers,
    /// The last answer of the store is left out.
    AnswersTooFew,
    /// Batches are refused before the queue is full.
    RefusesEarly,
    /// A request is executed though one that came before it, with its digest, is at another connection.
    Overtakes,
    /// A worker reads without a look at the counts that are under way.
    ReadsPassCounts,
    /// A worker reads nothing itself.
    ReadsWait,
    /// The queue of the remote stores is unbounded.
    EndlessQueue,
    /// A worker waits for the database before it answers requests that need none.
    PingsWait,
    /// A link connects to a database that is down without a pause.
    ConnectsWithoutPause,
    /// A link never connects again to a database that was down.
    NeverReconnects,
    /// A finished task stays due.
    UpkeepSpins,
    /// No sync is done.
    SkipsSync,
    /// No round of expiry begins.
    SkipsExpiry,
    /// Expiry believes a clock that is far from the records' dates.
    BelievesAnyClock,
    /// A date goes back with the clock.
    DatesFollowTheClock,
    /// A round of expiry removes no record.
    ExpiresNothing,
    /// A round of expiry removes records that have not expired.
    ExpiresFresh,
    /// A stop discards the received requests.
    StopsAtOnce,
    /// A stop does not close the queue.
    NeverCloses,
    /// A stop does not sync.
    StopsWithoutSync,
}
