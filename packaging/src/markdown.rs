//! The Markdown that our documentation is written in, as man pages: headings, paragraphs, lists, tables, code.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// A heading of the second level and what stands below it.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    pub(crate) title: &'a str,
    lines: Vec<&'a str>,
}

/// The sections of a document; what stands above the first is called a description.
pub(crate) fn sections(document: &str) -> Vec<Section<'_>> {
    let mut sections = vec![Section { title: "Description", lines: Vec::new() }];
    for line in document.lines().filter(|line| !line.starts_with("# ")) {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section { title, lines: Vec::new() });
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(line);
        }
    }
    sections
}

impl Section<'_> {
    /// Appends the section to a page.
    pub(crate) fn to_roff(&self, page: &mut Roff) {
        page.control("SH", [self.title.to_uppercase().as_str()]);
        // What the last line was part of; one that goes on needs no new request.
        let mut block = Block::None;
        let mut fenced = false;
        for line in &self.lines {
            let (kind, text) = match line {
                line if line.starts_with("```") => {
                    fenced = !fenced;
                    (Block::None, "")
                }
                line if fenced => (Block::Code, *line),
                line if line.starts_with("| ") => (Block::Table, *line),
                line => match (line.strip_prefix("- "), line.strip_prefix("    "), line.strip_prefix("  ")) {
                    (Some(text), ..) => (Block::Item, text),
                    (_, Some(text), _) if block != Block::Item => (Block::Code, text),
                    (.., Some(text)) if block == Block::Item => (Block::Continued, text.trim_start()),
                    _ if line.is_empty() => (Block::None, ""),
                    _ => (Block::Paragraph, *line),
                },
            };
            begin(page, block, kind);
            match kind {
                Block::Code => page.text([roman(text)]),
                Block::Item | Block::Continued | Block::Paragraph => page.text(inlines(text)),
                Block::Table => row(page, text),
                Block::None => page,
            };
            block = if kind == Block::Continued { Block::Item } else { kind };
        }
        begin(page, block, Block::None);
    }
}

/// Ends the block that `last` was, and begins the one that `next` is.
fn begin(page: &mut Roff, last: Block, next: Block) {
    if last == Block::Code && next != Block::Code {
        page.control("EE", []);
    }
    if next == Block::Item {
        page.control("IP", ["\\(bu", "2"]);
    }
    if matches!(next, Block::Paragraph | Block::Code) && last != next {
        page.control("PP", []);
    }
    if next == Block::Code && last != next {
        page.control("EX", []);
    }
}

/// What a line belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    None,
    Paragraph,
    Item,
    Continued,
    Table,
    Code,
}

/// The first cell is what the row is about, the last says what it means, and those between them are remarks.
fn row<'a>(page: &'a mut Roff, line: &str) -> &'a mut Roff {
    let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
    let [name, remarks @ .., meaning] = cells.as_slice() else { return page };
    let is_heading = name.starts_with("---")
        || ["name", "option", "signal", "status"].iter().any(|head| name.starts_with(head));
    if is_heading {
        return page;
    }
    let mut head = inlines(name);
    for (label, remark) in ["default ", "option "].iter().zip(remarks) {
        head.push(roman(format!(", {label}")));
        head.extend(inlines(remark));
    }
    page.control("TP", []).text(head).text(inlines(meaning))
}

/// `Code` is bold, and of a [link](its-target) the text remains.
fn inlines(text: &str) -> Vec<Inline> {
    let mut parts = Vec::new();
    for (index, part) in text.split('`').enumerate() {
        match index % 2 {
            _ if part.is_empty() => (),
            0 => parts.push(roman(without_links(part))),
            _ => parts.push(bold(part)),
        }
    }
    parts
}

fn without_links(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("](") {
        let Some((_, after)) = after.split_once(')') else { break };
        out += &before.replacen('[', "", 1);
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_our_documents_have_becomes_a_page() {
        let document = "# Title\n\nAbout `x`.\n\n## Settings\n\n| name | default | option | meaning |\n| --- | --- | --- | --- |\n\
                        | `Port` | `1` | `-p` | a [port](p.md) |\n\n- one\n  two\n\n    code\n";
        let sections = sections(document);
        let mut page = Roff::new();
        sections.iter().for_each(|section| section.to_roff(&mut page));
        let page = page.to_roff();
        for part in [
            ".SH DESCRIPTION\n.PP\nAbout \\fBx\\fR.\n",
            ".SH SETTINGS\n.TP\n\\fBPort\\fR, default \\fB1\\fR, option \\fB\\-p\\fR\na port\n",
            "\none\ntwo\n.PP\n.EX\ncode\n.EE\n",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
    }
}
