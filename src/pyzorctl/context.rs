//! What every command needs: the server's settings and a clock.

use std::error::Error as StdError;

use pyzord_runtime::Clock;
use thiserror::Error;

use super::options::ServerOptions;
use crate::home::Home;
use crate::settings::{Settings, Sources};

/// The settings of one server, and a clock.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
}

/// The home directory or the settings cannot be used. The message names the file and the line, or the option.
#[derive(Debug, Error)]
#[error(transparent)]
pub(crate) struct ContextError(Box<dyn StdError + Send + Sync>);

impl Context {
    /// Reads the configuration file and applies the options.
    pub(crate) fn read(options: &ServerOptions) -> Result<Self, ContextError> {
        let home = Home::new(options.homedir.as_deref()).map_err(context_error)?;
        let sources = Sources::read(&home, options.settings()).map_err(context_error)?;
        // The number of workers does not matter here.
        let settings = Settings::new(&sources, &home, 1).map_err(context_error)?;
        Ok(Self { settings, clock: Clock::start() })
    }
}

fn context_error(error: impl Into<Box<dyn StdError + Send + Sync>>) -> ContextError {
    ContextError(error.into())
}
