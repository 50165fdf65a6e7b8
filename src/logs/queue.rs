//! Lines on their way to one target: a bounded buffer between the threads that log and the one that writes.
//!
//! The buffers are made at the start and swapped, so a line costs a copy, and no allocation.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the writer gathers lines after a write. A line that comes after a pause is written at once.
const PAUSE: Duration = Duration::from_millis(2);

/// Lines that wait for their writer.
#[derive(Debug)]
pub(super) struct Queue {
    /// The most bytes that wait here, beside those that the writer is at.
    limit: usize,
    state: Mutex<State>,
    /// There is something to do for the writer.
    work: Condvar,
    /// The writer has done what a flush asked for.
    flushed: Condvar,
    /// Lines lost since the start.
    lost: AtomicU64,
}

#[derive(Debug)]
struct State {
    waiting: Vec<u8>,
    /// Lines that were taken in and are not written.
    lines: u64,
    /// Lines that found no room since the writer took the others. The gap is where it took them.
    lost: u64,
    /// The writer waits until it is woken.
    idle: bool,
    /// The writer is to open its file again.
    reopen: bool,
    /// The writer is to look at its duties.
    nudged: bool,
    flushes: u64,
    flushes_done: u64,
}

/// What became of lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pushed {
    Waiting,
    /// There is no room, and these are the first lines that are lost since there was.
    FirstLost,
    Lost,
}

/// What the writer waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// For lines. With a limit, it also returns then.
    Lines(Option<Duration>),
    /// The target failed: for the time of the next attempt.
    Retry(Duration),
}

