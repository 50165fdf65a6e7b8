//! The man pages. Those of the programs are in section 8 since they are an administrator's. Debian's package of the Python
//! client has pages of these names in section 1: a page there leads to ours.

use std::io;

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::error::Error;
use crate::extras;
use crate::markdown::{self, Section};

const CHANGELOG: &str = include_str!("../../contrib/debian/changelog");

/// A page of the documentation.
struct Document {
    name: &'static str,
    text: &'static str,
}

const CONFIGURATION: Document =
    Document { name: "configuration.md", text: include_str!("../../docs/configuration.md") };
const ACCESS: Document = Document { name: "access-file.md", text: include_str!("../../docs/access-file.md") };
const ACCOUNTS: Document = Document { name: "accounts.md", text: include_str!("../../docs/accounts.md") };
const MIGRATING: Document = Document { name: "migrating.md", text: include_str!("../../docs/migrating.md") };
const PYZORCTL: Document = Document { name: "pyzorctl.md", text: include_str!("../../docs/pyzorctl.md") };
/// The sections of the configuration that pyzord(8) has; pyzord.conf(5) has the others.
const OF_THE_SERVER: &[&str] = &["Logs", "Signals", "The daemon", "Exit statuses"];
/// The sections that pyzorctl(8) has beside its commands and options.
const OF_PYZORCTL: &[&str] = &["Beside a running server", "Exit statuses"];
/// The sections that pyzor-migrate(8) has beside its options.
const OF_MIGRATE: &[&str] = &["Exit statuses"];
/// All pages, as they refer to each other.
const ALL: [&str; 6] = [
    "pyzord(8)",
    "pyzorctl(8)",
    "pyzor-migrate(8)",
    "pyzord.conf(5)",
    "pyzord.access(5)",
    "pyzord.passwd(5)",
];
/// The pages of files.
const OF_FILES: [FilePage; 3] = [
    FilePage {
        name: "pyzord.conf",
        about: "configuration of the Pyzor server",
        paths: ["/etc/pyzor/config", "~/.pyzor/config"],
        document: CONFIGURATION,
        without: OF_THE_SERVER,
    },
    FilePage {
        name: "pyzord.access",
        about: "access rules of the Pyzor server",
        paths: ["/etc/pyzor/pyzord.access", "~/.pyzor/pyzord.access"],
        document: ACCESS,
        without: &[],
    },
    FilePage {
        name: "pyzord.passwd",
        about: "accounts of the Pyzor server",
        paths: ["/etc/pyzor/pyzord.passwd", "~/.pyzor/pyzord.passwd"],
        document: ACCOUNTS,
        without: &[],
    },
];

/// Returns all pages, each with the name of its file.
///
/// # Errors
/// A section that a page takes is missing in the documentation.
pub(crate) fn all() -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut pages = Vec::new();
    for page in &OF_FILES {
        pages.push((format!("{}.5", page.name), page.render()?));
    }
    for program in pyzord::commands() {
        let name = program.get_name().to_owned();
        let sections = match name.as_str() {
            "pyzord" => CONFIGURATION.sections(OF_THE_SERVER)?,
            "pyzorctl" => PYZORCTL.sections(OF_PYZORCTL)?,
            _ => MIGRATING.sections(OF_MIGRATE)?,
        };
        pages.push((format!("{name}.8"), of_program(program, &sections)?));
        pages.push((format!("{name}.1"), format!(".so man8/{name}.8\n").into_bytes()));
    }
    Ok(pages)
}

/// The page of a file: a document of the guide.
struct FilePage {
    name: &'static str,
    about: &'static str,
    paths: [&'static str; 2],
    document: Document,
    /// Sections that another page has.
    without: &'static [&'static str],
}

impl FilePage {
    fn render(&self) -> Result<Vec<u8>, Error> {
        // A section of another title would be on both pages.
        self.document.sections(self.without)?;
        let [packaged, own] = self.paths;
        let mut page = title(self.name, "5")?;
        let mut text = Roff::new();
        text.control("SH", ["NAME"]).text([roman(format!("{} - {}", self.name, self.about))]);
        text.control("SH", ["SYNOPSIS"]).text([bold(packaged), roman(", "), bold(own)]);
        for section in self.document.other_sections(self.without) {
            section.to_roff(&mut text);
        }
        end(&mut text, &format!("{}(5)", self.name));
        text.to_writer(&mut page)?;
        Ok(tidied(&page))
    }
}

