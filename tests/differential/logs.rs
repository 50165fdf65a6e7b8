//! The usage logs of the two servers after the same requests.

use crate::exchange::{Marker, Reply};
use crate::rules::RequestCase;

/// The differences in the log.
pub(crate) const NAMES: [&str; 1] = ["refused-in-usage-log"];

/// Returns the lines of the usage log for each request, without their time stamps.
pub(crate) fn split(log: &str, requests: usize) -> Vec<Vec<String>> {
    let flush = format!(",127.0.0.1,ping,['{}'],200", Marker::FLUSH);
    let mut lines = log.lines().map(message).filter(|line| !line.ends_with(&flush));
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

/// Returns `LEVEL message` of the line `2026-11-22 10:11:12,345 (pid) LEVEL message`.
fn message(line: &str) -> String {
    let (stamp, rest) = line.split_at_checked(23).unwrap_or_else(|| panic!("no stamp: {line}"));
    let form: String = stamp.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let (pid, message) = rest
        .strip_prefix(" (")
        .and_then(|rest| rest.split_once(") "))
        .unwrap_or_else(|| panic!("no process id: {line}"));
    let is_stamp = form == "9999-99-99 99:99:99,999" && pid.parse::<u32>().is_ok();
    assert!(is_stamp, "no stamp: {line}");
    message.to_owned()
}

/// Predicts the log lines of this server from Python's lines and from the predicted reply.
pub(crate) fn predicted(
    exchange: &RequestCase<'_>,
    python: &[String],
    predicted: Option<&Reply>,
) -> Vec<String> {
    let (Some(request), Some(predicted)) = (&exchange.request, predicted) else { return Vec::new() };
    let (user, op) = (shown(request.user), shown(request.op));
    if predicted.code != 200 {
        return vec![format!("ERROR {}: {} ({user},127.0.0.1,{op})", predicted.code, predicted.diag)];
    }
    // Python's line with digests in lower case, or the line that Python did not write.
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

/// Returns a name as this server logs it: escaped and truncated.
fn shown(name: &[u8]) -> String {
    let cut = &name[..name.len().min(64)];
    let mut text: String = cut.escape_ascii().map(char::from).collect();
    for special in [',', '(', ')', '[', ']'] {
        text = text.replace(special, &format!("\\x{:02x}", u32::from(special)));
    }
    if let Some(rest) = text.strip_prefix(' ') {
        text = format!("\\x20{rest}");
    }
    if let Some(rest) = text.strip_suffix(' ') {
        text = format!("{rest}\\x20");
    }
    if name.len() > 64 { text + "..." } else { text }
}
