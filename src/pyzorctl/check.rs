//! What a start would find in the database.

use std::io::Write;

use pyzord_engines::RecordStore;
use pyzord_engines::registry::Access;

use super::failure::{Failure, Outcome, status};
use super::options::CheckDatabase;
use super::show::{Json, OrNull};
use super::site::{Shut, Site, each};

/// How many unreadable records are named.
const NAMED: u64 = 20;

/// What was found.
struct Finding {
    /// In a word or two, for machines too.
    state: &'static str,
    /// Whether a start would serve.
    good: bool,
    /// Why not.
    cause: Option<String>,
    /// How many entries there are, and how many of them nobody can read.
    entries: Option<(u64, u64)>,
}

/// Reads the whole database and changes nothing.
pub(crate) fn run(site: &Site, options: &CheckDatabase, out: &mut dyn Write) -> Outcome {
    let Finding { state, good, cause, entries } = find(site, options)?;
    let name = site.database_name();
    let (all, unreadable) = entries.unzip();
    if options.json {
        writeln!(
            out,
            "{{\"database\":{},\"state\":{},\"cause\":{},\"entries\":{},\"unreadable\":{}}}",
            Json(&name),
            Json(state),
            OrNull(cause.as_deref().map(Json)),
            OrNull(all),
            OrNull(unreadable),
        )?;
    } else {
        writeln!(out, "database {name}: {state}")?;
        if let (Some(all), Some(unreadable)) = (all, unreadable) {
            writeln!(out, "{all} entries, {unreadable} of them unreadable")?;
        }
        if let Some(cause) = cause {
            eprintln!("pyzorctl: {cause}");
        }
    }
    Ok(status(good && unreadable.unwrap_or(0) == 0))
}

fn find(site: &Site, options: &CheckDatabase) -> Result<Finding, Failure> {
    let finding = |state, good, cause| Ok(Finding { state, good, cause, entries: None });
    if let Some(mut database) = site.lent() {
        return Ok(match count(&mut *database) {
            Ok(entries) => Finding { state: "served", good: true, cause: None, entries: Some(entries) },
            Err(Failure::Said(cause)) => {
                Finding { state: "needs recovery", good: false, cause: Some(cause), entries: None }
            }
            Err(closed @ Failure::Closed) => return Err(closed),
        });
    }
    let path = &site.settings.database;
    // As a start sees it: a file without a byte is none.
    let absent = || {
        std::fs::metadata(path).map_or_else(
            |error| error.kind() == std::io::ErrorKind::NotFound,
            |file| file.is_file() && file.len() == 0,
        )
    };
    if site.settings.engine == "gdbm" && absent() {
        return finding("absent", true, None);
    }
    match site.wait(Access::Read, &options.waiting) {
        Ok(mut database) => {
            let entries = Some(count(&mut *database)?);
            Ok(Finding { state: "sound", good: true, cause: None, entries })
        }
        Err(Shut::InUse(cause)) => finding("in use", false, Some(cause)),
        Err(Shut::Damaged(cause)) => finding("needs recovery", false, Some(cause)),
        Err(Shut::Unusable(cause)) => finding("unusable", false, Some(cause)),
    }
}

/// Goes through all entries and names the first that nobody can read.
fn count(database: &mut dyn RecordStore) -> Result<(u64, u64), Failure> {
    let (mut all, mut unreadable) = (0, 0);
    each(database, |entry| {
        all += 1;
        if let Err(cause) = entry.record {
            unreadable += 1;
            if unreadable <= NAMED {
                eprintln!("pyzorctl: {}: {cause}", entry.key.escape_debug());
            }
        }
        Ok(())
    })?;
    if unreadable > NAMED {
        eprintln!("pyzorctl: {} more are unreadable", unreadable - NAMED);
    }
    Ok((all, unreadable))
}
