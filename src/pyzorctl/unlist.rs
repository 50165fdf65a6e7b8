//! `unlist`: ends a false listing, here and on the servers that reports are forwarded to, and says what filters make of it.

use std::io::{self, Write};

use pyzord_core::client::Remote;
use pyzord_core::{Digest, Record, StoreFailure, Tally, UnixTime};
use pyzord_engines::registry::Access;
use pyzord_engines::{Change, ChangeError, RecordStore};
use serde::Serialize;
use thiserror::Error;

use super::context::Context;
use super::digests;
use super::error::{CommandError, Outcome, exit_code};
use super::filters::{Counts, Standing};
use super::operator::Changes;
use super::options::{CHANGE_ADVICE, Unlist};
use super::peer::{Peer, PeerError};
use super::{delete, json};
use crate::bulk;
use crate::forward::{self, Targets};
use crate::output::complain;

/// The most whitelistings that another server is sent for a digest unless the command line gives a number.
const MOST_SENT: u64 = 1000;

/// Deletes the record of each digest, or with `--keep` whitelists it until SpamAssassin heeds it; with `--forward` has
/// other servers whitelist it, too. Ends with 1 if a part fails, or SpamAssassin still takes a digest for listed.
pub(crate) fn run(context: &Context, options: &Unlist, out: &mut dyn Write) -> Outcome {
    if options.whitelistings.is_some() && !options.keep && !options.forward {
        return Err(CommandError::NothingWhitelisted);
    }
    let digests = digests::read(&options.digests.digests)?;
    let targets = if options.forward { Some(targets(context)?) } else { None };
    delete::confirm(digests.len(), options.yes, "Unlist")?;
    let mut database = context
        .open_within(Access::Change, options.waiting.wait)
        .map_err(|error| CommandError::open(error, CHANGE_ADVICE))?;
    let peers = targets.as_ref().map_or_else(Vec::new, |targets| find_peers(context, targets));
    let mut changes = Changes::new();
    let mut each = |digest| -> Result<bool, CommandError> {
        let here = end_listing(context, options, &mut *database, digest, &mut changes);
        let forwarded = peers.iter().map(|peer| forward_to(peer, options.whitelistings, digest)).collect();
        let report = Report::new(digest, here, forwarded);
        if options.json {
            json::write_line(out, &report)?;
        } else {
            report.write(out)?;
        }
        // Other servers take their time.
        out.flush()?;
        Ok(report.is_unlisted())
    };
    let unlisted: Result<bool, CommandError> =
        digests.into_iter().try_fold(true, |all, digest| Ok(all & each(digest)?));
    let unlisted = unlisted.and_then(|unlisted| Ok((context.sync(&mut *database)?, unlisted).1));
    changes.tell(context);
    let complete = unlisted?;
    if !options.json {
        out.write_all(NOTES)?;
    }
    Ok(exit_code(complete))
}

/// What the counts do not show.
const NOTES: &[u8] = b"These are the filters' default rules. SpamAssassin asks again for each mail; rspamd with Redis keeps \
an answer for two hours.\nA server that forwards to this one can report a digest again: unlist it there, too.\n";

/// A server to forward to, if it answers.
struct FoundPeer<'a> {
    remote: &'a Remote,
    peer: Result<Peer<'a>, PeerError>,
}

/// The outcome here: what was there, and what is there now.
struct Here {
    action: Action,
    before: Result<Counts, StoreFailure>,
    now: Result<Counts, Failure>,
}

/// Why the listing here does not end.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Database(#[from] StoreFailure),
    #[error(transparent)]
    Change(#[from] ChangeError),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// There was no record, and with `--keep` nothing to add.
    None,
    Deleted,
    Whitelisted,
}

/// The outcome for one digest.
#[derive(Serialize)]
struct Report {
    digest: String,
    action: Action,
    /// The counts before; `None` if the record was unreadable.
    before: Option<Counts>,
    /// This server's counts now.
    here: Option<Standing>,
    error: Option<String>,
    forwarded: Vec<Forwarded>,
    /// What SpamAssassin makes of this server and those, if it asks all of them.
    together: Option<Standing>,
}

/// The outcome on another server.
#[derive(Serialize)]
struct Forwarded {
    server: String,
    /// The whitelistings that it has counted.
    counted: u64,
    /// Its counts now, if it tells them.
    now: Option<Standing>,
    #[serde(skip)]
    counts: Option<Counts>,
    error: Option<String>,
}

/// Returns the servers of `ForwardClientHomeDir`, without this one.
fn targets(context: &Context) -> Result<Targets, CommandError> {
    let targets = forward::read(&context.settings)?.ok_or(CommandError::NothingForwarded)?;
    let targets = targets.without_own(&forward::listen_addresses(&context.settings));
    targets.warnings.iter().for_each(|warning| complain!("pyzorctl: {warning}"));
    Ok(targets)
}

fn find_peers<'a>(context: &Context, targets: &'a Targets) -> Vec<FoundPeer<'a>> {
    let find = |remote| FoundPeer { remote, peer: Peer::find(remote, targets.timeout, context.clock) };
    targets.servers.iter().map(find).collect()
}

