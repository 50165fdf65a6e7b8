//! What a reload changes while the server runs: all that is in the new files, or nothing.

use std::net::SocketAddr;

use pyzord_runtime::NewRules;

use crate::cli::CommandLine;
use crate::forward::{self, Targets};
use crate::home::Home;
use crate::logs::FILES;
use crate::open_to_all::OpenToAll;
use crate::own_address::own_servers;
use crate::rules::RulesInEffect;
use crate::settings::{Setting, SettingRow, Settings, SettingsError, Sources};
use crate::start::cpus;
use crate::status::{SettingRows, StatusPage};

/// What a reload reads, and what it changes beside the rules of the workers.
pub(super) struct Reload<'a> {
    pub(super) home: &'a Home,
    pub(super) options: &'a CommandLine,
    /// The settings of the start, which hold for all that needs a restart.
    pub(super) started: &'a Sources,
    pub(super) settings: &'a Settings,
    /// The servers to forward to, as they were read at the start.
    pub(super) forwards: Option<Targets>,
    /// The addresses that requests come to.
    pub(super) own: Vec<SocketAddr>,
    /// The settings of the last reload, once there was one.
    pub(super) current: Option<Sources>,
    pub(super) rules: RulesInEffect,
    pub(super) page: &'a StatusPage,
    /// The settings that the status document shows.
    pub(super) rows: SettingRows,
}

impl Reload<'_> {
    /// Reads all files again. Returns `None` if one of them cannot be used: everything stays as it is.
    pub(super) fn run(&mut self) -> Option<NewRules> {
        let read = self.read();
        let failed = |error: &SettingsError| log::error!("{error}; the old settings and rules still hold");
        let (sources, settings) = read.inspect_err(failed).ok()?;
        let policy = self.rules.reload(&settings)?;
        sources.warnings().iter().for_each(|warning| log::warn!(target: FILES, "{warning}"));
        self.report(&sources);
        let open = OpenToAll::find(self.own.iter().copied(), &policy, &settings.limits);
        open.iter().for_each(|open| log::warn!(target: FILES, "{open}"));
        self.look_at_forwarding();
        log::set_max_level(self.options.log_level(settings.log_level));
        self.move_page(&settings);
        self.rows.replace(self.rows_in_effect(&sources));
        self.current = Some(sources);
        Some(NewRules { policy, limits: Some(settings.limits) })
    }

    fn read(&self) -> Result<(Sources, Settings), SettingsError> {
        let sources = self.current().read_again(self.home, self.options.settings())?;
        let settings = Settings::new(&sources, self.home, cpus())?;
        Ok((sources, settings))
    }

    fn current(&self) -> &Sources {
        self.current.as_ref().unwrap_or(self.started)
    }

    /// Logs what this reload changes, and what only a restart would.
    fn report(&self, sources: &Sources) {
        for setting in sources.changed_from(self.current()).filter(|setting| setting.is_reloaded()) {
            let row = sources.row(setting);
            log::info!("{} is now `{}` ({}).", row.name, row.value, row.source);
        }
        for setting in sources.changed_from(self.started).filter(|setting| needs_restart(*setting)) {
            log::warn!(
                target: FILES,
                "{setting} has changed ({}): a reload does not apply that; restart the server",
                sources.row(setting).source
            );
        }
    }

    /// Warns if the client's files have changed, or if a name has become one of this server.
    fn look_at_forwarding(&self) {
        let Some(forwards) = &self.forwards else { return };
        match forward::read(self.settings) {
            Ok(Some(targets)) if targets.are_those_of(forwards) => {
                for server in own_servers(&targets.servers, &self.own) {
                    log::warn!(target: FILES, "forwarding to {server}: it is this server; take it out of `servers`");
                }
            }
            Ok(_) => log::warn!(
                target: FILES,
                "the files in {} have changed: a reload does not apply that; restart the server",
                forwards.home.display()
            ),
            Err(error) => log::warn!(target: FILES, "{error}; forwarding goes on as before"),
        }
    }

    fn move_page(&self, settings: &Settings) {
        if let Err(error) = self.page.change(settings.status.as_deref(), &settings.status_hosts) {
            log::error!("{error}; the page stays where it is");
        }
    }

    /// Returns the new settings, and those of the start where a restart is needed.
    fn rows_in_effect(&self, sources: &Sources) -> Vec<SettingRow> {
        let in_effect = |setting: &Setting| if setting.is_reloaded() { sources } else { self.started };
        Setting::all().map(move |setting| in_effect(&setting).row(setting)).collect()
    }
}

fn needs_restart(setting: Setting) -> bool {
    !setting.is_ignored() && !setting.is_reloaded()
}
