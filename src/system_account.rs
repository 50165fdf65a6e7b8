//! The settings `User` and `Group`: the account that the server runs as once its socket is bound.

use std::ffi::CString;
use std::fmt;

use nix::errno::Errno;
use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getgid, getuid, initgroups, setgid, setgroups, setuid,
};
use thiserror::Error;

/// A user and a group of this system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SystemAccount {
    /// The user's name and number; `None` if only the group changes.
    user: Option<(String, Uid)>,
    gid: Gid,
}

/// Why the server cannot run as an account.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum AssumeError {
    #[error("{setting}: only root can start a server as {account}")]
    NotRoot { setting: &'static str, account: SystemAccount },
    #[error("{setting}: cannot become {account}: {errno}")]
    Change { setting: &'static str, account: SystemAccount, errno: Errno },
    #[error("{setting}: became {account}, but can become root again")]
    NotPermanent { setting: &'static str, account: SystemAccount },
}

impl SystemAccount {
    /// Returns the user with this name or number, in its own group; `None` if there is no such user.
    pub(crate) fn of_user(text: &str) -> Option<Self> {
        let user = match text.parse() {
            Ok(number) => User::from_uid(Uid::from_raw(number)),
            Err(_) => User::from_name(text),
        };
        let user = user.ok()??;
        Some(Self { user: Some((user.name, user.uid)), gid: user.gid })
    }

    /// Returns the given user, or that of this process, in the group with this name or number; `None` if there is no
    /// such group.
    pub(crate) fn in_group(user: Option<Self>, text: &str) -> Option<Self> {
        let group = match text.parse() {
            Ok(number) => Group::from_gid(Gid::from_raw(number)),
            Err(_) => Group::from_name(text),
        };
        let gid = group.ok()??.gid;
        Some(Self { user: user.and_then(|account| account.user), gid })
    }

    /// Changes this process to the account, permanently. Call it before any thread exists.
    pub(crate) fn assume(&self) -> Result<(), AssumeError> {
        if self.is_current() {
            return Ok(());
        }
        let setting = if self.user.is_some() { "User" } else { "Group" };
        let account = || self.clone();
        if !geteuid().is_root() {
            return Err(AssumeError::NotRoot { setting, account: account() });
        }
        self.change().map_err(|errno| AssumeError::Change { setting, account: account(), errno })?;
        // A server that kept a way back to root would serve with the rights of root, and nothing would show it.
        let regained =
            self.user.as_ref().is_some_and(|(_, uid)| !uid.is_root()) && setuid(Uid::from_raw(0)).is_ok();
        if regained || !self.is_current() {
            return Err(AssumeError::NotPermanent { setting, account: account() });
        }
        Ok(())
    }

    /// Changes the groups before the user: only root can change groups.
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
}

impl fmt::Display for SystemAccount {
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
        let root = SystemAccount::of_user("root").unwrap();
        assert_eq!(SystemAccount::of_user("0"), Some(root.clone()));
        assert_eq!(root.to_string(), "user root, group 0");
        let group = SystemAccount::in_group(None, "0").unwrap();
        assert_eq!(group.to_string(), "group 0");
        assert_eq!(SystemAccount::in_group(Some(root.clone()), "root"), Some(root));
        for nobody in ["no-such-user-here", "-1", "4294967290", ""] {
            assert_eq!(SystemAccount::of_user(nobody), None, "{nobody}");
            assert_eq!(SystemAccount::in_group(None, nobody), None, "{nobody}");
        }
    }

    #[test]
    fn the_present_account_is_assumed_without_root() {
        let myself = SystemAccount::of_user(&geteuid().to_string()).unwrap();
        let myself = SystemAccount { gid: getegid(), ..myself };
        assert_eq!(myself.assume(), Ok(()));
    }
}
