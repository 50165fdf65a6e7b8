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
        assert_eq!(browser.text("#level"), "✓ OK");
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
