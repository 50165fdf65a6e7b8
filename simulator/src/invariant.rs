//! The invariants of a run.

use std::fmt;

/// A condition that holds at every step of every run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Invariant {
    /// A datagram without `Op` gets no reply: otherwise two servers could answer each other without end.
    NoReplyWithoutOp,
    /// Port 0 gets no reply: no program can listen there.
    NoReplyToPortZero,
    /// A reply has at most three times the bytes of its request on the wire: otherwise forged requests would amplify
    /// an attack.
    RepliesAreSmall,
    /// A reply goes to the sender of the request, with its `Thread`.
    RepliesGoToTheSender,
    /// Each received copy of a request has exactly one reply, unless it exceeds a limit or repeats a signed count
    /// that still waits for the store.
    AnsweredOnce,
    /// A reply is sent within ten seconds.
    AnsweredSoon,
    /// A request that needs no database is answered within a second.
    PingsNeverWait,
    /// A reply has the code that the current rules say, never that of a mixture of old and new rules.
    RepliesFollowTheRules,
    /// The counts and dates in a reply equal those of the record.
    ReadsMatchRecords,
    /// The server makes exactly the granted calls: a refused request changes no record.
    OnlyGrantedCalls,
    /// A counting call adds one to its record, with the date of the server's clock.
    EachCallCountsOnce,
    /// An acknowledged report is counted.
    AcknowledgedIsCounted,
    /// Each received copy is counted at most once.
    NoExtraCounts,
    /// A copy of a signed count within ten minutes is answered like the first one, from any address and after a reload too;
    /// each of its digests is counted once, after failures and with lost answers too, and after restarts if the database
    /// keeps marks.
    CopiesCountOnce,
    /// Of two requests that share a digest, one of which counts, the first that was handed over to the remote stores is
    /// executed first, unless it was answered before. So it is with split stores, where a worker executes some itself.
    DigestsKeepTheirOrder,
    /// With split stores, a read is executed by its worker unless a count of its digest is under way, or is in its batch;
    /// few wait because the hashes of two digests are alike.
    ReadsNeverWait,
    /// The server processes at most as many requests, and answers at most as many wrong signatures, of a host as the
    /// limits say.
    LimitsHold,
    /// A host within the limits is served during floods by others, with its address too.
    AllWithinLimitsAreServed,
    /// A reply 500 has a reason: a call failed, its answer was lost, or the queue was full.
    RefusedForAReason,
    /// The core has no internal error, and does not panic.
    NoInternalErrors,
    /// At most four batches per connection are in flight: a database that hangs does not fill the memory.
    InFlightIsBounded,
    /// A link pauses between attempts to connect.
    ConnectsAreSpaced,
    /// Upkeep is not a busy loop.
    UpkeepIsSpaced,
    /// Counts are on stable storage in time: a power failure loses no older ones.
    SyncsInTime,
    /// Expiry begins at the start and a day after the last round.
    ExpiresInTime,
    /// A round of expiry removes every record that had expired when it began.
    RoundsAreComplete,
    /// A record younger than the limit is never removed.
    FreshRecordsStay,
    /// A record that was truly active within the age is not removed, however wrong the clock is: but for the 30 days that
    /// it may be wrong, and after it dated records into a far future.
    ActiveRecordsStay,
    /// The date of a record does not go back, unless it is more than a day ahead of a plausible clock.
    DatesNeverGoBack,
    /// A stop answers all requests that were received before it.
    StopsAnswerAll,
    /// A stop syncs all records.
    StopsSync,
    /// A stop ends within fifteen seconds.
    StopsEnd,
    /// A server recovers within two seconds after its database; after all faults every client has a reply.
    Recovers,
    /// Time advances: a run has a bounded number of steps.
    TimeAdvances,
}

/// An invariant that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The invariant.
    pub invariant: Invariant,
    /// The observation.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.detail)
    }
}

impl std::error::Error for Violation {}

/// A value, or a violated invariant.
pub(crate) type Checked<T = ()> = Result<T, Violation>;

impl Invariant {
    /// Returns a violation unless `condition` holds; `detail` describes the observation.
    pub(crate) fn holds(self, condition: bool, detail: impl FnOnce() -> String) -> Checked {
        if condition { Ok(()) } else { Err(self.broken(detail())) }
    }

    /// Returns a violation of this invariant.
    pub(crate) fn broken(self, detail: impl Into<String>) -> Violation {
        Violation { invariant: self, detail: detail.into() }
    }
}
