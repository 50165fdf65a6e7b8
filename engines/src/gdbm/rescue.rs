//! What is done when the database's file was removed or replaced while it is open.
//!
//! Checks go on from the open file, and nothing is stored into it. If the file has no name any more, it is copied beside
//! the database's path. If another database is put there, and does not change for some seconds, it is used from then on.

use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{StoreFailure, Tick};

use super::backup::save_removed;
use super::error::FileError;
use super::open::open_sound;
use super::presence::{Away, Substitute, current_name};
use super::shared::SharedEngine;

/// A file in the database's place that has not changed for this time is no copy that is under way.
const UNCHANGED: Duration = Duration::from_secs(4);

impl SharedEngine {
    /// Looks for the database's file. If it is away: saves it, and uses another one that is there. Returns why the
    /// database accepts no counts after that.
    pub(super) fn rescue(&self, now: Tick) -> Result<Option<StoreFailure>, StoreFailure> {
        let away = self.with(|engine| {
            engine.look_now();
            Ok(engine.away)
        })?;
        let Some(away) = away else { return Ok(None) };
        self.save_file()?;
        if away == Away::Replaced {
            self.use_substitute(now)?;
        }
        self.with(|engine| Ok(engine.check_presence().err()))
    }

    /// Saves the open file, once, if it has no name any more.
    fn save_file(&self) -> Result<(), StoreFailure> {
        let unsaved = self.with(|engine| {
            let file = &engine.file;
            Ok((!engine.saved).then(|| (Arc::clone(&file.descriptor), file.path().to_owned())))
        })?;
        let Some((file, path)) = unsaved else { return Ok(()) };
        let name = path.display();
        // Nothing is stored meanwhile, so the copy is whole.
        let saved = match current_name(&file) {
            Some(current) => {
                log::warn!(
                    "database {name}: the file is now {}; to use it again, rename it back",
                    current.display()
                );
                Ok(())
            }
            None => save_removed(&path, &file).map(|saved| {
                let saved = saved.display();
                log::warn!(
                    "database {name}: its records are saved in {saved}; to use them, rename that to {name}"
                );
            }),
        };
        self.with(|engine| {
            engine.saved = saved.is_ok();
            saved.or_else(|error| engine.with_file(|_| Err(FileError::NotSaved(error))))
        })
    }

    /// Uses the file that is in the database's place, if it is complete.
    fn use_substitute(&self, now: Tick) -> Result<(), StoreFailure> {
        let (path, since) = self.with(|engine| {
            let path = engine.file.path().to_owned();
            let found = Substitute::at(&path);
            let since =
                engine.substitute.filter(|(seen, _)| Some(*seen) == found).map_or(now, |(_, since)| since);
            engine.substitute = found.map(|found| (found, since));
            Ok((path, since))
        })?;
        if now.since(since) < UNCHANGED {
            return Ok(());
        }
        match open_sound(&path) {
            Ok(file) => drop(self.with(|engine| Ok(engine.adopt(file)))?),
            Err(error) => self.with(|engine| {
                engine.substitute_refused(now, &error);
                Ok(())
            })?,
        }
        Ok(())
    }
}
