//! `explain`: says which operations a user may request, and which line of the access file decides.

use std::borrow::Cow;
use std::io::{self, Write};

use pyzord_core::{Decision, Operation};
use serde::Serialize;

use super::access_files::{AccessFiles, printable_name, verdict};
use super::context::Context;
use super::error::{CommandError, Outcome, exit_code};
use super::json;
use super::options::Explain;
use crate::settings;

/// Explains the rights of one user, or shows those of all users.
pub(crate) fn run(context: &Context, options: &Explain, out: &mut dyn Write) -> Outcome {
    let files = AccessFiles::read(&context.settings)?;
    match options.user.as_deref() {
        Some(user) => explain_user(context, options, &files, user, out)?,
        None if options.json => write_all_json(context, &files, out)?,
        None => write_table(context, &files, out)?,
    }
    Ok(exit_code(true))
}

fn explain_user(
    context: &Context,
    options: &Explain,
    files: &AccessFiles,
    user: &str,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    if !files.rules.knows(user.as_bytes()) {
        let file = settings::shown(context.settings.passwd_file.as_deref());
        return Err(CommandError::NotInAccountsFile { file, user: user.to_owned() });
    }
    let operations = options.operation.map_or_else(|| Operation::ALL.to_vec(), |operation| vec![operation]);
    for operation in operations {
        let decision = files.rules.decide(context.settings.access_order, user.as_bytes(), operation);
        if options.json {
            json::write_line(out, &JsonDecision::new(user.as_bytes(), operation, decision))?;
        } else {
            let name = printable_name(user.as_bytes());
            writeln!(out, "{name} {operation}: {} {}", verdict(decision), files.reason(decision))?;
        }
    }
    Ok(())
}

fn write_table(context: &Context, files: &AccessFiles, out: &mut dyn Write) -> io::Result<()> {
    let names = || files.rules.users().map(printable_name);
    let width = names().map(|name| name.chars().count()).max().unwrap_or(0);
    write!(out, "{:width$}", "user")?;
    Operation::ALL.into_iter().try_for_each(|operation| write!(out, "  {:>9}", operation.name()))?;
    writeln!(out)?;
    for user in files.rules.users() {
        write!(out, "{:width$}", printable_name(user))?;
        for operation in Operation::ALL {
            let decision = files.rules.decide(context.settings.access_order, user, operation);
            let word = if decision.allowed { "yes" } else { "no" };
            let line = decision.line.map_or_else(String::new, |line| format!(":{line}"));
            write!(out, "  {:>9}", format!("{word}{line}"))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_all_json(context: &Context, files: &AccessFiles, out: &mut dyn Write) -> io::Result<()> {
    for user in files.rules.users() {
        for operation in Operation::ALL {
            let decision = files.rules.decide(context.settings.access_order, user, operation);
            json::write_line(out, &JsonDecision::new(user, operation, decision))?;
        }
    }
    Ok(())
}

/// A decision as JSON.
#[derive(Serialize)]
struct JsonDecision<'a> {
    user: Cow<'a, str>,
    operation: &'static str,
    allowed: bool,
    line: Option<usize>,
}

impl<'a> JsonDecision<'a> {
    fn new(user: &'a [u8], operation: Operation, decision: Decision) -> Self {
        let Decision { allowed, line, .. } = decision;
        Self { user: String::from_utf8_lossy(user), operation: operation.name(), allowed, line }
    }
}
