//! A scan of all records, slot by slot.
//!
//! `SCAN` on each master would miss a slot that moves to a master whose scan is over, and find one twice that moves the other
//! way. A slot is on one master or, while it moves, on two: its keys are taken together. Behind them goes a read of a key
//! that does not exist, whose reply tells whether the slot is at home on this master: a redirection leads to the other one.

use std::collections::VecDeque;

use super::super::layout::Layout;
use super::super::replicas::NotReplicated;
use super::super::reply::{self, ReplyError};
use super::super::request::Request;
use super::super::resp::Reply;
use super::router::{Calls, Verdict};
use super::slot::{SLOTS, Slot, tags};
use super::topology::Redirection;
use crate::hosts::Host;

/// The most slots that one step asks for.
pub(super) const MOST_SLOTS: usize = 256;
/// The largest number of keys of a slot. With it a cluster has about three billion records.
pub(super) const MOST_KEYS: usize = 200_000;

/// Where a scan is.
#[derive(Debug)]
pub(super) struct Scan {
    /// For each slot a tag that has it.
    tags: Vec<u32>,
    /// The slots that have not been asked for are those from this number on.
    next: usize,
    /// The keys whose records have not been read.
    pub(super) keys: VecDeque<Vec<u8>>,
    /// How many slots the next step asks for.
    slots: usize,
}

impl Scan {
    pub(super) fn new() -> Self {
        Self { tags: tags(), next: 0, keys: VecDeque::new(), slots: MOST_SLOTS }
    }

    /// Returns the next slots to ask for, with a tag of each.
    pub(super) fn next_slots(&self) -> Vec<(Slot, u32)> {
        let slots = (self.next..SLOTS).take(self.slots);
        slots.filter_map(|number| Some((Slot::new(number)?, *self.tags.get(number)?))).collect()
    }

    /// Takes the keys of these slots, and asks next for as many slots as have about `wanted` keys.
    pub(super) fn found(&mut self, slots: usize, keys: impl IntoIterator<Item = Vec<u8>>, wanted: usize) {
        let before = self.keys.len();
        self.keys.extend(keys);
        let found = self.keys.len() - before;
        self.next += slots;
        self.slots = (wanted * slots / found.max(1)).clamp(1, MOST_SLOTS);
    }

    /// Returns whether all slots were asked for and all records read.
    pub(super) fn is_over(&self) -> bool {
        self.next >= SLOTS && self.keys.is_empty()
    }
}

/// What a step asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Question {
    /// The keys of a slot, of its master or of another node.
    Keys(Slot, Option<Host>),
    /// Whether a slot is at home on its master, by a key that does not exist.
    Home(Slot, u32),
}

/// What a master said of a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Home {
    Here,
    /// It has another master.
    Moved,
    /// It moves to this node, which has some of its keys.
    Moving(Host),
}

/// The questions of a step on their way to the masters.
pub(super) struct Step<'a> {
    questions: Vec<Question>,
    layout: &'a mut Layout,
    pub(super) answers: Vec<Result<Answer, String>>,
}

/// The answer to a question.
#[derive(Debug)]
pub(super) enum Answer {
    Keys(Vec<Vec<u8>>),
    Home(Home),
}

impl<'a> Step<'a> {
    pub(super) fn new(questions: Vec<Question>, layout: &'a mut Layout) -> Self {
        let answers = questions.iter().map(|_| Err("it has no node".to_owned())).collect();
        Self { questions, layout, answers }
    }

    fn set(&mut self, index: usize, answer: Result<Answer, String>) {
        if let Some(place) = self.answers.get_mut(index) {
            *place = answer;
        }
    }
}

impl Calls for Step<'_> {
    fn len(&self) -> usize {
        self.questions.len()
    }

    fn slot(&mut self, index: usize) -> Slot {
        match self.questions.get(index) {
            Some(Question::Keys(slot, _) | Question::Home(slot, _)) => *slot,
            None => Slot::of(b""),
        }
    }

    fn host(&self, index: usize) -> Option<&Host> {
        match self.questions.get(index) {
            Some(Question::Keys(_, host)) => host.as_ref(),
            _ => None,
        }
    }

    fn writes(&self, _: usize) -> bool {
        false
    }

    fn command(&mut self, index: usize, _: bool, request: &mut Request) {
        match self.questions.get(index) {
            Some(Question::Keys(slot, _)) => {
                let (slot, most) = (slot.number().to_string(), MOST_KEYS.to_string());
                request.command(&[b"CLUSTER", b"GETKEYSINSLOT", slot.as_bytes(), most.as_bytes()]);
            }
            Some(Question::Home(_, tag)) => self.layout.read_tagged(*tag, request),
            None => (),
        }
    }

    fn reply(&mut self, index: usize, reply: Reply<'_>, _: &str) -> Verdict {
        let answer = match (self.questions.get(index), reply) {
            (_, Reply::Error(_)) => Err(reply::error(reply).to_string()),
            (Some(Question::Home(..)), _) => Ok(Answer::Home(Home::Here)),
            (_, reply) => read_keys(reply).map(Answer::Keys),
        };
        self.set(index, answer);
        Verdict::Done
    }

    fn redirected(&mut self, index: usize, to: &Redirection) -> bool {
        let home = if to.ask { Home::Moving(to.host.clone()) } else { Home::Moved };
        self.set(index, Ok(Answer::Home(home)));
        false
    }

    fn lost(&mut self, index: usize) -> bool {
        self.set(index, Err("the connection was lost before the reply".to_owned()));
        true
    }

    fn not_replicated(&mut self, _: usize, _: &NotReplicated, _: &str) {}

    fn refused(&mut self, index: usize, cause: &str) {
        if let Some(place @ Err(_)) = self.answers.get_mut(index) {
            *place = Err(cause.to_owned());
        }
    }
}

/// Reads the keys of a slot.
fn read_keys(reply: Reply<'_>) -> Result<Vec<Vec<u8>>, String> {
    let unexpected = || ReplyError::Unexpected.to_string();
    let Reply::Array(keys) = reply else { return Err(unexpected()) };
    if keys.len() >= MOST_KEYS {
        return Err(format!("one of its slots has more than {MOST_KEYS} keys"));
    }
    let key = |key| if let Reply::Text(key) = key { Ok(key.to_vec()) } else { Err(unexpected()) };
    keys.iter().map(key).collect()
}
