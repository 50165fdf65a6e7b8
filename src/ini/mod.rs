//! INI files as Python's `configparser.ConfigParser` reads them, with line numbers for messages.
//!
//! [`read`] returns the settings of one section, and a [`Remark`] for each line that Python's server refuses, or whose
//! meaning is hardly the one that was meant. No maintained INI crate continues a value by the indentation of its name, or
//! tells on which line a setting stands.

mod hints;
mod interpolation;
mod parser;
mod reader;
mod remark;
mod text;

pub(crate) use hints::hints;
pub(crate) use reader::{Known, Value, Vocabulary, read};
pub(crate) use remark::{Remark, RemarkCause, SyntaxCause, SyntaxError};

/// Returns the settings of one section as they are written: line, name, and value.
///
/// # Errors
/// When a line is not part of an INI file.
pub(crate) fn entries(text: &[u8], section: &str) -> Result<Vec<(usize, String, String)>, SyntaxError> {
    let (sections, _) = parser::parse(text)?;
    let properties = sections.into_iter().filter(|found| found.name == section);
    let properties = properties.flat_map(|section| section.properties);
    Ok(properties.map(|property| (property.line, property.name, property.value)).collect())
}
