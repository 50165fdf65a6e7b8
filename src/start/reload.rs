//! What a reload changes while the server runs: all that is in the new files, or nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use pyzord_runtime::NewRules;

use crate::cli::CommandLine;
use crate::control::OperatorCommands;
use crate::forward::{self, Targets};
use crate::home::Home;
use crate::open_to_all::OpenToAll;
use crate::own_address::own_servers;
use crate::reload_report::{LineKind, ReloadReport};
use crate::rules::RulesInEffect;
use crate::settings::{Setting, SettingRow, Settings, SettingsError, Sources, level_word};
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
    /// The operators that wait for a reload.
    pub(super) commands: Arc<OperatorCommands>,
}

impl Reload<'_> {
    /// Reads all files again. Returns `None` if one of them cannot be used: everything stays as it is. Operators that
    /// wait for the reload get its report once the new rules are in effect.
    pub(super) fn run(&mut self) -> Option<NewRules> {
        self.commands.reload_begins();
        let mut report = ReloadReport::default();
        let rules = self.apply(&mut report);
        self.commands.reload_done(report);
        rules
    }

    fn apply(&mut self, report: &mut ReloadReport) -> Option<NewRules> {
        let failed = |error: &SettingsError| format!("{error}; the old settings and rules still hold");
        let read = self.read().inspect_err(|error| report.add(LineKind::Failed, failed(error)));
        let (mut sources, settings) = read.ok()?;
        let policy = self.rules.reload(&settings, report)?;
        sources.warnings().iter().for_each(|warning| report.add(LineKind::Warning, warning.to_string()));
        if !self.move_page(&settings, report) {
            let places = [Setting::StatusAddress, Setting::StatusHosts];
            places.into_iter().for_each(|setting| sources.keep(setting, self.current()));
        }
        self.compare(&sources, report);
        let open = OpenToAll::find(self.own.iter().copied(), &policy, &settings.limits);
        open.iter().for_each(|open| report.add(LineKind::Warning, open.to_string()));
        self.look_at_forwarding(report);
        self.set_log_level(&sources, &settings, report);
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

    /// Reports what this reload changes, and what only a restart would.
    fn compare(&self, sources: &Sources, report: &mut ReloadReport) {
        for setting in sources.changed_from(self.current()).filter(|setting| setting.is_reloaded()) {
            let row = sources.row(setting);
            report.add(LineKind::Changed, format!("{} is now `{}` ({}).", row.name, row.value, row.source));
        }
        for setting in sources.changed_from(self.started).filter(|setting| needs_restart(*setting)) {
            let source = sources.row(setting).source;
            let text =
                format!("{setting} has changed ({source}): a reload does not apply that; restart the server");
            report.add(LineKind::NeedsRestart, text);
        }
    }

    /// Warns if the client's files have changed, or if a name has become one of this server.
    fn look_at_forwarding(&self, report: &mut ReloadReport) {
        let Some(forwards) = &self.forwards else { return };
        match forward::read(self.settings) {
            Ok(Some(targets)) if targets.are_those_of(forwards) => {
                for server in own_servers(&targets.servers, &self.own) {
                    let text = format!("forwarding to {server}: it is this server; take it out of `servers`");
                    report.add(LineKind::Warning, text);
                }
            }
            Ok(_) => {
                let home = forwards.home.display();
                let text = format!(
                    "the files in {home} have changed: a reload does not apply that; restart the server"
                );
                report.add(LineKind::NeedsRestart, text);
            }
            Err(error) => {
                report.add(LineKind::Warning, format!("{error}; forwarding goes on as before"));
            }
        }
    }

    /// Applies the level of the settings, which ends one that an operator has set at the control socket.
    fn set_log_level(&self, sources: &Sources, settings: &Settings, report: &mut ReloadReport) {
        let level = self.options.log_level(settings.log_level);
        if level != log::max_level()
            && sources.text(Setting::LogLevel) == self.current().text(Setting::LogLevel)
        {
            let name = level_word(level);
            report.add(LineKind::Changed, format!("the log level is that of the settings again: {name}."));
        }
        log::set_max_level(level);
    }

    /// Returns whether the page is where the settings say.
    fn move_page(&self, settings: &Settings, report: &mut ReloadReport) -> bool {
        let changed = self.page.change(settings.status.as_deref(), &settings.status_hosts);
        if let Err(error) = &changed {
            report.add(LineKind::Failed, format!("{error}; the page stays where it is"));
        }
        changed.is_ok()
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
