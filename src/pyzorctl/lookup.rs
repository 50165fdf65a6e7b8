//! `lookup`: shows the records of digests.

use std::fmt;
use std::io::{self, Write};

use pyzord_core::{Digest, Operation, Record};
use pyzord_engines::registry::Access;

use super::client::UdpClient;
use super::context::Context;
use super::database::OpenError;
use super::digests;
use super::error::{CommandError, Outcome, exit_code};
use super::format::Format;
use super::options::Lookup;
use super::report;
use crate::bulk;
use crate::output::complain;

/// Shows the record of each digest. A server that has the file open and gives no access to it is asked over the network.
pub(crate) fn run(context: &Context, options: &Lookup, out: &mut dyn Write) -> Outcome {
    let digests = digests::read(&options.digests.digests)?;
    let mut printer = Printer { json: options.json, complete: true, out };
    match context.open(Access::Read) {
        Ok(mut database) => {
            for batch in digests.chunks(digests::BATCH) {
                for (digest, result) in batch.iter().zip(bulk::fetch(&mut *database, batch)?) {
                    printer.print(*digest, result)?;
                }
            }
        }
        Err(open @ OpenError::InUse { .. }) => query_server(context, open, &digests, &mut printer)?,
        Err(error) => return Err(CommandError::Open(error)),
    }
    Ok(exit_code(printer.complete))
}

fn query_server(
    context: &Context,
    open: OpenError,
    digests: &[Digest],
    printer: &mut Printer<'_>,
) -> Result<(), CommandError> {
    let client = match UdpClient::new(&context.settings, context.clock) {
        Ok(client) => client,
        Err(query) => return Err(CommandError::QueryInstead { open, query }),
    };
    for digest in digests {
        let reply = match client.query(Operation::Info, Some(*digest)) {
            Ok(reply) => reply,
            Err(query) => return Err(CommandError::QueryInstead { open, query }),
        };
        printer.print(*digest, reply.record().ok_or_else(|| format!("the server says {reply}")))?;
    }
    Ok(())
}

struct Printer<'a> {
    json: bool,
    /// Whether all records were found.
    complete: bool,
    out: &'a mut dyn Write,
}

impl Printer<'_> {
    fn print(&mut self, digest: Digest, result: Result<Record, impl fmt::Display>) -> io::Result<()> {
        match result {
            Ok(record) if self.json => Format::Jsonl.write(self.out, digest, &record),
            Ok(record) => report::write_record(self.out, digest, &record),
            Err(cause) => {
                self.complete = false;
                complain!("pyzorctl: {digest}: {cause}");
                Ok(())
            }
        }
    }
}
