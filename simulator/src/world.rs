//! A run: acts of requests and trouble, and then a quiet end in which everything must work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{AccessOrder, Task, UnixTime};

use crate::clients::Clients;
use crate::database::{Application, Database, Health};
use crate::invariant::{Checked, Invariant};
use crate::law::Rules;
use crate::plan::{Nuisance, Plan, Sabotage};
use crate::server::Server;
use crate::stage::{Event, Stage, Trouble};

/// No run has more steps.
const MOST_STEPS: u64 = 300_000;
/// What may still be under way when the last act is over: late databases, late datagrams, clients that wait.
const REST: Duration = Duration::from_secs(20);
/// How often a start is tried.
const RESTART: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) stage: Stage,
    database: Database,
    clients: Clients,
    server: Option<Server>,
    lives: u32,
    /// The files, as the next start or reload reads them.
    rules: Arc<Rules>,
    order: AccessOrder,
    acts: u64,
    /// All faults have ended.
    quiet: bool,
    pub(crate) steps: u64,
}

impl World {
    pub(crate) fn new(plan: Plan, traced: bool) -> Self {
        let most = plan.acts;
        let mut stage = Stage::new(plan, traced);
        let acts = stage.random.between(1, Plan::ACTS).min(most);
        let order = if stage.random.percent(50) { AccessOrder::FirstMatch } else { AccessOrder::LastMatch };
        let rules = Arc::new(Rules::random(&mut stage.random, order));
        let (database, clients) = (Database::new(&mut stage), Clients::new(&mut stage));
        stage.note(|| format!("the rules are {rules:?}"));
        let mut world = Self {
            stage,
            database,
            clients,
            server: None,
            lives: 0,
            rules,
            order,
            acts,
            quiet: false,
            steps: 0,
        };
        world.start();
        world
    }

    /// Runs it to its end.
    pub(crate) fn run(&mut self) -> Checked {
        self.stage.after(Duration::ZERO, Event::Act);
        self.run_until(|world| world.acts == 0)?;
        self.run_for(REST)?;
        self.quiet_end()
    }

    /// All faults end. Everybody has an answer soon, and a stop leaves nothing undone.
    fn quiet_end(&mut self) -> Checked {
        self.stage.note(|| "all faults end".to_owned());
        self.quiet = true;
        self.stage.quieten();
        self.stage.clock.correct();
        self.database.set_health(Health::Well, self.stage.clock.tick());
        if self.server.as_ref().is_some_and(Server::is_stopping) {
            self.run_until(|world| world.server.is_none())?;
        }
        self.start();
        let fails = false;
        self.trouble(Trouble::Reload { fails });
        self.clients.probe(&mut self.stage, &self.rules);
        self.run_for(Clients::probe_time())?;
        self.clients.check_probes()?;
        self.trouble(Trouble::Stop);
        self.run_until(|world| world.server.is_none())?;
        Invariant::StopsEnd.holds(self.server.is_none(), || "a stop waits for nothing, for ever".to_owned())
    }

    fn run_for(&mut self, time: Duration) -> Checked {
        let end = self.stage.clock.tick().after(time);
        self.run_until(|world| world.stage.clock.tick() >= end)
    }

    fn run_until(&mut self, is_over: impl Fn(&Self) -> bool) -> Checked {
        while !is_over(self) {
            let Some(event) = self.stage.next() else { break };
            self.steps += 1;
            let steps = self.steps;
            Invariant::TimeAdvances.holds(steps < MOST_STEPS, || format!("{steps} steps and no end"))?;
            self.step(event)?;
            self.stage.judge.time_passed(self.stage.clock.tick())?;
        }
        Ok(())
    }

