//! The command line. It stands alone, since `packaging/` makes the man page and completions of it.

use std::path::PathBuf;

use crate::settings::Setting;
use crate::times;
use clap::{Args, Parser, Subcommand, ValueEnum};
use pyzord_core::{Digest, Operation, UnixTime};

/// Look after a Pyzor server: its state, its records, its accounts and access rules.
///
/// The settings are those of the server: the file `config` in its home directory, and over it the options that it is
/// started with.
#[derive(Parser)]
#[command(name = "pyzorctl", version)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) site: SiteOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The server's own options, as far as they matter here.
#[derive(Args)]
#[command(next_help_heading = "The server's settings")]
pub(crate) struct SiteOptions {
    /// Configuration directory [default: $HOME/.pyzor, or /etc/pyzor]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) homedir: Option<PathBuf>,
    /// Address that the server listens on
    #[arg(short, long, global = true, value_name = "IP")]
    address: Option<String>,
    /// Port that the server listens on
    #[arg(short, long, global = true)]
    port: Option<String>,
    /// Engine of the database
    #[arg(short = 'e', long, global = true, value_name = "ENGINE")]
    database_engine: Option<String>,
    /// Where the database is
    #[arg(long, global = true)]
    dsn: Option<String>,
    /// Seconds after its latest activity until a record expires
    #[arg(long, global = true, value_name = "SECONDS")]
    cleanup_age: Option<String>,
    /// Line of the access file that decides
    #[arg(long, global = true, value_name = "ORDER")]
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
}

impl SiteOptions {
    /// The settings that the command line gives, each with the option it came from.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (Setting, &'static str, &str)> {
        [
            (Setting::ListenAddress, "--address", &self.address),
            (Setting::Port, "--port", &self.port),
            (Setting::Engine, "--database-engine", &self.database_engine),
            (Setting::DigestDB, "--dsn", &self.dsn),
            (Setting::CleanupAge, "--cleanup-age", &self.cleanup_age),
            (Setting::AccessOrder, "--access-order", &self.access_order),
            (Setting::PasswdFile, "--password-file", &self.password_file),
            (Setting::AccessFile, "--access-file", &self.access_file),
            (Setting::PidFile, "--pid-file", &self.pid_file),
        ]
        .into_iter()
        .filter_map(|(name, option, value)| Some((name, option, value.as_deref()?)))
    }
}

/// What is to be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say whether the server runs and answers, and where its records are
    Status(Status),
    /// Show what is stored for digests
    Lookup(Lookup),
    /// Have the running server count a whitelisting of digests
    Whitelist(Whitelist),
    /// Remove the records of digests
    Delete(Delete),
    /// Change the counts and dates of a digest
    Set(Set),
    /// Write all records to standard output
    Export(Export),
    /// Store the records of an export
    Import(Import),
    /// Say what a start would find in the database, without changing it
    CheckDatabase(CheckDatabase),
    /// Say how many records have expired, and how old the others are
    Expiry(Expiry),
    /// Make a key for an account
    Genkey(Genkey),
    /// Say who may do what, and which line of the access file says so
    Explain(Explain),
    /// Say where the two readings of the access file differ
    CompareOrders(CompareOrders),
}

#[derive(Args)]
pub(crate) struct Status {
    /// Write a JSON object
    #[arg(long)]
    pub(crate) json: bool,
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
    /// Write a JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Whitelist {
    #[command(flatten)]
    pub(crate) digests: Digests,
    /// Account in whose name, with its key from the server's accounts file
    #[arg(long, default_value = "anonymous")]
    pub(crate) user: String,
}

#[derive(Args)]
pub(crate) struct Waiting {
    /// Wait so long for a gdbm file that a server has open
    #[arg(long, value_name = "SECONDS")]
    pub(crate) wait: Option<u32>,
}

#[derive(Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) digests: Digests,
    /// Do not ask, however many there are
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args)]
pub(crate) struct Set {
    /// Digest of 40 hex digits
    #[arg(value_parser = digest)]
    pub(crate) digest: Digest,
    /// Number of reports
    #[arg(long, value_name = "N", required_unless_present_any = ["whitelists", "reported", "whitelisted"])]
    pub(crate) reports: Option<u64>,
    /// Number of whitelistings
    #[arg(long, value_name = "N")]
    pub(crate) whitelists: Option<u64>,
    /// When it was last reported: Unix seconds, `2026-11-22T20:03:38+01:00`, or without the offset in local time
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    pub(crate) reported: Option<UnixTime>,
    /// When it was last whitelisted
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    pub(crate) whitelisted: Option<UnixTime>,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

/// The form of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// Fields with commas between them, below a line of their names
    Csv,
    /// A JSON object
    Jsonl,
}

#[derive(Args)]
pub(crate) struct Export {
    /// Form of a line
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args)]
pub(crate) struct Import {
    /// File to read [default: standard input]
    pub(crate) file: Option<PathBuf>,
    /// Form of a line
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    pub(crate) format: Format,
    /// Add the counts to those that a digest has, and keep its first and last dates
    #[arg(long, conflicts_with = "replace")]
    pub(crate) merge: bool,
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
    /// List the records that have expired, in place of the numbers
    #[arg(long)]
    pub(crate) list: bool,
    /// Write a JSON object, with `--list` one a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args)]
pub(crate) struct Genkey {
    /// Name of the account; then its lines for both files are printed, too
    #[arg(value_parser = account)]
    pub(crate) user: Option<String>,
    /// Server as the client's file `servers` has it, HOST:PORT [default: the settings' address and port]
    #[arg(long)]
    pub(crate) server: Option<String>,
    /// Make a key without a passphrase
    #[arg(long)]
    pub(crate) random: bool,
}

#[derive(Args)]
pub(crate) struct Explain {
    /// An account's name, or `anonymous`
    #[arg(required_unless_present = "all")]
    pub(crate) user: Option<String>,
    /// The one operation of interest [default: all]
    #[arg(value_parser = operation)]
    pub(crate) operation: Option<Operation>,
    /// A table of all users
    #[arg(long, conflicts_with_all = ["user", "operation"])]
    pub(crate) all: bool,
    /// Write a JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct CompareOrders {
    /// Write a JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn digest(text: &str) -> Result<Digest, String> {
    Digest::parse(text.as_bytes()).ok_or_else(|| "a digest is 40 hex digits".to_owned())
}

fn operation(text: &str) -> Result<Operation, String> {
    let names = || Operation::ALL.map(Operation::name).join(", ");
    Operation::parse(text.to_ascii_lowercase().as_bytes())
        .ok_or_else(|| format!("the operations are {}", names()))
}

/// A name that both files can hold, and that an access file does not take for a keyword.
fn account(text: &str) -> Result<String, String> {
    if text.is_empty()
        || text.starts_with('#')
        || text.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control())
    {
        return Err("a name has no colon and no blank, and does not begin with `#`".to_owned());
    }
    if ["anonymous", "all"].contains(&text.to_ascii_lowercase().as_str()) {
        return Err("`anonymous` and `all` are keywords of access files".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn an_account_has_a_name_that_both_files_can_hold() {
        for (name, good) in [
            ("alice", true),
            ("Alice.Smith@example.org", true),
            ("zoë", true),
            ("", false),
            ("#alice", false),
            ("a:b", false),
            ("a b", false),
            ("a\nb", false),
            ("Anonymous", false),
            ("all", false),
        ] {
            assert_eq!(account(name).is_ok(), good, "{name:?}");
        }
    }
}
