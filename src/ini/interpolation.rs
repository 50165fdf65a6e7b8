//! The `%` of values.

use std::borrow::Cow;

/// How deep values may refer to others in Python, too.
pub(super) const DEEPEST: usize = 10;
/// The most references of a value, with those of the values that it refers to.
const MOST_REFERENCES: usize = 1000;
/// The longest value that references make, in bytes.
const LONGEST: usize = 1 << 20;

/// Why a part of a value stands for itself. Python raises an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// A `%` begins neither `%%` nor a reference.
    SingleSign,
    /// There is no such value.
    NoReference,
    /// Values refer to each other deeper than [`DEEPEST`].
    TooDeep,
    /// There are more than [`MOST_REFERENCES`], or the result is longer than [`LONGEST`].
    TooLong,
}

/// Replaces `%` in a value: `%%` is `%`, and `%(name)s` is what `lookup` returns for the name in small letters, in which
/// `%` is replaced as well. Anything else stands for itself; the first such part is returned.
pub(super) fn interpolate<'a>(
    value: &str,
    lookup: &dyn Fn(&str) -> Option<Cow<'a, str>>,
) -> (String, Option<Fault>) {
    let mut expansion = Expansion { lookup, out: String::new(), references: 0, fault: None };
    expansion.add(value, 1);
    (expansion.out, expansion.fault)
}

struct Expansion<'a, 'b> {
    lookup: &'b dyn Fn(&str) -> Option<Cow<'a, str>>,
    out: String,
    references: usize,
    fault: Option<Fault>,
}

impl Expansion<'_, '_> {
    fn add(&mut self, value: &str, depth: usize) {
        let mut rest = value;
        while let Some((before, after)) = rest.split_once('%') {
            self.out.push_str(before);
            rest = after;
            if let Some(after) = after.strip_prefix('%') {
                self.out.push('%');
                rest = after;
            } else if let Some((name, after)) = reference(after) {
                match self.add_reference(name, depth) {
                    Ok(()) => rest = after,
                    Err(fault) => self.keep_sign(fault),
                }
            } else {
                self.keep_sign(Fault::SingleSign);
            }
        }
        self.out.push_str(rest);
    }

    fn add_reference(&mut self, name: &str, depth: usize) -> Result<(), Fault> {
        self.references += 1;
        let value = (self.lookup)(&name.to_lowercase()).ok_or(Fault::NoReference)?;
        if self.references > MOST_REFERENCES || self.out.len() + value.len() > LONGEST {
            return Err(Fault::TooLong);
        }
        if !value.contains('%') {
            self.out.push_str(&value);
        } else if depth < DEEPEST {
            self.add(&value, depth + 1);
        } else {
            return Err(Fault::TooDeep);
        }
        Ok(())
    }

    fn keep_sign(&mut self, fault: Fault) {
        self.out.push('%');
        self.fault.get_or_insert(fault);
    }
}

/// Splits `(name)s...` into the name and what follows.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('(')?.split_once(')')?;
    let after = after.strip_prefix('s')?;
    (!name.is_empty()).then_some((name, after))
}

/// Returns the names that a value refers to, in small letters.
pub(super) fn references(value: &str) -> impl Iterator<Item = String> {
    value.split('%').filter_map(|part| Some(reference(part)?.0.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<Cow<'static, str>> {
        let level = |text: &str| text.strip_prefix("level")?.parse::<usize>().ok();
        Some(Cow::Borrowed(match name {
            "port" => "24441",
            "twice" => "%(port)s %(Port)s",
            "percent" => "%%(port)s",
            "cycle" => "x%(cycle)s",
            "wide" => "%(wide)s%(wide)s",
            "long" => return Some("x".repeat(LONGEST / 2).into()),
            _ => match level(name)? {
                0 => "%%",
                level => return Some(format!("%(level{})s", level - 1).into()),
            },
        }))
    }

    #[test]
    fn percent_signs_are_replaced_as_in_python() {
        for (value, expected) in [
            ("a%%b", "a%b"),
            ("x%(Port)s", "x24441"),
            ("%%(port)s", "%(port)s"),
            ("%(twice)s", "24441 24441"),
            ("%(percent)s", "%(port)s"),
            ("%(level8)s", "%"),
        ] {
            assert_eq!(interpolate(value, &lookup), (expected.to_owned(), None), "{value}");
        }
    }

    #[test]
    fn what_python_refuses_stands_for_itself() {
        for (value, fault) in [
            ("50%", Fault::SingleSign),
            ("%(port)x", Fault::SingleSign),
            ("%(por)t)s", Fault::SingleSign),
            ("%()s", Fault::SingleSign),
            ("%(port", Fault::SingleSign),
            ("%(none)s", Fault::NoReference),
        ] {
            assert_eq!(interpolate(value, &lookup), (value.to_owned(), Some(fault)), "{value}");
        }
        let (value, fault) = interpolate("%(level10)s", &lookup);
        assert_eq!((value.as_str(), fault), ("%(level1)s", Some(Fault::TooDeep)));
    }

    #[test]
    fn values_that_refer_to_each_other_have_a_bound() {
        let (value, fault) = interpolate("%(cycle)s", &lookup);
        assert_eq!(value, "xxxxxxxxx%(cycle)s");
        assert_eq!(fault, Some(Fault::TooDeep));
        assert!(interpolate(&"%(wide)s".repeat(100_000), &lookup).0.len() < LONGEST);
        let (value, fault) = interpolate("%(long)s%(long)s%(long)s", &lookup);
        assert!(value.len() <= LONGEST + 100 && fault == Some(Fault::TooLong));
    }
}
