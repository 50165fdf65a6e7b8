//! The file that keeps what a stop could not forward, for the next start.
//!
//! Each line is a digest that was never sent: `report` or `whitelist`, the server, the digest, separated by tabs. A digest
//! whose request is unanswered is not kept: it may have been counted. The file is removed when it is read, so that a
//! crash loses digests and does not send them twice.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use pyzord_core::{Counted, Digest};
use pyzord_runtime::{Forwarding, Unsent};

/// The name of the file in the home directory.
pub(crate) const NAME: &str = "pyzord.unsent";
/// The most bytes that are read and written: the full queues of some ten servers.
const LARGEST: usize = 32 << 20;

/// Gives the digests of the file to the thread that forwards, and removes the file.
pub(crate) fn restore(path: &Path, forwarding: &Forwarding) {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST as u64).read_to_end(&mut bytes));
    // Removed first: a digest is sent from here on.
    let removed = read.and_then(|_| fs::remove_file(path));
    if let Err(error) = removed {
        if error.kind() != io::ErrorKind::NotFound {
            log::warn!("{}: the digests that the last stop left are not forwarded: {error}", path.display());
        }
        return;
    }
    let servers = forwarding.servers();
    let (mut found, mut skipped) = (Vec::new(), 0_u64);
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match parse(line, &servers) {
            Some(unsent) => found.push(unsent),
            None => skipped += 1,
        }
    }
    log::info!("Forwarding {} digests that the last stop left.", found.len());
    if skipped > 0 {
        log::warn!(
            "{}: {skipped} lines are damaged or for a server that `servers` does not name; they are dropped",
            path.display()
        );
    }
    forwarding.restore(found);
}

/// Writes the digests to the file. Without digests there is no file.
pub(crate) fn keep(path: &Path, servers: &[String], unsent: &[Unsent]) {
    if unsent.is_empty() {
        return;
    }
    let (text, kept) = write(servers, unsent);
    let name = path.display();
    match replace(path, text.as_bytes()) {
        Ok(()) => log::warn!(
            "{kept} digests could not be forwarded before the stop; the next start sends them, from {name}"
        ),
        Err(error) => {
            log::error!("{name}: {} digests that wait to be forwarded are lost: {error}", unsent.len());
        }
    }
    if kept < unsent.len() {
        log::warn!("{name}: {} digests have no room and are lost", unsent.len() - kept);
    }
}

/// Returns the lines, and how many there are.
fn write(servers: &[String], unsent: &[Unsent]) -> (String, usize) {
    let (mut text, mut kept) = (String::new(), 0);
    for Unsent { server, counted } in unsent {
        let Some(server) = servers.get(*server) else { continue };
        let operation = if counted.whitelisted { "whitelist" } else { "report" };
        let length = text.len();
        let _ = writeln!(text, "{operation}\t{server}\t{}", counted.digest);
        if text.len() > LARGEST {
            text.truncate(length);
            break;
        }
        kept += 1;
    }
    (text, kept)
}

fn parse(line: &[u8], servers: &[String]) -> Option<Unsent> {
    let mut fields = line.split(|byte| *byte == b'\t');
    let whitelisted = match fields.next()? {
        b"report" => false,
        b"whitelist" => true,
        _ => return None,
    };
    let name = fields.next()?;
    let server = servers.iter().position(|server| server.as_bytes() == name)?;
    let digest = Digest::parse(fields.next()?)?;
    fields.next().is_none().then(|| Unsent { server, counted: Counted::new(digest, whitelisted, None) })
}

/// Replaces a file: at every moment it is whole or absent. The process's umask makes it accessible to its owner alone.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    // The first error is the one that counts.
    written.inspect_err(|_| drop(fs::remove_file(&temporary)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn servers() -> Vec<String> {
        vec!["a.example:24441".to_owned(), "[2001:db8::1]:1".to_owned()]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            unsent in prop::collection::vec((0..2_usize, any::<bool>(), any::<[u8; 20]>()), 0..50),
        ) {
            let unsent: Vec<_> = unsent
                .into_iter()
                .map(|(server, whitelisted, digest)| Unsent {
                    server,
                    counted: Counted::new(Digest::new(digest), whitelisted, None),
                })
                .collect();
            let (text, kept) = write(&servers(), &unsent);
            prop_assert_eq!(kept, unsent.len());
            let read: Option<Vec<_>> = text.lines().map(|line| parse(line.as_bytes(), &servers())).collect();
            prop_assert_eq!(read, Some(unsent));
        }

        #[test]
        fn no_line_is_a_panic(line in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&line, &servers());
        }
    }

    #[test]
    fn a_damaged_line_is_no_digest() {
        let digest = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        let line = |operation: &str, server: &str, rest: &str| {
            parse(format!("{operation}\t{server}\t{rest}").as_bytes(), &servers()).is_some()
        };
        assert!(line("report", "a.example:24441", digest));
        assert!(!line("check", "a.example:24441", digest));
        assert!(!line("report", "b.example:24441", digest));
        assert!(!line("report", "a.example:24441", &digest[1..]));
        assert!(!line("report", "a.example:24441", &format!("{digest}\tx")));
    }
}
