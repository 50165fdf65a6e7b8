//! What a run is made of: a seed, what is left out, and what is broken on purpose.

use std::collections::BTreeSet;

/// Everything that a run depends on: equal plans are equal runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Decides everything that chance decides.
    pub seed: u64,
    /// At most so many acts: bursts of requests and trouble with a pause behind each.
    pub acts: u64,
    /// The trouble that is left out.
    pub without: BTreeSet<Nuisance>,
    /// A fault built into the server, which a run must find.
    pub sabotage: Option<Sabotage>,
}

impl Plan {
    /// The most acts that a run has.
    pub const ACTS: u64 = 6;

    /// A run of `seed` with all there is.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, acts: Self::ACTS, without: BTreeSet::new(), sabotage: None }
    }
}

/// A kind of trouble.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Nuisance {
    /// The network drops datagrams.
    Loss,
    /// The network delivers datagrams twice.
    Repeats,
    /// The network delays datagrams, so that they overtake each other.
    Delays,
    /// Peers who forge, replay, tamper and send garbage.
    Hostile,
    /// Floods: of one host, of many, or with the address of somebody who waits.
    Floods,
    /// The accounts and the access file change, or cannot be read.
    Reloads,
    /// The server's civil time is set.
    Clock,
    /// The server is killed, or the machine loses power.
    Crashes,
    /// The server is stopped and started.
    Stops,
    /// The store fails, hangs and loses connections.
    Faults,
}

impl Nuisance {
    /// All of them.
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
        Self::Faults,
    ];

    /// The word for it on the command line.
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
            Self::Faults => "faults",
        }
    }

    /// The one that `name` stands for.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|nuisance| nuisance.name() == name)
    }
}

/// A fault that a server could have. Each has an [`Invariant`](crate::Invariant) that it breaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sabotage {
    /// The store counts each report twice.
    CountsTwice,
    /// A report is acknowledged before the store is asked.
    AcknowledgesFirst,
    /// A batch that was lost with its connection is sent again.
    RepeatsLostBatches,
    /// After a reload the new accounts are used with the old access rules.
    MixesPolicies,
    /// A reload that fails leaves the server without rules.
    FailedReloadForgets,
    /// A reply is sent twice.
    AnswersTwice,
    /// A batch is forgotten when the queue is full.
    ForgetsOverflow,
    /// A report is counted even if its user may not report.
    CountsForbidden,
    /// A reload forgets which signed counts there were.
    ReloadForgetsCopies,
    /// Signed counts are remembered, but not what became of them.
    NeverSettles,
    /// There are no limits.
    LimitsNobody,
    /// All hosts have one limit together.
    LimitsEverybody,
    /// A host with too many wrong signatures is not served at all.
    FailuresShutOut,
    /// Datagrams without `Op` are answered.
    AnswersReplies,
    /// Port 0 is answered.
    AnswersPortZero,
    /// Replies are longer than they have to be.
    PadsReplies,
    /// Replies go to whoever asked before.
    MixesPeers,
    /// The counts of a check are those of an earlier one.
    StaleReads,
    /// Half of the store's answers are lost.
    LosesAnswers,
    /// Batches are refused though there is room for them.
    RefusesEarly,
    /// The queue before the remote stores has no end.
    EndlessQueue,
    /// Pings wait for the database too.
    PingsWait,
    /// A database that is away is tried again and again.
    ConnectsWithoutPause,
    /// A database that was away is never tried again.
    NeverReconnects,
    /// Upkeep that was done stays due.
    UpkeepSpins,
    /// Syncs are not done.
    SkipsSync,
    /// Expiry is not begun.
    SkipsExpiry,
    /// Rounds of expiry remove nothing.
    ExpiresNothing,
    /// Rounds of expiry remove what has not expired.
    ExpiresFresh,
    /// A stop does not answer what was received.
    StopsAtOnce,
    /// A stop does not close the queue.
    NeverCloses,
    /// A stop does not sync.
    StopsWithoutSync,
}
