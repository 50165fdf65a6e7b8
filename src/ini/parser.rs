//! Sections and settings as they are written.

use std::collections::HashMap;

use super::remark::{Remark, RemarkCause, SyntaxCause, SyntaxError};
use super::text::{Line, decode, lines, trim, trim_end};

/// The section that has values for references in all others, and may be there more than once.
pub(super) const DEFAULT_SECTION: &str = "DEFAULT";

/// A section, from its name to the next one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Section {
    /// Number of the line, from 1.
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) properties: Vec<Property>,
}

/// A setting of a section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Property {
    /// Number of the line, from 1.
    pub(super) line: usize,
    /// The name as it is written.
    pub(super) name: String,
    /// The value, without the blanks around it; the lines that continue it follow, each after a line feed.
    pub(super) value: String,
    /// The numbers of the lines that continue the value.
    pub(super) continued: Vec<usize>,
}

/// Parses a file. A line continues the value above it if it is indented deeper than the name of that value. Only the text
/// before a `#` or `;` that begins a line counts, and a setting that is there twice is so in the result, too.
///
/// # Errors
/// When a line is not part of an INI file.
pub(super) fn parse(bytes: &[u8]) -> Result<(Vec<Section>, Vec<Remark>), SyntaxError> {
    let mut parser = Parser::default();
    let text = decode(bytes, &mut parser.remarks)?;
    for (number, line) in (1..).zip(lines(&text)) {
        let line = Line::new(line);
        if line.has_mark {
            parser.remark(number, RemarkCause::ByteOrderMark);
        }
        if !line.is_comment() {
            parser.add(number, &line).map_err(|cause| SyntaxError { line: number, cause })?;
        }
    }
    let Parser { mut sections, remarks, .. } = parser;
    for property in sections.iter_mut().flat_map(|section| &mut section.properties) {
        property.value.truncate(trim_end(&property.value).len());
    }
    Ok((sections, remarks))
}

#[derive(Default)]
struct Parser {
    sections: Vec<Section>,
    /// The lines of the names of sections.
    names: HashMap<String, usize>,
    /// Whether a deeper line continues the last property.
    is_open: bool,
    /// The indentation of the last name.
    indent: usize,
    remarks: Vec<Remark>,
}

impl Parser {
    fn add(&mut self, number: usize, line: &Line<'_>) -> Result<(), SyntaxCause> {
        let content = line.content;
        let property = self.sections.last_mut().and_then(|section| section.properties.last_mut());
        if let Some(property) = property.filter(|_| self.is_open)
            && (content.is_empty() || line.indent > self.indent)
        {
            property.value.push('\n');
            property.value.push_str(content);
            if !content.is_empty() {
                property.continued.push(number);
            }
            return Ok(());
        }
        if content.is_empty() {
            return Ok(());
        }
        self.indent = line.indent;
        if let Some((name, rest)) = section_name(content) {
            self.begin_section(number, name, trim(rest));
            return Ok(());
        }
        let section = self.sections.last_mut().ok_or(match content.as_bytes() {
            [b'[', ..] => SyntaxCause::OpenSection,
            _ => SyntaxCause::NoSection,
        })?;
        let (name, value) = content.split_once(['=', ':']).ok_or(match content.as_bytes() {
            [b'[', ..] => SyntaxCause::OpenSection,
            _ => SyntaxCause::NoSeparator,
        })?;
        let (name, value) = (trim_end(name).to_owned(), trim(value).to_owned());
        if name.is_empty() {
            return Err(SyntaxCause::NoName);
        }
        section.properties.push(Property { line: number, name, value, continued: Vec::new() });
        self.is_open = true;
        Ok(())
    }

    fn begin_section(&mut self, line: usize, name: &str, rest: &str) {
        if !rest.is_empty() && !rest.starts_with(['#', ';']) {
            self.remark(line, RemarkCause::BehindSection);
        }
        if name != DEFAULT_SECTION
            && let Some(&earlier) = self.names.get(name)
        {
            self.remark(line, RemarkCause::RepeatedSection { section: name.to_owned(), earlier });
        }
        self.names.insert(name.to_owned(), line);
        self.sections.push(Section { line, name: name.to_owned(), properties: Vec::new() });
        self.is_open = false;
    }

    fn remark(&mut self, line: usize, cause: RemarkCause) {
        self.remarks.push(Remark { line, cause });
    }
}

