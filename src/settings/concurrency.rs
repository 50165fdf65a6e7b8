//! How many workers and database connections there are.
//!
//! Python's server had four settings for concurrency, and real configurations combine them. Each of them that gives a
//! number is an upper bound of the number of workers here.

use super::error::{Expected, SettingsError};
use super::names::Setting;
use super::notes::CompatNote;
use super::sources::Sources;

/// The largest number of workers, and of database connections.
const MOST: usize = 1024;

/// Returns the number of workers: `Workers` if it is set, else `cpus`, bounded by Python's settings.
pub(super) fn workers(
    sources: &Sources,
    cpus: usize,
    notes: &mut Vec<CompatNote>,
) -> Result<usize, SettingsError> {
    let wanted = bounded(sources, Setting::Workers)?;
    let pre_fork = number(sources, Setting::PreFork)?;
    let [max_threads, max_processes] =
        [number(sources, Setting::MaxThreads)?, number(sources, Setting::MaxProcesses)?];
    // A bound of 0 is none.
    let bounds = [
        (Setting::Threads, sources.flag(Setting::Threads), max_threads),
        (Setting::Processes, sources.flag(Setting::Processes), max_processes),
        (Setting::PreFork, pre_fork > 0, pre_fork),
        (Setting::Gevent, sources.flag(Setting::Gevent), 0),
    ];
    let asked: Vec<Setting> = bounds.iter().filter(|(_, on, _)| *on).map(|(setting, ..)| *setting).collect();
    let bound = bounds.iter().filter(|(_, on, bound)| *on && *bound > 0).map(|(.., bound)| *bound).min();
    let workers = if wanted > 0 { wanted } else { bound.map_or(cpus, |bound| bound.min(cpus)) };
    if !asked.is_empty() {
        notes.push(CompatNote::Concurrency { asked, workers });
    }
    Ok(workers)
}

/// Returns the number of connections to a database server. Unless `DBConnections` is set, it is one for each worker
/// and at least two: the database works on the next batch while the replies of the last one are sent.
pub(super) fn connections(sources: &Sources, workers: usize) -> Result<usize, SettingsError> {
    let wanted = bounded(sources, Setting::DBConnections)?;
    Ok(if wanted == 0 { workers.max(2) } else { wanted })
}

fn bounded(sources: &Sources, setting: Setting) -> Result<usize, SettingsError> {
    let in_range = |text: &str| text.parse().ok().filter(|number| *number <= MOST);
    sources.parse(setting, Expected::NumberUpTo(MOST as u64), in_range)
}

fn number(sources: &Sources, setting: Setting) -> Result<usize, SettingsError> {
    sources.parse(setting, Expected::Number, |text| text.parse().ok())
}
