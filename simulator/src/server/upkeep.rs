//! The steps of the thread that keeps the store up.

use pyzord_core::{Progress, Task, Tick};

use super::Server;
use crate::database::Database;
use crate::invariant::Checked;
use crate::plan::Sabotage;
use crate::stage::{Event, Stage};

/// A task that was begun, and how it will end.
#[derive(Debug)]
pub(super) struct Underway {
    task: Task,
    progress: Option<Progress>,
    began: Tick,
}

impl Server {
    /// Begins a task, or ends the one that was begun.
    pub(super) fn keep_up(&mut self, stage: &mut Stage, database: &mut Database) -> Checked {
        if let Some(underway) = self.underway.take() {
            self.end_task(stage, database, &underway)?;
        } else {
            stage.judge.upkeep.woke(stage.clock.tick())?;
            self.begin_task(stage, database)?;
        }
        if self.underway.is_none() && !self.stopping {
            let pause = self.schedule.next_deadline().since(stage.clock.tick());
            stage.after(pause, Event::Upkeep { life: self.life });
        }
        Ok(())
    }

    fn begin_task(&mut self, stage: &mut Stage, database: &mut Database) -> Checked {
        let now = stage.clock.now();
        if self.stopping {
            return Ok(());
        }
        let Some(task) = self.schedule.poll(now) else { return Ok(()) };
        let skipped = if task == Task::Sync { Sabotage::SkipsSync } else { Sabotage::SkipsExpiry };
        if stage.has(skipped) {
            self.schedule.done(task, Some(Progress::Done), now.tick, now.tick);
            return Ok(());
        }
        stage.judge.upkeep.began(now.tick, task)?;
        let (outcome, duration) = database.upkeep(stage, now, task)?;
        stage.note(|| format!("upkeep: {task:?} will end with {outcome:?}"));
        self.underway = Some(Underway { task, progress: outcome.ok(), began: now.tick });
        stage.after(duration, Event::Upkeep { life: self.life });
        Ok(())
    }

    fn end_task(&mut self, stage: &mut Stage, database: &mut Database, underway: &Underway) -> Checked {
        let Underway { task, progress, began } = *underway;
        let now = stage.clock.tick();
        match task {
            Task::Sync => {
                stage.judge.upkeep.sync_ended(now);
                if progress.is_some() {
                    database.synced(stage);
                }
            }
            Task::Expire(_) => {
                let over = progress.map(|progress| progress == Progress::Done);
                if let Some((limit, touched)) = stage.judge.upkeep.slice_ended(began, now, over)? {
                    stage.judge.counts.round_ended(limit, &touched)?;
                }
            }
        }
        if !stage.has(Sabotage::UpkeepSpins) {
            self.schedule.done(task, progress, began, now);
        }
        Ok(())
    }
}
