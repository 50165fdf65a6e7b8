//! Requests of Python's client, and the same in other notations.

use super::generator::Generator;

impl Generator {
    /// A request as Python's client writes it.
    pub(super) fn plain(&mut self) -> Vec<u8> {
        let headers = self.headers();
        self.written(headers)
    }

    /// A request with another order, case, blanks or line breaks, or with repeated or folded headers.
    pub(super) fn laid_out(&mut self) -> Vec<u8> {
        const EXTRA: [(&str, &str); 8] = [
            ("Op", "ping"),
            ("Thread", "again"),
            ("PV", "3"),
            ("User", "eve"),
            ("Content-Type", "text/plain"),
            ("X-Folded", "a\n b\n\tc"),
            ("X-Blank", "  a  "),
            ("X-Empty", ""),
        ];
        let mut headers = self.headers();
        for _ in 0..self.random.below(4) {
            let (from, to) = (self.random.below(headers.len()), self.random.below(headers.len()));
            headers.swap(from, to);
        }
        if self.random.percent(30) {
            let (name, value) = self.random.pick(&EXTRA);
            headers.push((name, value.into()));
        }
        let mut text = self.written(headers);
        if self.random.percent(40) {
            text = self.recased(&text);
        }
        if self.random.percent(30) {
            text = self.reblanked(&text);
        }
        let line_break = self.random.pick(&[&b"\n"[..], b"\r\n", b"\n\n", b"\r"]);
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        lines.join(line_break)
    }

    /// Changes the case of names. This changes the signed text, which both servers must detect.
    pub(super) fn recased(&mut self, text: &[u8]) -> Vec<u8> {
        let upper = self.random.percent(50);
        let recase = |line: &[u8]| {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(0); // an empty line
            let (name, value) = line.split_at(colon);
            [if upper { name.to_ascii_uppercase() } else { name.to_ascii_lowercase() }, value.to_vec()]
                .concat()
        };
        text.split(|byte| *byte == b'\n').map(recase).collect::<Vec<_>>().join(&b'\n')
    }

    /// Changes the blanks before values, which are not signed, and after them, which are.
    pub(super) fn reblanked(&mut self, text: &[u8]) -> Vec<u8> {
        let (before, after) =
            (self.random.pick(&[":", ":\t", ":  \t "]), self.random.pick(&["", "", " ", "\t"]));
        let text = String::from_utf8(text.to_vec()).unwrap();
        text.replace(": ", before).replace('\n', &format!("{after}\n")).into_bytes()
    }
}
