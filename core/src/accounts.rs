//! The accounts file: one `user : key` a line.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::policy::{File, Warning};
use crate::request::ANONYMOUS;
use crate::signature::HashedKey;

/// Each user's key; the last line for a user counts.
pub(crate) type Accounts = BTreeMap<Box<[u8]>, HashedKey>;

/// Reads an accounts file. A bad line is skipped with a warning, which never shows a key.
pub(crate) fn parse(text: &[u8], warnings: &mut Vec<Warning>) -> Accounts {
    let mut accounts = Accounts::new();
    for (number, line) in content_lines(text) {
        let mut warn = |text: &'static str| warnings.push(Warning::new(File::Accounts, number, text));
        let Some((user, key)) = split_pair(line) else {
            warn("skipped: a line is `user : key`, with one colon");
            continue;
        };
        if user.is_empty() || key.is_empty() {
            warn("skipped: the user or the key is empty");
            continue;
        }
        if user == ANONYMOUS || user.eq_ignore_ascii_case(b"all") {
            warn("`anonymous` and `all` are keywords of access files: no line there can name this account");
        }
        if key.contains(&b',') {
            warn(
                "the key has a comma: of the `salt,key` that `pyzor genkey` prints, the key alone belongs here",
            );
        }
        if accounts.insert(user.into(), HashedKey::new(user, key)).is_some() {
            warn("the user has an earlier line: this one counts");
        }
    }
    accounts
}

/// The lines that say something, with their numbers from 1: neither blank nor with `#` in the first column. They end
/// with LF, CR LF or CR.
pub(crate) fn content_lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let is_content = |line: &&[u8]| !line.starts_with(b"#") && !line.trim_ascii().is_empty();
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    (1..)
        .zip(lines.flat_map(|line| line.split(|byte| *byte == b'\r')))
        .filter(move |(_, line)| is_content(line))
}

fn split_pair(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = line.split(|byte| *byte == b':').map(<[u8]>::trim_ascii);
    let pair = (parts.next()?, parts.next()?);
    parts.next().is_none().then_some(pair)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn bad_lines_are_skipped_with_their_number_and_keys_are_not_shown() {
        let mut warnings = Vec::new();
        let text = b"# comment\n\nbob : 5Ecre7\r\n  \nno colon 5Ecre7\na:b:5Ecre7\n : 5Ecre7\neve:\nbob:other\nc : salt,5Ecre7\nanonymous : 5Ecre7";
        let accounts = parse(text, &mut warnings);
        assert_eq!(accounts.len(), 3);
        assert_eq!(accounts.get(&b"bob"[..]), Some(&HashedKey::new(b"bob", b"other")));
        let numbers: Vec<usize> = warnings.iter().map(|warning| warning.line).collect();
        assert_eq!(numbers, [5, 6, 7, 8, 9, 10, 11]);
        assert!(warnings.iter().all(|warning| !warning.to_string().contains("5Ecre7")));
    }

    /// A file whose lines end with CR alone was one bad line, where Python reads as many as there are: its users could do
    /// nothing, and lines that deny were lost.
    #[test]
    fn lines_end_with_lf_cr_lf_or_cr() {
        for text in ["a\n#\n\nb\n", "a\r\n#\r\n\r\nb\r\n", "a\r#\r\rb\r"] {
            let lines: Vec<_> = content_lines(text.as_bytes()).collect();
            assert_eq!(lines, [(1, &b"a"[..]), (4, b"b")], "{text:?}");
        }
    }

    #[test]
    fn a_hash_mark_that_is_not_in_the_first_column_belongs_to_the_line() {
        let mut warnings = Vec::new();
        let accounts = parse(b" #bob : key\n", &mut warnings);
        assert!(accounts.contains_key(&b"#bob"[..]) && warnings.is_empty());
    }
}
