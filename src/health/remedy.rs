//! The remedies of causes.

use pyzord_core::{BadSignature, IpNet};

use super::cause::{Cause, Place, SlowPart};

impl Cause {
    /// Returns what to do, in one sentence. It names a command, or a section of the page `on-call.md`.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::KernelDrops { sender: Some(sender), .. } | Self::Flood { sender, .. } => format!(
                "set RequestRate, or {}, and reload; if the load is yours, raise net.core.rmem_max and restart \
                 (on-call.md: Flood)",
                deny(sender.network)
            ),
            Self::OverLimit { sender: Some(sender), .. } => format!(
                "if it is a client of yours, raise RequestRate or add it to UnlimitedNetworks, else {}; then reload \
                 (on-call.md: Flood)",
                deny(sender.network)
            ),
            Self::DiskFull { path, .. } | Self::DiskNearlyFull { path, .. } => format!(
                "make room on the disk, `df -h {}` shows it; no restart is needed (on-call.md: Disk full)",
                path.display()
            ),
            Self::NoFolder { path, .. } => format!(
                "put the folder back or correct its rights, `ls -ld {}` shows them (on-call.md: Disk full)",
                path.parent().unwrap_or(path).display()
            ),
            Self::AnonymousReports { network, .. } => format!(
                "if it is no reporter of yours, {}, else add it to UnlimitedNetworks; then reload; `pyzorctl explain \
                 anonymous report` names the line that allows it (on-call.md: Forged reports)",
                deny(*network)
            ),
            other => other.fixed_remedy().to_owned(),
        }
    }

    const fn fixed_remedy(&self) -> &'static str {
        match self {
            Self::Stuck(_) | Self::DiskSilent => {
                "look for a disk that hangs with `dmesg -T | tail` and `iostat -x 1`; a restart does not mend it \
                 (on-call.md: Slow)"
            }
            Self::NotAsked => "wait a moment: the server starts",
            Self::DatabaseSilent { place: Place::Server, .. } => {
                "start the database server or mend the way to it; pyzord reconnects by itself (on-call.md: Database \
                 down)"
            }
            Self::DatabaseSilent { .. } => {
                "look with `fuser -v` for a program that holds the file, and with `dmesg -T | tail` for its disk \
                 (on-call.md: Database down)"
            }
            Self::RefusesCounts { place: Place::RemovedFile, .. } => {
                "put the database back at its path; no restart is needed (on-call.md: Database down)"
            }
            Self::RefusesCounts { .. } => {
                "mend what the database names; pyzord goes on by itself (on-call.md: Database down)"
            }
            Self::ChecksFail | Self::CountsFail => {
                "read the last errors of the log with `pyzorctl status` (on-call.md: Database down)"
            }
            other => other.remedy_of_warning(),
        }
    }

    const fn remedy_of_warning(&self) -> &'static str {
        match self {
            Self::KernelDrops { .. } => {
                "raise net.core.rmem_max and restart; `pyzorctl top` shows the senders (on-call.md: Flood)"
            }
            Self::OverLimit { .. } => {
                "`pyzorctl top` shows the senders: deny those that are no clients with DenyNetworks, or raise \
                 RequestRate; then reload (on-call.md: Flood)"
            }
            Self::WrongSignatures { why: BadSignature::UnknownUser, .. } => {
                "correct the name in the client's accounts file, or make the account with `pyzorctl genkey` and reload \
                 (troubleshooting.md: A client gets an error code)"
            }
            Self::WrongSignatures { why: BadSignature::Timestamp, .. } => {
                "compare the clocks with `timedatectl` on both machines; if many clients get it, this one's is wrong \
                 (on-call.md: Wrong counts)"
            }
            Self::WrongSignatures { .. } => {
                "compare the key in the client's accounts file with this server's passwd file (troubleshooting.md: A \
                 client gets an error code)"
            }
            Self::ForwardingFails { .. } => {
                "look at that server, and at the account and the address in the client's files (forwarding.md: When \
                 something fails)"
            }
            Self::Overloaded { .. } => {
                "raise DBConnections and restart, or use a faster database (on-call.md: Slow)"
            }
            Self::SomeFail { .. } => {
                "`pyzorctl status` shows the last errors; a part of the database is away (on-call.md: Database down)"
            }
            Self::Slow { part: SlowPart::Database, .. } => {
                "look at the database's machine and disk with `iostat -x 1` (on-call.md: Slow)"
            }
            Self::Slow { part: SlowPart::Queue, .. } => {
                "`pyzorctl top` shows who sends most, and `top -H` whether the processor is busy (on-call.md: Slow)"
            }
            Self::RecordsVanished { .. } => {
                "restore a backup or correct DigestDB, unless it was emptied on purpose (on-call.md: Wrong counts)"
            }
            Self::Unreadable { .. } => {
                "`pyzorctl check-database` names the records; delete each with `pyzorctl delete DIGEST` (on-call.md: \
                 Wrong counts)"
            }
            Self::ClockSet { .. } => {
                "compare the clock with `timedatectl`; new dates of records are wrong while it is (on-call.md: Wrong \
                 counts)"
            }
            Self::LogLinesLost { .. } => {
                "the log and standard error say why: a full disk, or a reader that does not read (on-call.md: Disk \
                 full)"
            }
            Self::InternalErrors { .. } => {
                "report the lines of the log with `internal error`; requests are served"
            }
            // The others have their words above.
            _ => "",
        }
    }
}

fn deny(network: IpNet) -> String {
    let network = network.trunc();
    if network.prefix_len() == network.max_prefix_len() {
        format!("`DenyNetworks = {}`", network.addr())
    } else {
        format!("`DenyNetworks = {network}`")
    }
}
