//! What every command needs: the server's settings and a clock.

use std::path::PathBuf;

use pyzord_runtime::Clock;
use thiserror::Error;

use super::options::ServerOptions;
use crate::home::{self, Home, HomeError};
use crate::settings::{Environment, Settings, SettingsError, Sources};

/// The settings of one server, and a clock.
pub(crate) struct Context {
    pub(crate) home: Home,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    /// The command line names the address of the server.
    pub(crate) names_address: bool,
    /// The configuration file cannot be read, and the settings are defaults.
    pub(crate) guessed: bool,
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
        Self::with(options, false)
    }

    /// Reads them for a command to the running server, which has settings of its own: what is wrong with the file is named,
    /// and defaults serve to find the server.
    pub(crate) fn of_running(options: &ServerOptions) -> Result<Self, ContextError> {
        Self::with(options, true)
    }

    fn with(options: &ServerOptions, forgives: bool) -> Result<Self, ContextError> {
        let home = Home::for_tools(options.homedir.as_deref())?;
        let failed = |error| ContextError::Settings { home: home.path().to_owned(), error };
        let environment = Environment::of_process().map_err(failed)?;
        environment.warnings().iter().for_each(|warning| log::warn!("{warning}"));
        let (mut sources, guessed) = match Sources::read(&home, environment.clone(), options.settings()) {
            Err(error) if forgives => {
                log::warn!("{error}; the server is looked for with default settings");
                let file = home.resolve(home::CONFIG);
                (Sources::of_file(file, b"", environment, options.settings()).map_err(failed)?, true)
            }
            read => (read.map_err(failed)?, false),
        };
        let settings = loop {
            // The number of workers does not matter here.
            match Settings::new(&sources, &home, 1) {
                Ok(settings) => break settings,
                Err(error) => match error.line_of_file() {
                    Some(setting) if forgives => {
                        log::warn!("{error}; a restart of the server would fail");
                        sources.forget(setting);
                    }
                    _ => return Err(failed(error)),
                },
            }
        };
        let names_address = options.names_address();
        Ok(Self { home, settings, clock: Clock::start(), names_address, guessed })
    }
}
