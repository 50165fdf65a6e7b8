//! The records of single digests: looked up, whitelisted, removed, changed.

use std::io::{self, BufRead as _, IsTerminal as _, Write};

use crate::rules;
use pyzord_core::{Digest, Operation, Record, Tally, UnixTime};
use pyzord_engines::RecordStore;
use pyzord_engines::registry::Access;

use super::failure::{Failure, Outcome, status};
use super::options::{self, Delete, Digests, Format, Lookup, Set, Whitelist};
use super::server::{Sender, Server};
use super::show;
use super::site::{Shut, Site};

/// So many records are removed without asking.
const MANY: usize = 10;
/// How many records are asked for at once.
const SLICE: usize = 250;
/// What to do when a server has the file that is to be changed.
const ADVICE: &str = "stop it or use --wait; \
    or leave it running and count a whitelisting over the network: pyzorctl whitelist";

/// Shows what is stored. A server that has the file is asked over the network.
pub(crate) fn lookup(site: &Site, options: &Lookup, out: &mut dyn Write) -> Outcome {
    let digests = read(&options.digests)?;
    let show = |out: &mut dyn Write, digest, record: &Record| {
        if options.json {
            Format::Jsonl.write(out, digest, record)
        } else {
            show::record(out, digest, record)
        }
    };
    let mut all_well = true;
    let mut tell = |out: &mut dyn Write, digest, result: Result<Record, String>| {
        match result {
            Ok(record) => show(out, digest, &record)?,
            Err(cause) => {
                all_well = false;
                eprintln!("pyzorctl: {digest}: {cause}");
            }
        }
        Ok::<(), Failure>(())
    };
    match site.open(Access::Read) {
        Ok(mut database) => {
            for slice in digests.chunks(SLICE) {
                for (digest, result) in slice.iter().zip(fetch(&mut *database, slice)) {
                    tell(out, *digest, result)?;
                }
            }
        }
        Err(Shut::InUse(cause)) => {
            let failed = |error| format!("{cause}, which was asked: {error}");
            let server = Server::of(&site.settings, site.clock).map_err(failed)?;
            for digest in digests {
                let reply = server.ask(Operation::Info, Some(digest)).map_err(failed)?;
                tell(out, digest, reply.record().ok_or_else(|| format!("the server says {reply}")))?;
            }
        }
        Err(shut) => return Err(shut.or("")),
    }
    Ok(status(all_well))
}

/// Has the server count a whitelisting of each digest.
pub(crate) fn whitelist(site: &Site, options: &Whitelist, out: &mut dyn Write) -> Outcome {
    let digests = read(&options.digests)?;
    let (policy, _) = rules::read(&site.settings)?;
    let user = options.user.as_str();
    let sender = match (user, policy.key(user.as_bytes())) {
        ("anonymous", _) => Sender::Anonymous,
        (user, Some(key)) => Sender::Account(user, key),
        (user, None) => return Err(format!("there is no account `{}`", user.escape_debug()).into()),
    };
    let server = Server::of(&site.settings, site.clock)?;
    let mut all_well = true;
    for digest in digests {
        // Not sent again without an answer: it may have been counted.
        let reply = server
            .exchange(Operation::Whitelist, Some(digest), &sender)
            .map_err(|error| format!("{digest}: {error}; it may have been counted or not"))?;
        all_well &= reply.is_ok();
        writeln!(out, "{digest}: {reply}")?;
    }
    Ok(status(all_well))
}

/// Removes records, unreadable ones too.
pub(crate) fn delete(site: &Site, options: &Delete, out: &mut dyn Write) -> Outcome {
    let digests = read(&options.digests)?;
    if digests.len() > MANY && !options.yes && !confirmed(digests.len()) {
        return Err("nothing was deleted".to_owned().into());
    }
    let mut database = site.wait(Access::Change, &options.waiting).map_err(|shut| shut.or(ADVICE))?;
    for slice in digests.chunks(SLICE) {
        let found = fetch(&mut *database, slice);
        database.remove(slice)?;
        for (digest, found) in slice.iter().zip(found) {
            match found {
                Ok(record) if record == Record::default() => writeln!(out, "{digest}: no record")?,
                Ok(record) => writeln!(out, "{digest}: deleted ({})", show::counts(&record))?,
                Err(cause) => writeln!(out, "{digest}: deleted ({cause})")?,
            }
        }
    }
    site.sync(&mut *database)?;
    Ok(status(true))
}

