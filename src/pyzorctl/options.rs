//! The command line, of which the man page and the completions are made.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use log::LevelFilter;
use pyzord_core::{Digest, Operation, UnixTime};
use pyzord_engines::registry::NAMES;

use super::arguments::{parse_account_name, parse_digest, parse_level, parse_operation};
use super::format::Format;
use crate::help::{self, Choices};
use crate::settings::{ACCESS_ORDERS, Setting};
use crate::times;

/// What to do if another process has the database that is to be read.
pub(crate) const READ_ADVICE: &str = "stop it, or use --wait";
/// What to do if another process has the database that is to be changed.
pub(crate) const CHANGE_ADVICE: &str = "stop it or use --wait; \
    or leave it running and count a whitelisting over the network: pyzorctl whitelist";

/// Inspect and maintain a Pyzor server: its state, its records, its accounts and access rules.
///
/// The settings are those of the server: the file `config` in its home directory, and the options that it is started
/// with, which take precedence.
#[derive(Parser)]
#[command(name = "pyzorctl", version, mut_args(help::behind_the_commands_own))]
pub(crate) struct PyzorctlOptions {
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The options of `pyzord` for the settings that `pyzorctl` uses.
#[derive(Args)]
#[command(next_help_heading = "The server's settings")]
pub(crate) struct ServerOptions {
    /// Home directory of the server [default: $HOME/.pyzor, or /etc/pyzor if only that has a config]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) homedir: Option<PathBuf>,
    /// Address that the server listens on; the first of several is asked
    #[arg(short, long, global = true, value_name = "ADDRESS")]
    address: Vec<String>,
    /// Port that the server listens on
    #[arg(short, long, global = true)]
    port: Option<String>,
    /// Engine of the database
    #[arg(short = 'e', long, global = true, value_name = "ENGINE", value_parser = Choices(NAMES.to_vec()), hide_possible_values = true)]
    database_engine: Option<String>,
    /// Location of the database: the setting DigestDB
    #[arg(long, global = true)]
    dsn: Option<String>,
    /// Seconds after its latest activity until a record expires
    #[arg(long, global = true, value_name = "SECONDS")]
    cleanup_age: Option<String>,
    /// Which matching line of the access file decides: first-match or last-match
    #[arg(long, global = true, value_name = "ORDER", value_parser = Choices(ACCESS_ORDERS.to_vec()), hide_possible_values = true)]
    access_order: Option<String>,
    /// Accounts file
    #[arg(long, global = true, value_name = "FILE")]
    password_file: Option<String>,
    /// Access file
    #[arg(long, global = true, value_name = "FILE")]
    access_file: Option<String>,
    /// Pid file
    #[arg(long, global = true, value_name = "FILE")]
    pid_file: Option<String>,
    /// Control socket of the server
    #[arg(long, global = true, value_name = "FILE")]
    control_socket: Option<String>,
}

impl ServerOptions {
    /// Whether they name an address or a port to ask.
    pub(crate) fn names_address(&self) -> bool {
        !self.address.is_empty() || self.port.is_some()
    }

    /// Returns the settings that the command line gives, each with the name of its option.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (Setting, &'static str, &str)> {
        let addresses =
            self.address.iter().map(|address| (Setting::ListenAddress, "--address", address.as_str()));
        let others = [
            (Setting::Port, "--port", &self.port),
            (Setting::Engine, "--database-engine", &self.database_engine),
            (Setting::DigestDB, "--dsn", &self.dsn),
            (Setting::CleanupAge, "--cleanup-age", &self.cleanup_age),
            (Setting::AccessOrder, "--access-order", &self.access_order),
            (Setting::PasswdFile, "--password-file", &self.password_file),
            (Setting::AccessFile, "--access-file", &self.access_file),
            (Setting::PidFile, "--pid-file", &self.pid_file),
            (Setting::ControlSocket, "--control-socket", &self.control_socket),
        ]
        .into_iter()
        .filter_map(|(name, option, value)| Some((name, option, value.as_deref()?)));
        addresses.chain(others)
    }
}

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show what is wrong with the server, since when and what to do; and where it is, with its records
    Status(Status),
    /// Show how much the running server does, and how long it takes
    Stats(Figures),
    /// Show the networks that send most requests, and the users that are refused
    Top(Figures),
    /// Let the running server read its configuration, accounts and access rules again, and show what that changes
    Reload(Reload),
    /// Stop the running server, and wait until it has ended
    Stop,
    /// Set the least important messages that the running server logs, until its next reload
    LogLevel(LogLevel),
    /// Show the records of digests
    Lookup(Lookup),
    /// Let the running server count a whitelisting of digests
    Whitelist(Whitelist),
    /// End the false listing of digests, here and on other servers, and show what mail filters make of it
    Unlist(Unlist),
    /// Remove the records of digests
    Delete(Delete),
    /// Change the counts and dates of a digest
    Set(Set),
    /// Write all records to standard output
    Export(Export),
    /// Copy the database to a file that can take its place
    Backup(Backup),
    /// Store the records of an export
    Import(Import),
    /// Show what the server would find in the database when it starts, without changing it
    CheckDatabase(CheckDatabase),
    /// Show how many records have expired, and how old the others are
    Expiry(Expiry),
    /// Make a key for an account
    Genkey(Genkey),
    /// Show which operations a user may request, and which line of the access file decides
    Explain(Explain),
    /// Show where the two orders of the access file differ
    CompareOrders(CompareOrders),
}