impl Document {
    /// Returns the sections with these titles, in the document's order.
    fn sections(&self, titles: &[&'static str]) -> Result<Vec<Section<'static>>, Error> {
        let sections = markdown::sections(self.text);
        for title in titles {
            if !sections.iter().any(|section| section.title == *title) {
                return Err(Error::MissingSection { document: self.name, title });
            }
        }
        Ok(sections.into_iter().filter(|section| titles.contains(&section.title)).collect())
    }

    /// Returns the sections with other titles than these.
    fn other_sections(&self, titles: &[&str]) -> Vec<Section<'static>> {
        let sections = markdown::sections(self.text);
        sections.into_iter().filter(|section| !titles.contains(&section.title)).collect()
    }
}

fn of_program(program: Command, sections: &[Section<'_>]) -> Result<Vec<u8>, Error> {
    let mut program = program.mut_args(with_short_names);
    let name = program.get_name().to_owned();
    // This comes first: rendering the usage adds the program's own options to every command.
    let commands = commands(&program)?;
    let usage = program.render_usage().to_string();
    let mut page = title(&name, "8")?;
    // The commands have a section of their own, without `help`.
    let man = Man::new(program.disable_help_subcommand(true));
    man.render_name_section(&mut page)?;
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]).text([roman(usage.trim_start_matches("Usage: "))]);
    synopsis.to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    page.extend(commands);
    man.render_options_section(&mut page)?;
    let mut rest = Roff::new();
    sections.iter().for_each(|section| section.to_roff(&mut rest));
    extras::of(&name).to_roff(&mut rest);
    end(&mut rest, &format!("{name}(8)"));
    rest.to_writer(&mut page)?;
    Ok(tidied(&page))
}

/// Adds the other names of an option to its help: they are in no page otherwise.
fn with_short_names(option: Arg) -> Arg {
    let Some(names) = option.get_visible_aliases().map(|names| names.join(", --")) else { return option };
    let help = option.get_help().map(ToString::to_string).unwrap_or_default();
    option.help(format!("{help} Short: --{names}."))
}

/// Returns the section of a program's commands and their options; it is empty for a program without commands.
fn commands(program: &Command) -> io::Result<Vec<u8>> {
    let mut section = Vec::new();
    if program.has_subcommands() {
        Roff::new().control("SH", ["COMMANDS"]).to_writer(&mut section)?;
    }
    for command in program.get_subcommands() {
        let full_name = format!("{} {}", program.get_name(), command.get_name());
        let mut command = command.clone().disable_help_flag(true).bin_name(full_name);
        let usage = command.render_usage().to_string();
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let mut head = Roff::new();
        head.control("SS", [usage.trim_start_matches("Usage: ")]).text([roman(about)]);
        head.to_writer(&mut section)?;
        let mut options = Vec::new();
        Man::new(command).render_options_section(&mut options)?;
        // The options stand below the command's heading, not in a section of their own.
        section.extend(String::from_utf8_lossy(&options).replace(".SH OPTIONS\n", "").into_bytes());
    }
    Ok(section)
}

/// Returns the page's first line. Its date is that of the changelog, so that the same sources give the same bytes.
fn title(name: &str, section: &str) -> Result<Vec<u8>, Error> {
    let (version, date) = (env!("CARGO_PKG_VERSION"), date(CHANGELOG).ok_or(Error::NoDate)?);
    let title = format!(".TH {name} {section} \"{date}\" \"pyzord {version}\" \"System administration\"\n");
    Ok(title.into_bytes())
}

/// Returns the date of a changelog's first entry, as in 2026-11-22.
fn date(changelog: &str) -> Option<String> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let line = changelog.lines().find(|line| line.starts_with(" -- "))?;
    let mut words = line.rsplit_once(", ")?.1.split(' ');
    let day: u8 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let number = MONTHS.iter().position(|known| *known == month)? + 1;
    let year: u16 = words.next()?.parse().ok()?;
    Some(format!("{year}-{number:02}-{day:02}"))
}

/// Removes paragraphs that begin where a section does, and breaks beside empty lines: mandoc warns of both.
fn tidied(page: &[u8]) -> Vec<u8> {
    let mut tidied: Vec<&str> = Vec::new();
    let page = String::from_utf8_lossy(page).replace("\n.br\n\n.br\n", "\n.sp\n");
    for line in page.lines() {
        let begins = tidied.last().is_some_and(|last| last.starts_with(".SH ") || last.starts_with(".SS "));
        if line != ".PP" || !begins {
            tidied.push(line);
        }
    }
    (tidied.join("\n") + "\n").into_bytes()
}

/// Appends the end of the page of this name.
fn end(page: &mut Roff, name: &str) {
    let others: Vec<&str> = ALL.into_iter().filter(|page| *page != name).collect();
    page.control("SH", ["SEE ALSO"]).text([roman(others.join(", "))]);
    page.control("PP", []).text([roman("The user's guide is in /usr/share/doc/pyzord.")]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// pyzorctl(8) lost a section when the section got another title in the guide: no error told so.
    #[test]
    fn a_missing_section_is_an_error() {
        let document = Document { name: "x.md", text: "# X\n\n## Here\n\ntext\n" };
        assert_eq!(document.sections(&["Here"]).unwrap().len(), 1);
        let error = document.sections(&["Here", "Gone"]).unwrap_err().to_string();
        assert!(error.starts_with("docs/x.md has no section `Gone`"), "{error}");
    }

    #[test]
    fn the_date_is_that_of_the_first_entry() {
        let entry = |date: &str| format!("pyzord (1)\n\n  * x\n\n -- A B <a@b>  {date}\n");
        let found = |date: &str| super::date(&entry(date));
        assert_eq!(found("Sun, 02 Nov 2026 12:00:00 +0000").as_deref(), Some("2026-11-02"));
        for text in ["", "Sun, 2 Smarch 2026 12:00:00 +0000", "Sun, x"] {
            assert_eq!(found(text), None, "{text}");
        }
        assert!(super::date(CHANGELOG).is_some());
    }
}
