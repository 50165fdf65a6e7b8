//! The man pages. They are in section 8 since the programs are an administrator's; Debian's package of the Python
//! client has pages and programs of these names for users.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::error::Error;
use crate::markdown::{self, Section};

/// A page of the documentation.
struct Document {
    name: &'static str,
    text: &'static str,
}

const CONFIGURATION: Document =
    Document { name: "configuration.md", text: include_str!("../../docs/configuration.md") };
const MIGRATING: Document = Document { name: "migrating.md", text: include_str!("../../docs/migrating.md") };
const PYZORCTL: Document = Document { name: "pyzorctl.md", text: include_str!("../../docs/pyzorctl.md") };
/// The sections of the configuration that pyzord(8) has; pyzord.conf(5) has the others.
const OF_THE_SERVER: [&str; 4] = ["Logs", "Signals", "The daemon", "Exit statuses"];
/// The sections that pyzorctl(8) has beside its commands and options.
const OF_PYZORCTL: [&str; 2] = ["Beside a running server", "Exit statuses"];
/// The sections that pyzor-migrate(8) has beside its options.
const OF_MIGRATE: [&str; 1] = ["Exit statuses"];

/// Returns all pages, each with the name of its file.
///
/// # Errors
/// A section that a page takes is missing in the documentation.
pub(crate) fn all() -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut pages = vec![("pyzord.conf.5".to_owned(), configuration()?)];
    for program in pyzord::commands() {
        let name = program.get_name().to_owned();
        let (sections, see_also) = match name.as_str() {
            "pyzord" => (
                CONFIGURATION.sections(&OF_THE_SERVER)?,
                ["pyzord.conf(5)", "pyzorctl(8)", "pyzor-migrate(8)"],
            ),
            "pyzorctl" => {
                (PYZORCTL.sections(&OF_PYZORCTL)?, ["pyzord(8)", "pyzord.conf(5)", "pyzor-migrate(8)"])
            }
            _ => (MIGRATING.sections(&OF_MIGRATE)?, ["pyzord(8)", "pyzord.conf(5)", "pyzorctl(8)"]),
        };
        pages.push((format!("{name}.8"), of_program(program, &sections, &see_also)?));
    }
    Ok(pages)
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

fn of_program(mut program: Command, sections: &[Section<'_>], see_also: &[&str]) -> io::Result<Vec<u8>> {
    // This comes first: rendering the usage adds the program's own options to every command.
    let commands = commands(&program)?;
    let usage = program.render_usage().to_string();
    let mut page = title(program.get_name(), "8");
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
    end(&mut rest, see_also);
    rest.to_writer(&mut page)?;
    Ok(page)
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

fn configuration() -> io::Result<Vec<u8>> {
    let mut page = title("pyzord.conf", "5");
    let mut text = Roff::new();
    text.control("SH", ["NAME"]).text([roman("pyzord.conf - configuration of the Pyzor server")]);
    text.control("SH", ["SYNOPSIS"]);
    text.text([bold("/etc/pyzor/config"), roman(", "), bold("~/.pyzor/config")]);
    for section in CONFIGURATION.other_sections(&OF_THE_SERVER) {
        section.to_roff(&mut text);
    }
    end(&mut text, &["pyzord(8)", "pyzorctl(8)", "pyzor-migrate(8)"]);
    text.to_writer(&mut page)?;
    Ok(page)
}

/// Returns the page's first line. It has no date, so that the same sources give the same bytes.
fn title(name: &str, section: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH {name} {section} \"\" \"pyzord {version}\" \"System administration\"\n").into_bytes()
}

fn end(page: &mut Roff, see_also: &[&str]) {
    page.control("SH", ["SEE ALSO"]).text([roman(see_also.join(", "))]);
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
}
