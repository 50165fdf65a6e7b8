//! JSON, written.

use std::fmt;

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Json {
    /// A value that is not known.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Whole(u64),
    /// A number; one that is not finite is written as null.
    Number(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// Names and values, in this order.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// An object with these members.
    pub fn object<N: Into<String>>(members: impl IntoIterator<Item = (N, Self)>) -> Self {
        Self::Object(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Json {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Json {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Whole(value) => write!(f, "{value}"),
            Self::Number(value) if value.is_finite() => write!(f, "{value}"),
            Self::Null | Self::Number(_) => f.write_str("null"),
            Self::Text(text) => write_text(f, text),
            Self::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    f.write_str(if index > 0 { "," } else { "" })?;
                    write_text(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            '\0'..='\x1f' => write!(f, "\\u{:04x}", u32::from(character))?,
            _ => write!(f, "{character}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_written_as_the_standard_wants_it() {
        let list = Json::List(vec![Json::Null, true.into(), 7_u64.into(), 0.5.into(), f64::NAN.into()]);
        let text = Json::from("a \"quoted\\\" \n\u{e9}");
        assert_eq!(
            Json::object([("list", list), ("text", text), ("none", None::<u64>.into())]).to_string(),
            r#"{"list":[null,true,7,0.5,null],"text":"a \"quoted\\\" \u000aé","none":null}"#
        );
        assert_eq!(Json::from(1e21).to_string(), "1000000000000000000000");
        assert_eq!(
            (Json::List(vec![]).to_string(), Json::Object(vec![]).to_string()),
            ("[]".into(), "{}".into())
        );
    }
}
