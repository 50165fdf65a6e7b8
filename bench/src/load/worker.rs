//! One socket of a load, and the thread that drives it.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::Context as _;
use pyzord_core::HeaderBlock;

use super::batch_socket::{BATCH, BatchSocket};
use super::digests::{DigestSampler, share_before};
use super::in_flight::{InFlight, ReplyKind};
use super::pace::{Pace, SendTimes};
use super::plan::LoadPlan;
use super::progress::LoadProgress;
use super::report::Report;
use super::request::Writer;
use crate::clock::{self, Clock, nanos, thread_cpu};
use crate::cpu;
use crate::random::Random;

pub(crate) struct Worker<'a> {
    plan: &'a LoadPlan,
    progress: &'a LoadProgress,
    socket: BatchSocket,
    in_flight: InFlight,
    writer: Writer,
    digests: DigestSampler,
    random: Random,
    pace: SocketPace,
    /// Requests that this socket may still send, and those that it has sent or should have sent.
    left: u64,
    issued: u64,
    /// The requests of one system call.
    outgoing: Vec<Vec<u8>>,
    report: Report,
    /// The scheduled time of the first counted request, and the time of the last reply.
    first: Option<u64>,
    last: u64,
}

/// This socket's part of the pace.
enum SocketPace {
    Closed { window: u64 },
    Open(SendTimes),
}

impl<'a> Worker<'a> {
    pub(crate) fn new(plan: &'a LoadPlan, progress: &'a LoadProgress, socket: UdpSocket, index: u64) -> Self {
        let sockets = plan.sockets.get();
        let share = |total| share_before(total, index + 1, sockets) - share_before(total, index, sockets);
        let pace = match plan.pace {
            Pace::Closed { outstanding } => SocketPace::Closed { window: share(outstanding).max(1) },
            Pace::Open { rate } => SocketPace::Open(SendTimes::new(rate, index, sockets)),
        };
        Self {
            plan,
            progress,
            socket: BatchSocket::new(socket),
            in_flight: InFlight::new(),
            writer: Writer::new(plan.signer.clone(), plan.batch, clock::unix_seconds()),
            digests: DigestSampler::new(plan.distribution, plan.digests, index, sockets),
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

    /// Sends the load, and waits for the last replies.
    pub(crate) fn run(mut self, clock: Clock) -> anyhow::Result<Report> {
        if let Some(cpu) = self.plan.cpu {
            cpu::pin_this_thread(cpu)?;
        }
        // By default the kernel wakes a thread up to 50 us late: too late for a schedule. Without this, latencies
        // are less exact.
        let _ = nix::sys::prctl::set_timerslack(1);
        let began = thread_cpu();
        loop {
            let now = clock.nanos();
            self.give_up(now);
            let sent = self.send_due(now)?;
            let received = self.receive(clock)?;
            if sent + received == 0 {
                match self.next_event() {
                    Some(_) if self.spins() => (),
                    Some(moment) => self
                        .socket
                        .wait(moment.saturating_sub(clock.nanos()))
                        .context("cannot wait for replies")?,
                    None => break,
                }
            }
        }
        self.report.cpu = thread_cpu().saturating_sub(began);
        self.report.seconds = self.seconds();
        Ok(self.report)
    }

    /// Returns whether the thread never sleeps: an idle CPU takes tens of microseconds to wake, which would be added
    /// to the server's latency.
    fn spins(&self) -> bool {
        self.plan.cpu.is_some() && matches!(self.pace, SocketPace::Open(_))
    }

    fn give_up(&mut self, now: u64) {
        let lost = self.in_flight.expire(now.saturating_sub(nanos(self.plan.timeout)));
        self.report.lost += lost;
        self.progress.add_lost(lost);
    }

    /// Sends one batch of the requests that are due.
    #[expect(clippy::indexing_slicing, reason = "`outgoing` has BATCH buffers, and `count` is at most BATCH")]
    fn send_due(&mut self, now: u64) -> anyhow::Result<usize> {
        let mut count = 0;
        self.writer.set_time(clock::unix_seconds());
        while let (Some(scheduled), true) = (self.due(now), count < BATCH) {
            self.issued += 1;
            self.left -= 1;
            let counted = scheduled >= nanos(self.plan.warm_up);
            let operation = self.plan.mix.draw(&mut self.random);
            let Some(thread) = self.in_flight.add(operation, scheduled, counted, now) else {
                self.report.unsent += u64::from(counted);
                continue;
            };
            let out = &mut self.outgoing[count];
            self.writer.write(out, operation, thread, &mut self.digests, &mut self.random);
            count += 1;
            if counted {
                self.report.sent += 1;
                self.report.lag.record(now.saturating_sub(scheduled));
                self.first.get_or_insert(scheduled);
            }
        }
        let refused = self.socket.send(&self.outgoing[..count]).context("cannot send requests")?;
        self.report.refused += refused;
        Ok(count)
    }

    /// Returns the scheduled time of the next request, if it has come.
    fn due(&self, now: u64) -> Option<u64> {
        let scheduled = self.next_send(now)?;
        (scheduled <= now).then_some(scheduled)
    }

    /// Returns the scheduled time of the next request; `None` if there is none, or none before a reply.
    fn next_send(&self, now: u64) -> Option<u64> {
        let scheduled = match &self.pace {
            SocketPace::Closed { window } => ((self.in_flight.waiting() as u64) < *window).then_some(now)?,
            SocketPace::Open(schedule) => schedule.time_of(self.issued),
        };
        (self.left > 0 && scheduled < self.end()).then_some(scheduled)
    }

    fn end(&self) -> u64 {
        nanos(self.plan.warm_up.saturating_add(self.plan.duration))
    }

    fn receive(&mut self, clock: Clock) -> anyhow::Result<usize> {
        let (in_flight, report) = (&mut self.in_flight, &mut self.report);
        let (mut now, mut answered) = (None, 0);
        let receive = |reply: &[u8]| {
            let now = *now.get_or_insert_with(|| clock.nanos());
            let (thread, code) = parse_reply(reply);
            let kind = in_flight.match_reply(thread, now);
            answered += u64::from(matches!(kind, ReplyKind::Answer { .. }));
            report.count(kind, code);
        };
        let received = self.socket.receive(receive).context("cannot receive replies")?;
        self.last = now.unwrap_or(self.last);
        self.progress.add_answered(answered);
        Ok(received)
    }

    /// Returns the time of the next action if no reply arrives; `None` when the load is complete.
    fn next_event(&self) -> Option<u64> {
        // In a closed loop the next request waits for a reply or a timeout.
        let send = match &self.pace {
            SocketPace::Closed { .. } => None,
            SocketPace::Open(_) => self.next_send(0),
        };
        let timeout = self.in_flight.oldest().map(|sent| sent.saturating_add(nanos(self.plan.timeout)) + 1);
        send.into_iter().chain(timeout).min()
    }

    /// Returns how long the counted part took: as planned, or until the last reply if the number of requests ended it.
    fn seconds(&self) -> f64 {
        let planned = self.plan.duration.as_secs_f64();
        if self.left > 0 {
            return planned;
        }
        let taken = self.last.saturating_sub(self.first.unwrap_or(self.last));
        planned.min(Duration::from_nanos(taken).as_secs_f64())
    }
}

/// Returns the thread and the code of a reply; the code is 0 if it is missing or not a number.
fn parse_reply(reply: &[u8]) -> (Option<u64>, u16) {
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
