//! The alerts and the dashboard name metrics and labels that a server shows, before anything has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Home, run_python, wait_for};
use crate::http::{get, serve};
use crate::status::metrics;

/// Labels that Prometheus itself adds.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];

/// A metric in an expression, with what it asks of labels.
#[derive(Debug)]
struct Selector<'a> {
    metric: &'a str,
    matchers: Vec<Matcher<'a>>,
}

#[derive(Debug)]
struct Matcher<'a> {
    label: &'a str,
    is_equal: bool,
    values: Vec<&'a str>,
}

/// Returns the metrics of pyzord in an expression of `PromQL`.
fn selectors(expression: &str) -> Vec<Selector<'_>> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut found, mut rest) = (Vec::new(), expression);
    while let Some(start) = rest.find(is_word) {
        let word = &rest[start..];
        let end = word.find(|c| !is_word(c)).unwrap_or(word.len());
        let (metric, behind) = word.split_at(end);
        let (inside, behind) = match behind.strip_prefix('{') {
            Some(labels) => labels.split_once('}').expect("the end of the labels"),
            None => ("", behind),
        };
        if metric.starts_with("pyzord_") || metric.starts_with("process_") {
            let matchers = inside.split(',').filter(|matcher| !matcher.is_empty()).map(matcher);
            found.push(Selector { metric, matchers: matchers.collect() });
        }
        rest = behind;
    }
    found
}

fn matcher(text: &str) -> Matcher<'_> {
    let (label, value) = text.split_once('=').expect("a comparison");
    let value = value.trim_start_matches('~').trim_matches('"');
    Matcher {
        label: label.trim_end_matches('!').trim(),
        is_equal: !label.ends_with('!'),
        values: value.split('|').collect(),
    }
}

/// Returns the labels that an expression groups by.
fn grouped(expression: &str) -> BTreeSet<&str> {
    let lists = expression.split(" by ").skip(1).map(|rest| rest.trim_start().trim_start_matches('('));
    lists.flat_map(|list| list.split(')').next().unwrap().split(',')).map(str::trim).collect()
}

/// The labels of each metric, with their values.
type Labels = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn labels(samples: &BTreeMap<String, f64>) -> Labels {
    let mut found = Labels::new();
    for sample in samples.keys() {
        let (name, inside) = sample.split_once('{').unwrap_or((sample, ""));
        let labels = found.entry(name.to_owned()).or_default();
        for pair in inside.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty()) {
            let (label, value) = pair.split_once("=\"").unwrap();
            labels.entry(label.to_owned()).or_default().insert(value.trim_end_matches('"').to_owned());
        }
    }
    found
}

/// Checks an expression, and returns the labels that its result may have.
fn check(expression: &str, known: &Labels) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = OF_PROMETHEUS.map(str::to_owned).into();
    for Selector { metric, matchers } in selectors(expression) {
        let labels = known.get(metric).unwrap_or_else(|| panic!("there is no metric {metric}: {expression}"));
        all.extend(labels.keys().cloned());
        for Matcher { label, is_equal, values } in
            matchers.iter().filter(|of| !OF_PROMETHEUS.contains(&of.label))
        {
            let there = labels.get(*label).unwrap_or_else(|| panic!("{metric} has no label {label}"));
            let missing: Vec<_> = values.iter().filter(|value| !there.contains(**value)).collect();
            assert!(!is_equal || missing.is_empty(), "{metric}: no {label} is {missing:?}: {there:?}");
        }
    }
    for label in grouped(expression) {
        assert!(all.contains(label), "no metric has the label {label}: {expression}");
    }
    all
}

/// Returns the anchors of the headings of a page of the documentation.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter_map(|line| line.strip_prefix("## "));
    headings.map(|heading| heading.to_lowercase().replace(' ', "-")).collect()
}

#[test]
fn the_dashboard_and_the_alerts_name_existing_metrics_and_labels() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let client_home = Home::new();
    client_home.write("servers", "127.0.0.1:9\n");
    let (_server, page) = serve(&["--forward-client-homedir", client_home.dir().to_str().unwrap()]);
    wait_for("the disks", || get(page, "/metrics").body.contains("pyzord_disk_free_bytes{").then_some(()));
    let samples = metrics(page);
    let known = labels(&samples);

    let dashboard = fs::read_to_string(folder.join("contrib/grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    assert!(panels.len() > 10);
    for target in targets {
        let found = check(target["expr"].as_str().unwrap(), &known);
        let legend = target["legendFormat"].as_str().unwrap();
        for label in legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().trim()) {
            assert!(found.contains(label), "{legend}");
        }
    }
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one number");

    let alerts = fs::read_to_string(folder.join("contrib/prometheus-alerts.yml")).unwrap();
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.argv[1])))";
    let rules: Value = serde_json::from_str(&run_python(script, &[&alerts])).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() > 10);
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        let found = check(rule["expr"].as_str().unwrap(), &known);
        for text in ["summary", "description", "runbook"] {
            let text = rule["annotations"][text].as_str().unwrap_or_else(|| panic!("{name} has no {text}"));
            for label in text.split("$labels.").skip(1) {
                let label = label.split([' ', '}']).next().unwrap();
                assert!(found.contains(label), "{name}: {label}");
            }
        }
        let runbook = rule["annotations"]["runbook"].as_str().unwrap();
        let (file, section) =
            runbook.split_once('#').map_or((runbook, None), |(file, section)| (file, Some(section)));
        let text = fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(section.is_none_or(|section| anchors(&text).contains(section)), "{name}: {runbook}");
    }
    // An alert on a rate needs the series before the first event.
    for sample in ["pyzord_requests_total{operation=\"check\",code=\"500\"}", "pyzord_kernel_drops_total"] {
        assert_eq!(samples.get(sample), Some(&0.0), "{sample}");
    }
    // The table of the manual has all metrics.
    let manual = fs::read_to_string(folder.join("docs/monitoring.md")).unwrap();
    let names: BTreeSet<&str> = samples.keys().map(|sample| sample.split('{').next().unwrap()).collect();
    for name in names {
        let name = ["_bucket", "_sum", "_count"].iter().fold(name, |name, part| name.trim_end_matches(part));
        assert!(manual.contains(&format!("`{name}")), "docs/monitoring.md does not have {name}");
    }
}

#[test]
fn expressions_are_read() {
    let expression =
        "sum by (instance, le) (rate(pyzord_a_bucket{code=\"500\",op!=\"x\"}[5m])) > 0.01 * sum(pyzord_b)";
    let found = selectors(expression);
    assert_eq!(
        found.iter().map(|selector| selector.metric).collect::<Vec<_>>(),
        ["pyzord_a_bucket", "pyzord_b"]
    );
    let [code, op] = &found[0].matchers[..] else { panic!("{found:?}") };
    assert!(code.label == "code" && code.is_equal && code.values == ["500"]);
    assert!(op.label == "op" && !op.is_equal && op.values == ["x"]);
    assert_eq!(grouped(expression), BTreeSet::from(["instance", "le"]));
}
