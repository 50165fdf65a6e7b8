//! Requests to both servers: their replies, databases and usage logs.

use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use pyzord_core::AccessOrder;

use crate::differences::Coverage;
use crate::exchange::{Marker, Reply, converse, open};
use crate::generate::{POLICIES, Requests, ServerFiles};
use crate::harness::{Home, Server, with_python_server};
use crate::logs;
use crate::random::Size;
use crate::rules::{self, RequestCase};
use crate::stores::{self, Diverging};

/// Requests that are generated together: few enough that no signature expires before it is sent.
const CHUNK: usize = 256;

#[test]
fn both_servers_answer_count_and_log_the_same() {
    let size = Size::of_run(4000);
    let names = rules::names().chain(stores::NAMES).chain(logs::NAMES);
    let mut coverage = Coverage::expecting(names);
    for (number, files) in (0..).zip(&POLICIES) {
        compare(files, size.seed.wrapping_mul(1000) + number, size.cases / POLICIES.len(), &mut coverage);
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
fn compare(files: &ServerFiles, seed: u64, count: usize, coverage: &mut Coverage) {
    let [python, ours] = [home(files), home(files)];
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
            let (theirs, own) = thread::scope(|scope| {
                let theirs = scope.spawn(|| converse(client, &requests));
                let own = converse(&server.client(), &requests);
                (theirs.join().unwrap(), own)
            });
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
    compare_results(files, &cases, [&python, &ours.unwrap()], start, coverage);
}

/// Compares the replies, the logs and the databases.
fn compare_results(
    files: &ServerFiles,
    cases: &[Answered],
    homes: [&Home; 2],
    start: i64,
    coverage: &mut Coverage,
) {
    let window = (start, now());
    let [accounts, access] = [files.accounts, files.access].map(|text| text.map(str::as_bytes));
    let (rights, _) = pyzord_core::Policy::parse(accounts, access, AccessOrder::LastMatch);
    let [theirs, own] = homes.map(|home| logs::split(&usage(home), cases.len()));
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
        if line != own {
            failures.push(format!(
                "the log of {}\nPython   {theirs:?}\nours     {own:?}\nnot      {line:?}",
                shown()
            ));
        }
        if theirs != own && theirs.iter().any(|line| own.iter().any(|own| own.starts_with(line))) {
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
    let [theirs, own] = homes.map(|home| stores::read(&home.path("pyzord.db")));
    diverging.compare(theirs, own, window, coverage);
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
fn home(files: &ServerFiles) -> Home {
    let home = Home::new();
    home.write("config", "[server]\nCleanupAge = 0\n");
    if let Some(accounts) = files.accounts {
        home.write("pyzord.passwd", accounts);
    }
    if let Some(access) = files.access {
        home.write("pyzord.access", access);
    }
    stores::fill(&home.path("pyzord.db"));
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
