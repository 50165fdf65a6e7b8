//! Commands on whole records on their way to a cluster.

use super::super::layout::Layout;
use super::super::replicas::NotReplicated;
use super::super::reply::ReplyError;
use super::super::request::Request;
use super::super::resp::Reply;
use super::router::{Calls, Verdict};
use super::slot::Slot;

/// What became of a command.
#[derive(Debug)]
pub(super) enum Outcome<T> {
    /// What its reply tells.
    Answer(Result<T, ReplyError>),
    /// It was not executed.
    Refused(String),
    /// It may have been executed.
    InDoubt(String),
}

impl<T> Outcome<T> {
    /// Returns what the reply tells, or why there is none that can be relied on.
    pub(super) fn into_result(self) -> Result<T, String> {
        match self {
            Self::Answer(answer) => answer.map_err(|error| error.to_string()),
            Self::Refused(why) | Self::InDoubt(why) => Err(why),
        }
    }
}

/// Whether commands write, and whether one that has no reply may be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// They change nothing.
    Reads,
    /// Executed twice, they do the same as once.
    Writes,
    /// They must be executed once at most.
    Changes,
}

/// Commands, each on one slot.
pub(super) struct Slice<'a, C, R, T> {
    slots: Vec<Slot>,
    effect: Effect,
    layout: &'a mut Layout,
    /// Adds the command of an index.
    command: C,
    /// Reads a reply.
    read: R,
    outcomes: Vec<Outcome<T>>,
}

impl<'a, C, R, T> Slice<'a, C, R, T>
where
    C: FnMut(usize, &mut Layout, &mut Request),
    R: Fn(&Layout, Reply<'_>) -> Result<T, ReplyError>,
{
    pub(super) fn new(slots: Vec<Slot>, effect: Effect, layout: &'a mut Layout, command: C, read: R) -> Self {
        let outcomes = slots.iter().map(|_| Outcome::Refused("it has no node".to_owned())).collect();
        Self { slots, effect, layout, command, read, outcomes }
    }

    /// Returns what became of each command.
    pub(super) fn outcomes(self) -> Vec<Outcome<T>> {
        self.outcomes
    }

    fn set(&mut self, index: usize, outcome: Outcome<T>) {
        if let Some(place) = self.outcomes.get_mut(index) {
            *place = outcome;
        }
    }
}

impl<C, R, T> Calls for Slice<'_, C, R, T>
where
    C: FnMut(usize, &mut Layout, &mut Request),
    R: Fn(&Layout, Reply<'_>) -> Result<T, ReplyError>,
{
    fn len(&self) -> usize {
        self.slots.len()
    }

    fn slot(&mut self, index: usize) -> Slot {
        self.slots.get(index).copied().unwrap_or_else(|| Slot::of(b""))
    }

    fn writes(&self, _: usize) -> bool {
        self.effect != Effect::Reads
    }

    fn command(&mut self, index: usize, _marks: bool, request: &mut Request) {
        // The scripts are short, and a redirected command must not depend on one that was not.
        request.spell_scripts(true);
        (self.command)(index, self.layout, request);
    }

    fn reply(&mut self, index: usize, reply: Reply<'_>, _: &str) -> Verdict {
        let answer = (self.read)(self.layout, reply);
        let verdict = match &answer {
            Err(ReplyError::Away(refusal)) => Verdict::Away(refusal.clone()),
            _ => Verdict::Done,
        };
        self.set(index, Outcome::Answer(answer));
        verdict
    }

    fn lost(&mut self, index: usize) -> bool {
        self.set(index, Outcome::InDoubt("the connection was lost before the reply".to_owned()));
        self.effect != Effect::Changes
    }

    fn not_replicated(&mut self, index: usize, cause: &NotReplicated, node: &str) {
        if let Some(Outcome::Answer(Ok(_))) = self.outcomes.get(index) {
            self.set(index, Outcome::InDoubt(format!("{node}: {cause}")));
        }
    }

    fn refused(&mut self, index: usize, cause: &str) {
        if let Some(Outcome::Refused(why)) = self.outcomes.get_mut(index) {
            cause.clone_into(why);
        }
    }
}