/// What the writer has to do, beside writing its batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Lines that were lost behind those of the batch.
    pub(super) lost: u64,
    pub(super) reopen: bool,
    /// The flush that is complete when nothing waits any more, or nothing can be written.
    pub(super) flush: u64,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        let state = State {
            waiting: Vec::with_capacity(limit),
            lines: 0,
            lost: 0,
            idle: false,
            reopen: false,
            nudged: false,
            flushes: 0,
            flushes_done: 0,
        };
        let (work, flushed) = (Condvar::new(), Condvar::new());
        Self { limit, state: Mutex::new(state), work, flushed, lost: AtomicU64::new(0) }
    }

    /// Takes whole lines in, or none of them. It never waits for the writer.
    pub(super) fn push(&self, text: &str, lines: u64) -> Pushed {
        let mut state = self.lock();
        let before = state.waiting.len();
        // After a loss no line overtakes another: all are lost until the writer takes what waits.
        let pushed = if state.lost == 0 && text.len() <= self.limit - before {
            state.waiting.extend_from_slice(text.as_bytes());
            state.lines += lines;
            Pushed::Waiting
        } else {
            self.lost.fetch_add(lines, Ordering::Relaxed);
            state.lost += lines;
            // Lines come in batches of at least one.
            if state.lost == lines { Pushed::FirstLost } else { Pushed::Lost }
        };
        // A writer that pauses looks by itself, so that a busy server wakes it seldom.
        let hurry = before <= self.limit / 2 && state.waiting.len() > self.limit / 2;
        let wake = mem::take(&mut state.idle) || hurry;
        drop(state);
        if wake {
            self.work.notify_one();
        }
        pushed
    }

    /// Makes the writer open its file again.
    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
        self.work.notify_one();
    }

    /// Makes the writer look at its duties.
    pub(super) fn nudge(&self) {
        self.lock().nudged = true;
        self.work.notify_one();
    }

    /// Waits until everything is written, or cannot be; at most for this time. Returns how many lines are not.
    pub(super) fn flush(&self, limit: Duration) -> u64 {
        let mut state = self.lock();
        state.flushes += 1;
        let flush = state.flushes;
        self.work.notify_one();
        let done = self.flushed.wait_timeout_while(state, limit, |state| state.flushes_done < flush);
        let (state, _) = done.unwrap_or_else(PoisonError::into_inner);
        state.lines
    }

    /// Returns how many lines were lost since the start.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits for work. Exchanges `batch` for the lines that wait, if it is empty.
    pub(super) fn next(&self, batch: &mut Vec<u8>, wait: Wait) -> Work {
        let mut state = self.lock();
        match wait {
            Wait::Retry(delay) => state = self.wait_while(state, delay, |state| !state.is_urgent()),
            Wait::Lines(limit) => {
                let half = self.limit / 2;
                let pausing = |state: &mut State| !state.is_urgent() && state.waiting.len() <= half;
                state = self.wait_while(state, PAUSE, pausing);
                state.idle = true;
                let resting = |state: &mut State| !state.has_work();
                state = match limit {
                    Some(limit) => self.wait_while(state, limit, resting),
                    None => self.work.wait_while(state, resting).unwrap_or_else(PoisonError::into_inner),
                };
                state.idle = false;
            }
        }
        state.nudged = false;
        let mut lost = 0;
        if batch.is_empty() {
            mem::swap(batch, &mut state.waiting);
            lost = mem::take(&mut state.lost);
        }
        Work { lost, reopen: mem::take(&mut state.reopen), flush: state.flushes }
    }

    /// Records that the writer has written so many lines, and is done with a flush if it could not write all of its batch
    /// or nothing waits any more.
    pub(super) fn wrote(&self, lines: u64, work: Work, failed: bool) {
        let mut state = self.lock();
        state.lines = state.lines.saturating_sub(lines);
        if failed || state.waiting.is_empty() {
            state.flushes_done = state.flushes_done.max(work.flush);
            self.flushed.notify_all();
        }
    }

    fn wait_while<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        limit: Duration,
        condition: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'a, State> {
        self.work.wait_timeout_while(state, limit, condition).unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_urgent(&self) -> bool {
        self.reopen || self.flushes > self.flushes_done
    }

    fn has_work(&self) -> bool {
        self.is_urgent() || self.nudged || self.lost > 0 || !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what waits, without a wait.
    fn take(queue: &Queue, batch: &mut Vec<u8>) -> Work {
        queue.next(batch, Wait::Retry(Duration::ZERO))
    }

    #[test]
    fn lines_come_out_in_their_order_and_whole() {
        let queue = Queue::new(100);
        let mut batch = Vec::with_capacity(100);
        for line in ["one\n", "two\n"] {
            assert_eq!(queue.push(line, 1), Pushed::Waiting);
        }
        assert_eq!(take(&queue, &mut batch).lost, 0);
        assert_eq!(batch, b"one\ntwo\n");
        queue.push("three\n", 1);
        take(&queue, &mut batch);
        assert_eq!(batch, b"one\ntwo\n", "a batch that is not written stays");
    }

    #[test]
    fn what_finds_no_room_is_lost_at_one_place() {
        let queue = Queue::new(10);
        let mut batch = Vec::with_capacity(10);
        assert_eq!(queue.push("12345678\n", 1), Pushed::Waiting);
        assert_eq!(queue.push("12\n", 1), Pushed::FirstLost);
        assert_eq!(queue.push("\n", 1), Pushed::Lost, "a short line does not overtake");
        assert_eq!((take(&queue, &mut batch).lost, queue.lost()), (2, 2));
        assert_eq!(batch, b"12345678\n");
        batch.clear();
        assert_eq!(queue.push("a line of more than ten bytes\n", 1), Pushed::FirstLost);
        assert_eq!(take(&queue, &mut batch).lost, 1);
        assert_eq!(queue.push("a\n", 1), Pushed::Waiting, "there is room again");
    }

    #[test]
    fn no_buffer_grows() {
        let queue = Queue::new(4096);
        let mut batch = Vec::with_capacity(4096);
        for _ in 0..100 {
            while queue.push("a line\n", 1) == Pushed::Waiting {}
            take(&queue, &mut batch);
            assert_eq!(batch.capacity(), 4096);
            batch.clear();
        }
    }

    #[test]
    fn a_flush_without_a_writer_ends_and_tells_what_is_left() {
        let queue = Queue::new(100);
        queue.push("one\ntwo\n", 2);
        assert_eq!(queue.flush(Duration::from_millis(10)), 2);
        let mut batch = Vec::new();
        let work = take(&queue, &mut batch);
        queue.wrote(2, work, false);
        assert_eq!(queue.flush(Duration::ZERO), 0);
    }
}
