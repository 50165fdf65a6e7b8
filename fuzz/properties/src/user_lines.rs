//! A model of the lines of users' files.

/// The lines with content and their numbers: neither blank nor comments, without a byte order mark.
pub(crate) fn content(text: &[u8]) -> Vec<(usize, &[u8])> {
    if matches!(text, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        return Vec::new();
    }
    lines(text).into_iter().filter(|(_, line)| !matches!(first_visible(line), None | Some(b'#'))).collect()
}

/// Whether a line has a byte order mark, which has a warning.
pub(crate) fn marked(text: &[u8]) -> bool {
    matches!(text, [0xff, 0xfe, ..] | [0xfe, 0xff, ..])
        || text.split(|byte| matches!(byte, b'\n' | b'\r')).any(|line| line.starts_with(b"\xef\xbb\xbf"))
}

fn lines(text: &[u8]) -> Vec<(usize, &[u8])> {
    let (mut lines, mut begin, mut at) = (Vec::new(), 0, 0);
    while let Some(byte) = text.get(at) {
        let end = at;
        at += 1;
        if !matches!(byte, b'\n' | b'\r') {
            continue;
        }
        if text[end..].starts_with(b"\r\n") {
            at += 1;
        }
        lines.push(&text[begin..end]);
        begin = at;
    }
    lines.push(&text[begin..]);
    (1..).zip(lines.into_iter().map(|line| line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line))).collect()
}

/// Returns the first byte behind white space, control characters and characters without a width.
fn first_visible(mut line: &[u8]) -> Option<u8> {
    let blank = |bytes: &[u8]| {
        let Ok(text) = std::str::from_utf8(bytes) else { return bytes == [0xa0] };
        let odd = |c: char| ('\u{200b}'..='\u{200f}').contains(&c) || c == '\u{2060}' || c == '\u{feff}';
        text.chars().all(|c| c.is_whitespace() || c.is_control() || odd(c))
    };
    while let Some(first) = line.first() {
        let width = (1..=line.len().min(4)).find(|width| blank(&line[..*width]));
        let Some(width) = width else { return Some(*first) };
        line = &line[width..];
    }
    None
}
