//! A server that is recorded.

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use pyzord_cuts::{Campaign, Figures, Files, Layout, Moments, Open, Promise, Recorder, Recording, Summary};

use crate::harness::{Home, LISTEN, Server, wait_for};
use crate::load::Load;

/// The folder of the database, in the home directory.
const FOLDER: &str = "db";
/// The address space of a server that maps no files, in bytes.
const ADDRESS_SPACE: &str = "--as=17179869184";

/// Of how many failed cuts the files are kept.
const KEPT: usize = 3;

/// How a recorded server ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Stop,
    Kill,
}

/// An engine, and how its files are opened.
#[derive(Clone, Copy)]
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) layout: Layout,
    pub(crate) open: Open,
    /// Opens them with the program, with this engine and with Python.
    pub(crate) open_with_all: Open,
    /// Options of each server.
    pub(crate) options: &'static [&'static str],
    /// The server gets a limited address space, with which libgdbm maps nothing.
    pub(crate) is_limited: bool,
}

/// A server to record.
pub(crate) struct Run<'a> {
    /// The files that it starts with.
    pub(crate) initial: Files,
    pub(crate) options: &'a [&'a str],
    pub(crate) load: Load,
    /// What its log has before it ends.
    pub(crate) log: &'a str,
    pub(crate) end: End,
}

impl Engine {
    /// Records a server, which must have done at least as much as `least`.
    pub(crate) fn record(&self, run: &Run<'_>, least: Figures) -> Recording {
        let recording = self.recorded(run);
        let figures = recording.figures();
        let Figures { changes, syncs, replies, names } = figures;
        assert!(
            changes >= least.changes
                && syncs >= least.syncs
                && replies >= least.replies
                && names >= least.names,
            "{figures:?}, and not at least {least:?}"
        );
        recording
    }

    fn recorded(&self, run: &Run<'_>) -> Recording {
        let home = Home::new();
        fs::create_dir(home.path(FOLDER)).unwrap();
        pyzord_cuts::write(&home.path(FOLDER), &run.initial).unwrap();
        let recorder = Recorder::new(&home.path(FOLDER), home.path("trace")).unwrap();
        let command = self.command(&home, &home.path(FOLDER), run.options);
        let server = Server::launch(home, recorder.command(&command));
        let process = server.pid().as_raw().unsigned_abs();
        if self.is_limited {
            // libgdbm maps the file as it opens it; the first sync ends that.
            let mappings = || fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
            wait_for("the end of the mapping", || (!mappings().contains(self.file)).then_some(()));
        }
        run.load.send(server.address);
        server.wait_for_log(run.log);
        let home = match run.end {
            End::Stop => {
                server.signal(Signal::SIGTERM);
                server.stop_after_signal()
            }
            End::Kill => server.kill(),
        };
        let log = home.read("stderr");
        assert!(!log.contains("panicked"), "{log}");
        recorder.finish(process, self.layout).unwrap_or_else(|error| panic!("{error}: {log}"))
    }

    /// Returns the files of a server that was killed after reports of these digests.
    #[cfg(feature = "sqlite")]
    pub(crate) fn killed_after(&self, digests: &[String]) -> Files {
        let home = Home::new();
        fs::create_dir(home.path(FOLDER)).unwrap();
        let command = self.command(&home, &home.path(FOLDER), &[]);
        let server = Server::launch(home, command);
        let client = server.client();
        for digest in digests {
            let reply = client.ask(crate::harness::request("report", &[digest]));
            assert!(reply.starts_with("Code: 200\n"), "{reply}");
        }
        pyzord_cuts::read(&server.kill().path(FOLDER)).unwrap()
    }

    /// Starts the program on the files of a folder and stops it. Returns its log.
    pub(crate) fn serve(&self, folder: &Path) -> String {
        let home = Home::new();
        let command = self.command(&home, folder, &[]);
        let log = Server::launch(home, command).stop().read("stderr");
        assert!(!log.contains("panicked"), "{log}");
        log
    }