    fn step(&mut self, event: Event) -> Checked {
        let stage = &mut self.stage;
        match event {
            Event::Act | Event::Trouble(_) | Event::Mischief | Event::Flood if self.quiet => (),
            Event::Act => self.act(),
            Event::Trouble(trouble) => self.trouble(trouble),
            Event::Send { client } => self.clients.send(stage, client),
            Event::Mischief => self.clients.mischief(stage, &self.rules),
            Event::Flood => self.clients.flood(stage, &self.rules),
            Event::Reply { client, code } => self.clients.replied(client, code),
            Event::Application(request) => return self.apply(&request),
            Event::Arrival(datagram) => match &mut self.server {
                Some(server) => server.arrive(stage, datagram),
                None => stage.note(|| format!("copy {} is lost: there is no server", datagram.copy)),
            },
            Event::Worker { life, .. } | Event::Connection { life, .. } | Event::Upkeep { life } => {
                return self.step_server(life, &event);
            }
        }
        Ok(())
    }

    fn step_server(&mut self, life: u32, event: &Event) -> Checked {
        let Some(server) = self.server.as_mut().filter(|server| server.life == life) else { return Ok(()) };
        server.step(&mut self.stage, &mut self.database, event)?;
        if server.is_stopping() && server.has_stopped() {
            self.server = None;
            return self.stopped();
        }
        Ok(())
    }

    /// The last thing a server does is to sync; then the machine may be switched off.
    fn stopped(&mut self) -> Checked {
        self.stage.note(|| "the server has stopped".to_owned());
        self.stage.judge.stopped()?;
        if self.stage.has(Sabotage::StopsWithoutSync) {
            return self.database.check_disk(&self.stage);
        }
        let now = self.stage.clock.now();
        let (outcome, _) = self.database.upkeep(&mut self.stage, now, Task::Sync)?;
        if outcome.is_ok() {
            self.database.synced(&mut self.stage);
            self.database.check_disk(&self.stage)?;
        }
        Ok(())
    }

    /// A remote database does what it was asked to, even if nobody waits for it any more.
    fn apply(&mut self, request: &Application) -> Checked {
        let answers = self.database.receive(&mut self.stage, request)?;
        if let (Some((life, index)), Some(server)) = (request.caller, &mut self.server)
            && server.life == life
        {
            server.answered(index, answers);
        }
        Ok(())
    }

    /// Starts a server. One that has not yet stopped has the store, so the next one waits for it.
    fn start(&mut self) {
        match &self.server {
            Some(server) if server.is_stopping() => {
                self.stage.after(RESTART, Event::Trouble(Trouble::Start));
            }
            Some(_) => (),
            None => {
                self.lives += 1;
                self.database.reopen();
                self.server = Some(Server::start(&mut self.stage, self.lives, &self.rules));
            }
        }
    }

    /// Writes the playbook of an act: some seconds of requests and trouble, and a pause of up to two days.
    fn act(&mut self) {
        self.acts = self.acts.saturating_sub(1);
        let stage = &mut self.stage;
        let span = 1000 + stage.random.magnitude(23);
        for _ in 0..stage.random.magnitude(8) {
            let delay = stage.random.micros(0, span);
            self.clients.ask(stage, &self.rules, delay);
        }
        for _ in 0..stage.random.magnitude(6) {
            let delay = stage.random.micros(0, span);
            if stage.strikes(Nuisance::Hostile, 70) {
                stage.after(delay, Event::Mischief);
            }
        }
        let delay = stage.random.micros(0, span);
        if stage.strikes(Nuisance::Floods, 30) {
            stage.after(delay, Event::Flood);
        }
        for _ in 0..stage.random.between(0, 4) {
            let delay = stage.random.micros(0, span);
            plan_trouble(stage, delay);
        }
        let pause = Duration::from_micros(span) + Duration::from_millis(stage.random.magnitude(27));
        stage.after(pause, Event::Act);
    }

