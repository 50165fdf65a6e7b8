//! What must hold, whatever happens.

use std::fmt;

/// Something that must hold at every step of every run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Invariant {
    /// A datagram without `Op` gets no answer, or servers could be made to answer each other for ever.
    NothingWithoutOp,
    /// Port 0 gets no answer: nobody can listen there.
    NothingToPortZero,
    /// No reply weighs more than three times its request on the wire, or spoofed requests would be weapons.
    RepliesWeighLittle,
    /// A reply goes to the peer who asked, with his `Thread`.
    RepliesGoToTheirPeers,
    /// Each copy of a request that a living server received has one answer, and only one: unless it is over a limit, or a
    /// copy of a signed count that still waits.
    AnsweredOnce,
    /// It has it soon: a client waits five seconds.
    AnsweredSoon,
    /// Who needs no database does not wait for one.
    PingsNeverWait,
    /// The answer is what the rules in force say, to the letter, and nothing in between two sets of rules.
    AnswersAreLawful,
    /// The counts and dates in a reply are those of the record.
    ReadsAreTrue,
    /// The store is asked for what was granted and nothing else, so a refused request changes nothing.
    OnlyGrantedCalls,
    /// A call to count moves its record by one, with the date of the server's clock.
    EachCallCountsOnce,
    /// A report that was acknowledged has been counted.
    AcknowledgedIsCounted,
    /// Each received copy counts at most once: nothing is invented.
    NothingIsInvented,
    /// A copy of a signed count, within ten minutes of it, is answered like the first one and not counted, whoever sends
    /// it and whatever is reloaded meanwhile.
    CopiesCountOnce,
    /// No host has more of its requests looked at, or wrong signatures answered, than the limits say.
    LimitsHold,
    /// Who keeps to the limits is served, whatever others do, in his name or their own.
    TheHonestAreServed,
    /// Who gets a 500 has one for a cause: a call failed, its answer was lost, or the queue was full.
    RefusedForACause,
    /// Batches in flight are few: a database that hangs fills no memory.
    InFlightIsBounded,
    /// Attempts to connect have pauses between them.
    ConnectsAreSpaced,
    /// Upkeep is no busy loop.
    UpkeepIsSpaced,
    /// Counts are on stable storage after a minute, so that a power failure costs no more.
    SyncsInTime,
    /// Expiry is begun at the start and a day after the last round.
    ExpiresInTime,
    /// A round of expiry leaves no record behind that had expired when it began.
    RoundsAreComplete,
    /// A record whose age is below the limit is never removed.
    FreshRecordsStay,
    /// A stop answers what was received before it.
    StopsAnswerAll,
    /// A stop leaves nothing unsynced.
    StopsSync,
    /// A stop ends: nobody waits for what will not come.
    StopsEnd,
    /// A server is back within two seconds of its database; after all faults every honest request has its
    /// answer.
    ComesBack,
    /// Time goes on: no run has an endless number of steps.
    TimeAdvances,
}

/// An invariant that does not hold, and what was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// What does not hold.
    pub invariant: Invariant,
    /// What was seen instead.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.detail)
    }
}

impl std::error::Error for Violation {}

/// Nothing, or what does not hold.
pub(crate) type Checked<T = ()> = Result<T, Violation>;

impl Invariant {
    /// Holds if `condition` does; `detail` says what was seen if not.
    pub(crate) fn holds(self, condition: bool, detail: impl FnOnce() -> String) -> Checked {
        if condition { Ok(()) } else { Err(self.broken(detail())) }
    }

    pub(crate) fn broken(self, detail: impl Into<String>) -> Violation {
        Violation { invariant: self, detail: detail.into() }
    }
}