    fn command(&self, home: &Home, folder: &Path, options: &[&str]) -> Command {
        let database = folder.join(self.file);
        let arguments = ["-e", self.name, "--dsn", database.to_str().unwrap()];
        let command = home.command(&[&LISTEN, &arguments, self.options, options].concat());
        if self.is_limited { limited(&command) } else { command }
    }

    /// Makes cuts of a recording.
    pub(crate) fn cut(
        &self,
        recording: &Recording,
        promise: Promise,
        moments: Moments,
        cuts: u64,
    ) -> Summary {
        let seed = seed();
        let campaign = Campaign { promise, moments, cuts, seed, kept: KEPT };
        let summary = campaign.run(recording, self.open).unwrap();
        println!("{} {promise:?} {moments:?} PYZORD_CUTS_SEED={seed}: {summary}", self.name);
        for failure in &summary.failures {
            println!("{failure}");
        }
        summary
    }

    /// Fails if cuts of a recording show no broken promise.
    pub(crate) fn notices(&self, sabotage: &str, recording: &Recording, promise: Promise) {
        let seed = seed();
        for first in (seed..).step_by(10).take(20) {
            let campaign = Campaign { promise, moments: Moments::Any, cuts: 10, seed: first, kept: 0 };
            let summary = campaign.run(recording, self.open).unwrap();
            if summary.failed > 0 {
                println!("{} {promise:?}, {sabotage}: {summary}; {} failed", self.name, summary.failed);
                return;
            }
        }
        panic!("{sabotage}, and PYZORD_CUTS_SEED={seed} shows nothing");
    }

    /// Makes cuts at all moments of a recording: so many anywhere, and further ones at the start and at the stop, with all
    /// programs that open the database, and in recoveries. Fails if a promise is broken.
    pub(crate) fn survives(&self, recording: &Recording, promise: Promise, cuts: u64) {
        let mut total = self.cut(recording, promise, Moments::Any, cuts);
        // Cuts that lose nothing show nothing.
        assert!(total.lossy * 10 >= cuts, "{total}");
        for (moments, share) in [(Moments::Start, 4), (Moments::Stop, 4)] {
            total += self.cut(recording, promise, moments, cuts / share);
        }
        let all = Self { open: self.open_with_all, ..*self };
        total += all.cut(recording, promise, Moments::Any, cuts.div_ceil(10));
        for _ in 0..cuts.div_ceil(20) {
            total += self.recovery(recording, promise, 5);
        }
        println!("| {} | {promise:?} {total}", self.name);
        assert_eq!(total.failed, 0, "{:#?}", total.failures);
    }

    /// The power fails again while a server starts on what a cut has left, and serves.
    fn recovery(&self, recording: &Recording, promise: Promise, cuts: u64) -> Summary {
        let cut = recording.cut(Moments::Any, seed());
        let load = Load { reports: 30, known: 100, digests: 10, pause: Duration::ZERO, seed: seed() };
        let run = Run { initial: recording.state(cut).files, options: &[], load, log: "", end: End::Kill };
        let start = self.record(&run, Figures { replies: 10, ..Figures::default() });
        self.cut(&start.after(recording.ledger(cut, promise)), promise, Moments::Any, cuts)
    }
}

/// Returns the number of cuts of a test.
pub(crate) fn cuts(by_default: u64) -> u64 {
    std::env::var("PYZORD_CUTS").map_or(by_default, |cuts| cuts.parse().unwrap())
}

/// Returns the seed from the environment, or a new one.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("PYZORD_CUTS_SEED").map(|seed| seed.parse().unwrap());
    seed.unwrap_or_else(|_| RandomState::new().hash_one(0) >> 20)
}

/// Returns the same command with a limited address space.
fn limited(command: &Command) -> Command {
    let mut limited = Command::new("prlimit");
    limited.arg(ADDRESS_SPACE).arg(command.get_program()).args(command.get_args());
    limited
}
