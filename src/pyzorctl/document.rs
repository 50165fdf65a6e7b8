//! The status document of a server, as far as `pyzorctl` shows it. A field that a server does not write is unknown.

use std::net::SocketAddr;
use std::time::Duration;

use pyzord_core::UnixTime;
use serde::Deserialize;

/// The document.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(crate) struct Document {
    pub(crate) version: Option<String>,
    pub(crate) engine: Option<String>,
    pub(crate) listen: Option<String>,
    pub(crate) started: Option<f64>,
    pub(crate) uptime: Option<f64>,
    healthy: Option<bool>,
    trouble: Option<String>,
    trouble_since: Option<f64>,
    verdict: Option<Finding>,
    pub(crate) findings: Option<Vec<Finding>>,
    pub(crate) records: Option<u64>,
    pub(crate) received: Option<u64>,
    pub(crate) kernel_drops: Option<u64>,
    pub(crate) replies_dropped: Option<u64>,
    pub(crate) log_lines_lost: Option<u64>,
    pub(crate) internal_errors: Option<u64>,
    pub(crate) dropped: Option<serde_json::Map<String, serde_json::Value>>,
    pub(crate) requests: Option<Vec<RequestCount>>,
    pub(crate) rates: Option<Vec<Rate>>,
    pub(crate) latency: Option<Percentiles>,
    pub(crate) store: Option<Percentiles>,
    pub(crate) store_unavailable: Option<u64>,
    pub(crate) store_unreadable: Option<u64>,
    pub(crate) store_no_place: Option<u64>,
    pub(crate) database_bytes: Option<u64>,
    pub(crate) talkers: Option<Vec<Talker>>,
    pub(crate) denied: Option<Vec<Denied>>,
    pub(crate) forwarding: Option<Vec<Forwarding>>,
    pub(crate) errors: Option<Vec<LogLine>>,
    settings: Option<Vec<SettingValue>>,
}

/// What is wrong, or that nothing is.
#[derive(Clone, Deserialize, Debug)]
pub(crate) struct Finding {
    pub(crate) level: String,
    pub(crate) sentence: String,
    pub(crate) remedy: Option<String>,
    pub(crate) since: Option<f64>,
}

#[derive(Deserialize, Debug)]
pub(crate) struct RequestCount {
    pub(crate) operation: String,
    pub(crate) code: u16,
    pub(crate) count: u64,
}

/// Counts of the last seconds.
#[derive(Clone, Copy, Deserialize, Default, Debug)]
#[serde(default)]
pub(crate) struct Rate {
    pub(crate) seconds: f64,
    pub(crate) received: u64,
    pub(crate) done: u64,
    pub(crate) refused: u64,
    pub(crate) dropped: u64,
    pub(crate) checks: u64,
    pub(crate) reports: u64,
    pub(crate) whitelists: u64,
}

/// Percentiles since the start, in seconds.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) p50: Option<f64>,
    pub(crate) p90: Option<f64>,
    pub(crate) p99: Option<f64>,
}

/// A network that sends much.
#[derive(Deserialize, Debug)]
pub(crate) struct Talker {
    pub(crate) network: String,
    pub(crate) datagrams: u64,
    pub(crate) excess: Option<u64>,
    pub(crate) refused: Option<u64>,
    pub(crate) dropped: Option<u64>,
}

/// A user whose requests get 401 or 403.
#[derive(Deserialize, Debug)]
pub(crate) struct Denied {
    pub(crate) user: String,
    pub(crate) code: u16,
    pub(crate) count: u64,
}

/// A server that counts are sent to.
#[derive(Deserialize, Debug)]
pub(crate) struct Forwarding {
    pub(crate) server: String,
    pub(crate) state: String,
    pub(crate) since: Option<f64>,
    pub(crate) cause: Option<String>,
}

/// A warning or an error of the log.
#[derive(Deserialize, Debug)]
pub(crate) struct LogLine {
    pub(crate) time: f64,
    pub(crate) level: String,
    pub(crate) text: String,
}

#[derive(Deserialize, Debug)]
struct SettingValue {
    name: String,
    value: String,
}

impl Document {
    /// Returns the worst that the server has found; a server that tells no more is well or has a trouble.
    pub(crate) fn verdict(&self) -> Option<Finding> {
        if let Some(verdict) = &self.verdict {
            return Some(verdict.clone());
        }
        let healthy = self.healthy?;
        let (level, since) = if healthy { ("ok", None) } else { ("failed", self.trouble_since) };
        let sentence = match &self.trouble {
            Some(trouble) if !healthy => trouble.clone(),
            _ => "requests are answered and counted".to_owned(),
        };
        Some(Finding { level: level.to_owned(), sentence, remedy: None, since })
    }

    /// Returns the first address that the server listens on.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listen.as_deref()?.split([',', ' ']).next()?.parse().ok()
    }

    /// Whether the server may leave datagrams of this machine unanswered, as its settings want it.
    pub(crate) fn selects_networks(&self) -> bool {
        let lists = ["AllowNetworks", "DenyNetworks"];
        let settings = self.settings.iter().flatten();
        settings.filter(|row| lists.contains(&row.name.as_str())).any(|row| !row.value.is_empty())
    }
}

/// Returns a time of the document.
pub(crate) fn unix_time(seconds: f64) -> Option<UnixTime> {
    let seconds = Duration::try_from_secs_f64(seconds).ok()?.as_secs();
    Some(UnixTime::from_seconds(i64::try_from(seconds).ok()?))
}

/// Returns a length of time in the two largest units that it has.
pub(crate) fn span(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_does_not_tell_is_unknown() {
        let of = |text: &str| serde_json::from_str::<Document>(text).unwrap();
        assert!(of("{}").verdict().is_none() && of("{}").address().is_none());
        let well = of(r#"{"healthy": true, "records": null, "more": [], "listen": "[::1]:7, 127.0.0.1:7"}"#);
        assert_eq!((well.verdict().unwrap().level.as_str(), well.records), ("ok", None));
        assert_eq!(well.address(), Some("[::1]:7".parse().unwrap()));
        let ill = of(r#"{"healthy": false, "trouble": "the disk is full", "trouble_since": 17.5}"#);
        let verdict = ill.verdict().unwrap();
        assert_eq!(
            (verdict.level.as_str(), verdict.sentence.as_str(), verdict.since),
            ("failed", "the disk is full", Some(17.5))
        );
        let told = of(
            r#"{"healthy": true, "verdict": {"level": "warning", "sentence": "x", "remedy": null, "since": 5}}"#,
        );
        assert_eq!(told.verdict().unwrap().level, "warning");
        assert!(
            of(r#"{"settings": [{"name": "DenyNetworks", "value": "::1", "source": "line 2"}]}"#)
                .selects_networks()
        );
    }

    #[test]
    fn spans_have_two_units() {
        for (seconds, expected) in [
            (0.9, "0 s"),
            (59.0, "59 s"),
            (61.0, "1 min 1 s"),
            (7260.0, "2 h 1 min"),
            (90_000.0, "1 d 1 h"),
            (-1.0, "0 s"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }
}
