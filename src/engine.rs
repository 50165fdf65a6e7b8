//! Opens the engine that the settings name.

use pyzord_core::Store;
use pyzord_runtime_std::Stores;

use crate::home::Home;
use crate::settings::Settings;

/// The stores that requests ask, and one for upkeep.
pub(crate) struct Engine {
    pub(crate) stores: Stores<Box<dyn Store>>,
    pub(crate) upkeep: Box<dyn Store>,
}

/// Opens the database, or says in one line why it cannot be.
pub(crate) fn open(settings: &Settings, home: &Home) -> Result<Engine, String> {
    match settings.engine.as_str() {
        #[cfg(feature = "gdbm")]
        "gdbm" => {
            let store = pyzord_engines::Gdbm::open(&settings.database_path(home))
                .map_err(|error| error.to_string())?;
            Ok(shared(&store, settings.workers))
        }
        other => Err(unknown(other)),
    }
}

/// Looks at the database without changing it, for `--check-config`: what a start would find.
pub(crate) fn check(settings: &Settings, home: &Home) -> Result<String, String> {
    match settings.engine.as_str() {
        #[cfg(feature = "gdbm")]
        "gdbm" => check_gdbm(&settings.database_path(home)),
        other => Err(unknown(other)),
    }
}

#[cfg(feature = "gdbm")]
fn check_gdbm(path: &std::path::Path) -> Result<String, String> {
    use pyzord_engines::{Access, Gdbm, OpenCause};
    if std::fs::metadata(path).map_or(true, |file| file.is_file() && file.len() == 0) {
        return Ok(format!("database {} does not exist yet and will be created", path.display()));
    }
    match Gdbm::open_existing(path, Access::Read) {
        Ok(_) => Ok(format!("database {} can be opened", path.display())),
        // A check beside a running server is the usual one, and a start would recover what is damaged.
        Err(error) if matches!(error.cause, OpenCause::InUse) => Ok(format!("warning: {error}")),
        Err(error) if matches!(error.cause, OpenCause::Damaged(_)) => {
            Ok(format!("warning: {error}; a start will try to recover it"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// All workers use one open file.
#[cfg(feature = "gdbm")]
fn shared<S: Store + Clone + 'static>(store: &S, workers: usize) -> Engine {
    let boxed = || -> Box<dyn Store> { Box::new(store.clone()) };
    Engine { stores: Stores::Local((0..workers).map(|_| boxed()).collect()), upkeep: boxed() }
}

fn unknown(engine: &str) -> String {
    const BUILT_IN: &[&str] = &[
        #[cfg(feature = "gdbm")]
        "gdbm",
    ];
    format!("Engine: this build has no engine `{}`; it has: {}", engine.escape_default(), BUILT_IN.join(", "))
}
