//! The process at the other end of a connection, as the system knows it.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;

use nix::unistd::{Uid, User, geteuid};

/// The account of this process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OwnAccount {
    uid: Uid,
    name: Option<String>,
}

impl OwnAccount {
    /// Returns the account. Its name is looked up, which can take long where accounts are on the network.
    pub(super) fn find() -> Self {
        let uid = geteuid();
        // A number says as much as a name.
        let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
        Self { uid, name }
    }
}

/// The operator: root or the account of the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Operator {
    name: Option<String>,
    /// The user's and the process's number; `None` where the system does not tell.
    ids: Option<(u32, i32)>,
}

impl Operator {
    /// Returns the peer of a connection; `None` if it is another account than root and that of the server. The mode of the
    /// socket keeps such a peer out already, where the file system heeds it.
    pub(super) fn of(stream: &UnixStream, own: &OwnAccount) -> io::Result<Option<Self>> {
        let Some((uid, pid)) = peer(stream)? else { return Ok(Some(Self { name: None, ids: None })) };
        let name = match Uid::from_raw(uid) {
            uid if uid == own.uid => own.name.clone(),
            uid if uid.is_root() => Some("root".to_owned()),
            _ => return Ok(None),
        };
        Ok(Some(Self { name, ids: Some((uid, pid)) }))
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((uid, pid)) = self.ids else { return f.write_str("an operator") };
        match &self.name {
            Some(name) => write!(f, "{} (uid {uid}, process {pid})", name.escape_debug()),
            None => write!(f, "uid {uid} (process {pid})"),
        }
    }
}

#[cfg(target_os = "linux")]
fn peer(stream: &UnixStream) -> io::Result<Option<(u32, i32)>> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    let peer = getsockopt(stream, PeerCredentials)?;
    Ok(Some((peer.uid(), peer.pid())))
}

#[cfg(not(target_os = "linux"))]
fn peer(_: &UnixStream) -> io::Result<Option<(u32, i32)>> {
    Ok(None)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_named_by_account_and_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let own = OwnAccount { uid: geteuid(), name: Some("pyz\u{1b}ord".to_owned()) };
        let shown = Operator::of(&ours, &own).unwrap().unwrap().to_string();
        let expected = format!("pyz\\u{{1b}}ord (uid {}, process {})", geteuid(), std::process::id());
        assert_eq!(shown, expected);
        // A server of another account serves root only.
        let other = OwnAccount { uid: Uid::from_raw(4_000_000), name: None };
        let peer = Operator::of(&ours, &other).unwrap();
        assert_eq!(peer.is_some(), geteuid().is_root());
    }
}
