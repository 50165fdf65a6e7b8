//! Requests, sent to both servers: what they answer, what they keep and what they log.

use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use pyzord_core::AccessOrder;

use crate::differences::Met;
use crate::exchange::{Marker, Reply, converse, open};
use crate::generate::{Generator, POLICIES, Policy};
use crate::harness::{Home, Server, with_python_server};
use crate::logs;
use crate::random::Size;
use crate::rules::{self, Exchange};
use crate::stores::{self, Apart};

/// How many requests are made at a time: a signature must not grow old before it is sent.
const CHUNK: usize = 256;

#[test]
fn both_servers_answer_count_and_log_the_same() {
    let size = Size::of_run(4000);
    let names = rules::names().chain(stores::NAMES).chain(logs::NAMES);
    let mut met = Met::expecting(names);
    for (number, policy) in (0..).zip(&POLICIES) {
        compare(policy, size.seed.wrapping_mul(1000) + number, size.cases / POLICIES.len(), &mut met);
    }
    met.finish();
}

/// One request and what became of it.
struct Case {
    datagram: Vec<u8>,
    now: i64,
    /// Empty where Python failed while it wrote the reply: it sends what it has.
    python: Option<Vec<u8>>,
    ours: Option<Vec<u8>>,
}

fn compare(policy: &Policy, seed: u64, count: usize, met: &mut Met) {
    let [python, ours] = [home(policy), home(policy)];
    let start = now();
    let mut cases = Vec::new();
    let mut ours = Some(ours);
    with_python_server(&python, &["--usage-log-file", "usage"], &[], |client| {
        // Python has neither limits nor a memory.
        let arguments = "--usage-log-file usage --workers 1 --access-order last-match --failure-rate 0 \
                         --remembered-reports 0";
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let server = Server::on(ours.take().unwrap(), &arguments);
        let mut generator = Generator::new(seed, *policy);
        let opening = generator.marker(Marker::OPENING, now());
        for client in [client, &server.client()] {
            open(client, &opening);
        }
        for chunk in (0..count).step_by(CHUNK) {
            let now = now();
            let numbers = chunk..count.min(chunk + CHUNK);
            let requests: Vec<(Vec<u8>, Marker)> = numbers
                .map(|number| (generator.request(number, now), generator.marker(number, now)))
                .collect();
            let (theirs, own) = thread::scope(|scope| {
                let theirs = scope.spawn(|| converse(client, &requests));
                let own = converse(&server.client(), &requests);
                (theirs.join().unwrap(), own)
            });
            let answered = requests.into_iter().zip(theirs).zip(own);
            cases.extend(answered.map(|(((datagram, _), python), ours)| Case {
                datagram,
                now,
                python,
                ours,
            }));
        }
        ours = Some(server.stop());
    });
    judge(policy, &cases, [&python, &ours.unwrap()], start, met);
}

/// Compares everything that came out.
fn judge(policy: &Policy, cases: &[Case], homes: [&Home; 2], start: i64, met: &mut Met) {
    let window = (start, now());
    let [accounts, access] = [policy.accounts, policy.access].map(|text| text.map(str::as_bytes));
    let (rights, _) = pyzord_core::Policy::parse(accounts, access, AccessOrder::LastMatch);
    let [theirs, own] = homes.map(|home| logs::split(&usage(home), cases.len()));
    let (mut apart, mut failures) = (Apart::default(), Vec::new());
    for (number, ((case, theirs), own)) in cases.iter().zip(theirs).zip(own).enumerate() {
        let exchange = Exchange::new(&case.datagram, policy, &rights, case.now);
        let python = case.python.as_deref().filter(|reply| !reply.is_empty()).map(Reply::parse);
        let mut promised = exchange.promised(python.clone(), &theirs, met);
        if let (Some(request), Some(python), Some(promised)) = (&exchange.request, &python, &promised) {
            apart.note(request, python, promised);
        }
        let shown = || case.datagram.escape_ascii();
        let line = logs::promised(&exchange, &theirs, promised.as_ref());
        if line != own {
            failures.push(format!(
                "the log of {}\nPython   {theirs:?}\nours     {own:?}\nnot      {line:?}",
                shown()
            ));
        }
        if theirs != own && theirs.iter().any(|line| own.iter().any(|own| own.starts_with(line))) {
            met.meet("refused-in-usage-log");
        }
        if let Some(promised) = &mut promised {
            exchange.cut(promised, met);
        }
        let mut ours = case.ours.as_deref().map(Reply::parse);
        if let (Some(promised), Some(ours)) = (&promised, &mut ours) {
            same_dates(promised, ours, window);
        }
        if ours != promised {
            let told = format!("Python   {python:?}\nours     {ours:?}\npromised {promised:?}");
            failures.push(format!("#{number} the reply to {}\n{told}", shown()));
        }
    }
    let shown = failures.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n\n");
    assert!(failures.is_empty(), "{} differences\n{shown}", failures.len());
    let [theirs, own] = homes.map(|home| stores::read(&home.path("pyzord.db")));
    apart.compare(theirs, own, window, met);
}

/// Takes two dates for the same when both are of this run.
fn same_dates(promised: &Reply, ours: &mut Reply, (start, end): (i64, i64)) {
    let window = start.cast_unsigned()..=end.cast_unsigned();
    for ((name, theirs), (_, own)) in promised.fields.iter().zip(&mut ours.fields) {
        let is_date = name.ends_with("Entered") || name.ends_with("Updated");
        if is_date && window.contains(theirs) && window.contains(own) {
            *own = *theirs;
        }
    }
}

/// A home directory for either server.
fn home(policy: &Policy) -> Home {
    let home = Home::new();
    home.write("config", "[server]\nCleanupAge = 0\n");
    if let Some(accounts) = policy.accounts {
        home.write("pyzord.passwd", accounts);
    }
    if let Some(access) = policy.access {
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
