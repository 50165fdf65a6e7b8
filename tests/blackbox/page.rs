//! The status page in a real browser, under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::browser::Browser;
use crate::harness::{Client, Home, Server, digest, request, wait_for};
use crate::http::serve;

/// Sends one request after the other until `stop` is set.
fn load(client: &Client, stop: &AtomicBool) {
    let ops = ["check", "check", "report", "ping", "info", "whitelist", "nonsense"];
    for (number, op) in (0..).zip(ops.into_iter().cycle()) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        client.ask(request(op, &[&digest(number % 50)]));
        if number % 50 == 0 {
            client.send("no request");
        }
    }
}

/// Ends the load when the test ends, also by a panic.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The value of a tile: its place counts from 1.
fn tile(place: u8) -> String {
    format!("#tiles > div:nth-child({place}) .value")
}

fn number(text: &str) -> f64 {
    let digits: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    digits.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

/// Waits until every chart of the last minutes has a line of at least three points.
fn wait_for_charts(browser: &Browser) {
    let script = "return [...document.querySelectorAll('#live .plot')].every((plot) => \
                  [...plot.querySelectorAll('polyline')].some((line) => line.points.length >= 3))";
    wait_for("charts", || browser.run(script).as_bool()?.then_some(()));
}

/// Reads the times to answer with the keys, as a screen reader says them.
fn check_keys(browser: &Browser) {
    let press = |key: &str| {
        let script = format!(
            "const plot = document.querySelector('#live figure:nth-child(3) .plot'); \
             plot.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', cancelable: true}})); \
             return [plot.getAttribute('aria-valuenow'), plot.getAttribute('aria-valuetext')]"
        );
        browser.run(&script)
    };
    let newest = press("End");
    let said = newest[1].as_str().unwrap();
    assert!(said.starts_with("at ") && said.contains("99 % within "), "{said}");
    assert_eq!(press("Home")[0], "0", "the first point");
    let left = press("Escape");
    assert!(left[1].as_str().unwrap().starts_with("now: "), "{left}");
}

fn check_look(browser: &Browser, width: u32, colors: &str) {
    browser.look(width, colors);
    let script = "return [innerWidth, document.documentElement.scrollWidth, \
                  ...['body', '#tiles .value', '.plot text'].map((name) => \
                  getComputedStyle(document.querySelector(name))[name.startsWith('.') ? 'fill' : 'color']), \
                  getComputedStyle(document.body).backgroundColor]";
    // The page fits its charts into the new width at its next update.
    let looks = wait_for("a page as wide as its window", || {
        let looks = browser.run(script);
        (looks[0] == width && looks[1].as_u64()? <= u64::from(width)).then_some(looks)
    });
    let brightness = |color: &serde_json::Value| {
        let color = color.as_str().unwrap();
        let parts = color.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok());
        parts.take(3).sum::<u32>()
    };
    let ground = brightness(&looks[5]);
    assert_eq!(ground < 200, colors == "dark", "{looks}");
    for text in [&looks[2], &looks[3], &looks[4]] {
        assert!(brightness(text).abs_diff(ground) > 250, "{text} on {}", looks[5]);
    }
}