/// Returns the name of a section, which ends at the last `]` of the line, and what is behind it.
fn section_name(content: &str) -> Option<(&str, &str)> {
    content.strip_prefix('[')?.rsplit_once(']').filter(|(name, _)| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ini::entries;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        entries(text.as_bytes(), "server").unwrap()
    }

    fn owned(pairs: &[(usize, &str, &str)]) -> Vec<(usize, String, String)> {
        pairs.iter().map(|(line, name, value)| (*line, (*name).into(), (*value).into())).collect()
    }

    #[test]
    fn reads_what_configparser_reads() {
        for (text, expected) in [
            ("", &[][..]),
            ("[client]\nPort = 1\n[server]\n", &[]),
            ("[server]\nPort = 1\n", &[(2, "Port", "1")]),
            ("\u{feff}[server]\nPort = 1\n", &[(2, "Port", "1")]),
            ("\u{20}[server]\n  Port:1\n", &[(2, "Port", "1")]),
            ("[server]\r\nDigestDB = a = b ; c # d\r\n", &[(2, "DigestDB", "a = b ; c # d")]),
            ("[server]\rPort = 1\rEngine = redis", &[(2, "Port", "1"), (3, "Engine", "redis")]),
            ("# x\n[server]\n; y\n  # z\nPort=1", &[(5, "Port", "1")]),
            ("[server]\nDigestDB = redis://host:1/0", &[(2, "DigestDB", "redis://host:1/0")]),
            ("[server]\nA = 1\n  more\n# no\n\n  text\nB =", &[(2, "A", "1\nmore\n\ntext"), (7, "B", "")]),
            ("[server]\nA = 1\n[other]\nB = 2\n[server]\nC = 3", &[(2, "A", "1"), (6, "C", "3")]),
            ("[server] # see [1\nA = 1\n", &[(2, "A", "1")]),
            ("[server] [x]\nA = 1\n", &[]),
            ("[server]\nA =\n  1\n", &[(2, "A", "\n1")]),
        ] {
            assert_eq!(pairs(text), owned(expected), "{text:?}");
        }
    }

    /// Settings below an indented one were a part of its value: the server ran gdbm in place of redis.
    #[test]
    fn a_line_continues_a_value_only_if_it_is_indented_deeper_than_the_name() {
        let both = &[(2, "Engine", "redis"), (3, "DigestDB", "h,6379,,0")][..];
        for (text, expected) in [
            ("\t[server]\n\tEngine = redis\n\tDigestDB = h,6379,,0\n", both),
            ("[server]\n  Engine = redis\n  DigestDB = h,6379,,0\n", both),
            ("[server]\n    Engine = redis\n  DigestDB = h,6379,,0\n", both),
            ("[server]\n\tEngine = redis\n DigestDB = h,6379,,0\n", both),
            ("[server]\nA = 1\n  [client]\n  B = 2\n", &[(2, "A", "1\n[client]\nB = 2")]),
            // The first line below a section continues nothing.
            ("[server]\nA = 1\n[x]\n[server]\n  B = 2\n", &[(2, "A", "1"), (5, "B", "2")]),
        ] {
            assert_eq!(pairs(text), owned(expected), "{text:?}");
        }
    }

    #[test]
    fn a_malformed_line_is_an_error_with_its_number() {
        for (text, line, cause) in [
            (&b"Port = 1"[..], 1, SyntaxCause::NoSection),
            (b"[server]\n\nPort", 3, SyntaxCause::NoSeparator),
            (b"[server\nPort = 1", 1, SyntaxCause::OpenSection),
            (b"[server]\n[client\n", 2, SyntaxCause::OpenSection),
            (b"[server]\n= 1\n", 2, SyntaxCause::NoName),
            (b"\xff\xfe[\0s\0", 1, SyntaxCause::Utf16),
            (b"[\0s\0e\0r\0v\0e\0r\0]\0", 1, SyntaxCause::Utf16),
        ] {
            assert_eq!(parse(text).unwrap_err(), SyntaxError { line, cause }, "{text:?}");
        }
    }

    #[test]
    fn marks_wrong_bytes_and_repeated_sections_have_remarks() {
        for (text, line, cause) in [
            (&b"\xef\xbb\xbf[server]"[..], 1, RemarkCause::ByteOrderMark),
            (b"[server]\n\xef\xbb\xbf# x", 2, RemarkCause::ByteOrderMark),
            (b"[server]\n\nA = j\xfcrgen", 3, RemarkCause::NotUtf8),
            (b"[server] Port = 1", 1, RemarkCause::BehindSection),
            (b"[x]\n[x] ; y", 2, RemarkCause::RepeatedSection { section: "x".to_owned(), earlier: 1 }),
        ] {
            assert_eq!(parse(text).unwrap().1, [Remark { line, cause }], "{text:?}");
        }
        assert_eq!(parse(b"[DEFAULT] # x\n[DEFAULT]\n[server]").unwrap().1, []);
    }

    proptest! {
        #[test]
        fn no_text_panics(text: Vec<u8>) {
            let _ = parse(&text);
        }

        #[test]
        fn written_values_are_read_back(values in prop::collection::vec("[!-~]([ -~]{0,20}[!-~])?", 0..5)) {
            let text: String = values.iter().map(|value| format!("name = {value}\n")).collect();
            let read: Vec<String> = pairs(&format!("[server]\n{text}")).into_iter().map(|(_, _, value)| value).collect();
            prop_assert_eq!(read, values);
        }
    }
}
