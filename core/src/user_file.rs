//! Files that users write: their lines, and the warnings about them.

use alloc::borrow::Cow;
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

/// Returns the lines with content and their numbers from 1: lines that are neither blank nor have `#` in the first
/// column. A line ends with LF, CR LF or CR.
pub(crate) fn content_lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let is_content = |line: &&[u8]| !line.starts_with(b"#") && !line.trim_ascii().is_empty();
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    (1..)
        .zip(lines.flat_map(|line| line.split(|byte| *byte == b'\r')))
        .filter(move |(_, line)| is_content(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// A file whose lines end with CR alone was read as one bad line, so lines that deny were lost.
    #[test]
    fn lines_end_with_lf_cr_lf_or_cr() {
        for text in ["a\n#\n\nb\n", "a\r\n#\r\n\r\nb\r\n", "a\r#\r\rb\r"] {
            let lines: Vec<_> = content_lines(text.as_bytes()).collect();
            assert_eq!(lines, [(1, &b"a"[..]), (4, b"b")], "{text:?}");
        }
    }
}