    fn trouble(&mut self, trouble: Trouble) {
        let stage = &mut self.stage;
        stage.note(|| format!("{trouble:?}"));
        match (trouble, &mut self.server) {
            (Trouble::Health(health), _) => self.database.set_health(health, stage.clock.tick()),
            (Trouble::Clock { correct: true }, _) => stage.clock.correct(),
            (Trouble::Clock { correct: false }, _) => set_clock(stage),
            (Trouble::Start, _) => self.start(),
            (Trouble::Stop, Some(server)) => server.stop(stage),
            (Trouble::Crash { power }, Some(_)) => {
                self.server = None;
                stage.judge.crashed();
                // A remote database does not share the machine's fate.
                let power = power && stage.is_local();
                self.database.crashed(stage, power);
            }
            (Trouble::Reload { fails }, Some(server)) => {
                // Logs are rotated more often than files change.
                if !fails && stage.random.percent(50) {
                    self.rules = Arc::new(Rules::random(&mut stage.random, self.order));
                }
                server.reload(stage, &self.rules, fails);
            }
            (Trouble::Stop | Trouble::Crash { .. } | Trouble::Reload { .. }, None) => (),
        }
    }
}

/// Puts one kind of trouble on the agenda, and its end.
fn plan_trouble(stage: &mut Stage, delay: Duration) {
    match stage.random.between(0, 9) {
        0..=3 if stage.strikes(Nuisance::Faults, 100) => {
            let health =
                stage.random.pick(&[Health::Flaky, Health::Hanging, Health::Away]).unwrap_or(Health::Away);
            stage.after(delay, Event::Trouble(Trouble::Health(health)));
            // A file does not hang for long; databases may be away for hours.
            let longest = if stage.is_local() { 11 } else { 23 };
            let end = delay + Duration::from_millis(stage.random.magnitude(longest));
            stage.after(end, Event::Trouble(Trouble::Health(Health::Well)));
        }
        4 | 5 if stage.strikes(Nuisance::Reloads, 100) => {
            let fails = stage.random.percent(25);
            stage.after(delay, Event::Trouble(Trouble::Reload { fails }));
        }
        6 | 7 if stage.strikes(Nuisance::Clock, 100) => {
            stage.after(delay, Event::Trouble(Trouble::Clock { correct: false }));
            let end = delay + Duration::from_millis(stage.random.magnitude(25));
            stage.after(end, Event::Trouble(Trouble::Clock { correct: true }));
        }
        8 if stage.strikes(Nuisance::Crashes, 100) => {
            let power = stage.random.percent(50);
            stage.after(delay, Event::Trouble(Trouble::Crash { power }));
            let pause = Duration::from_millis(stage.random.magnitude(12));
            stage.after(delay + pause, Event::Trouble(Trouble::Start));
        }
        9 if stage.strikes(Nuisance::Stops, 100) => {
            stage.after(delay, Event::Trouble(Trouble::Stop));
            let pause = Duration::from_millis(stage.random.magnitude(14));
            stage.after(delay + pause, Event::Trouble(Trouble::Start));
        }
        _ => (),
    }
}

fn set_clock(stage: &mut Stage) {
    /// 2038-01-19 03:14:07, the last second of 32 bits.
    const LAST_SECOND: i64 = 2_147_483_647;
    /// 9999-12-31 23:59:59, the last second of four digits.
    const LAST_YEAR: i64 = 253_402_300_799;
    const SHIFTS: [i64; 10] = [-1, 1, -290, 290, -310, 310, -3600, 86_400, -86_400, -31_536_000];
    const SECONDS: [i64; 7] = [LAST_SECOND - 1, LAST_YEAR, 0, -1, -86_400, i64::MIN, i64::MAX];
    match stage.random.between(0, 2) {
        0 => stage.clock.shift_wall(stage.random.pick(&SHIFTS).unwrap_or(0)),
        _ => stage.clock.set_wall(UnixTime::from_seconds(stage.random.pick(&SECONDS).unwrap_or(0))),
    }
}

/// What makes a plan smaller and still fail: trouble left out, and fewer acts.
pub(crate) fn smaller(plan: &Plan) -> impl Iterator<Item = Plan> {
    let fewer = (1..plan.acts).map(|acts| Plan { acts, ..plan.clone() });
    let calmer =
        Nuisance::ALL.into_iter().filter(|nuisance| !plan.without.contains(nuisance)).map(|nuisance| {
            let without: BTreeSet<Nuisance> = plan.without.iter().copied().chain([nuisance]).collect();
            Plan { without, ..plan.clone() }
        });
    fewer.chain(calmer)
}
