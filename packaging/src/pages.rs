//! The man pages. They are in section 8 since the programs are an administrator's; Debian's package of the Python
//! client has pages and programs of these names for users.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::markdown::{self, Section};
use crate::programs;

const CONFIGURATION: &str = include_str!("../../docs/configuration.md");
/// What the server's page has of the documentation; the rest is the configuration's.
const OF_THE_SERVER: [&str; 4] = ["Logs", "Signals", "The daemon", "Exit statuses"];

/// All pages, each with the name of its file.
pub(crate) fn all() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = vec![("pyzord.conf.5".to_owned(), configuration()?)];
    for program in programs() {
        let name = program.get_name().to_owned();
        let (sections, see_also) = match name.as_str() {
            "pyzord" => {
                (sections(|title| OF_THE_SERVER.contains(&title)), ["pyzord.conf(5)", "pyzor-migrate(8)"])
            }
            _ => (Vec::new(), ["pyzord(8)", "pyzord.conf(5)"]),
        };
        pages.push((format!("{name}.8"), of_program(program, &sections, &see_also)?));
    }
    Ok(pages)
}

fn sections(wanted: impl Fn(&str) -> bool) -> Vec<Section<'static>> {
    markdown::sections(CONFIGURATION).into_iter().filter(|section| wanted(section.title)).collect()
}

fn of_program(mut program: Command, sections: &[Section<'_>], see_also: &[&str]) -> io::Result<Vec<u8>> {
    let usage = program.render_usage().to_string();
    let mut page = title(program.get_name(), "8");
    let man = Man::new(program);
    man.render_name_section(&mut page)?;
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]).text([roman(usage.trim_start_matches("Usage: "))]);
    synopsis.to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut rest = Roff::new();
    sections.iter().for_each(|section| section.to_roff(&mut rest));
    end(&mut rest, see_also);
    rest.to_writer(&mut page)?;
    Ok(page)
}

fn configuration() -> io::Result<Vec<u8>> {
    let mut page = title("pyzord.conf", "5");
    let mut text = Roff::new();
    text.control("SH", ["NAME"]).text([roman("pyzord.conf - configuration of the Pyzor server")]);
    text.control("SH", ["SYNOPSIS"]);
    text.text([bold("/etc/pyzor/config"), roman(", "), bold("~/.pyzor/config")]);
    for section in sections(|title| !OF_THE_SERVER.contains(&title)) {
        section.to_roff(&mut text);
    }
    end(&mut text, &["pyzord(8)", "pyzor-migrate(8)"]);
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
