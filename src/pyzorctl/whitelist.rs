//! `whitelist`: lets the running server count a whitelisting.

use std::io::Write;

use pyzord_core::Operation;

use super::client::{Sender, UdpClient};
use super::context::Context;
use super::digests;
use super::error::{CommandError, Outcome, exit_code};
use super::options::Whitelist;
use crate::rules;

/// Sends a whitelisting of each digest to the server.
pub(crate) fn run(context: &Context, options: &Whitelist, out: &mut dyn Write) -> Outcome {
    let digests = digests::read(&options.digests.digests)?;
    let policy = rules::read(&context.settings)?.policy;
    let user = options.user.as_str();
    let sender = match policy.key(user.as_bytes()) {
        _ if user == "anonymous" => Sender::Anonymous,
        Some(key) => Sender::Account(user, key),
        None => return Err(CommandError::UnknownAccount(user.to_owned())),
    };
    let client = UdpClient::new(&context.settings, context.clock)?;
    let mut complete = true;
    for digest in digests {
        // A request without a reply is not sent again: the server can have counted it.
        let reply = client
            .exchange(Operation::Whitelist, Some(digest), &sender)
            .map_err(|error| CommandError::WhitelistUncertain { digest, error })?;
        complete &= reply.is_ok();
        writeln!(out, "{digest}: {reply}")?;
    }
    Ok(exit_code(complete))
}