/// Deletes or whitelists one digest in this server's database.
fn end_listing(
    context: &Context,
    options: &Unlist,
    database: &mut dyn RecordStore,
    digest: Digest,
    changes: &mut Changes,
) -> Here {
    let before = bulk::fetch_one(database, digest).map(|record| counts(&record));
    let changed = if options.keep {
        let missing =
            options.whitelistings.or(before.as_ref().ok().map(|before| before.missing_whitelistings()));
        whitelist(database, digest, missing.unwrap_or(0), context.clock.now().wall)
    } else if before.as_ref().is_ok_and(|before| *before == Counts::default()) {
        Ok(Action::None)
    } else {
        database.remove(&[digest]).map(|()| Action::Deleted).map_err(Failure::from)
    };
    let (action, now) = match changed {
        // What it is now, and not what it should be: a report may have come in between.
        Ok(action) => (action, bulk::fetch_one(database, digest).map(|record| counts(&record))),
        Err(error) => return Here { action: Action::None, before, now: Err(error) },
    };
    if action != Action::None {
        let was = before.as_ref().map_or_else(
            |_| "unreadable".to_owned(),
            |Counts { reports, whitelistings }| format!("{reports} reports, {whitelistings} whitelistings"),
        );
        changes.add(digest, &format!("unlist has {} the record ({was}) of", action.word()));
    }
    Here { action, before, now: now.map_err(Failure::from) }
}

/// Adds whitelistings to a record in one step.
fn whitelist(
    database: &mut dyn RecordStore,
    digest: Digest,
    count: u64,
    now: UnixTime,
) -> Result<Action, Failure> {
    if count == 0 {
        return Ok(Action::None);
    }
    let whitelists = Tally { count, entered: Some(now), updated: Some(now) };
    let change = Change::Merge(Record { whitelists, ..Record::default() });
    bulk::change_one(database, digest, change)?;
    Ok(Action::Whitelisted)
}

/// Has another server whitelist a digest.
fn forward_to(found: &FoundPeer<'_>, wanted: Option<u64>, digest: Digest) -> Forwarded {
    let mut counted = 0;
    let failed = |error: &PeerError| (None, Some(error.to_string()));
    let (counts, error) = match &found.peer {
        Ok(peer) => send(peer, wanted, digest, &mut counted)
            .map_or_else(|error| failed(&error), |counts| (Some(counts), None)),
        Err(error) => failed(error),
    };
    let now = counts.map(Counts::standing);
    Forwarded { server: found.remote.to_string(), counted, now, counts, error }
}

/// Sends whitelistings until SpamAssassin heeds them there, or as many as are wanted. Adds those that were counted to
/// `counted`, and returns the counts that are there in the end.
fn send(
    peer: &Peer<'_>,
    wanted: Option<u64>,
    digest: Digest,
    counted: &mut u64,
) -> Result<Counts, PeerError> {
    let missing = match wanted {
        Some(wanted) => wanted,
        None => peer.check(digest)?.missing_whitelistings().min(MOST_SENT),
    };
    for _ in 0..missing {
        peer.whitelist(digest)?;
        *counted += 1;
    }
    peer.check(digest)
}

fn counts(record: &Record) -> Counts {
    Counts::new(record.reports.count, record.whitelists.count)
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::None => "left",
            Self::Deleted => "deleted",
            Self::Whitelisted => "whitelisted",
        }
    }
}

impl Report {
    fn new(digest: Digest, here: Here, forwarded: Vec<Forwarded>) -> Self {
        let Here { action, before, now } = here;
        let all = forwarded.iter().map(|forwarded| forwarded.counts);
        let sum = all.fold(now.as_ref().ok().copied(), |sum, counts| Some(sum?.plus(counts?)));
        Self {
            digest: digest.to_string(),
            action,
            before: before.ok(),
            here: now.as_ref().ok().map(|counts| counts.standing()),
            error: now.err().map(|error| error.to_string()),
            together: sum.filter(|_| !forwarded.is_empty()).map(Counts::standing),
            forwarded,
        }
    }

    /// Whether all was done, and SpamAssassin takes the digest for listed nowhere.
    fn is_unlisted(&self) -> bool {
        let standings = [self.here.as_ref(), self.together.as_ref()].into_iter();
        let others = self.forwarded.iter().map(|forwarded| forwarded.now.as_ref());
        let listed = standings.chain(others).flatten().any(|standing| standing.spamassassin);
        let failed = self.error.is_some() || self.forwarded.iter().any(|forwarded| forwarded.error.is_some());
        !listed && !failed
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { digest, action, before, here, error, forwarded, together } = self;
        let before = before.map_or_else(
            || "an unreadable record".to_owned(),
            |Counts { reports, whitelistings }| format!("{reports} reports, {whitelistings} whitelistings"),
        );
        match action {
            Action::None if error.is_some() => writeln!(out, "{digest}: not changed here ({before})")?,
            Action::None => writeln!(out, "{digest}: nothing to do here ({before})")?,
            Action::Deleted | Action::Whitelisted => writeln!(out, "{digest}: {} ({before})", action.word())?,
        }
        if let Some(here) = here {
            writeln!(out, "  here now: {here}")?;
        }
        if let Some(error) = error {
            writeln!(out, "  here: failed: {error}")?;
        }
        for Forwarded { server, counted, now, error, .. } in forwarded {
            write!(out, "  {server}: {counted} whitelistings counted")?;
            now.iter().try_for_each(|now| write!(out, "; now {now}"))?;
            error.iter().try_for_each(|error| write!(out, "; failed: {error}"))?;
            writeln!(out)?;
        }
        together.iter().try_for_each(|sum| writeln!(out, "  a filter that asks all of them: {sum}"))
    }
}
