//! Writes the files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use clap_complete::aot::{Shell, generate_to};

use crate::error::Error;
use crate::pages;

/// Writes the man pages to `folder/man`, the completions to `folder/completions`, and to `folder/bin` the links by which
/// programs in `/usr/sbin` are in every user's PATH.
pub(crate) fn write_all(folder: &Path) -> Result<(), Error> {
    // All pages are rendered first: a missing section leaves no incomplete folder.
    let pages = pages::all()?;
    let man = folder.join("man");
    create(&man)?;
    for (name, page) in pages {
        let path = man.join(name);
        fs::write(&path, page).map_err(|cause| Error::Write { path, cause })?;
    }
    let links = folder.join("bin");
    create(&links)?;
    for program in pyzord::commands() {
        let (name, link) = (program.get_name(), links.join(program.get_name()));
        // The link of an earlier run may be there.
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("../sbin").join(name), &link)
                .map_err(|cause| Error::Write { path: link, cause })?;
        }
    }
    let completions = folder.join("completions");
    create(&completions)?;
    for mut program in pyzord::commands() {
        let name = program.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            generate_to(shell, &mut program, &name, &completions)
                .map_err(|cause| Error::Write { path: completions.clone(), cause })?;
        }
    }
    Ok(())
}

fn create(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|cause| Error::Write { path: folder.to_owned(), cause })
}
