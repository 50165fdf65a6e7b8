//! The warnings to users: they are bounded, have one line each, and never show a password.

use pyzord_core::{UserFile, Warning};
use sha1::{Digest as _, Sha1};

/// For any files, the warnings are few and short: their number is bounded by the lines and words, and none repeats
/// more than a few words.
pub(crate) fn bounded(warnings: &[Warning], accounts: &[u8], access: &[u8]) {
    let lines = |text: &[u8]| text.split(|byte| matches!(byte, b'\n' | b'\r')).count();
    let words =
        access.split(u8::is_ascii_whitespace).count() + access.iter().filter(|byte| **byte == b':').count();
    // Ten users, each with up to six operations for which the two orders differ.
    let most = 3 * lines(accounts) + 2 * lines(access) + words + 61;
    assert!(warnings.len() <= most, "{} warnings, of {most} at most", warnings.len());
    for warning in warnings {
        let text = warning.to_string();
        let file = if warning.file == UserFile::Accounts { accounts } else { access };
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
        // A byte can be written as `\xff`, a word twice.
        assert!(text.len() <= 300 + 8 * (accounts.len() + access.len()), "{text}");
        assert!(warning.line.is_none_or(|line| (1..=lines(file)).contains(&line)), "{text}");
    }
}

/// Returns the password in the input `data`, which no output may show. It depends on the input: a fuzzer learns a
/// constant and puts it where it is not a password.
pub(crate) fn secret(data: &[u8]) -> String {
    Sha1::digest(data).iter().take(8).fold("secret".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// Returns the text without letters that end it.
pub(crate) fn without(text: &str, end: char) -> String {
    text.replace(end, "")
}

/// Returns the text with each byte as `%` and two hex digits.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
