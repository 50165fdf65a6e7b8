//! One socket of a load and the thread that drives it.

use std::io;
use std::net::UdpSocket;
use std::sync::atomic::Ordering;

use pyzord_core::HeaderBlock;

use super::digests::{Drawer, share_before};
use super::flight::{Arrival, Flights};
use super::pace::{Pace, Schedule};
use super::report::Report;
use super::request::Writer;
use super::wire::{BATCH, Wire};
use super::{Plan, Progress};
use crate::clock::{self, Clock, nanos, thread_cpu};
use crate::cpu;
use crate::random::Random;

pub(crate) struct Worker<'a> {
    plan: &'a Plan,
    progress: &'a Progress,
    wire: Wire,
    flights: Flights,
    writer: Writer,
    drawer: Drawer,
    random: Random,
    pace: Share,
    /// Requests that this socket may still send, and has sent or should have sent.
    left: u64,
    issued: u64,
    /// The requests of one system call.
    outgoing: Vec<Vec<u8>>,
    report: Report,
    /// When the first and the last of what counts happened.
    first: Option<u64>,
    last: u64,
}

/// This socket's share of the pace.
enum Share {
    Closed { window: u64 },
    Open(Schedule),
}

impl<'a> Worker<'a> {
    pub(crate) fn new(plan: &'a Plan, progress: &'a Progress, socket: UdpSocket, index: u64) -> Self {
        let sockets = plan.sockets.get();
        let share = |total| share_before(total, index + 1, sockets) - share_before(total, index, sockets);
        let pace = match plan.pace {
            Pace::Closed { outstanding } => Share::Closed { window: share(outstanding).max(1) },
            Pace::Open { rate } => Share::Open(Schedule::new(rate, index, sockets)),
        };
        Self {
            plan,
            progress,
            wire: Wire::new(socket),
            flights: Flights::new(),
            writer: Writer::new(plan.account.clone(), plan.batch, clock::unix_seconds()),
            drawer: Drawer::new(plan.draw, plan.digests, index, sockets),
            random: Random::new(plan.seed.wrapping_add(index << 32)),
            pace,
            left: plan.requests.map_or(u64::MAX, share),
            issued: 0,
            outgoing: vec![Vec::new(); BATCH],
            report: Report::new(),
            first: None,
            last: 0,
        }
    }

    /// Loads the server, and waits for the last answers.
    pub(crate) fn run(mut self, clock: Clock) -> io::Result<Report> {
        if let Some(cpu) = self.plan.cpu {
            cpu::pin_this_thread(cpu).map_err(io::Error::other)?;
        }
        // The kernel may let a sleeper lie 50 us longer than it wants; a schedule must be kept closer than that.
        let _ = nix::sys::prctl::set_timerslack(1);
        let began = thread_cpu();
        loop {
            let now = clock.nanos();
            self.give_up(now);
            let sent = self.send_what_is_due(now)?;
            let received = self.receive(clock)?;
            if sent + received == 0 {
                match self.next_event() {
                    Some(_) if self.spins() => (),
                    Some(moment) => self.wire.wait(moment.saturating_sub(clock.nanos()))?,
                    None => break,
                }
            }
        }
        self.report.cpu = thread_cpu().saturating_sub(began);
        self.report.seconds = self.seconds();
        Ok(self.report)
    }

    /// Whether it never sleeps: a CPU that slept takes tens of microseconds to wake, which would be taken for the server's.
    fn spins(&self) -> bool {
        self.plan.cpu.is_some() && matches!(self.pace, Share::Open(_))
    }

    fn give_up(&mut self, now: u64) {
        let lost = self.flights.expire(now.saturating_sub(nanos(self.plan.timeout)));
        self.report.lost += lost;
        self.progress.lost.fetch_add(lost, Ordering::Relaxed);
    }

