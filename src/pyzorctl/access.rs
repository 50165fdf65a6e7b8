//! Who may do what, and which line of the access file says so.

use std::borrow::Cow;
use std::io::Write;

use crate::rules;
use pyzord_core::{AccessOrder, Decision, Operation, Rulebook};

use super::failure::{Failure, Outcome, status};
use super::options::{CompareOrders, Explain};
use super::show::{Json, OrNull};
use super::site::Site;

/// Both files, and the lines of the access file as they stand.
struct Files {
    book: Rulebook,
    access: Option<Vec<u8>>,
}

/// Explains one user's rights, or shows everybody's.
pub(crate) fn explain(site: &Site, options: &Explain, out: &mut dyn Write) -> Outcome {
    let files = Files::read(site)?;
    let order = site.settings.access_order;
    let Some(user) = options.user.as_deref().map(str::as_bytes) else {
        return if options.json { files.all_as_json(order, out) } else { files.table(order, out) };
    };
    if !files.book.knows(user) {
        let file = crate::settings::shown(site.settings.passwd_file.as_deref());
        return Err(format!("accounts file {file}: there is no account `{}`", user.escape_ascii()).into());
    }
    for operation in
        Operation::ALL.into_iter().filter(|known| options.operation.is_none_or(|one| one == *known))
    {
        let decision = files.book.decide(order, user, operation);
        if options.json {
            write_json(user, operation, decision, out)?;
        } else {
            let verdict = if decision.allowed { "allowed" } else { "denied" };
            writeln!(out, "{} {operation}: {verdict} {}", name(user), files.reason(decision))?;
        }
    }
    Ok(status(true))
}

/// Names every difference between the two orders.
pub(crate) fn compare(site: &Site, options: &CompareOrders, out: &mut dyn Write) -> Outcome {
    let files = Files::read(site)?;
    let mut differences = 0;
    for user in files.book.users() {
        for operation in Operation::ALL {
            let [first, last] = [AccessOrder::FirstMatch, AccessOrder::LastMatch]
                .map(|order| files.book.decide(order, user, operation));
            if first.allowed == last.allowed {
                continue;
            }
            differences += 1;
            if options.json {
                let text = String::from_utf8_lossy(user);
                writeln!(
                    out,
                    "{{\"user\":{},\"operation\":\"{operation}\",\"first_match\":{},\"first_match_line\":{},\
                     \"last_match\":{},\"last_match_line\":{}}}",
                    Json(&text),
                    first.allowed,
                    OrNull(first.line),
                    last.allowed,
                    OrNull(last.line)
                )?;
                continue;
            }
            writeln!(out, "{} {operation}:", name(user))?;
            for (order, decision) in [("first-match", first), ("last-match", last)] {
                let verdict = if decision.allowed { "allowed" } else { "denied" };
                writeln!(out, "  {order}: {verdict} {}", files.reason(decision))?;
            }
        }
    }
    if !options.json {
        writeln!(out, "differences: {differences}")?;
    }
    Ok(status(true))
}

impl Files {
    fn read(site: &Site) -> Result<Self, Failure> {
        let (accounts, access) = rules::read_files(&site.settings)?;
        Ok(Self { book: Rulebook::parse(accounts.as_deref(), access.as_deref()), access })
    }

    /// The deciding line, or that there is none.
    fn reason(&self, decision: Decision) -> String {
        match (decision.line, &self.access) {
            (Some(line), Some(access)) => {
                let text = access.split(|byte| *byte == b'\n').nth(line - 1).unwrap_or_default();
                format!("by line {line}: {}", String::from_utf8_lossy(text).trim().escape_debug())
            }
            (None, Some(_)) => "as no line matches".to_owned(),
            (_, None) => "by default, as there is no access file".to_owned(),
        }
    }

    fn table(&self, order: AccessOrder, out: &mut dyn Write) -> Outcome {
        let width = self.book.users().map(|user| name(user).chars().count()).max().unwrap_or(0);
        write!(out, "{:width$}", "user")?;
        Operation::ALL.into_iter().try_for_each(|operation| write!(out, "  {:>9}", operation.name()))?;
        writeln!(out)?;
        for user in self.book.users() {
            write!(out, "{:width$}", name(user))?;
            for operation in Operation::ALL {
                let decision = self.book.decide(order, user, operation);
                let verdict = if decision.allowed { "yes" } else { "no" };
                let line = decision.line.map_or_else(String::new, |line| format!(":{line}"));
                write!(out, "  {:>9}", format!("{verdict}{line}"))?;
            }
            writeln!(out)?;
        }
        Ok(status(true))
    }

    fn all_as_json(&self, order: AccessOrder, out: &mut dyn Write) -> Outcome {
        for user in self.book.users() {
            for operation in Operation::ALL {
                write_json(user, operation, self.book.decide(order, user, operation), out)?;
            }
        }
        Ok(status(true))
    }
}

fn write_json(
    user: &[u8],
    operation: Operation,
    decision: Decision,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let (text, allowed, line) = (String::from_utf8_lossy(user), decision.allowed, OrNull(decision.line));
    let user = Json(&text);
    writeln!(out, "{{\"user\":{user},\"operation\":\"{operation}\",\"allowed\":{allowed},\"line\":{line}}}")
}

/// A name as a terminal may show it.
fn name(user: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(user) {
        Ok(text) if !text.contains(char::is_control) => Cow::Borrowed(text),
        _ => Cow::Owned(user.escape_ascii().to_string()),
    }
}
