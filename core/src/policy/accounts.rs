//! The accounts file: one `user : key` per line.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::protocol::request::ANONYMOUS;
use crate::protocol::signature::HashedKey;
use crate::user_file::{NOT_SHA1, UserFile, Warning, content_lines, is_sha1};

/// Maps users to their keys. The last line for a user counts.
pub(crate) type Accounts = BTreeMap<Box<[u8]>, HashedKey>;

/// Parses an accounts file. A bad line is skipped with a warning, which never shows a key.
pub(crate) fn parse(text: &[u8], warnings: &mut Vec<Warning>) -> Accounts {
    let mut accounts = Accounts::new();
    for (number, line) in content_lines(UserFile::Accounts, text, warnings) {
        let mut warn = |text: &'static str| warnings.push(Warning::on_line(UserFile::Accounts, number, text));
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
        } else if !is_sha1(key) {
            warn(NOT_SHA1);
        }
        if accounts.insert(user.into(), HashedKey::new(user, key)).is_some() {
            warn("the user has an earlier line: this one counts");
        }
    }
    accounts
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
        let numbers: Vec<usize> = warnings.iter().filter_map(|warning| warning.line).collect();
        assert_eq!(numbers, [3, 5, 6, 7, 8, 9, 9, 10, 11, 11]);
        assert!(warnings.iter().all(|warning| !warning.to_string().contains("5Ecre7")));
    }

    /// A key that was cut had no warning, and its account could not sign.
    #[test]
    fn a_key_that_is_not_40_hex_digits_has_a_warning() {
        let digits = "d6598b6de54bf3a52dc173579fa39af046eaac1b";
        for (key, expected) in [
            (digits, 0),
            (&digits.to_uppercase(), 0),
            (&digits[1..], 1),
            (&digits.replace('d', "g"), 1),
            (&alloc::format!("{digits}0"), 1),
        ] {
            let mut warnings = Vec::new();
            let accounts = parse(alloc::format!("bob : {key}").as_bytes(), &mut warnings);
            assert_eq!((accounts.len(), warnings.len()), (1, expected), "{key}");
            assert!(warnings.iter().all(|warning| warning.text.contains("40 hex digits")));
        }
    }

    #[test]
    fn a_comment_may_be_indented() {
        let mut warnings = Vec::new();
        let accounts = parse(b" #bob : key\n\t# eve : key\n", &mut warnings);
        assert!(accounts.is_empty() && warnings.is_empty());
    }
}