    /// Sends one batch of what should have been sent by now.
    fn send_what_is_due(&mut self, now: u64) -> io::Result<usize> {
        let mut count = 0;
        self.writer.set_time(clock::unix_seconds());
        while let (Some(scheduled), true) = (self.due(now), count < BATCH) {
            self.issued += 1;
            self.left -= 1;
            let counted = scheduled >= nanos(self.plan.warm_up);
            let operation = self.plan.mix.draw(&mut self.random);
            let Some(thread) = self.flights.depart(operation, scheduled, counted, now) else {
                self.report.unsent += u64::from(counted);
                continue;
            };
            if let Some(out) = self.outgoing.get_mut(count) {
                self.writer.write(out, operation, thread, &mut self.drawer, &mut self.random);
            }
            count += 1;
            if counted {
                self.report.sent += 1;
                self.report.lag.record(now.saturating_sub(scheduled));
                self.first.get_or_insert(scheduled);
            }
        }
        self.report.refused += self.wire.send(self.outgoing.get(..count).unwrap_or_default())?;
        Ok(count)
    }

    /// The moment for which the next request is scheduled, when it has come.
    fn due(&self, now: u64) -> Option<u64> {
        let scheduled = self.next_departure(now)?;
        (scheduled <= now).then_some(scheduled)
    }

    /// The moment for which the next request is scheduled; `None` when there is none, or none before a reply.
    fn next_departure(&self, now: u64) -> Option<u64> {
        let scheduled = match &self.pace {
            Share::Closed { window } => ((self.flights.waiting() as u64) < *window).then_some(now)?,
            Share::Open(schedule) => schedule.time_of(self.issued),
        };
        (self.left > 0 && scheduled < self.end()).then_some(scheduled)
    }

    fn end(&self) -> u64 {
        nanos(self.plan.warm_up.saturating_add(self.plan.duration))
    }

    fn receive(&mut self, clock: Clock) -> io::Result<usize> {
        let (flights, report) = (&mut self.flights, &mut self.report);
        let (mut now, mut answered) = (None, 0);
        let received = self.wire.receive(|reply| {
            let now = *now.get_or_insert_with(|| clock.nanos());
            let (thread, code) = read(reply);
            let arrival = flights.arrive(thread, now);
            answered += u64::from(matches!(arrival, Arrival::Answer { .. }));
            report.count(arrival, code);
        })?;
        self.last = now.unwrap_or(self.last);
        self.progress.answered.fetch_add(answered, Ordering::Relaxed);
        Ok(received)
    }

    /// When something is to be done again, should nothing arrive. `None` when all is done.
    fn next_event(&self) -> Option<u64> {
        // In a closed loop the next departure waits for a reply or for a request to be given up.
        let departure = match &self.pace {
            Share::Closed { .. } => None,
            Share::Open(_) => self.next_departure(0),
        };
        let give_up = self.flights.oldest().map(|sent| sent.saturating_add(nanos(self.plan.timeout)) + 1);
        departure.into_iter().chain(give_up).min()
    }

    /// How long the part that counts took: as planned, or, when the number of requests ended it, until the last reply.
    fn seconds(&self) -> f64 {
        let planned = self.plan.duration.as_secs_f64();
        if self.left > 0 {
            return planned;
        }
        let taken = self.last.saturating_sub(self.first.unwrap_or(self.last));
        planned.min(std::time::Duration::from_nanos(taken).as_secs_f64())
    }
}

/// The thread and the code of a reply; 0 for a code that is missing or none.
fn read(reply: &[u8]) -> (Option<u64>, u16) {
    let (mut thread, mut code) = (None, 0);
    for header in HeaderBlock::new(reply).iter() {
        if header.is("Thread") {
            thread = number(header.value);
        } else if header.is("Code") {
            code = number(header.value).and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
        }
    }
    (thread, code)
}

fn number(text: &[u8]) -> Option<u64> {
    core::str::from_utf8(text).ok()?.parse().ok()
}
