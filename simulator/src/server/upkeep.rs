//! The steps of the upkeep of the store.

use pyzord_core::{Expiry, ExpiryGuard, Progress, Schedule, Task, Tick};

use crate::context::Context;
use crate::database::Database;
use crate::event::Event;
use crate::invariant::Checked;
use crate::plan::Sabotage;

#[derive(Debug)]
pub(super) struct Upkeep {
    schedule: Schedule,
    running: Option<RunningTask>,
}

/// A task that has begun, and how it will end.
#[derive(Debug)]
struct RunningTask {
    task: Task,
    progress: Option<Progress>,
    began: Tick,
}

impl Upkeep {
    pub(super) fn new(context: &Context, now: Tick) -> Self {
        let guard = if context.has(Sabotage::BelievesAnyClock) {
            ExpiryGuard { max_offset: None, max_share: 100 }
        } else {
            ExpiryGuard::default()
        };
        let expiry = context.config.cleanup.map(|age| Expiry { age, guard });
        Self { schedule: Schedule::new(expiry, now), running: None }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Begins a task, or ends the running one.
    pub(super) fn step(
        &mut self,
        context: &mut Context,
        database: &mut Database,
        generation: u32,
        stopping: bool,
    ) -> Checked {
        if let Some(running) = self.running.take() {
            self.end_task(context, database, &running)?;
        } else {
            context.checker.upkeep.woke(context.clock.tick())?;
            if !stopping {
                self.begin_task(context, database, generation)?;
            }
        }
        if self.running.is_none() && !stopping {
            let pause = self.schedule.next_deadline().since(context.clock.tick());
            context.after(pause, Event::Upkeep { generation });
        }
        Ok(())
    }

    fn begin_task(&mut self, context: &mut Context, database: &mut Database, generation: u32) -> Checked {
        let now = context.clock.now();
        let Some(task) = self.schedule.poll(now) else { return Ok(()) };
        let skipped = if task == Task::Sync { Sabotage::SkipsSync } else { Sabotage::SkipsExpiry };
        if context.has(skipped) {
            self.schedule.done(task, Some(Progress::Done), now.tick, now.tick);
            return Ok(());
        }
        context.checker.upkeep.began(now.tick, task)?;
        let (outcome, duration) = database.upkeep(context, now, task)?;
        context.note(|| format!("upkeep: {task:?} will end with {outcome:?}"));
        self.running = Some(RunningTask { task, progress: outcome.ok(), began: now.tick });
        context.after(duration, Event::Upkeep { generation });
        Ok(())
    }

    fn end_task(&mut self, context: &mut Context, database: &mut Database, running: &RunningTask) -> Checked {
        let RunningTask { task, progress, began } = *running;
        let now = context.clock.tick();
        match task {
            Task::Sync => {
                context.checker.upkeep.sync_ended(began, now, progress.is_some());
                if progress.is_some() {
                    database.synced(context);
                }
            }
            Task::Survey(_) => (),
            Task::Expire(_) => {
                let complete = progress.map(|progress| progress == Progress::Done);
                if let Some((limit, touched)) = context.checker.upkeep.slice_ended(began, now, complete)? {
                    context.checker.records.round_ended(limit, &touched)?;
                }
            }
        }
        if !context.has(Sabotage::UpkeepSpins) {
            self.schedule.done(task, progress, began, now);
        }
        if let Task::Survey(_) = task {
            let waiting = self.schedule.waiting().filter(|_| progress.is_some());
            context.checker.upkeep.survey_ended(began, now, progress.is_some(), waiting)?;
        }
        Ok(())
    }
}
