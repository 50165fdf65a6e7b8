//! Changes of records, each of them by one statement.

use std::mem;

use mysql::Value;
use pyzord_core::{Digest, Record};

use super::error::StatementError;
use super::row::{self, Codec, Unreadable};
use super::session::{Kind, Session};
use super::sql::{self, Sql};
use crate::change::{Change, RecordEdit, TallyEdit};

/// Why one record is not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unchanged {
    #[error(transparent)]
    Unreadable(Unreadable),
    #[error(transparent)]
    Statement(StatementError),
}

/// Changes that were made or refused, in their order, and how many of the next ones may have been made.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) done: Vec<Result<(), Unchanged>>,
    pub(super) in_doubt: usize,
}

impl Session {
    /// Makes at most [`MOST_ROWS`](sql::MOST_ROWS) changes: all merges by one statement; if the server refuses them
    /// together, each alone, so that only those fail that cannot be made.
    pub(super) fn change(
        &mut self,
        changes: &[(Digest, Change)],
        made: &mut Changes,
    ) -> Result<(), StatementError> {
        let digests: Vec<Digest> = changes.iter().map(|(digest, _)| *digest).collect();
        // No server makes a record unreadable, so it is still readable when the statement runs.
        let readings = self.read(&digests)?;
        let unreadable = |digest: &Digest| readings.get(digest).and_then(|reading| reading.err());
        let records: Vec<(Digest, Record)> = changes
            .iter()
            .filter(|(digest, _)| unreadable(digest).is_none())
            .filter_map(|(digest, change)| match change {
                Change::Merge(record) => Some((*digest, *record)),
                Change::Set(_) => None,
            })
            .collect();
        let together = records.len() == changes.len() && !records.is_empty();
        if together {
            match self.merge(&records).inspect_err(|error| self.note_doubt(error, records.len(), made)) {
                Ok(()) => {
                    made.done.extend(records.iter().map(|_| Ok(())));
                    return Ok(());
                }
                Err(error @ StatementError::Lost(_)) => return Err(error),
                Err(_) => (),
            }
        }
        for (digest, change) in changes {
            if let Some(why) = unreadable(digest) {
                made.done.push(Err(Unchanged::Unreadable(why)));
                continue;
            }
            let changed = match change {
                Change::Merge(record) => self.merge(&[(*digest, *record)]),
                Change::Set(edit) => self.edit(*digest, edit),
            };
            match changed.inspect_err(|error| self.note_doubt(error, 1, made)) {
                Err(error @ StatementError::Lost(_)) => return Err(error),
                changed => made.done.push(changed.map_err(Unchanged::Statement)),
            }
        }
        Ok(())
    }

    /// Notes that the statement which failed may have been executed, or may be later.
    fn note_doubt(&self, error: &StatementError, records: usize, made: &mut Changes) {
        if let StatementError::Lost(cause) = error
            && !cause.is_refusal()
            && self.has_sent()
        {
            made.in_doubt = records;
        }
    }

    /// Adds the counts of records, and keeps the outermost dates.
    fn merge(&mut self, records: &[(Digest, Record)]) -> Result<(), StatementError> {
        let statement = self.prepared(Kind::Merge, sql::padded(records.len()))?;
        let filling = records.last().map(|(digest, _)| (*digest, Record::default()));
        let rows = records.iter().copied().chain(filling.into_iter().cycle());
        let values: Vec<Value> = rows
            .take(sql::padded(records.len()))
            .flat_map(|(digest, record)| self.codec.row(digest, &record))
            .collect();
        self.execute_statement(&statement, &values, 1).map(drop)
    }

    fn edit(&mut self, digest: Digest, edit: &RecordEdit) -> Result<(), StatementError> {
        let (text, values) = statement(&self.sql, &self.codec, digest, edit);
        if text.is_empty() { Ok(()) } else { self.run(&text, &values).map(drop) }
    }
}

/// Returns the statement that edits a record, and its values; an empty text if nothing is named.
fn statement(sql: &Sql, codec: &Codec, digest: Digest, edit: &RecordEdit) -> (String, Vec<Value>) {
    let (mut updates, mut values) = (Vec::new(), Vec::new());
    for (kind, most, tally) in [
        ("r", codec.schema.most_reports, edit.reports),
        ("wl", codec.schema.most_whitelists, edit.whitelists),
    ] {
        let now = codec.date(edit.now);
        assign(kind, TallyEdit { count: tally.count.map(|count| count.min(most)), ..tally }, &now, codec)
            .into_iter()
            .for_each(|(update, arguments)| {
                updates.push(update);
                values.extend(arguments);
            });
    }
    if updates.is_empty() {
        return (String::new(), Vec::new());
    }
    // Without a count above 0 there is nothing to insert.
    let new = Change::Set(*edit).apply(&Record::default());
    if new == Record::default() {
        values.push(row::key(digest));
        return (sql.update(&updates), values);
    }
    let row = codec.row(digest, &new).into_iter().chain(mem::take(&mut values)).collect();
    (sql.insert_or_update(&updates), row)
}

/// Returns the assignments that edit one kind of counts, with their values. The server makes them one after the other,
/// each from what the row has then: so the count is the last, and the last date is behind the first.
fn assign(kind: &str, edit: TallyEdit, now: &Value, codec: &Codec) -> Vec<(String, Vec<Value>)> {
    let (count, first, last) =
        (format!("{kind}_count"), format!("{kind}_entered"), format!("{kind}_updated"));
    let set = |column: &str, value: String, values: Vec<Value>| (format!("{column} = {value}"), values);
    let never = |column: &str| set(column, "NULL".to_owned(), Vec::new());
    // A zero date is never.
    let earlier = format!("IF(YEAR({first}) > 0, LEAST({first}, ?), ?)");
    let number = |number: u64| vec![Value::UInt(number)];
    match (edit.count, edit.last.map(|last| codec.date(last))) {
        (None, None) => Vec::new(),
        (Some(0), _) => vec![never(&first), never(&last), set(&count, "0".to_owned(), Vec::new())],
        (Some(new), Some(date)) => vec![
            set(&first, earlier, vec![date.clone(), date.clone()]),
            set(&last, "?".to_owned(), vec![date]),
            set(&count, "?".to_owned(), number(new)),
        ],
        (Some(new), None) => {
            let same = format!("COALESCE({count}, 0) = ?");
            let date = format!("IF(YEAR({last}) > 0, {last}, ?)");
            let outermost = format!("IF(YEAR({first}) > 0, LEAST({first}, {date}), {date})");
            vec![
                set(
                    &first,
                    format!("IF({same}, {first}, {outermost})"),
                    [number(new), vec![now.clone(), now.clone()]].concat(),
                ),
                set(&last, format!("IF({same}, {last}, {date})"), [number(new), vec![now.clone()]].concat()),
                set(&count, "?".to_owned(), number(new)),
            ]
        }
        (None, Some(date)) => {
            let counted = format!("COALESCE({count}, 0) > 0");
            vec![
                set(&first, format!("IF({counted}, {earlier}, NULL)"), vec![date.clone(), date.clone()]),
                set(&last, format!("IF({counted}, ?, NULL)"), vec![date]),
            ]
        }
    }
}
