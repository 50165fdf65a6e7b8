//! A simple model of how Python's `email` package parses a header block.

/// A header: its name, and the lines of its value.
pub(crate) type Field = (Vec<u8>, Vec<Vec<u8>>);

/// Returns the headers of `datagram`, with each `\n\n` replaced by `\n`.
pub(crate) fn headers(datagram: &[u8]) -> Vec<Field> {
    let mut headers: Vec<Field> = Vec::new();
    let mut continuable = false;
    for line in lines(&single_breaks(datagram)) {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            if let (true, Some((_, value))) = (continuable, headers.last_mut()) {
                value.push(line);
            }
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let name = colon.and_then(|colon| line.get(..colon)).unwrap_or_default();
        let skipped = line.starts_with(b"From ") || colon == Some(0);
        let is_field = colon.is_some() && name.iter().all(|byte| (b'!'..=b'~').contains(byte));
        if !skipped && !is_field {
            break;
        }
        continuable = !skipped;
        if continuable {
            let value = line.iter().skip(name.len() + 1).skip_while(|byte| b" \t".contains(byte));
            headers.push((name.to_vec(), vec![value.copied().collect()]));
        }
    }
    headers
}

/// Writes the headers as text that parses to the same headers.
pub(crate) fn written(headers: &[Field]) -> Vec<u8> {
    let field = |(name, value): &Field| [name, &b": "[..], &value.join(&b'\n'), b"\n"].concat();
    headers.iter().flat_map(field).collect()
}

/// Returns the signed text: each header except `Sig` as `Name: value`, joined by line feeds and stripped as by Python.
pub(crate) fn signed_text(datagram: &[u8]) -> Vec<u8> {
    let mut headers = headers(datagram);
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case(b"Sig"));
    let mut text = written(&headers);
    while matches!(text.last(), Some(b'\t'..=b'\r' | 0x1c..=0x1f | b' ')) {
        text.pop();
    }
    text
}

/// Implements `datagram.replace(b"\n\n", b"\n")`.
fn single_breaks(datagram: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut rest = datagram;
    while let [first, after @ ..] = rest {
        text.push(*first);
        rest = if rest.starts_with(b"\n\n") { after.split_at(1).1 } else { after };
    }
    text
}

/// Splits a text at `\n`, `\r\n` and `\r`.
fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, lines.last_mut()) {
            (b'\r' | b'\n', _) => {
                bytes.next_if(|next| (byte, *next) == (b'\r', b'\n'));
                lines.push(Vec::new());
            }
            (byte, Some(line)) => line.push(byte),
            (_, None) => (),
        }
    }
    lines
}
