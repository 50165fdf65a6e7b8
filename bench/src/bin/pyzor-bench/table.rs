//! Tables, as aligned text and as Markdown.

use std::fmt::Write as _;

/// A table: text in the first column, figures in the others.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) header: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Renders the table with aligned columns.
    pub(crate) fn text(&self) -> String {
        let header: Vec<String> = self.header.iter().map(|&cell| cell.to_owned()).collect();
        let all = || std::iter::once(&header).chain(&self.rows);
        let width = |column: usize| {
            all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        let mut text = format!("{}\n", self.title);
        for row in all() {
            let mut line = String::new();
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = if index == 0 {
                    write!(line, "{cell:<width$}")
                } else {
                    write!(line, "  {cell:>width$}")
                };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    /// Renders the table as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let header: Vec<String> = self.header.iter().map(|&cell| cell.to_owned()).collect();
        let rule = (0..header.len()).map(|index| if index == 0 { "---" } else { "---:" }.to_owned());
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("**{}**\n\n{}{}{rows}", self.title, line(&header), line(&rule.collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["std", "1"], ["python", "12345"]].map(|row| row.map(str::to_owned).to_vec());
        let table = Table { title: "Rates", header: vec!["server", "us"], rows: rows.to_vec() };
        assert_eq!(table.text(), "Rates\nserver     us\nstd         1\npython  12345\n");
        let page = "**Rates**\n\n| server | us |\n| --- | ---: |\n| std | 1 |\n| python | 12345 |\n";
        assert_eq!(table.markdown(), page);
    }
}
