//! What is wrong with an INI file, in words.

use thiserror::Error;

/// A line that is not part of an INI file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SyntaxError {
    /// Number of the line, from 1.
    pub(crate) line: usize,
    /// The kind of error.
    pub(crate) cause: SyntaxCause,
}

/// A kind of syntax error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum SyntaxCause {
    /// A section's name has no end.
    #[error("the name of a section ends with `]`")]
    OpenSection,
    /// The line has neither `=` nor `:`.
    #[error("this is neither `[section]` nor `name = value`")]
    NoSeparator,
    /// Nothing stands before `=` or `:`.
    #[error("there is no name before the value")]
    NoName,
    /// A setting stands above the first section.
    #[error("there is no `[section]` above this line")]
    NoSection,
    /// The text is not UTF-8.
    #[error("the file is encoded in UTF-16; save it as UTF-8")]
    Utf16,
}

/// A remark about a line of a file that can be used. No remark shows a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Remark {
    /// Number of the line, from 1.
    pub(crate) line: usize,
    /// The cause.
    pub(crate) cause: RemarkCause,
}

/// The cause of a remark, and the remedy.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum RemarkCause {
    #[error("a byte order mark before this line is left out; save the file as UTF-8 without one")]
    ByteOrderMark,
    #[error("this line is not UTF-8, and each wrong byte counts as U+FFFD; save the file as UTF-8")]
    NotUtf8,
    #[error("[{section}] is also on line {earlier}; the settings of both count, so put them below one")]
    RepeatedSection { section: String, earlier: usize },
    #[error("what stands behind `]` is ignored; put it on a line of its own")]
    BehindSection,
    #[error("[{found}] is not [{wanted}], and the lines below it are ignored; write [{wanted}]")]
    SimilarSection { found: String, wanted: &'static str },
    #[error("{name} below [{found}] is ignored; move it below [{wanted}]")]
    OtherSection { name: &'static str, found: String, wanted: &'static str },
    #[error("there is no setting {}{}", shown(name), .nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default())]
    Unknown { name: String, nearest: Option<&'static str> },
    #[error("{name} is also on line {earlier}; this line counts")]
    Repeated { name: String, earlier: usize },
    #[error(
        "this line continues the value of {name}, as it is indented deeper than line {first}; indent both alike if it is \
         a setting, else join the lines"
    )]
    Continued { name: &'static str, first: usize },
    #[error(
        "`{sign}` and what follows it is part of the value of {name}; put a comment on a line of its own"
    )]
    CommentInValue { name: &'static str, sign: char },
    #[error("the quotes are part of the value of {name}; remove them")]
    Quoted { name: &'static str },
    #[error(
        "the value of {name} has a placeholder ({shape}), which nothing replaces; write the value itself"
    )]
    Placeholder { name: &'static str, shape: &'static str },
    #[error("the value of {name} is not True, so it counts as False; write True or False")]
    NoFlag { name: &'static str },
    #[error("a single `%` in the value of {name} stands for itself; write `%%`")]
    SingleSign { name: &'static str },
    // The text of a reference can be a part of a password.
    #[error("the value of {name} refers with `%( )s` to a name which is not set; set it, or write `%%(`")]
    NoReference { name: &'static str },
    #[error("the value of {name} refers to others more than {depth} levels deep; write the value itself")]
    TooDeep { name: &'static str, depth: usize },
    #[error("the value of {name} refers to too many others; write the value itself")]
    TooLong { name: &'static str },
}

/// Returns the first word of a name: after it, a part of a DSN may follow whose `=` is missing or misplaced.
fn shown(name: &str) -> &str {
    let end = name.find(|letter: char| !letter.is_alphanumeric() && !"_-.".contains(letter));
    name.split_at(end.unwrap_or(name.len())).0
}
