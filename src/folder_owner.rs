//! A database that root creates in the folder of the service's account would be root's, and the service could not open it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::Path;

use nix::unistd::geteuid;

use crate::output::complain;

/// Gives a new database to the owner of its folder, with the files that SQLite keeps beside it, as [`give`] does.
pub(crate) fn give_database(program: &str, file: &Path) {
    give(Some(program), file);
    for suffix in ["-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        give(None, name.as_ref());
    }
}

/// Gives a new file to the owner of its folder, if this process is root's and the folder is not.
///
/// A program that names itself tells of it.
pub(crate) fn give(program: Option<&str>, file: &Path) {
    if !geteuid().is_root() {
        return;
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let given = fs::metadata(folder).and_then(|folder| {
        let new = fs::symlink_metadata(file)?;
        // In the meantime the folder's owner may have put a link there.
        let is_ours = new.is_file() && new.nlink() == 1 && new.uid() == 0;
        if folder.uid() == 0 || !is_ours {
            Ok(None)
        } else {
            lchown(file, Some(folder.uid()), Some(folder.gid())).map(|()| Some(folder.uid()))
        }
    });
    let Some(program) = program else { return };
    match given {
        Ok(None) => (),
        Ok(Some(uid)) => {
            complain!("{program}: {}: belongs to user {uid}, as its folder does", file.display());
        }
        Err(error) => complain!(
            "{program}: {}: belongs to root, and cannot be given to the owner of its folder: {error}",
            file.display()
        ),
    }
}
