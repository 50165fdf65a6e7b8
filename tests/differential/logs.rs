//! What two servers have in their usage logs after the same requests.

use crate::exchange::{Marker, Reply};
use crate::rules::Exchange;

/// The differences that show in the log.
pub(crate) const NAMES: [&str; 1] = ["refused-in-usage-log"];

/// What was logged for each request: the lines of a usage log without their stamps, cut at the markers.
pub(crate) fn split(log: &str, requests: usize) -> Vec<Vec<String>> {
    let mut lines = log.lines().map(message);
    let mut before = |number| {
        let marker = format!(",127.0.0.1,ping,['{}'],200", Marker::digest(number));
        let mut found = Vec::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("the marker {number} is not in the log"));
            if line.ends_with(&marker) {
                return found;
            }
            found.push(line);
        }
    };
    before(Marker::OPENING);
    (0..requests).map(&mut before).collect()
}

/// `LEVEL message` of the line `2026-11-22 10:11:12,345 (pid) LEVEL message`.
fn message(line: &str) -> String {
    let (stamp, rest) = line.split_at_checked(23).unwrap_or_else(|| panic!("no stamp: {line}"));
    let form: String = stamp.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let (pid, message) = rest.strip_prefix(" (").and_then(|rest| rest.split_once(") ")).unwrap_or_default();
    let is_stamp = form == "9999-99-99 99:99:99,999" && pid.parse::<u32>().is_ok();
    assert!(is_stamp, "no stamp: {line}");
    message.to_owned()
}

/// What ours must log for a request that Python logged so, and for which `promised` was promised.
pub(crate) fn promised(exchange: &Exchange<'_>, python: &[String], promised: Option<&Reply>) -> Vec<String> {
    let (Some(request), Some(promised)) = (&exchange.request, promised) else { return Vec::new() };
    let (user, op) = (shown(request.user), shown(request.op));
    if promised.code != 200 {
        return vec![format!("ERROR {}: {} ({user},127.0.0.1,{op})", promised.code, promised.diag)];
    }
    // Python's own line but for the case of its digests, or the line that it had not written.
    match python {
        [line] if line.starts_with("INFO ") => {
            let (head, digests) = line.split_at(line.find('[').unwrap_or(line.len()));
            vec![[head, &digests.to_ascii_lowercase()].concat()]
        }
        _ => {
            let digests: Vec<_> =
                request.digests().map(|text| format!("'{}'", text.escape_ascii())).collect();
            let digests =
                if digests.is_empty() { "None".into() } else { format!("[{}]", digests.join(", ")) };
            vec![format!("INFO {user},127.0.0.1,{op},{digests},200")]
        }
    }
}

/// A name as ours shows it: escaped, and cut.
fn shown(name: &[u8]) -> String {
    let text = name[..name.len().min(64)].escape_ascii().to_string();
    if name.len() > 64 { text + "..." } else { text }
}
