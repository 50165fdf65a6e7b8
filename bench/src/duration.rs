//! Durations on the command line. Not `humantime`, which requires a unit and also takes days, months and years.

use std::time::Duration;

use anyhow::{Context as _, bail};

/// Parses `10`, `10s`, `500ms`, `0.5s` or `2m`; a number without a unit is seconds.
///
/// # Errors
/// When the unit or the number cannot be parsed.
pub fn parse(text: &str) -> anyhow::Result<Duration> {
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit() || character == '.');
    let number = text.strip_suffix(unit).unwrap_or(text);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => bail!("unknown unit `{unit}`; use us, ms, s, m or h"),
    };
    let seconds: f64 = number.parse().with_context(|| format!("`{text}` is not a duration such as `10s`"))?;
    Duration::try_from_secs_f64(seconds * scale).with_context(|| format!("`{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_parsed() {
        for (text, millis) in
            [("10", 10_000), ("0.5s", 500), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(millis));
        }
        for text in ["", "s", "-1", "1d", "1.2.3", "ten", "1e3"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
