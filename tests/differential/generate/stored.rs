//! The records that are stored before the first request.

/// The kinds and the values of the records that are stored before the first request.
pub(crate) const STORED: &[(&str, &str)] = &[
    ("sound", "1,7,2024-01-09 12:00:00.250007,2024-03-09 12:00:01,0,None,None"),
    ("sound", "1,0,None,None,3,2024-01-09 12:00:00,2024-03-09 12:00:01.999999"),
    ("sound", "1,5,2023-01-09 12:00:00,2024-03-09 12:00:01,9,2022-01-09 12:00:00,2025-03-09 12:00:01"),
    ("sound", "1,9223372036854775807,2024-01-09 12:00:00,2024-03-09 12:00:01,9223372036854775806,None,None"),
    ("sound", "1,0,None,None,0,None,None"),
    ("oldest", "17,1300000000,1400000000"),
    ("unreadable", "1,not,a,record,at,all,really"),
    ("unreadable", "2,5,None,None,0,None,None"),
    ("unreadable", ""),
    ("unreadable", "1,5,2024-02-30 12:00:00,None,0,None,None"),
];

/// Returns the digest of a row of [`STORED`]; higher numbers are digests that are not stored.
pub(crate) fn stored(number: usize) -> String {
    format!("da39a3ee5e6b4b0d3255bfef95601890{number:08x}")
}

/// Returns the numbers of the records of this kind.
pub(crate) fn of_kind(kind: &'static str) -> impl Iterator<Item = usize> {
    (0..STORED.len()).filter(move |number| STORED[*number].0 == kind)
}
