//! Percent-encoding in URLs.

/// Replaces each `%` and two hex digits by the byte that they stand for. `None` if a `%` is not followed by them, or if
/// the bytes are not UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let (start, escapes) = text.split_once('%').map_or((text, None), |(start, rest)| (start, Some(rest)));
    let mut bytes = start.as_bytes().to_vec();
    for piece in escapes.into_iter().flat_map(|rest| rest.split('%')) {
        let (hex, rest) = piece.as_bytes().split_at_checked(2)?;
        let digits = hex.iter().map(|digit| char::from(*digit).to_digit(16));
        let value = digits.into_iter().try_fold(0, |value, digit| Some(value << 4 | digit?));
        bytes.push(value.and_then(|value| u8::try_from(value).ok())?);
        bytes.extend_from_slice(rest);
    }
    String::from_utf8(bytes).ok()
}
