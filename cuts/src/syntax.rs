//! The notation in which strace prints the arguments of a system call.

/// One argument, or a part of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    /// A string in quotes, its escapes resolved.
    Bytes(Vec<u8>),
    /// A number, a flag or anything else without quotes.
    Word(String),
    /// `[a, b]`
    List(Vec<Value>),
    /// `{name=a, name=b}`; a field without a name has an empty one.
    Struct(Vec<(String, Value)>),
}

/// A text that is not in the expected notation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SyntaxError {
    #[error("it ends too early")]
    Ends,
    #[error("a string is abbreviated")]
    Abbreviated,
    #[error("a string has an unknown escape")]
    Escape,
    #[error("something else is expected")]
    Unexpected,
}

impl Value {
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub(crate) fn word(&self) -> Option<&str> {
        if let Self::Word(word) = self { Some(word) } else { None }
    }

    pub(crate) fn number(&self) -> Option<i64> {
        self.word()?.parse().ok()
    }

    pub(crate) fn list(&self) -> &[Value] {
        if let Self::List(list) = self { list } else { &[] }
    }

    /// Returns a field of a struct.
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        let Self::Struct(fields) = self else { return None };
        fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }
}

/// Parses arguments up to the parenthesis that ends them, and returns what follows it.
pub(crate) fn arguments(text: &str) -> Result<(Vec<Value>, &str), SyntaxError> {
    let mut parser = Parser { text: text.as_bytes(), at: 0 };
    let values = parser.sequence(b')', Parser::value)?;
    Ok((values, text.get(parser.at..).unwrap_or_default()))
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Result<u8, SyntaxError> {
        self.text.get(self.at).copied().ok_or(SyntaxError::Ends)
    }

    fn next(&mut self) -> Result<u8, SyntaxError> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    fn starts_with(&self, prefix: &[u8]) -> bool {
        self.text.get(self.at..).is_some_and(|rest| rest.starts_with(prefix))
    }

    /// Parses items with commas between them, and the byte that ends them.
    fn sequence<T>(
        &mut self,
        end: u8,
        item: impl Fn(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<Vec<T>, SyntaxError> {
        let mut items = Vec::new();
        loop {
            while matches!(self.peek()?, b' ' | b',') {
                self.at += 1;
            }
            if self.peek()? == end {
                self.at += 1;
                return Ok(items);
            }
            items.push(item(self)?);
            while self.peek()? == b' ' {
                self.at += 1;
            }
            if self.peek()? != b',' && self.peek()? != end {
                return Err(SyntaxError::Unexpected);
            }
        }
    }

    fn value(&mut self) -> Result<Value, SyntaxError> {
        match self.peek()? {
            b'"' => self.string().map(Value::Bytes),
            b'[' => {
                self.at += 1;
                self.sequence(b']', Self::value).map(Value::List)
            }
            b'{' => {
                self.at += 1;
                self.sequence(b'}', Self::named).map(Value::Struct)
            }
            _ => self.word().map(Value::Word),
        }
    }

    fn named(&mut self) -> Result<(String, Value), SyntaxError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let name = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        if rest.get(name) != Some(&b'=') {
            return Ok((String::new(), self.value()?));
        }
        let text = String::from_utf8_lossy(rest.get(..name).unwrap_or_default()).into_owned();
        self.at += name + 1;
        Ok((text, self.value()?))
    }

    /// Parses up to a comma or a closing bracket outside of parentheses; quotes in there are skipped.
    fn word(&mut self) -> Result<String, SyntaxError> {
        let (start, mut depth) = (self.at, 0_u32);
        loop {
            match self.peek()? {
                b'(' => depth += 1,
                b')' if depth > 0 => depth -= 1,
                b',' | b')' | b']' | b'}' if depth == 0 => break,
                b'"' => {
                    self.string()?;
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        Ok(String::from_utf8_lossy(text).trim_end().to_owned())
    }

    fn string(&mut self) -> Result<Vec<u8>, SyntaxError> {
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            match self.next()? {
                b'"' => break,
                b'\\' => bytes.push(self.escape()?),
                byte => bytes.push(byte),
            }
        }
        if self.starts_with(b"...") { Err(SyntaxError::Abbreviated) } else { Ok(bytes) }
    }

    fn escape(&mut self) -> Result<u8, SyntaxError> {
        Ok(match self.next()? {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'v' => 0x0b,
            b'f' => 0x0c,
            b'x' => self.digits(16, 2)?,
            byte @ (b'"' | b'\\') => byte,
            b'0'..=b'7' => {
                self.at -= 1;
                self.digits(8, 3)?
            }
            _ => return Err(SyntaxError::Escape),
        })
    }

    /// Parses up to `most` digits.
    fn digits(&mut self, radix: u32, most: usize) -> Result<u8, SyntaxError> {
        let mut number = 0;
        for _ in 0..most {
            let Some(digit) = char::from(self.peek()?).to_digit(radix) else { break };
            number = number * radix + digit;
            self.at += 1;
        }
        u8::try_from(number).map_err(|_| SyntaxError::Escape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Value {
        Value::Word(text.to_owned())
    }

    #[test]
    fn arguments_of_calls() {
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
        for (text, values, rest) in [
            (") = 0", vec![], " = 0"),
            (
                "13, \"\\317\\0012\\\"\\x7f\\n)\", 5) = 5",
                vec![word("13"), bytes(b"\xcf\x012\"\x7f\n)"), word("5")],
                " = 5",
            ),
            (
                "AT_FDCWD, \"a\", O_RDWR|O_CREAT, 0600) = 3",
                vec![word("AT_FDCWD"), bytes(b"a"), word("O_RDWR|O_CREAT"), word("0600")],
                " = 3",
            ),
            (
                "[{a=1 => 2, b=htons(5)}, {x}], NULL /* none */)",
                vec![
                    Value::List(vec![
                        Value::Struct(vec![
                            ("a".to_owned(), word("1 => 2")),
                            ("b".to_owned(), word("htons(5)")),
                        ]),
                        Value::Struct(vec![(String::new(), word("x"))]),
                    ]),
                    word("NULL /* none */"),
                ],
                "",
            ),
            ("inet_addr(\"a,)\"))", vec![word("inet_addr(\"a,)\")")], ""),
        ] {
            assert_eq!(arguments(text), Ok((values, rest)), "{text}");
        }
        for (text, error) in [
            ("1, \"a\"..., 4) = 4", SyntaxError::Abbreviated),
            ("1, \"a", SyntaxError::Ends),
            ("\"\\q\")", SyntaxError::Escape),
            ("\"a\" b)", SyntaxError::Unexpected),
        ] {
            assert_eq!(arguments(text), Err(error), "{text}");
        }
    }
}
