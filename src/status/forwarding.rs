//! How forwarding fares, in the status document and in the metrics.

use pyzord_runtime::{ForwardState, ForwardTarget};
use serde::Serialize;

use super::exposition::Exposition;
use super::snapshot::unix_seconds;

/// One server that digests are forwarded to. Numbers are digests since the start.
#[derive(Serialize)]
pub(super) struct TargetRow<'a> {
    server: &'a str,
    state: &'static str,
    /// When the state began; `None` while nothing was sent.
    since: Option<f64>,
    /// Why it fails, if it does.
    cause: Option<&'a str>,
    delivered: u64,
    refused: u64,
    /// Sent and never answered: counted or not.
    unanswered: u64,
    dropped: u64,
    waiting: u64,
    last_delivered: Option<f64>,
}

/// Returns the rows of the status document.
pub(super) fn rows(targets: &[ForwardTarget]) -> Vec<TargetRow<'_>> {
    targets.iter().map(TargetRow::new).collect()
}

/// Writes the metrics; none if nothing is forwarded.
pub(super) fn expose(out: &mut Exposition, targets: &[ForwardTarget]) {
    if targets.is_empty() {
        return;
    }
    let mut family = |name, kind, help, value: fn(&ForwardTarget) -> Option<f64>| {
        out.head(name, kind, help);
        for target in targets {
            if let Some(value) = value(target) {
                out.sample(name, &[("server", &target.server)], value);
            }
        }
    };
    let help = "1 if the server does not take what is forwarded to it, else 0.";
    family("pyzord_forward_failing", "gauge", help, |target| {
        Some(u8::from(matches!(target.state, ForwardState::Failing(_))).into())
    });
    let help = "Digests that wait to be forwarded, or for a reply.";
    family("pyzord_forward_waiting", "gauge", help, |target| Some(target.totals.waiting as f64));
    let help = "When the server last counted what was forwarded to it, in seconds since 1970.";
    family("pyzord_forward_last_delivered_seconds", "gauge", help, |target| {
        target.last_delivered.map(unix_seconds)
    });
    let name = "pyzord_forward_digests_total";
    out.head(name, "counter", "Digests for other servers, by what became of them.");
    for ForwardTarget { server, totals, .. } in targets {
        let results = [
            ("delivered", totals.accepted),
            ("refused", totals.refused),
            ("unanswered", totals.unanswered),
            ("dropped", totals.dropped),
            ("not_sent_back", totals.withheld),
        ];
        for (result, count) in results {
            out.sample(name, &[("server", server), ("result", result)], count);
        }
    }
}

impl<'a> TargetRow<'a> {
    fn new(target: &'a ForwardTarget) -> Self {
        let (state, cause) = match &target.state {
            ForwardState::Idle => ("idle", None),
            ForwardState::Ok => ("ok", None),
            ForwardState::Failing(cause) => ("failing", Some(&**cause)),
        };
        Self {
            server: &target.server,
            state,
            since: target.since.map(unix_seconds),
            cause,
            delivered: target.totals.accepted,
            refused: target.totals.refused,
            unanswered: target.totals.unanswered,
            dropped: target.totals.dropped,
            waiting: target.totals.waiting,
            last_delivered: target.last_delivered.map(unix_seconds),
        }
    }
}
