//! The configuration file as Python's `configparser` reads it, with line numbers for messages.
//!
//! No maintained INI crate tells on which line a setting stands.

use thiserror::Error;

/// A setting of a section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Property {
    /// Number of the line, from 1.
    pub(crate) line: usize,
    /// The name as it is written.
    pub(crate) name: String,
    /// The value, without the blanks around it; the lines that continue it follow, each after a line feed.
    pub(crate) value: String,
}

/// A line that is not part of an INI file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SyntaxError {
    /// Number of the line, from 1.
    pub(crate) line: usize,
    /// The kind of error.
    pub(crate) cause: SyntaxCause,
}

/// A kind of syntax error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum SyntaxCause {
    /// A section's name has no end.
    #[error("the name of a section ends with `]`")]
    OpenSection,
    /// The line has neither `=` nor `:`.
    #[error("this is neither `[section]` nor `name = value`")]
    NoSeparator,
    /// A setting stands above the first section.
    #[error("there is no `[section]` above this line")]
    NoSection,
}

/// Returns the properties of one section in their order; the other sections are for other programs.
///
/// `#` and `;` begin a comment line, never a comment behind a value. `=` or `:` stands between name and value.
/// An indented line continues the value above it.
///
/// # Errors
/// When a line is not part of an INI file.
pub(crate) fn parse(text: &str, section: &str) -> Result<Vec<Property>, SyntaxError> {
    let mut properties: Vec<Property> = Vec::new();
    let mut inside = None;
    let mut continuable = false;
    // Windows writes a byte order mark before the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, raw) in (1..).zip(text.lines()) {
        let error = |cause| SyntaxError { line, cause };
        let content = raw.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        let indented = raw.starts_with([' ', '\t']);
        if indented && continuable {
            if let (Some(true), Some(property)) = (inside, properties.last_mut()) {
                property.value.push('\n');
                property.value.push_str(content);
            }
        } else if let Some(name) = content.strip_prefix('[') {
            let (name, _) = name.split_once(']').ok_or_else(|| error(SyntaxCause::OpenSection))?;
            inside = Some(name == section);
            continuable = false;
        } else {
            let (name, value) =
                content.split_once(['=', ':']).ok_or_else(|| error(SyntaxCause::NoSeparator))?;
            let inside = inside.ok_or_else(|| error(SyntaxCause::NoSection))?;
            continuable = true;
            if inside {
                properties.push(Property { line, name: name.trim().into(), value: value.trim().into() });
            }
        }
    }
    Ok(properties)
}

/// Replaces `%` in a value as Python does: `%%` is `%`, and `%(name)s` is the value of that name.
///
/// Any other `%` is an error in Python and stands for itself here.
pub(crate) fn interpolate(value: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let reference = after.strip_prefix('(').and_then(|after| after.split_once(")s"));
        let found = reference.and_then(|(name, after)| Some((lookup(&name.to_ascii_lowercase())?, after)));
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
        } else if let Some((found, after)) = found {
            out.push_str(&found);
            rest = after;
        } else {
            out.push('%');
            rest = after;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        parse(text, "server")
            .unwrap()
            .into_iter()
            .map(|property| (property.line, property.name, property.value))
            .collect()
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
            ("# x\n[server]\n; y\n  # z\nPort=1", &[(5, "Port", "1")]),
            ("[server]\nDigestDB = redis://host:1/0", &[(2, "DigestDB", "redis://host:1/0")]),
            ("[server]\nA = 1\n  more\n# no\n\n  text\nB =", &[(2, "A", "1\nmore\ntext"), (7, "B", "")]),
            ("[server]\nA = 1\n[other]\nB = 2\n[server]\nC = 3", &[(2, "A", "1"), (6, "C", "3")]),
        ] {
            assert_eq!(pairs(text), owned(expected), "{text:?}");
        }
    }

    #[test]
    fn a_malformed_line_is_an_error_with_its_number() {
        for (text, line) in [("Port = 1", 1), ("[server]\n\nPort", 3), ("[server\nPort = 1", 1)] {
            assert_eq!(parse(text, "server").unwrap_err().line, line, "{text:?}");
        }
    }

    #[test]
    fn percent_signs_are_replaced_as_in_python() {
        let lookup = |name: &str| (name == "port").then(|| "24441".to_owned());
        for (value, expected) in [
            ("a%%b", "a%b"),
            ("x%(Port)s", "x24441"),
            ("50%", "50%"),
            ("%(none)s", "%(none)s"),
            ("%%(port)s", "%(port)s"),
        ] {
            assert_eq!(interpolate(value, &lookup), expected);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = parse(&text, "server");
            let _ = interpolate(&text, &|_| None);
        }

        #[test]
        fn written_values_are_read_back(values in prop::collection::vec("[!-~]([ -~]{0,20}[!-~])?", 0..5)) {
            let text: String = values.iter().map(|value| format!("name = {value}\n")).collect();
            let read: Vec<String> = pairs(&format!("[server]\n{text}")).into_iter().map(|(_, _, value)| value).collect();
            prop_assert_eq!(read, values);
        }
    }
}
