//! The settings of one section, with the defaults and the overriding values that references find, too.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::hints::hints;
use super::interpolation::{DEEPEST, Fault, interpolate, references};
use super::parser::{DEFAULT_SECTION, Property, Section, parse};
use super::remark::{Remark, RemarkCause, SyntaxError};

/// The settings that a program knows in its section.
pub(crate) struct Vocabulary {
    /// The name of the section.
    pub(crate) section: &'static str,
    /// The settings.
    pub(crate) settings: Vec<Known>,
    /// Another program's section of the same file, and a setting that both have.
    pub(crate) neighbour: (&'static str, &'static str),
}

/// A setting that a program knows.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) default: &'static str,
    /// Whether it is True or False.
    pub(crate) is_flag: bool,
    /// Whether its value is a list, which may have several lines.
    pub(crate) is_list: bool,
    /// Whether Python's program has it: references find its default. A reference to the name of another setting can be one
    /// to a value of `[DEFAULT]`.
    pub(crate) is_pythons: bool,
}

/// The value of a setting in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Value {
    /// Number of the line, from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// Reads the section of a file. Of a setting that is there twice, the last line counts. A reference such as `%(port)s`
/// finds what `overriding` returns for the name of a setting, else the value in the section, else the default that
/// Python has, else the value in `[DEFAULT]`, which sets nothing by itself.
///
/// # Errors
/// When a line is not part of an INI file.
pub(crate) fn read(
    bytes: &[u8],
    vocabulary: &Vocabulary,
    overriding: &dyn Fn(&str) -> Option<String>,
) -> Result<(BTreeMap<&'static str, Value>, Vec<Remark>), SyntaxError> {
    let (sections, remarks) = parse(bytes)?;
    let mut reader = Reader { vocabulary, sections: &sections, remarks, values: BTreeMap::new() };
    reader.check_sections();
    reader.check_repetitions();
    reader.add_values(overriding);
    let Reader { mut remarks, values, .. } = reader;
    remarks.sort_by_key(|remark| remark.line);
    Ok((values, remarks))
}

impl Vocabulary {
    fn find(&self, name: &str) -> Option<&Known> {
        self.settings.iter().find(|known| same(known.name, name))
    }

    /// Returns the name that is most similar to a misspelt one, if any is similar enough.
    fn nearest(&self, name: &str) -> Option<&'static str> {
        let name = name.to_lowercase();
        let distance = |known: &&str| strsim::damerau_levenshtein(&known.to_lowercase(), &name);
        let names = self.settings.iter().map(|known| known.name);
        names.min_by_key(distance).filter(|known| distance(known) <= name.chars().count() / 2)
    }

    /// Returns whether the name of a section is meant as the own one.
    fn is_similar(&self, section: &str) -> bool {
        let (section, own) = (section.to_lowercase(), self.section);
        let distance = strsim::damerau_levenshtein(section.trim(), own);
        section != self.neighbour.0 && (section.contains(own) || distance <= own.len() / 3)
    }
}

struct Reader<'a> {
    vocabulary: &'a Vocabulary,
    sections: &'a [Section],
    remarks: Vec<Remark>,
    values: BTreeMap<&'static str, Value>,
}

impl<'a> Reader<'a> {
    fn remark(&mut self, line: usize, cause: RemarkCause) {
        self.remarks.push(Remark { line, cause });
    }

    fn properties(&self, section: &str) -> impl DoubleEndedIterator<Item = &'a Property> + use<'a> {
        let section = section.to_owned();
        let sections = self.sections.iter().filter(move |found| found.name == section);
        sections.flat_map(|section| &section.properties)
    }

    /// Finds settings that have no effect, as they are in another section.
    fn check_sections(&mut self) {
        let &Vocabulary { section: wanted, neighbour: (neighbour, shared), .. } = self.vocabulary;
        let referenced: BTreeSet<String> =
            self.sections.iter().flat_map(|section| &section.properties).flat_map(referred).collect();
        for section in self.sections.iter().filter(|section| section.name != wanted) {
            let found = &section.name;
            if found != DEFAULT_SECTION && self.vocabulary.is_similar(found) {
                self.remark(section.line, RemarkCause::SimilarSection { found: found.clone(), wanted });
                continue;
            }
            for property in &section.properties {
                let Some(&Known { name, .. }) = self.vocabulary.find(&property.name) else { continue };
                let is_referred = found == DEFAULT_SECTION && referenced.contains(&name.to_lowercase());
                let is_shared = found == neighbour && name == shared;
                if !is_referred && !is_shared {
                    let cause = RemarkCause::OtherSection { name, found: found.clone(), wanted };
                    self.remark(property.line, cause);
                }
            }
        }
    }

