//! What every command needs: the server's settings and a clock.

use std::path::PathBuf;

use pyzord_runtime::Clock;
use thiserror::Error;

use super::options::ServerOptions;
use crate::home::{Home, HomeError};
use crate::settings::{Environment, Settings, SettingsError, Sources};

/// The settings of one server, and a clock.
pub(crate) struct Context {
    pub(crate) home: Home,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    /// The command line names the address of the server.
    pub(crate) names_address: bool,
}

/// Why the server's settings cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ContextError {
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The message of the settings names the file or the option.
    #[error("{error} (home directory {})", .home.display())]
    Settings { home: PathBuf, error: SettingsError },
}

impl Context {
    /// Reads the configuration file and applies the options.
    pub(crate) fn read(options: &ServerOptions) -> Result<Self, ContextError> {
        let home = Home::for_tools(options.homedir.as_deref())?;
        let failed = |error| ContextError::Settings { home: home.path().to_owned(), error };
        let environment = Environment::of_process().map_err(failed)?;
        environment.warnings().iter().for_each(|warning| log::warn!("{warning}"));
        let sources = Sources::read(&home, environment, options.settings()).map_err(failed)?;
        // The number of workers does not matter here.
        let settings = Settings::new(&sources, &home, 1).map_err(failed)?;
        Ok(Self { home, settings, clock: Clock::start(), names_address: options.names_address() })
    }
}
