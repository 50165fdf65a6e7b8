//! The time zone of the dates in the table.
//!
//! Python's server writes `NOW()`, which is the database server's time. The server names its zone by an abbreviation, if at
//! all, so it is asked for its offset at many instants, and the zone is one that has the same offsets.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use mysql::{Row, Value};

use super::client::Client;
use super::error::ClientError;
use super::row;

const WEEK: i64 = 7 * 24 * 3600;
/// How many weeks before and after the present are compared: a zone changes its clocks once a week at most.
const WEEKS: i64 = 80;
/// Half a year, and the first half-years that are compared: from 2005.
const HALF_YEAR: i64 = 26 * WEEK;
const FIRST: i64 = 1_104_537_600;
/// The last second that every server converts.
const LAST: i64 = (1 << 31) - 1;

/// The zone of a server's session.
#[derive(Clone, Debug)]
pub(super) struct ServerZone {
    pub(super) zone: TimeZone,
    /// Whether the zone has the server's offsets. If not, it has the present one.
    pub(super) known: bool,
}

/// Asks the server for its zone. `likely` is tried first.
pub(super) fn ask(client: &mut Client, likely: &TimeZone) -> Result<ServerZone, ClientError> {
    let rows = client.query("SELECT UNIX_TIMESTAMP(), @@session.time_zone, @@system_time_zone");
    let rows = rows.map_err(ClientError::from)?;
    let [now, name, system] = [0, 1, 2].map(|column| text(&rows, column));
    let now = now.parse().unwrap_or(FIRST);
    let instants = instants(now);
    let rows = client.query(&statement(&instants)).map_err(ClientError::from)?;
    let offsets = text(&rows, 0);
    let offsets = instants.into_iter().zip(offsets.split(' ').map(|offset| offset.parse().ok()));
    Ok(find(now, &offsets.collect::<Vec<_>>(), likely, &[&name, &system]))
}

/// Returns the instants at which the zones are compared.
fn instants(now: i64) -> Vec<i64> {
    let weeks = (-WEEKS..=WEEKS).map(|week| now.saturating_add(week * WEEK));
    let half_years = (0..).map(|n| FIRST + n * HALF_YEAR).take_while(|instant| *instant <= LAST);
    weeks.chain(half_years).filter(|instant| (0..=LAST).contains(instant)).collect()
}

/// Reads the offsets in seconds at these instants.
fn statement(instants: &[i64]) -> String {
    let offset = |instant: &i64| {
        format!("COALESCE(TIMESTAMPDIFF(SECOND, '1970-01-01', FROM_UNIXTIME({instant})) - {instant}, 'none')")
    };
    format!("SELECT CONCAT_WS(' ', {})", instants.iter().map(offset).collect::<Vec<_>>().join(", "))
}

/// Returns a zone with these offsets, or else with those of the weeks around the present: the tables of a server may lack
/// old changes of a zone's clocks, and those to come.
fn find(now: i64, offsets: &[(i64, Option<i32>)], likely: &TimeZone, names: &[&str]) -> ServerZone {
    let known = offsets.iter().filter_map(|(instant, offset)| Some((*instant, (*offset)?)));
    let (recent, others): (Vec<_>, Vec<_>) =
        known.partition(|(instant, _)| instant.abs_diff(now) <= WEEKS.unsigned_abs() * WEEK.unsigned_abs());
    let all = [&recent[..], &others].concat();
    let at_present = recent.iter().min_by_key(|(instant, _)| instant.abs_diff(now));
    let fixed = at_present.and_then(|(_, offset)| Offset::from_seconds(*offset).ok());
    let fixed = fixed.map_or(TimeZone::UTC, TimeZone::fixed);
    let found = [&all, &recent].into_iter().find_map(|offsets| with_offsets(offsets, likely, &fixed, names));
    let known = found.is_some();
    ServerZone { zone: found.unwrap_or(fixed), known }
}

