//! Files that users write: their lines, and the warnings about them.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

/// A file that a user writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UserFile {
    /// The server's accounts: the setting `PasswdFile`.
    Accounts,
    /// The server's access rules: the setting `AccessFile`.
    Access,
    /// A client's servers: its setting `ServersFile`.
    Servers,
    /// A client's accounts: its setting `AccountsFile`.
    ClientAccounts,
}

impl fmt::Display for UserFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accounts => "accounts file",
            Self::Access => "access file",
            Self::Servers => "servers file",
            Self::ClientAccounts => "client's accounts file",
        })
    }
}

/// A remark about a line of a user's file: the line is skipped, or it has an effect that the user may not expect.
///
/// It fits on one line and never shows a key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Warning {
    /// The file.
    pub file: UserFile,
    /// The number of the line, from 1; `None` for the file as a whole.
    pub line: Option<usize>,
    /// What is wrong and what follows from it.
    pub text: Cow<'static, str>,
}

impl Warning {
    pub(crate) fn on_line(file: UserFile, line: usize, text: impl Into<Cow<'static, str>>) -> Self {
        Self { file, line: Some(line), text: text.into() }
    }

    pub(crate) fn on_file(file: UserFile, text: impl Into<Cow<'static, str>>) -> Self {
        Self { file, line: None, text: text.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, text } = self;
        match line {
            None => write!(f, "{file}: {text}"),
            Some(line) => write!(f, "{file}, line {line}: {text}"),
        }
    }
}

/// The mark that some editors write before the text of a UTF-8 file.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Returns the lines with content and their numbers from 1. A line ends with LF, CR LF or CR.
///
/// Blank lines and comments have no content. A comment is a line whose first visible character is `#`, whatever white
/// space it is indented by: a rule that is commented out must not grant anything. A byte order mark is no part of the line
/// behind it.
pub(crate) fn content_lines<'a>(
    file: UserFile,
    text: &'a [u8],
    warnings: &mut Vec<Warning>,
) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
    let is_utf16 = is_utf16(text);
    let text = if is_utf16 { b"" } else { text };
    if is_utf16 {
        warnings.push(Warning::on_file(file, "skipped: it is encoded in UTF-16; save it as UTF-8"));
    }
    if lines(text).any(|line| line.starts_with(BYTE_ORDER_MARK)) {
        let text = "it has a byte order mark, which is no part of the line behind it";
        warnings.push(Warning::on_file(file, text));
    }
    let without_mark = |line: &'a [u8]| line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    let has_content = |line: &[u8]| first_visible(line).is_some_and(|first| first != '#');
    (1..).zip(lines(text).map(without_mark)).filter(move |(_, line)| has_content(line))
}

/// The warning about a key for which [`is_sha1`] is false.
pub(crate) const NOT_SHA1: &str = "the key is not 40 hex digits, as `pyzor genkey` prints them: check that client and server have the same key";

/// Returns whether a key has the form of those that `pyzor genkey` prints: 40 hex digits. Any other text is a key, too.
pub(crate) fn is_sha1(key: &[u8]) -> bool {
    key.len() == 40 && key.iter().all(u8::is_ascii_hexdigit)
}

/// Returns whether a text has more than blank lines and comments, be it that it cannot be read.
pub(crate) fn has_content(file: UserFile, text: &[u8]) -> bool {
    is_utf16(text) || content_lines(file, text, &mut Vec::new()).next().is_some()
}

fn is_utf16(text: &[u8]) -> bool {
    text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff")
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.flat_map(|line| line.split(|byte| *byte == b'\r'))
}

/// Returns the first character that an editor shows. Bytes that are not UTF-8 are a replacement character, apart from
/// the no-break space of Latin-1.
fn first_visible(line: &[u8]) -> Option<char> {
    let is_blank = |c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    };
    for chunk in line.utf8_chunks() {
        let visible = chunk.valid().chars().find(|c| !is_blank(*c));
        if visible.is_some() {
            return visible;
        }
        if !matches!(chunk.invalid(), [] | [0xa0]) {
            return Some(char::REPLACEMENT_CHARACTER);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> (Vec<(usize, &[u8])>, Vec<Warning>) {
        let mut warnings = Vec::new();
        let lines = content_lines(UserFile::Access, text, &mut warnings).collect();
        (lines, warnings)
    }

    /// A file whose lines end with CR alone was read as one bad line, so lines that deny were lost.
    #[test]
    fn lines_end_with_lf_cr_lf_or_cr() {
        for text in ["a\n#\n\nb\n", "a\r\n#\r\n\r\nb\r\n", "a\r#\r\rb\r"] {
            assert_eq!(
                read(text.as_bytes()),
                (alloc::vec![(1, &b"a"[..]), (4, b"b")], Vec::new()),
                "{text:?}"
            );
        }
    }

    /// `  # all : all anonymous : allow` was a rule, and let every client whitelist.
    #[test]
    fn a_comment_may_be_indented_by_any_white_space() {
        for blank in ["", " ", "\t", "\x0b\x0c", " \t ", "\u{a0}", "\u{3000}\u{2003}", "\u{200b}", "\0"] {
            let text = alloc::format!("a\n{blank}# all : all anonymous : allow\n{blank}\nb # c");
            let (lines, warnings) = read(text.as_bytes());
            assert_eq!(lines, [(1, &b"a"[..]), (4, b"b # c")], "{blank:?}");
            assert!(warnings.is_empty());
        }
        assert!(read(b"\xa0# all : all : allow").0.is_empty());
        assert_eq!(read(b"\xff# all : all : allow").0.len(), 1);
    }

    /// The first account of a file that Windows saved was called `\u{feff}alice`, and could not sign.
    #[test]
    fn a_byte_order_mark_is_no_part_of_a_line_and_yields_a_warning() {
        for (text, expected) in [
            ("\u{feff}a\nb", &[(1, &b"a"[..]), (2, b"b")][..]),
            ("\u{feff}#a\nb", &[(2, b"b")]),
            ("\u{feff} # a\nb", &[(2, b"b")]),
            // Two files that were put together.
            ("a\n\u{feff}b", &[(1, b"a"), (2, b"b")]),
            ("a\n \u{feff}\u{feff}#b", &[(1, b"a")]),
        ] {
            let (lines, warnings) = read(text.as_bytes());
            assert_eq!(lines, expected, "{text:?}");
            assert_eq!(warnings.len(), text.lines().filter(|line| line.starts_with('\u{feff}')).count());
        }
        for text in [&b"\xff\xfea\0"[..], b"\xfe\xff\0a"] {
            let (lines, warnings) = read(text);
            assert!(lines.is_empty() && warnings[0].text.contains("UTF-16"));
        }
    }
}
