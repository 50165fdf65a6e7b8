//! `User` and `Group`: who the server is once its socket is bound.

use std::ffi::CString;
use std::fmt;

use nix::errno::Errno;
use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getgid, getuid, initgroups, setgid, setgroups, setuid,
};

/// An account of this system to serve as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Account {
    /// The user's name and number; `None` changes the group alone.
    user: Option<(String, Uid)>,
    gid: Gid,
}

impl Account {
    /// The user with this name or number, in its own group.
    pub(crate) fn of_user(text: &str) -> Option<Self> {
        let user = match text.parse() {
            Ok(number) => User::from_uid(Uid::from_raw(number)),
            Err(_) => User::from_name(text),
        };
        let user = user.ok()??;
        Some(Self { user: Some((user.name, user.uid)), gid: user.gid })
    }

    /// The same user, or this process's, in the group with this name or number.
    pub(crate) fn in_group(user: Option<Self>, text: &str) -> Option<Self> {
        let group = match text.parse() {
            Ok(number) => Group::from_gid(Gid::from_raw(number)),
            Err(_) => Group::from_name(text),
        };
        let gid = group.ok()??.gid;
        Some(Self { user: user.and_then(|account| account.user), gid })
    }

    /// Becomes this account for good. Call it before any thread exists.
    pub(crate) fn assume(&self) -> Result<(), String> {
        if self.is_current() {
            return Ok(());
        }
        let setting = if self.user.is_some() { "User" } else { "Group" };
        if !geteuid().is_root() {
            return Err(format!("{setting}: only root can start a server as {self}"));
        }
        self.change().map_err(|error| format!("{setting}: cannot become {self}: {error}"))?;
        // "It cannot happen" has happened to others, who then served as root.
        let regained =
            self.user.as_ref().is_some_and(|(_, uid)| !uid.is_root()) && setuid(Uid::from_raw(0)).is_ok();
        if regained || !self.is_current() {
            return Err(format!("{setting}: became {self}, but not for good"));
        }
        Ok(())
    }

    /// The groups first: afterwards nothing is allowed any more.
    fn change(&self) -> Result<(), Errno> {
        let Some((name, uid)) = &self.user else {
            setgroups(&[self.gid])?;
            return setgid(self.gid);
        };
        let name = CString::new(name.as_str()).map_err(|_| Errno::EINVAL)?;
        initgroups(&name, self.gid)?;
        setgid(self.gid)?;
        setuid(*uid)
    }

    fn is_current(&self) -> bool {
        let user = self.user.as_ref().is_none_or(|(_, uid)| getuid() == *uid && geteuid() == *uid);
        user && getgid() == self.gid && getegid() == self.gid
    }

    /// Says of an error about permissions whose they were, since the reader may well have started this as root.
    pub(crate) fn explain(&self, error: String) -> String {
        if error.to_lowercase().contains("permission denied") {
            format!("{error} (as {self})")
        } else {
            error
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some((name, _)) => write!(f, "user {name}, group {}", self.gid),
            None => write!(f, "group {}", self.gid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_number() {
        let root = Account::of_user("root").unwrap();
        assert_eq!(Account::of_user("0"), Some(root.clone()));
        assert_eq!(root.to_string(), "user root, group 0");
        let group = Account::in_group(None, "0").unwrap();
        assert_eq!(group.to_string(), "group 0");
        assert_eq!(Account::in_group(Some(root.clone()), "root"), Some(root));
        for nobody in ["no-such-user-here", "-1", "4294967290", ""] {
            assert_eq!(Account::of_user(nobody), None, "{nobody}");
            assert_eq!(Account::in_group(None, nobody), None, "{nobody}");
        }
    }

    #[test]
    fn whoever_is_that_account_already_need_not_be_root() {
        let myself = Account::of_user(&geteuid().to_string()).unwrap();
        let myself = Account { gid: getegid(), ..myself };
        assert_eq!(myself.assume(), Ok(()));
    }
}
