//! The text of a file: its encoding, its lines, and white space as Python has it.

use std::borrow::Cow;

use super::remark::{Remark, RemarkCause, SyntaxCause, SyntaxError};

/// The mark that some editors write before the text of a UTF-8 file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Decodes UTF-8. The first line that is not UTF-8 gets a remark.
///
/// # Errors
/// When the file is UTF-16.
pub(super) fn decode<'a>(bytes: &'a [u8], remarks: &mut Vec<Remark>) -> Result<Cow<'a, str>, SyntaxError> {
    // Without a mark, one byte of an ASCII character is zero.
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] = bytes {
        return Err(SyntaxError { line: 1, cause: SyntaxCause::Utf16 });
    }
    let text = String::from_utf8_lossy(bytes);
    if let Cow::Owned(_) = text {
        let valid = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        remarks.push(Remark { line: lines(valid).count(), cause: RemarkCause::NotUtf8 });
    }
    Ok(text)
}

/// Returns the lines. One ends with LF, CR LF or CR.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    lines.flat_map(|line| line.split('\r'))
}

/// A line without the white space and the byte order marks around it.
pub(super) struct Line<'a> {
    /// The number of blanks before the content.
    pub(super) indent: usize,
    pub(super) content: &'a str,
    pub(super) has_mark: bool,
}

impl<'a> Line<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        let content = line.trim_start_matches(|c| is_blank(c) || c == BYTE_ORDER_MARK);
        let before = line.strip_suffix(content).unwrap_or_default();
        let indent = before.chars().filter(|c| *c != BYTE_ORDER_MARK).count();
        Self { indent, content: trim(content), has_mark: before.contains(BYTE_ORDER_MARK) }
    }

    /// Returns whether the line is a comment.
    pub(super) fn is_comment(&self) -> bool {
        self.content.starts_with(['#', ';'])
    }
}

/// Removes what `str.strip` of Python removes.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// Removes what `str.rstrip` of Python removes.
pub(super) fn trim_end(text: &str) -> &str {
    text.trim_end_matches(is_blank)
}

/// Returns whether `str.isspace` of Python is true: Unicode's separators of information are blanks there.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}