    fn check_repetitions(&mut self) {
        let mut lines = BTreeMap::new();
        for section in self.sections {
            for property in &section.properties {
                let earlier = lines.insert((&section.name, property.name.to_lowercase()), property.line);
                if let Some(earlier) = earlier {
                    let known = self.vocabulary.find(&property.name);
                    let name = known.map_or_else(|| property.name.clone(), |known| known.name.to_owned());
                    self.remark(property.line, RemarkCause::Repeated { name, earlier });
                }
            }
        }
    }

    fn add_values(&mut self, overriding: &dyn Fn(&str) -> Option<String>) {
        let raw: BTreeMap<String, &str> = values(self.properties(self.vocabulary.section));
        let defaults: BTreeMap<String, &str> = values(self.properties(DEFAULT_SECTION));
        let vocabulary = self.vocabulary;
        let lookup = |name: &str| {
            let known = vocabulary.find(name);
            let default = known.filter(|known| known.is_pythons).map(|known| Cow::Borrowed(known.default));
            let value = known.and_then(|known| overriding(known.name)).map(|value| value.replace('%', "%%"));
            let value = value.map(Cow::Owned);
            let value = value.or_else(|| raw.get(name).copied().map(Cow::Borrowed));
            value.or(default).or_else(|| defaults.get(name).copied().map(Cow::Borrowed))
        };
        let referenced: BTreeSet<String> =
            self.properties(self.vocabulary.section).flat_map(referred).collect();
        for property in self.properties(self.vocabulary.section) {
            let Some(&known) = vocabulary.find(&property.name) else {
                if !referenced.contains(&property.name.to_lowercase()) {
                    let nearest = vocabulary.nearest(&property.name);
                    self.remark(property.line, RemarkCause::Unknown { name: property.name.clone(), nearest });
                }
                continue;
            };
            let (text, fault) = interpolate(&property.value, &lookup);
            self.check_value(known, property, &text, fault);
            self.values.insert(known.name, Value { line: property.line, text });
        }
    }

    fn check_value(&mut self, known: Known, property: &Property, text: &str, fault: Option<Fault>) {
        let Known { name, is_flag, .. } = known;
        let line = property.line;
        let is_continuation = |(number, text): (&usize, &str)| {
            let looks_like_setting = || {
                let before = text.split_once(['=', ':']).map_or(text, |(before, _)| before);
                // A section, but no IPv6 address.
                let is_section = text.starts_with('[') && before.ends_with(']');
                is_section || self.vocabulary.find(before.trim_end()).is_some()
            };
            (!known.is_list || looks_like_setting()).then_some(*number)
        };
        let lines = property.value.split('\n').skip(1).filter(|line| !line.is_empty());
        let continued = property.continued.iter().zip(lines).find_map(is_continuation);
        if let Some(number) = continued {
            self.remark(number, RemarkCause::Continued { name, first: line });
        }
        hints(name, &property.value).for_each(|cause| self.remark(line, cause));
        if is_flag && !["true", "false", ""].iter().any(|flag| text.eq_ignore_ascii_case(flag)) {
            self.remark(line, RemarkCause::NoFlag { name });
        }
        if let Some(fault) = fault {
            self.remark(line, described(name, fault));
        }
    }
}

/// Returns the last value of each name, which is in small letters.
fn values<'a>(properties: impl Iterator<Item = &'a Property>) -> BTreeMap<String, &'a str> {
    properties.map(|property| (property.name.to_lowercase(), &*property.value)).collect()
}

fn referred(property: &Property) -> impl Iterator<Item = String> {
    references(&property.value)
}

/// Compares names as Python does: it makes their letters small.
fn same(known: &str, name: &str) -> bool {
    known.to_lowercase() == name.to_lowercase()
}