/// Asks on a terminal; a script that gives many digests means them.
fn confirmed(count: usize) -> bool {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return true;
    }
    eprint!("Delete the records of {count} digests? [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

/// Changes what the options name, and leaves the rest.
pub(crate) fn set(site: &Site, options: &Set, out: &mut dyn Write) -> Outcome {
    let now = site.clock.now().wall;
    let mut database = site.wait(Access::Change, &options.waiting).map_err(|shut| shut.or(ADVICE))?;
    let old = fetch(&mut *database, &[options.digest]).pop().unwrap_or_else(|| Err("no answer".to_owned()));
    let old = old.map_err(|cause| format!("{}: {cause}", options.digest))?;
    let new = Record {
        reports: changed(old.reports, options.reports, options.reported, now),
        whitelists: changed(old.whitelists, options.whitelists, options.whitelisted, now),
    };
    if [new.reports.count, new.whitelists.count].into_iter().any(|count| count > Tally::MAX) {
        return Err(format!("a count is at most {}", Tally::MAX).into());
    }
    let mut results = Vec::new();
    database.put(&[(options.digest, new)], &mut results);
    results.into_iter().collect::<Result<(), _>>()?;
    site.sync(&mut *database)?;
    show::record(out, options.digest, &database.rounded(&new))?;
    Ok(status(true))
}

/// A tally with another count or last date. None has dates without a count, or a count without dates.
fn changed(old: Tally, count: Option<u64>, last: Option<UnixTime>, now: UnixTime) -> Tally {
    let count = count.unwrap_or(old.count);
    if count == old.count && last.is_none() {
        return old;
    }
    if count == 0 {
        return Tally::default();
    }
    let updated = last.or(old.updated).unwrap_or(now);
    Tally {
        count,
        entered: Some(old.entered.map_or(updated, |entered| entered.min(updated))),
        updated: Some(updated),
    }
}

/// The digests on the command line, and those on standard input.
fn read(options: &Digests) -> Result<Vec<Digest>, Failure> {
    let mut digests = Vec::new();
    for argument in &options.digests {
        if argument != "-" {
            digests.push(
                options::digest(argument)
                    .map_err(|error| format!("`{}`: {error}", argument.escape_debug()))?,
            );
            continue;
        }
        for (number, line) in (1..).zip(io::stdin().lock().lines()) {
            let failed = |cause: &str| format!("standard input, line {number}: {cause}");
            let line = line.map_err(|error| failed(&error.to_string()))?;
            if let Some(word) = line.split_whitespace().next() {
                digests.push(options::digest(word).map_err(|error| failed(&error))?);
            }
        }
    }
    Ok(digests)
}

fn fetch(database: &mut dyn RecordStore, digests: &[Digest]) -> Vec<Result<Record, String>> {
    let mut results = Vec::new();
    database.fetch(digests, &mut results);
    results.into_iter().map(|result| result.map_err(|failure| failure.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_has_dates_and_no_count_has_none() {
        let at = |seconds| Some(UnixTime::from_seconds(seconds));
        let tally = |count, entered, updated| Tally { count, entered, updated };
        let old = tally(5, at(10), at(20));
        for (old, count, last, new) in [
            (old, None, None, old),
            (old, Some(7), None, tally(7, at(10), at(20))),
            (old, Some(0), None, Tally::default()),
            (old, Some(0), at(30), Tally::default()),
            (old, None, at(30), tally(5, at(10), at(30))),
            (old, None, at(5), tally(5, at(5), at(5))),
            (Tally::default(), Some(3), None, tally(3, at(99), at(99))),
            (Tally::default(), Some(3), at(30), tally(3, at(30), at(30))),
            (Tally::default(), None, at(30), Tally::default()),
        ] {
            assert_eq!(
                changed(old, count, last, UnixTime::from_seconds(99)),
                new,
                "{old:?} {count:?} {last:?}"
            );
        }
    }
}
