//! The system calls of a trace, each with the moments at which it began and ended.

use std::collections::HashMap;

use crate::syntax::{self, SyntaxError, Value};

/// A call that never returned.
pub(crate) const NEVER: usize = usize::MAX;

/// One system call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) arguments: Vec<Value>,
    /// What it returned, -1 for an error; `None` if it never returned.
    pub(crate) result: Option<i64>,
    /// The moment of its beginning, and that of its end, or [`NEVER`]: twice the line, and one more at an end.
    pub(crate) began: usize,
    pub(crate) ended: usize,
}

/// A line of a trace that is not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line} of the trace: {error}")]
pub struct TraceError {
    line: usize,
    error: SyntaxError,
}

/// A call that other threads' calls interrupted in the trace.
struct Unfinished<'a> {
    text: &'a str,
    began: usize,
}

/// Parses a trace, as `strace -f` writes it. The calls are in the order in which they began.
pub(crate) fn parse(trace: &str) -> Result<Vec<Call>, TraceError> {
    let (mut calls, mut unfinished) = (Vec::new(), HashMap::new());
    for (line, text) in trace.lines().enumerate() {
        let error = |error| TraceError { line: line + 1, error };
        let Some((thread, text)) = text.split_once(' ') else { continue };
        let text = text.trim_start();
        if text.starts_with("+++") || text.starts_with("---") {
            continue;
        }
        if let Some(text) = text.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, Unfinished { text, began: 2 * line });
        } else if let Some((_, rest)) =
            text.strip_prefix("<... ").and_then(|text| text.split_once(" resumed>"))
        {
            let Some(Unfinished { text, began }) = unfinished.remove(thread) else { continue };
            calls.push(call(&format!("{text}{rest}"), began, 2 * line + 1).map_err(error)?);
        } else {
            calls.push(call(text, 2 * line, 2 * line + 1).map_err(error)?);
        }
    }
    for Unfinished { text, began } in unfinished.into_values() {
        // Arguments that the system fills in are missing.
        calls.extend(call(&format!("{text})"), began, NEVER));
    }
    calls.sort_by_key(|call| call.began);
    Ok(calls)
}

fn call(text: &str, began: usize, ended: usize) -> Result<Call, SyntaxError> {
    let (name, text) = text.split_once('(').ok_or(SyntaxError::Unexpected)?;
    let (arguments, rest) = syntax::arguments(text)?;
    let result = rest.trim_start().strip_prefix("= ").and_then(|result| {
        let word = result.split(' ').next()?;
        word.strip_prefix("0x").map_or_else(|| word.parse().ok(), |hex| i64::from_str_radix(hex, 16).ok())
    });
    let ended = if result.is_some() { ended } else { NEVER };
    Ok(Call { name: name.to_owned(), arguments, result, began, ended })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_threads_are_joined() {
        let trace = "\
10    write(3, \"a\", 1 <unfinished ...>
11 fsync(3 <unfinished ...>
10    <... write resumed>)              = 1
12 recvmmsg(4,  <unfinished ...>
11 <... fsync resumed>) = -1 EIO (Input/output error)
10 pwrite64(3, \"b\", 1, 9 <unfinished ...>
11 lseek(3, 5, SEEK_SET)     = 5
11 --- SIGTERM {si_signo=SIGTERM} ---
11 +++ killed by SIGKILL +++
";
        let calls = parse(trace).unwrap();
        let found: Vec<_> = calls
            .iter()
            .map(|call| (&call.name[..], call.arguments.len(), call.result, call.began, call.ended))
            .collect();
        assert_eq!(
            found,
            [
                ("write", 3, Some(1), 0, 5),
                ("fsync", 1, Some(-1), 2, 9),
                ("recvmmsg", 1, None, 6, NEVER),
                ("pwrite64", 4, None, 10, NEVER),
                ("lseek", 3, Some(5), 12, 13),
            ]
        );
        assert_eq!(calls[0].arguments[1], Value::Bytes(b"a".to_vec()));
        assert!(parse("10 write(3, \"a\"..., 1) = 1").is_err());
    }
}