const fn described(name: &'static str, fault: Fault) -> RemarkCause {
    match fault {
        Fault::SingleSign => RemarkCause::SingleSign { name },
        Fault::NoReference => RemarkCause::NoReference { name },
        Fault::TooDeep => RemarkCause::TooDeep { name, depth: DEEPEST },
        Fault::TooLong => RemarkCause::TooLong { name },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &'static str, default: &'static str) -> Known {
        let (is_flag, is_list, is_pythons) = (name == "Threads", name == "Networks", name != "User");
        Known { name, default, is_flag, is_list, is_pythons }
    }

    fn server() -> Vocabulary {
        let settings =
            [("Port", "24441"), ("LogFile", ""), ("Threads", "False"), ("Networks", ""), ("User", "")];
        let settings = settings.into_iter().map(|(name, default)| known(name, default)).collect();
        Vocabulary { section: "server", settings, neighbour: ("client", "LogFile") }
    }

    fn remarks(text: &str) -> Vec<(usize, String)> {
        let (_, remarks) = read(text.as_bytes(), &server(), &|_| None).unwrap();
        remarks.into_iter().map(|remark| (remark.line, remark.cause.to_string())).collect()
    }

    /// All of these files were read without a word.
    #[test]
    fn what_is_hardly_meant_has_a_remark_with_its_line() {
        for (text, line, part) in [
            ("[Server]\nPort = 1\n", 1, "[Server] is not [server]"),
            ("[ server ]\nPort = 1\n", 1, "write [server]"),
            ("[servers]\nPort = 1\n", 1, "write [server]"),
            ("[server] # see [1]\nPort = 1\n", 1, "write [server]"),
            ("[server]\n[client]\nTimeout = 1\nport = 1\n", 4, "Port below [client] is ignored"),
            ("[pyzord]\nPort = 1\n", 2, "move it below [server]"),
            ("[DEFAULT]\nPort = 1\n[server]\n", 2, "Port below [DEFAULT] is ignored"),
            ("[server]\nLogFile = a\n  Port = 1\n", 3, "continues the value of LogFile"),
            ("[server]\nLogFile =\n\n  a\n", 4, "deeper than line 2"),
            ("[server]\nNetworks = ::1\n\tPort = 1\n", 3, "continues the value of Networks"),
            ("[server]\nNetworks = ::1\n\t[client]\n", 3, "continues the value of Networks"),
            ("[server]\nThreads = True # yes\n", 2, "put a comment on a line of its own"),
            ("[server]\nThreads = yes\n", 2, "counts as False"),
            ("[server]\nPrt = 1\n", 2, "did you mean Port?"),
            ("[server]\nport = 1\nPORT = 2\n", 3, "Port is also on line 2"),
            ("[client]\na = 1\na = 2\n", 3, "a is also on line 2"),
            ("[server]\nLogFile = 5%\n", 2, "a single `%`"),
            ("[server]\nLogFile = %(none)s\n", 2, "not set"),
        ] {
            let remarks = remarks(text);
            assert!(
                remarks.iter().any(|(found, words)| *found == line && words.contains(part)),
                "{text}: {remarks:?}"
            );
        }
    }

    #[test]
    fn what_is_meant_has_no_remark() {
        for text in [
            "",
            "[client]\nLogFile = a\n[server]\nLogFile = b\n",
            "[server]\nNetworks = ::1\n  2001:db8::/32\n  [::2]\n",
            "[server]\nbase = /var\nLogFile = %(base)s/log\n",
            "[DEFAULT]\nuser = x\n[server]\nLogFile = %(user)s\n",
            "[server]\nThreads = TRUE\n",
        ] {
            assert_eq!(remarks(text), [], "{text}");
        }
    }

    #[test]
    fn a_reference_finds_options_then_the_section_then_defaults() {
        let options = |name: &str| (name == "Threads").then(|| "5%".to_owned());
        for (reference, expected) in
            [("threads", "5%"), ("Port", "1"), ("networks", ""), ("USER", "pyzor"), ("base", "1")]
        {
            let text = format!(
                "[DEFAULT]\nThreads = x\nPort = x\nNetworks = x\nUser = pyzor\nbase = %(port)s\n[server]\n\
                 Threads = y\nPort = 1\nLogFile = %({reference})s\n"
            );
            let (values, _) = read(text.as_bytes(), &server(), &options).unwrap();
            assert_eq!(values["LogFile"].text, expected, "{reference}");
            assert!(!values.contains_key("Networks"), "[DEFAULT] sets nothing");
        }
    }
}
