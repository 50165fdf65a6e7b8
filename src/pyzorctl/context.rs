//! What every command needs: the server's settings and a clock.

use pyzord_runtime::Clock;
use thiserror::Error;

use super::options::ServerOptions;
use crate::home::{Home, HomeError};
use crate::settings::{Settings, SettingsError, Sources};

/// The settings of one server, and a clock.
pub(crate) struct Context {
    pub(crate) home: Home,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
}

/// Why the server's settings cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ContextError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

impl Context {
    /// Reads the configuration file and applies the options.
    pub(crate) fn read(options: &ServerOptions) -> Result<Self, ContextError> {
        let home = Home::new(options.homedir.as_deref())?;
        let sources = Sources::read(&home, options.settings())?;
        // The number of workers does not matter here.
        let settings = Settings::new(&sources, &home, 1)?;
        Ok(Self { home, settings, clock: Clock::start() })
    }
}
