//! The man pages. They are in section 8 since the programs are an administrator's; Debian's package of the Python
//! client has pages and programs of these names for users.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::markdown::{self, Section};

const CONFIGURATION: &str = include_str!("../../docs/configuration.md");
const PYZORCTL: &str = include_str!("../../docs/pyzorctl.md");
/// What the server's page has of the documentation; the rest is the configuration's.
const OF_THE_SERVER: [&str; 4] = ["Logs", "Signals", "The daemon", "Exit statuses"];
/// What pyzorctl's page has of its guide, beside the commands and their options.
const OF_PYZORCTL: [&str; 2] = ["One user of a file", "Exit statuses"];

/// All pages, each with the name of its file.
pub(crate) fn all() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = vec![("pyzord.conf.5".to_owned(), configuration()?)];
    for program in pyzord::commands() {
        let name = program.get_name().to_owned();
        let (sections, see_also) = match name.as_str() {
            "pyzord" => (
                sections(CONFIGURATION, |title| OF_THE_SERVER.contains(&title)),
                ["pyzord.conf(5)", "pyzorctl(8)", "pyzor-migrate(8)"],
            ),
            "pyzorctl" => (
                sections(PYZORCTL, |title| OF_PYZORCTL.contains(&title)),
                ["pyzord(8)", "pyzord.conf(5)", "pyzor-migrate(8)"],
            ),
            _ => (Vec::new(), ["pyzord(8)", "pyzord.conf(5)", "pyzorctl(8)"]),
        };
        pages.push((format!("{name}.8"), of_program(program, &sections, &see_also)?));
    }
    Ok(pages)
}

fn sections(document: &'static str, wanted: impl Fn(&str) -> bool) -> Vec<Section<'static>> {
    markdown::sections(document).into_iter().filter(|section| wanted(section.title)).collect()
}

fn of_program(mut program: Command, sections: &[Section<'_>], see_also: &[&str]) -> io::Result<Vec<u8>> {
    // First, since rendering the usage gives every command the program's own options, too.
    let commands = commands(&program)?;
    let usage = program.render_usage().to_string();
    let mut page = title(program.get_name(), "8");
    // The commands have a section of their own; they need no `help` among them.
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

/// What a program's commands are and which options each has; nothing where there are none.
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
        // They belong to the command's heading.
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
    for section in sections(CONFIGURATION, |title| !OF_THE_SERVER.contains(&title)) {
        section.to_roff(&mut text);
    }
    end(&mut text, &["pyzord(8)", "pyzorctl(8)", "pyzor-migrate(8)"]);
    text.to_writer(&mut page)?;
    Ok(page)
}

/// Without a date: a page is made of the same sources to the same bytes.
fn title(name: &str, section: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH {name} {section} \"\" \"pyzord {version}\" \"System administration\"\n").into_bytes()
}

fn end(page: &mut Roff, see_also: &[&str]) {
    page.control("SH", ["SEE ALSO"]).text([roman(see_also.join(", "))]);
    page.control("PP", []).text([roman("The user's guide is in /usr/share/doc/pyzord.")]);
}
