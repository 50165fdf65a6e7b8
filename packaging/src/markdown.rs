//! Converts the Markdown of our documentation to man pages: headings, paragraphs, lists, tables, code.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// A heading of the second level and the lines below it.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    pub(crate) title: &'a str,
    lines: Vec<&'a str>,
}

/// Returns the sections of a document. The text above the first heading becomes the section `Description`.
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
        for block in blocks(&self.lines) {
            block.to_roff(page);
        }
    }
}

/// The mark of an item of a list without numbers.
const BULLET: &str = "\\(bu";

/// The mark of what continues an item after another block: of no width.
const NO_MARK: &str = "\\&";

/// Consecutive lines of one kind.
enum Block<'a> {
    Paragraph(Vec<&'a str>),
    /// The mark of the item, and its text.
    Item(&'a str, Vec<&'a str>),
    Code(Vec<&'a str>),
    Table(Vec<&'a str>),
}

fn blocks<'a>(lines: &[&'a str]) -> Vec<Block<'a>> {
    let mut blocks: Vec<Block<'a>> = Vec::new();
    let mut fenced = false;
    // Whether the next line may belong to the last block. An empty line ends a block.
    let mut open = false;
    for line in lines {
        if line.starts_with("```") {
            fenced = !fenced;
            if fenced {
                blocks.push(Block::Code(Vec::new()));
            }
            open = fenced;
            continue;
        }
        if line.is_empty() && !fenced {
            open = false;
            continue;
        }
        match (blocks.last_mut().filter(|_| open), *line) {
            (Some(Block::Code(code)), line) if fenced => code.push(line),
            (_, line) if line.starts_with("- ") => blocks.push(Block::Item(BULLET, vec![&line[2..]])),
            (_, line) if let Some((number, text)) = numbered(line) => {
                blocks.push(Block::Item(number, vec![text]));
            }
            (Some(Block::Item(_, text)), line) if line.starts_with("  ") => text.push(line.trim_start()),
            (Some(Block::Code(code)), line) if line.starts_with("    ") => code.push(&line[4..]),
            (_, line) if line.starts_with("    ") => blocks.push(Block::Code(vec![&line[4..]])),
            (_, line) if line.starts_with("  ") => blocks.push(Block::Item(NO_MARK, vec![line.trim_start()])),
            (Some(Block::Table(rows)), line) if line.starts_with('|') => rows.push(line),
            (_, line) if line.starts_with('|') => blocks.push(Block::Table(vec![line])),
            (Some(Block::Paragraph(text)), line) => text.push(line),
            (_, line) => blocks.push(Block::Paragraph(vec![line])),
        }
        open = true;
    }
    blocks
}

/// Returns the number of a numbered item with its point, and the text behind it.
fn numbered(line: &str) -> Option<(&str, &str)> {
    let (number, text) = line.split_once(". ")?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| (line.split_at(number.len() + 1).0, text))
}

impl Block<'_> {
    fn to_roff(&self, page: &mut Roff) {
        match self {
            Self::Paragraph(lines) => {
                page.control("PP", []).text(inlines(&lines.join("\n")));
            }
            Self::Item(mark, lines) => {
                page.control("IP", [*mark, "3"]).text(inlines(&lines.join("\n")));
            }
            Self::Code(lines) => {
                page.control("PP", []).control("EX", []);
                for line in lines {
                    page.text([roman(*line)]);
                }
                page.control("EE", []);
            }
            Self::Table(lines) => {
                // The first line has the columns' names, the second one separates them from the rows.
                let labels = lines.first().map(|line| cells(line)).unwrap_or_default();
                for line in lines.iter().skip(2) {
                    row(page, &labels, &cells(line));
                }
            }
        }
    }
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split(" | ").map(str::trim).collect()
}

/// Appends a row: the first cell is its subject, the last one the meaning. The cells between them get the columns' names
/// as labels; in a table that compares columns, one whose first has no name, the last one does, too.
fn row(page: &mut Roff, labels: &[&str], cells: &[&str]) {
    let [name, remarks @ .., meaning] = cells else { return };
    let mut head = inlines(name);
    for (label, remark) in labels.iter().skip(1).zip(remarks) {
        head.push(roman(format!(", {label} ")));
        head.extend(inlines(remark));
    }
    let mut text = inlines(meaning);
    if let ([""], Some(label)) = (labels.get(..1).unwrap_or_default(), labels.last()) {
        text.insert(0, roman(format!("{label} ")));
    }
    page.control("TP", []).text(head).text(text);
}

/// Returns `code` in bold, and only the text of a [link](its-target).
fn inlines(text: &str) -> Vec<Inline> {
    let text = without_links(text).replace("**", "");
    let mut parts = Vec::new();
    for (index, part) in text.split('`').enumerate() {
        match index % 2 {
            _ if part.is_empty() => (),
            0 => parts.push(roman(part)),
            _ => parts.push(bold(part)),
        }
    }
    parts
}

fn without_links(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("](") {
        let (Some((lead, label)), Some((_, after))) = (before.rsplit_once('['), after.split_once(')')) else {
            break;
        };
        out += lead;
        out += label;
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
                        | `Port` | `1` | `-p` | a [port](p.md) |\n\n- one\n  two\n\n    code\n\n```\nfenced\n\nmore\n```\n\
                        the **last** [`a`\nb](c.md) `x\ny`\n";
        let sections = sections(document);
        let mut page = Roff::new();
        sections.iter().for_each(|section| section.to_roff(&mut page));
        let page = page.to_roff();
        for part in [
            ".SH DESCRIPTION\n.PP\nAbout \\fBx\\fR.\n",
            ".SH SETTINGS\n.TP\n\\fBPort\\fR, default \\fB1\\fR, option \\fB\\-p\\fR\na port\n",
            "\none\ntwo\n.PP\n.EX\ncode\n.EE\n",
            ".PP\n.EX\nfenced\n\nmore\n.EE\n.PP\nthe last \\fBa\\fR\nb \\fBx\ny\\fR\n",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
    }

    #[test]
    fn numbered_items_go_on_after_code_and_a_comparison_names_each_column() {
        let document = "# T\n\n1. Make\n   a key:\n\n       code\n\n   and more\n2. Use it\n\n\
                        | | first | last |\n| --- | --- | --- |\n| may bob? | yes | **no** |\n";
        let mut page = Roff::new();
        sections(document).iter().for_each(|section| section.to_roff(&mut page));
        let page = page.to_roff();
        for part in [
            ".IP 1. 3\nMake\na key:\n.PP\n.EX\n",
            ".EE\n.IP \\& 3\nand more\n.IP 2. 3\nUse it\n",
            ".TP\nmay bob?, first yes\nlast no\n",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
    }
}
