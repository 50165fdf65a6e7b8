//! Values that are hardly meant as they are written.

use super::remark::RemarkCause;

/// The words of samples for a value that is to be filled in.
const FILLERS: [&str; 5] = ["changeme", "change_me", "change-me", "replaceme", "replace_me"];

/// Returns what is suspicious about a value of the setting `name`.
pub(crate) fn hints(name: &'static str, value: &str) -> impl Iterator<Item = RemarkCause> {
    let sign = comment_sign(value).map(|sign| RemarkCause::CommentInValue { name, sign });
    let quoted = value.starts_with(['"', '\'']).then_some(RemarkCause::Quoted { name });
    let placeholder = placeholder(value).map(|shape| RemarkCause::Placeholder { name, shape });
    [sign, quoted, placeholder].into_iter().flatten()
}

/// Returns the `#` or `;` of a comment behind a value, which has a blank before it.
fn comment_sign(value: &str) -> Option<char> {
    let mut before = ' ';
    value.chars().find(|c| matches!(std::mem::replace(&mut before, *c), ' ' | '\t') && matches!(c, '#' | ';'))
}

/// Returns the shape of a placeholder that a template engine, a shell or the operator has left.
fn placeholder(value: &str) -> Option<&'static str> {
    let lower = value.to_lowercase();
    let shapes = [
        ("{{ }}", value.contains("{{")),
        ("{% %}", value.contains("{%")),
        ("<% %>", value.contains("<%")),
        ("${ }", value.contains("${")),
        ("$( )", value.contains("$(")),
        ("$NAME", value.split('$').skip(1).any(|rest| word(rest).len() > 2)),
        ("@NAME@", enclosed(value, "@", "@")),
        ("__NAME__", enclosed(value, "__", "__")),
        ("%NAME%", enclosed(value, "%", "%")),
        ("<name>", value.split_once('<').is_some_and(|(_, rest)| is_bracketed(rest))),
        ("a word to be replaced", FILLERS.iter().any(|filler| lower.contains(filler))),
    ];
    shapes.into_iter().find(|(_, is_there)| *is_there).map(|(shape, _)| shape)
}

/// Returns whether a word in capitals stands between `open` and `close`.
fn enclosed(value: &str, open: &str, close: &str) -> bool {
    value.match_indices(open).any(|(place, _)| {
        let rest = value.get(place + open.len()..).unwrap_or_default();
        rest.split_once(close).is_some_and(|(name, _)| name.len() > 2 && word(name) == name)
    })
}

/// Returns whether a word and `>` follow.
fn is_bracketed(rest: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || " _-".contains(c);
    rest.split_once('>').is_some_and(|(name, _)| name.len() > 2 && name.chars().all(is_letter))
}

/// Returns the word in capitals at the beginning.
fn word(text: &str) -> &str {
    let is_part = |c: char| c.is_ascii_uppercase() || c == '_';
    text.split(|c| !is_part(c)).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hinted(value: &str) -> Vec<String> {
        hints("DigestDB", value).map(|hint| hint.to_string()).collect()
    }

    #[test]
    fn a_value_that_is_hardly_meant_has_a_hint() {
        for (value, part) in [
            ("pyzord.log # the log", "`#` and what follows"),
            ("True\t; x", "`;` and what follows"),
            ("# nothing", "`#` and what follows"),
            ("\"localhost,6379,,0\"", "quotes"),
            ("'gdbm'", "quotes"),
            ("{{ redis_host }},6379,,0", "({{ }})"),
            ("{% if x %}", "({% %})"),
            ("<%= @host %>", "(<% %>)"),
            ("localhost,6379,${REDIS_PASSWORD},0", "(${ })"),
            ("$(hostname)", "($( ))"),
            ("$HOME/pyzord.db", "($NAME)"),
            ("@HOST@,6379,,0", "(@NAME@)"),
            ("__HOST__", "(__NAME__)"),
            ("%HOSTNAME%", "(%NAME%)"),
            ("localhost,pyzor,<password>,pyzor,public", "(<name>)"),
            ("localhost,pyzor,ChangeMe,pyzor,public", "a word to be replaced"),
        ] {
            let hints = hinted(value);
            assert!(matches!(&hints[..], [hint] if hint.contains(part)), "{value}: {hints:?}");
        }
    }

    #[test]
    fn plain_values_have_no_hint() {
        for value in [
            "",
            "24441",
            "::",
            "0.0.0.0",
            "localhost,6379,,0",
            "localhost,6379,p#ss;w%%rd$x,0",
            "localhost,user,o'neil,pyzor,public",
            "redis://user:p%%40ss@localhost:6379/0",
            "rediss://[::1]:6379/0",
            "/var/log/pyzord-%(Port)s.log",
            "192.0.2.0/24, 2001:db8::/32",
            "~/pyzord.db",
        ] {
            assert_eq!(hinted(value), [""; 0], "{value}");
        }
    }
}
