//! The moment of a power cut.

use std::collections::BTreeMap;

use crate::random::Random;
use crate::step::{Change, Effect, FileId, NameChange, Step, Sync};

/// A power cut: everything about it is determined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// What began before this moment has happened, or is happening. There are two moments in each line of a trace.
    pub moment: usize,
    /// Decides what the disk has of it.
    pub seed: u64,
}

/// Where cuts are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moments {
    /// Anywhere.
    Any,
    /// Before the first replies: the database is made or recovered.
    Start,
    /// Behind the last reply: the server stops.
    Stop,
}

/// The replies of which the first one ends the start.
const FIRST_REPLIES: usize = 5;

/// Steps that are alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Write(FileId),
    Length(FileId),
    Sync(Option<FileId>),
    Link,
    Unlink,
    Rename,
    Received,
    Sent,
}

impl Cut {
    /// Chooses a cut: at a step of any kind, so that the rare ones are among them.
    pub(crate) fn choose(steps: &[Step], moments: Moments, seed: u64) -> Self {
        let mut random = Random::new(!seed);
        let is_reply = |step: &Step| matches!(step.effect, Effect::Sent(_));
        let mut replies = steps.iter().enumerate().filter(|(_, step)| is_reply(step)).map(|(at, _)| at);
        let range = match moments {
            Moments::Any => 0..steps.len(),
            Moments::Start => 0..replies.nth(FIRST_REPLIES).unwrap_or(steps.len()),
            Moments::Stop => replies.next_back().unwrap_or_default()..steps.len(),
        };
        let mut kinds = BTreeMap::<Kind, Vec<&Step>>::new();
        for step in steps.get(range).unwrap_or_default() {
            kinds.entry(Kind::of(step)).or_default().push(step);
        }
        let kind = kinds.values().nth(random.index(kinds.len()));
        let step = kind.and_then(|steps| steps.get(random.index(steps.len())));
        let moment = step.map_or(0, |step| {
            // Within the step, as it ends, or a little later.
            let end = if step.has_ended(usize::MAX) { step.ended + 1 } else { step.began + 1 };
            let later = end + random.index(40);
            random.pick(&[step.began + 1, end, end, later])
        });
        Self { moment, seed }
    }
}

impl Kind {
    fn of(step: &Step) -> Self {
        match &step.effect {
            Effect::Change(file, Change::Write(..)) => Self::Write(*file),
            Effect::Change(file, Change::Resize(_) | Change::Extend(_)) => Self::Length(*file),
            Effect::Sync(Sync::File { file, .. }) => Self::Sync(Some(*file)),
            Effect::Sync(Sync::Folder(_) | Sync::All) => Self::Sync(None),
            Effect::Name(NameChange::Link { .. }) => Self::Link,
            Effect::Name(NameChange::Unlink(..)) => Self::Unlink,
            Effect::Name(NameChange::Rename { .. }) => Self::Rename,
            Effect::Received(_) => Self::Received,
            Effect::Sent(_) => Self::Sent,
        }
    }
}
