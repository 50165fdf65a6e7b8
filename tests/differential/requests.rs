//! Requests to both servers: their replies, databases and usage logs.

use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use pyzord_core::AccessOrder;

use crate::differences::Coverage;
#[cfg(feature = "sqlite")]
use crate::exchange::converse_in_turn;
use crate::exchange::{Marker, Reply, converse, open};
use crate::generate::{POLICIES, Requests, ServerFiles};
use crate::harness::{Client, Home, Server, with_python_server};
use crate::logs;
use crate::random::Size;
use crate::rules::{self, RequestCase};
#[cfg(feature = "sqlite")]
use crate::sqlite;
use crate::stores::{self, Contents, Diverging};

/// Requests that are generated together: few enough that no signature expires before it is sent.
const CHUNK: usize = 256;

/// The engine of this server; Python's has gdbm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Engine {
    Gdbm,
    #[cfg(feature = "sqlite")]
    Sqlite,
}

#[test]
fn both_servers_answer_count_and_log_the_same() {
    let names = rules::names().chain(stores::NAMES).chain(logs::NAMES);
    compare_all(Engine::Gdbm, Coverage::expecting(names));
}

#[cfg(feature = "sqlite")]
#[test]
fn a_server_on_sqlite_answers_and_counts_the_same() {
    compare_all(Engine::Sqlite, Coverage::expecting(rules::names().chain(stores::NAMES)));
}

fn compare_all(engine: Engine, mut coverage: Coverage) {
    let size = Size::of_run(4000);
    for (number, files) in (0..).zip(&POLICIES) {
        let seed = size.seed.wrapping_mul(1000) + number;
        compare(engine, files, seed, size.cases / POLICIES.len(), &mut coverage);
    }
    coverage.finish();
}

/// A request and its replies.
struct Answered {
    datagram: Vec<u8>,
    now: i64,
    /// Empty if Python failed to write the reply: it sends an empty datagram.
    python: Option<Vec<u8>>,
    ours: Option<Vec<u8>>,
}

/// Sends the requests to both servers and compares the results.
fn compare(engine: Engine, files: &ServerFiles, seed: u64, count: usize, coverage: &mut Coverage) {
    let [python, ours] = [Engine::Gdbm, engine].map(|engine| home(engine, files));
    let start = now();
    let mut cases = Vec::new();
    let mut ours = Some(ours);
    with_python_server(&python, &["--usage-log-file", "usage"], &[], |client| {
        // Python has no limits and does not remember signatures.
        let arguments = "--usage-log-file usage --workers 1 --access-order last-match --failure-rate 0 \
                         --remembered-reports 0";
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let server = Server::on(ours.take().unwrap(), &arguments);
        let mut generator = Requests::new(seed, *files);
        let opening = generator.marker(Marker::OPENING, b"", now());
        for client in [client, &server.client()] {
            open(client, &opening);
        }
        for chunk in (0..count).step_by(CHUNK) {
            let now = now();
            let numbers = chunk..count.min(chunk + CHUNK);
            let requests: Vec<(Vec<u8>, Marker)> = numbers
                .map(|number| {
                    let request = generator.request(number, now);
                    let marker = generator.marker(number, &request, now);
                    (request, marker)
                })
                .collect();
            let (theirs, own) = engine.converse([client, &server.client()], &requests);
            let answered = requests.into_iter().zip(theirs).zip(own);
            cases.extend(answered.map(|(((datagram, _), python), ours)| Answered {
                datagram,
                now,
                python,
                ours,
            }));
        }
        ours = Some(server.stop());
    });
    compare_results(engine, files, &cases, [&python, &ours.unwrap()], start, coverage);
}

/// The replies of a server, one for each request.
type Replies = Vec<Option<Vec<u8>>>;

impl Engine {
    /// Sends the requests to both servers, and returns the replies of each.
    fn converse(self, [python, ours]: [&Client; 2], requests: &[(Vec<u8>, Marker)]) -> (Replies, Replies) {
        match self {
            Self::Gdbm => thread::scope(|scope| {
                let theirs = scope.spawn(|| converse(python, requests));
                let own = converse(ours, requests);
                (theirs.join().unwrap(), own)
            }),
            #[cfg(feature = "sqlite")]
            Self::Sqlite => {
                let theirs = converse(python, requests);
                // An empty datagram of Python is a reply that it failed to write.
                let expected = requests.iter().zip(&theirs);
                let expected: Vec<bool> = expected
                    .map(|((request, _), reply)| reply.is_some() && rules::readable(request).is_some())
                    .collect();
                let own = converse_in_turn(ours, requests, &expected);
                (theirs, own)
            }
        }
    }

