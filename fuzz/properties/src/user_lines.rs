//! A model of the lines of users' files.

/// The lines with content and their numbers: neither blank nor comments, without a byte order mark.
pub(crate) fn content(text: &[u8]) -> Vec<(usize, &[u8])> {
    if is_utf16(text) {
        return Vec::new();
    }
    lines(text).into_iter().filter(|(_, line)| !matches!(first_visible(line), None | Some(b'#'))).collect()
}

pub(crate) fn is_utf16(text: &[u8]) -> bool {
    matches!(text, [0xff, 0xfe, ..] | [0xfe, 0xff, ..])
}

/// Whether a line has a byte order mark, which has a warning.
pub(crate) fn marked(text: &[u8]) -> bool {
    is_utf16(text)
        || text.split(|byte| matches!(byte, b'\n' | b'\r')).any(|line| line.starts_with(b"\xef\xbb\xbf"))
}

fn lines(mut text: &[u8]) -> Vec<(usize, &[u8])> {
    let mut lines = Vec::new();
    while let Some(end) = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        let (line, rest) = text.split_at(end);
        lines.push(line);
        let ends: [&[u8]; 3] = [b"\r\n", b"\n", b"\r"];
        text = ends.into_iter().find_map(|end| rest.strip_prefix(end)).unwrap_or_default();
    }
    lines.push(text);
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
        let rest =
            (1..=4).find_map(|width| line.split_at_checked(width).filter(|(character, _)| blank(character)));
        let Some((_, rest)) = rest else { return Some(*first) };
        line = rest;
    }
    None
}
