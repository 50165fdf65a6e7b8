//! The home directory, against which names of files are resolved.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The configuration directory, absolute.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    /// The directory given, else `$HOME/.pyzor`, else `/etc/pyzor`.
    pub(crate) fn new(given: Option<&Path>) -> Result<Self, String> {
        let default = || user_home().map_or_else(|| PathBuf::from("/etc/pyzor"), |home| home.join(".pyzor"));
        let path = given.map_or_else(default, Path::to_path_buf);
        let absolute = std::path::absolute(&path).map_err(|error| format!("home directory: {error}"))?;
        Ok(Self(absolute))
    }

    /// Creates the directory, for its owner alone, unless it is there.
    pub(crate) fn create(&self) -> Result<(), String> {
        match fs::create_dir(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !self.0.is_dir() => {
                Err(format!("home directory {}: {error}", self.0.display()))
            }
            _ => Ok(()),
        }
    }

    /// The file's absolute name: `~` and `~user` are home directories, and a relative name is in this directory.
    pub(crate) fn resolve(&self, name: &str) -> PathBuf {
        let expanded = expand_user(name).unwrap_or_else(|| PathBuf::from(name));
        self.0.join(expanded)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

fn user_home() -> Option<PathBuf> {
    env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

fn expand_user(name: &str) -> Option<PathBuf> {
    let rest = name.strip_prefix('~')?;
    let (user, path) = rest.split_once('/').unwrap_or((rest, ""));
    let home = if user.is_empty() { user_home()? } else { home_of(user)? };
    Some(home.join(path))
}

/// The home directory in the system's list of users.
fn home_of(user: &str) -> Option<PathBuf> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(user))?;
    line.split(':').nth(5).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_resolved_as_python_resolves_them() {
        let home = Home::new(Some(Path::new("/var/lib/pyzor"))).unwrap();
        let user = user_home().unwrap_or_default();
        for (name, expected) in [
            ("pyzord.db", PathBuf::from("/var/lib/pyzor/pyzord.db")),
            ("/tmp/x.db", PathBuf::from("/tmp/x.db")),
            ("~/x.db", user.join("x.db")),
            ("~root/x.db", PathBuf::from("/root/x.db")),
            ("~nobody-of-this-name/x", PathBuf::from("/var/lib/pyzor/~nobody-of-this-name/x")),
        ] {
            assert_eq!(home.resolve(name), expected);
        }
    }
}
