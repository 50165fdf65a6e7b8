//! `compare-orders`: says where the two orders of access rules differ.

use std::borrow::Cow;
use std::io::Write;

use pyzord_core::{AccessOrder, Operation};
use serde::Serialize;

use super::access_files::{AccessFiles, printable_name, verdict};
use super::context::Context;
use super::error::{Outcome, exit_code};
use super::json;
use super::options::CompareOrders;

/// A difference as JSON.
#[derive(Serialize)]
struct JsonDifference<'a> {
    user: Cow<'a, str>,
    operation: &'static str,
    first_match: bool,
    first_match_line: Option<usize>,
    last_match: bool,
    last_match_line: Option<usize>,
}

/// Lists the users and operations for which the two orders decide differently.
pub(crate) fn run(context: &Context, options: &CompareOrders, out: &mut dyn Write) -> Outcome {
    let files = AccessFiles::read(&context.settings)?;
    let mut differences = 0_u64;
    for user in files.rules.users() {
        for operation in Operation::ALL {
            let [first, last] = [AccessOrder::FirstMatch, AccessOrder::LastMatch]
                .map(|order| files.rules.decide(order, user, operation));
            if first.allowed == last.allowed {
                continue;
            }
            differences += 1;
            if options.json {
                let difference = JsonDifference {
                    user: String::from_utf8_lossy(user),
                    operation: operation.name(),
                    first_match: first.allowed,
                    first_match_line: first.line,
                    last_match: last.allowed,
                    last_match_line: last.line,
                };
                json::write_line(out, &difference)?;
                continue;
            }
            writeln!(out, "{} {operation}:", printable_name(user))?;
            for (order, decision) in [("first-match", first), ("last-match", last)] {
                writeln!(out, "  {order}: {} {}", verdict(decision), files.reason(decision))?;
            }
        }
    }
    if !options.json {
        writeln!(out, "differences: {differences}")?;
    }
    Ok(exit_code(true))
}