/// Returns the first zone with these offsets: the likely one, the fixed one, one of these names, any.
fn with_offsets(
    offsets: &[(i64, i32)],
    likely: &TimeZone,
    fixed: &TimeZone,
    names: &[&str],
) -> Option<TimeZone> {
    let fits = |zone: &TimeZone| offsets.iter().all(|(instant, offset)| offset_at(zone, *instant) == *offset);
    if let Some(zone) = [likely, fixed].into_iter().find(|zone| fits(zone)) {
        return Some(zone.clone());
    }
    let named = names.iter().filter_map(|name| TimeZone::get(name).ok());
    let any = jiff::tz::db().available();
    named.chain(any.filter_map(|name| TimeZone::get(name.as_str()).ok())).find(fits)
}

fn offset_at(zone: &TimeZone, instant: i64) -> i32 {
    Timestamp::from_second(instant).map_or(0, |instant| zone.to_offset(instant).seconds())
}

/// Returns a text of the one row; empty if there is none.
fn text(rows: &[Row], column: usize) -> String {
    let value = rows.first().and_then(|row| row.as_ref(column));
    match value {
        Some(value @ Value::Bytes(_)) => String::from_utf8_lossy(row::text(value)).into_owned(),
        _ => String::new(),
    }
}

/// Returns how messages name a zone.
pub(super) fn name(zone: &TimeZone) -> String {
    zone.iana_name().map_or_else(
        || format!("UTC{}", offset_text(zone.to_offset(Timestamp::UNIX_EPOCH).seconds())),
        str::to_owned,
    )
}

fn offset_text(seconds: i32) -> String {
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs() / 60);
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day of 2026.
    const NOW: i64 = 1_780_000_000;

    fn get(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn found(server: &TimeZone, likely: &TimeZone, names: &[&str]) -> ServerZone {
        let offsets: Vec<_> =
            instants(NOW).into_iter().map(|instant| (instant, Some(offset_at(server, instant)))).collect();
        find(NOW, &offsets, likely, names)
    }

    #[test]
    fn a_zone_is_found_by_its_offsets() {
        let (berlin, utc) = (get("Europe/Berlin"), TimeZone::UTC);
        for (server, likely, names, expected) in [
            (&berlin, &berlin, &["SYSTEM", "CEST"][..], "Europe/Berlin"),
            (&berlin, &utc, &["Europe/Berlin", "UTC"], "Europe/Berlin"),
            (&utc, &berlin, &["SYSTEM", "UTC"], "UTC"),
            (&TimeZone::fixed(Offset::constant(-3)), &berlin, &["-03:00", "UTC"], "UTC-03:00"),
            (&get("America/New_York"), &utc, &["SYSTEM", "EST5EDT"], "EST5EDT"),
        ] {
            let zone = found(server, likely, names);
            assert!(zone.known);
            assert_eq!(name(&zone.zone), expected, "{names:?}");
        }
        // The name says nothing, or something wrong: any zone with the same offsets will do.
        for names in [&["SYSTEM", "CEST"], &["Europe/London", ""]] {
            let zone = found(&berlin, &utc, names);
            assert!(zone.known);
            let instants = (0..5000).map(|n| FIRST + n * WEEK / 3);
            assert!(instants.into_iter().all(|at| offset_at(&zone.zone, at) == offset_at(&berlin, at)));
        }
    }

    #[test]
    fn an_unknown_zone_has_the_present_offset() {
        let offsets: Vec<_> =
            instants(NOW).into_iter().map(|at| (at, Some(if at < NOW { 0 } else { 1234 }))).collect();
        let zone = find(NOW, &offsets, &TimeZone::UTC, &["SYSTEM", "XYZ"]);
        assert!(!zone.known);
        assert_eq!(offset_at(&zone.zone, NOW), 1234);
        // A server whose tables end.
        let offset =
            |at: i64| if at < NOW + 2 * WEEKS * WEEK { offset_at(&get("Europe/Berlin"), at) } else { 7200 };
        let offsets: Vec<_> = instants(NOW).into_iter().map(|at| (at, Some(offset(at)))).collect();
        let zone = find(NOW, &offsets, &TimeZone::UTC, &["Europe/Berlin", ""]);
        assert_eq!((zone.zone, zone.known), (get("Europe/Berlin"), true));
        // A server that says nothing.
        let zone = find(NOW, &[], &TimeZone::UTC, &["", ""]);
        assert_eq!((zone.zone, zone.known), (TimeZone::UTC, true));
    }
}
