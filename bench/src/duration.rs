//! Durations on the command line.

use std::time::Duration;

/// Reads `10`, `10s`, `500ms`, `0.5s`, `2m`; a number alone is seconds.
///
/// # Errors
/// Says what is expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit() || character == '.');
    let number = text.strip_suffix(unit).unwrap_or(text);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is no unit of time; there are us, ms, s, m and h")),
    };
    let seconds: f64 = number.parse().map_err(|_| format!("`{text}` is no duration, as `10s` is"))?;
    Duration::try_from_secs_f64(seconds * scale).map_err(|error| format!("`{text}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        for (text, millis) in
            [("10", 10_000), ("0.5s", 500), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)));
        }
        for text in ["", "s", "-1", "1d", "1.2.3", "ten", "1e3"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