#[test]
fn the_page_shows_the_load_in_every_size_and_colour() {
    let (server, page) = serve(&["--workers", "2"]);
    let (browser, client, stop) = (Browser::start(), server.client(), AtomicBool::new(false));
    browser.open(&format!("http://{page}/"));
    assert!(
        wait_for("the first look", || Some(browser.text("#codes")).filter(|text| !text.is_empty()))
            .contains("No request so far.")
    );
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| load(&client, &stop));
        wait_for_charts(&browser);
        // A busy machine has slow replies, which is a warning.
        assert!(["✓ OK", "▲ Warning"].contains(&&*browser.text("#level")));
        wait_for("a rate", || (number(&browser.text(&tile(1))) > 1.0).then_some(()));
        assert_eq!([tile(2), tile(3)].map(|tile| browser.text(&tile)), ["0 %", "0/s"]);
        let time = browser.text(&tile(4));
        assert!(number(&time) > 0.0 && time.ends_with('s'), "{time}");
        assert!(browser.text("#faults").contains("dropped: not a request"));
        let codes = browser.text("#codes");
        assert!(["check", "report", "403", "200"].iter().all(|text| codes.contains(text)), "{codes}");
        assert!(browser.text("#talkers").contains("127.0.0.1/32"));
        assert!(browser.text("#live figure:nth-child(2) .legend").contains("report"));
        check_keys(&browser);
        for (width, colors) in [(1280, "light"), (1280, "dark"), (360, "dark"), (360, "light")] {
            check_look(&browser, width, colors);
        }
    });
    // At the end the page shows what the server has counted.
    wait_for("the records", || browser.text("#database").contains("records\t50\n").then_some(()));
    assert_eq!(browser.text("#fault"), "");
    assert_eq!(browser.complaints(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_lost_server_is_reported_and_found_again() {
    let (server, page) = serve(&[]);
    let browser = Browser::start();
    browser.open(&format!("http://{page}/"));
    let old = || browser.run("return document.querySelector('#figures').className") == "old";
    wait_for("the first look", || (browser.text("#level") == "✓ OK").then_some(()));
    assert!(!old());
    drop(server);
    wait_for("the loss", || (browser.text("#level") == "✕ No answer").then_some(()));
    let sentence = browser.text("#sentence");
    assert!(sentence.contains("The figures below are those of "), "{sentence}");
    assert!(old());
    let address = page.to_string();
    let server = Server::on(Home::new(), &["--status-address", &address]);
    wait_for("the return", || (browser.text("#level") == "✓ OK").then_some(()));
    assert!(!old());
    server.stop();
}

/// Stops the page's own updates, and shows `count` documents: the last one, changed by a JavaScript object of `index`.
fn show(browser: &Browser, count: u32, changes: &str) {
    let script = format!(
        "clearTimeout(timer); running = true; \
         for (let index = 0; index < {count}; index += 1) show({{...shown, ...({changes})}});"
    );
    browser.run(&script);
}

#[test]
fn no_foreign_text_leaves_its_place() {
    let (_server, page) = serve(&[]);
    let browser = Browser::start();
    browser.open(&format!("http://{page}/"));
    browser.look(360, "light");
    wait_for("the first look", || (browser.text("#level") == "✓ OK").then_some(()));
    let changes = r#"(() => {
        const text = '<img src=x onerror=showFault(1)><style>*{display:none}</style>\u202e\u2066\n\0' + '﷽'.repeat(64);
        const long = text + 'x'.repeat(100000);
        const finding = { level: '__proto__', sentence: text, remedy: '`' + text, since: 1e300 };
        return { verdict: finding, findings: [finding, finding], listen: text, engine: 'constructor',
          disks: [{ what: text, path: text, free: 1, total: 0 }], dropped: { toString: 1, [text]: 2 },
          forwarding: [{ server: text, state: text, cause: text }], denied: [{ user: text, code: text, count: 1 }],
          errors: [{ time: -1e300, level: text, text: long }], talkers: [{ network: text, datagrams: 1 }],
          settings: [{ name: text, value: long, source: text }], requests: [{ operation: 'check', code: 499, count: 1 }],
        };
    })()"#;
    show(&browser, 2, changes);
    for place in
        ["#sentence", "#remedy", "#findings", "#denied", "#errors", "#talkers", "#forwarding", "#disks"]
    {
        let text = browser.text(place);
        assert!(text.contains("<img src=x onerror"), "{place}: {text}");
        assert!(text.contains("\\u{202e}\\u{2066}\\u{a}\\u{0}"), "{place}: {text}");
        assert!(text.chars().count() < 8000, "{place}");
    }
    let found = browser.run(
        "return [document.querySelectorAll('img, main style').length, document.documentElement.scrollWidth, \
         document.querySelector('#level').textContent]",
    );
    assert_eq!(found, serde_json::json!([0, 360, "✕ Failed"]));
    assert_eq!(browser.text("#fault"), "");
    assert_eq!(browser.complaints(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_page_that_stays_open_does_not_grow_and_follows_the_clock_of_the_server() {
    let (_server, page) = serve(&[]);
    let browser = Browser::start();
    browser.open(&format!("http://{page}/"));
    wait_for("the first look", || (browser.text("#level") == "✓ OK").then_some(()));
    let sizes = || {
        browser
            .run("return [points.length, recent.length, document.querySelectorAll('*').length]")
            .to_string()
    };
    show(&browser, 200, "{ time: shown.time + 2, uptime: shown.uptime + 2 }");
    let before = sizes();
    show(&browser, 400, "{ time: shown.time + 2, uptime: shown.uptime + 2 }");
    assert_eq!(sizes(), before);
    // An hour ahead of the browser's clock.
    show(&browser, 1, "{ time: Date.now() / 1000 + 3600, uptime: shown.uptime + 3600 }");
    let clock = browser.text("#clock");
    assert!(
        clock.contains("This browser's clock is 1 h behind it.") || clock.contains("59 min 59 s"),
        "{clock}"
    );
    // Another process, whose counters are smaller, on a clock that was set back.
    show(
        &browser,
        2,
        "{ time: shown.time - 7200, started: 5, uptime: index + 1, received: 0, answered: 0, requests: [] }",
    );
    assert_eq!(browser.text(&tile(1)), "0/s");
    assert!(browser.text("#codes").contains("No request so far."));
    assert_eq!(browser.text("#fault"), "");
    // An upgraded server has another page.
    browser.run("window.before = true; performance.now = () => 1e9;");
    show(&browser, 1, "{ version: '9' }");
    wait_for("the new page", || {
        let script = "return !window.before && document.querySelector('#level').textContent";
        (browser.run(script) == "✓ OK").then_some(())
    });
    assert_eq!(browser.complaints(), Vec::<serde_json::Value>::new());
}

#[test]
fn the_history_has_words_for_its_troubles_and_gaps() {
    let (_server, page) = serve(&[]);
    let browser = Browser::start();
    browser.open(&format!("http://{page}/"));
    wait_for("the first look", || (browser.text("#level") == "✓ OK").then_some(()));
    let said = browser.run(
        "clearTimeout(timer); running = true; \
         const minute = (time, failed, level) => [time, 9, 9, failed, 0, 0, 4, 1, 5, 0, null, null, 0.5, level]; \
         const rows = historyRows({ rows: [minute(3600, 0, 0), minute(3660, 7, 2), minute(3720, 9, 2), \
           minute(7200, 0, 0), minute(7260, 0, 1), minute(7320, 0, 0)] }); \
         setRows(historyCharts, rows); \
         const charts = [...document.querySelectorAll('#history .plot')]; \
         charts[0].dispatchEvent(new KeyboardEvent('keydown', { key: 'Home' })); \
         charts[0].dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight' })); \
         return [historySentence(rows, 7320), charts.map((chart) => chart.getAttribute('aria-valuetext')), \
           document.querySelectorAll('#history .band').length]",
    );
    let sentence = said[0].as_str().unwrap();
    assert!(sentence.contains(": failed in 2 minutes, from "), "{sentence}");
    assert!(sentence.contains("; warning in 1 minute, at "), "{sentence}");
    assert!(sentence.ends_with(" No figures of 57 minutes: the machine slept."), "{sentence}");
    for (chart, values) in [
        ": state failed",
        ": answered 9, refused 0, failed 7, lost 0",
        ": 99 % within 500 ms",
        ": checks 4, checks that found a report 1, reports 5, hit rate 25 %",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(said[1][chart].as_str().unwrap().ends_with(values), "{}", said[1][chart]);
    }
    assert_eq!(said[2], 2, "bands of trouble");
    assert_eq!(browser.complaints(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_fault_of_the_script_is_told() {
    let (_server, page) = serve(&[]);
    let browser = Browser::start();
    browser.open(&format!("http://{page}/"));
    wait_for("the first look", || (browser.text("#level") == "✓ OK").then_some(()));
    browser.run("fetchStatus = async () => ({ ...shown, requests: 1 })");
    let said = wait_for("the fault", || Some(browser.text("#fault")).filter(|text| !text.is_empty()));
    assert!(said.contains("This page has a fault and may show old figures: TypeError"), "{said}");
    assert_ne!(browser.complaints(), Vec::<serde_json::Value>::new());
}