impl Command {
    /// Whether the running server answers or does it, whatever its files say now.
    pub(crate) const fn is_for_running(&self) -> bool {
        matches!(
            self,
            Self::Status(_)
                | Self::Stats(_)
                | Self::Top(_)
                | Self::Reload(_)
                | Self::Stop
                | Self::LogLevel(_)
        )
    }
}

#[derive(Args)]
pub(crate) struct Status {
    /// Write a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Figures {
    /// Write a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Reload {
    /// Write a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct LogLevel {
    /// debug, info, warning or error
    #[arg(value_name = "LEVEL", value_parser = parse_level)]
    pub(crate) level: LevelFilter,
}

#[derive(Args)]
pub(crate) struct Digests {
    /// Digests of 40 hex digits; `-` reads them from standard input, the first word of each line
    #[arg(required = true, value_name = "DIGEST")]
    pub(crate) digests: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Lookup {
    #[command(flatten)]
    pub(crate) digests: Digests,
    /// Write one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Whitelist {
    #[command(flatten)]
    pub(crate) digests: Digests,
    /// Account that signs the request, with its key from the server's accounts file
    #[arg(long, default_value = "anonymous")]
    pub(crate) user: String,
}

#[derive(Args)]
pub(crate) struct Waiting {
    /// Wait up to SECONDS for a gdbm file that another program has open
    #[arg(long, value_name = "SECONDS")]
    pub(crate) wait: Option<u32>,
}

#[derive(Args)]
pub(crate) struct Unlist {
    #[command(flatten)]
    pub(crate) digests: Digests,
    /// Keep the record, and whitelist it until SpamAssassin heeds that: ten times, and a fifth of the reports
    #[arg(long)]
    pub(crate) keep: bool,
    /// Whitelist on the servers of `ForwardClientHomeDir`, too, as the client that reports are forwarded as
    #[arg(long)]
    pub(crate) forward: bool,
    /// Whitelistings, with --keep or --forward [default: as many as SpamAssassin's rule wants]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) whitelistings: Option<u64>,
    /// Write one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Do not ask for confirmation, even for many digests
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) digests: Digests,
    /// Do not ask for confirmation, even for many digests
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args)]
pub(crate) struct Set {
    /// Digest of 40 hex digits
    #[arg(value_parser = parse_digest)]
    pub(crate) digest: Digest,
    /// Number of reports
    #[arg(long, value_name = "N", required_unless_present_any = ["whitelists", "reported", "whitelisted"])]
    pub(crate) reports: Option<u64>,
    /// Number of whitelistings
    #[arg(long, value_name = "N")]
    pub(crate) whitelists: Option<u64>,
    /// Time of the last report: Unix seconds, `2026-11-22T20:03:38+01:00`, or without the offset in local time
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    pub(crate) reported: Option<UnixTime>,
    /// Time of the last whitelisting
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    pub(crate) whitelisted: Option<UnixTime>,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args)]
pub(crate) struct Export {
    /// Format of a line
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args)]
pub(crate) struct Backup {
    /// File to write, in the engine's own format; it gets its name when it is whole
    pub(crate) file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args)]
pub(crate) struct Import {
    /// File to read [default: standard input]
    pub(crate) file: Option<PathBuf>,
    /// Format of a line
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    pub(crate) format: Format,
    /// Add the counts to those that a digest has, and keep its first and last dates
    #[arg(long, conflicts_with = "replace")]
    pub(crate) merge: bool,
    /// Leave out the first N lines, which an interrupted import has done
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) skip: u64,
    /// Replace the record that a digest has
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args)]
pub(crate) struct CheckDatabase {
    /// Write a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args)]
pub(crate) struct Expiry {
    /// List the expired records instead of the numbers
    #[arg(long)]
    pub(crate) list: bool,
    /// Remove the expired records now, even if the server does not believe the clock
    #[arg(long, conflicts_with = "list")]
    pub(crate) now: bool,
    /// Write a JSON object; with `--list`, one per line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args)]
pub(crate) struct Genkey {
    /// Name of the account; prints the lines for the accounts files of client and server as well
    #[arg(value_parser = parse_account_name)]
    pub(crate) user: Option<String>,
    /// Server for the client's line, HOST:PORT as in its file `servers` [default: the settings' address and port]
    #[arg(long)]
    pub(crate) server: Option<String>,
    /// Make a key without a passphrase
    #[arg(long)]
    pub(crate) random: bool,
}

#[derive(Args)]
pub(crate) struct Explain {
    /// Name of an account, or `anonymous`
    #[arg(required_unless_present = "all")]
    pub(crate) user: Option<String>,
    /// Operation to explain [default: all]
    #[arg(value_parser = parse_operation)]
    pub(crate) operation: Option<Operation>,
    /// Show a table of all users
    #[arg(long, conflicts_with_all = ["user", "operation"])]
    pub(crate) all: bool,
    /// Write one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct CompareOrders {
    /// Write one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        PyzorctlOptions::command().debug_assert();
    }
}