    /// Creates the database.
    fn fill(self, home: &Home) {
        match self {
            Self::Gdbm => stores::fill(&home.path("pyzord.db")),
            #[cfg(feature = "sqlite")]
            Self::Sqlite => sqlite::fill(&home.path("pyzord.sqlite")),
        }
    }

    /// Reads the database, in the form of gdbm.
    fn read(self, home: &Home) -> Contents {
        match self {
            Self::Gdbm => stores::read(&home.path("pyzord.db")),
            #[cfg(feature = "sqlite")]
            Self::Sqlite => sqlite::read(&home.path("pyzord.sqlite")),
        }
    }

    /// The lines of its configuration.
    const fn setting(self) -> &'static str {
        match self {
            Self::Gdbm => "",
            #[cfg(feature = "sqlite")]
            Self::Sqlite => "Engine = sqlite\n",
        }
    }
}

/// Compares the replies, the logs and the databases.
fn compare_results(
    engine: Engine,
    files: &ServerFiles,
    cases: &[Answered],
    homes: [&Home; 2],
    start: i64,
    coverage: &mut Coverage,
) {
    let window = (start, now());
    let [accounts, access] = [files.accounts, files.access].map(|text| text.map(str::as_bytes));
    let (rights, _) = pyzord_core::Policy::parse(accounts, access, AccessOrder::LastMatch);
    let [python, ours] = homes;
    let theirs = logs::split(&usage(python), cases.len());
    // A server that reads beside its writers logs a ping before an earlier report.
    let own = match engine {
        Engine::Gdbm => logs::split(&usage(ours), cases.len()),
        #[cfg(feature = "sqlite")]
        Engine::Sqlite => vec![Vec::new(); cases.len()],
    };
    let (mut diverging, mut failures) = (Diverging::default(), Vec::new());
    for (number, ((case, theirs), own)) in cases.iter().zip(theirs).zip(own).enumerate() {
        let exchange = RequestCase::new(&case.datagram, files, &rights, case.now);
        let python = case.python.as_deref().filter(|reply| !reply.is_empty()).map(Reply::parse);
        let mut predicted = exchange.predicted(python.clone(), &theirs, coverage);
        if let (Some(request), Some(python), Some(predicted)) = (&exchange.request, &python, &predicted) {
            diverging.note(request, python, predicted);
        }
        let shown = || case.datagram.escape_ascii();
        let line = logs::predicted(&exchange, &theirs, predicted.as_ref());
        if engine == Engine::Gdbm && line != own {
            failures.push(format!(
                "the log of {}\nPython   {theirs:?}\nours     {own:?}\nnot      {line:?}",
                shown()
            ));
        }
        if engine == Engine::Gdbm
            && theirs != own
            && theirs.iter().any(|line| own.iter().any(|own| own.starts_with(line)))
        {
            coverage.hit("refused-in-usage-log");
        }
        if let Some(predicted) = &mut predicted {
            exchange.cut(predicted, coverage);
        }
        let mut ours = case.ours.as_deref().map(Reply::parse);
        if let (Some(predicted), Some(ours)) = (&predicted, &mut ours) {
            same_dates(predicted, ours, window);
        }
        if ours != predicted {
            let shown_replies = format!("Python   {python:?}\nours     {ours:?}\npromised {predicted:?}");
            failures.push(format!("#{number} the reply to {}\n{shown_replies}", shown()));
        }
    }
    let shown = failures.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n\n");
    assert!(failures.is_empty(), "{} differences\n{shown}", failures.len());
    diverging.compare(Engine::Gdbm.read(python), engine.read(ours), window, coverage);
}

/// Treats two dates as equal if both are within this run.
fn same_dates(predicted: &Reply, ours: &mut Reply, (start, end): (i64, i64)) {
    let window = start.cast_unsigned()..=end.cast_unsigned();
    for ((name, theirs), (_, own)) in predicted.fields.iter().zip(&mut ours.fields) {
        let is_date = name.ends_with("Entered") || name.ends_with("Updated");
        if is_date && window.contains(theirs) && window.contains(own) {
            *own = *theirs;
        }
    }
}

/// Creates a home directory for either server.
fn home(engine: Engine, files: &ServerFiles) -> Home {
    let home = Home::new();
    home.write("config", format!("[server]\nCleanupAge = 0\n{}", engine.setting()));
    if let Some(accounts) = files.accounts {
        home.write("pyzord.passwd", accounts);
    }
    if let Some(access) = files.access {
        home.write("pyzord.access", access);
    }
    engine.fill(&home);
    home
}

fn usage(home: &Home) -> String {
    fs::read_to_string(home.path("usage")).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "both servers read the clock of this machine")]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}
