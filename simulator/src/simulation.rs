//! A run: phases of requests and incidents, and a final phase without faults in which everything must work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{AccessOrder, Task, UnixTime};

use crate::clients::Clients;
use crate::context::Context;
use crate::database::Database;
use crate::event::{Event, Health, Incident, RemoteCalls};
use crate::invariant::{Checked, Invariant};
use crate::plan::{Fault, Plan, Sabotage};
use crate::rules::Rules;
use crate::server::ServerProcess;

/// The most steps of a run.
const MOST_STEPS: u64 = 300_000;
/// The time after the last phase for databases, datagrams and clients that are late.
const LATE: Duration = Duration::from_secs(20);
/// The time between two attempts to start.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Simulation {
    pub(crate) context: Context,
    database: Database,
    clients: Clients,
    server: Option<ServerProcess>,
    /// Servers that were started.
    generations: u32,
    /// The files that the next start or reload reads.
    rules: Arc<Rules>,
    order: AccessOrder,
    phases: u64,
    /// Whether all faults have ended.
    final_phase: bool,
    pub(crate) steps: u64,
}

impl Simulation {
    pub(crate) fn new(plan: Plan, traced: bool) -> Self {
        let most = plan.phases;
        let mut context = Context::new(plan, traced);
        let phases = context.random.between(1, Plan::PHASES).min(most);
        let order = if context.random.percent(50) { AccessOrder::FirstMatch } else { AccessOrder::LastMatch };
        let rules = Arc::new(Rules::random(&mut context.random, order));
        let (database, clients) = (Database::new(&mut context), Clients::new(&mut context));
        context.note(|| format!("the rules are {rules:?}"));
        let mut simulation = Self {
            context,
            database,
            clients,
            server: None,
            generations: 0,
            rules,
            order,
            phases,
            final_phase: false,
            steps: 0,
        };
        simulation.start();
        simulation
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) -> Checked {
        self.context.after(Duration::ZERO, Event::Phase);
        self.run_until(|simulation| simulation.phases == 0)?;
        self.run_for(LATE)?;
        self.run_final_phase()
    }

    /// Ends all faults. Then all clients must have a reply in time, and a stop must leave no work undone.
    fn run_final_phase(&mut self) -> Checked {
        self.context.note(|| "all faults end".to_owned());
        self.final_phase = true;
        self.context.stop_faults();
        self.context.clock.correct();
        self.database.set_health(Health::Healthy, self.context.clock.tick());
        if self.server.as_ref().is_some_and(ServerProcess::is_stopping) {
            self.run_until(|simulation| simulation.server.is_none())?;
        }
        self.start();
        let fails = false;
        self.incident(Incident::Reload { fails });
        self.clients.probe(&mut self.context, &self.rules);
        self.run_for(Clients::probe_time())?;
        self.clients.check_probes()?;
        self.incident(Incident::Stop);
        self.run_until(|simulation| simulation.server.is_none())?;
        Invariant::StopsEnd
            .holds(self.server.is_none(), || "a stop waits without an event to wait for".to_owned())
    }

    fn run_for(&mut self, time: Duration) -> Checked {
        let end = self.context.clock.tick().after(time);
        self.run_until(|simulation| simulation.context.clock.tick() >= end)
    }

    fn run_until(&mut self, is_over: impl Fn(&Self) -> bool) -> Checked {
        while !is_over(self) {
            let Some(event) = self.context.next() else { break };
            self.steps += 1;
            let steps = self.steps;
            Invariant::TimeAdvances.holds(steps < MOST_STEPS, || format!("no end after {steps} steps"))?;
            self.step(event)?;
            self.context.checker.time_passed(self.context.clock.tick())?;
        }
        Ok(())
    }

    fn step(&mut self, event: Event) -> Checked {
        let context = &mut self.context;
        match event {
            Event::Phase | Event::Incident(_) | Event::Attack | Event::Flood if self.final_phase => (),
            Event::Phase => self.phase(),
            Event::Incident(incident) => self.incident(incident),
            Event::Send { client } => self.clients.send(context, client),
            Event::Attack => self.clients.attack(context, &self.rules),
            Event::Flood => self.clients.flood(context, &self.rules),
            Event::Reply { client, code } => self.clients.replied(client, code),
            Event::RemoteCalls(request) => return self.apply(&request),
            Event::Arrival(datagram) => match &mut self.server {
                Some(server) => server.arrive(context, datagram),
                None => context.note(|| format!("copy {} is lost: no server runs", datagram.copy)),
            },
            Event::Worker { generation, .. }
            | Event::Connection { generation, .. }
            | Event::Upkeep { generation } => {
                return self.step_server(generation, &event);
            }
        }
        Ok(())
    }

    fn step_server(&mut self, generation: u32, event: &Event) -> Checked {
        let Some(server) = self.server.as_mut().filter(|server| server.generation() == generation) else {
            return Ok(());
        };
        server.step(&mut self.context, &mut self.database, event)?;
        if server.is_stopping() && server.has_stopped() {
            self.server = None;
            return self.stopped();
        }
        Ok(())
    }

    /// Syncs the store, as a server does at the end of a stop, and checks the disk.
    fn stopped(&mut self) -> Checked {
        self.context.note(|| "the server has stopped".to_owned());
        self.context.checker.stopped()?;
        if self.context.has(Sabotage::StopsWithoutSync) {
            return self.database.check_disk(&self.context);
        }
        let now = self.context.clock.now();
        let (outcome, _) = self.database.upkeep(&mut self.context, now, Task::Sync)?;
        if outcome.is_ok() {
            self.database.synced(&mut self.context);
            self.database.check_disk(&self.context)?;
        }
        Ok(())
    }

    /// Executes calls on the remote database, even if the caller has given up.
    fn apply(&mut self, request: &RemoteCalls) -> Checked {
        let answers = self.database.receive(&mut self.context, request)?;
        if let (Some((generation, index)), Some(server)) = (request.caller, &mut self.server)
            && server.generation() == generation
        {
            server.answered(index, answers);
        }
        Ok(())
    }

    /// Starts a server. If another one has not yet stopped and released the store, tries again later.
    fn start(&mut self) {
        match &self.server {
            Some(server) if server.is_stopping() => {
                self.context.after(RESTART_PAUSE, Event::Incident(Incident::Start));
            }
            Some(_) => (),
            None => {
                self.generations += 1;
                self.database.reopen();
                self.server = Some(ServerProcess::start(&mut self.context, self.generations, &self.rules));
            }
        }
    }

    /// Schedules a phase: some seconds of requests and incidents, and a pause of up to two days.
    fn phase(&mut self) {
        self.phases = self.phases.saturating_sub(1);
        let context = &mut self.context;
        let span = 1000 + context.random.magnitude(23);
        for _ in 0..context.random.magnitude(8) {
            let delay = context.random.micros(0, span);
            self.clients.ask(context, &self.rules, delay);
        }
        for _ in 0..context.random.magnitude(6) {
            let delay = context.random.micros(0, span);
            if context.injects(Fault::Hostile, 70) {
                context.after(delay, Event::Attack);
            }
        }
        let delay = context.random.micros(0, span);
        if context.injects(Fault::Floods, 30) {
            context.after(delay, Event::Flood);
        }
        for _ in 0..context.random.between(0, 4) {
            let delay = context.random.micros(0, span);
            plan_incident(context, delay);
        }
        let pause = Duration::from_micros(span) + Duration::from_millis(context.random.magnitude(27));
        context.after(pause, Event::Phase);
    }

    fn incident(&mut self, incident: Incident) {
        let context = &mut self.context;
        context.note(|| format!("{incident:?}"));
        match (incident, &mut self.server) {
            (Incident::Health(health), _) => self.database.set_health(health, context.clock.tick()),
            (Incident::Clock { correct: true }, _) => context.clock.correct(),
            (Incident::Clock { correct: false }, _) => set_clock(context),
            (Incident::Start, _) => self.start(),
            (Incident::Stop, Some(server)) => server.stop(context),
            (Incident::Crash { power }, Some(_)) => {
                self.server = None;
                context.checker.crashed();
                // A remote database keeps its power.
                let power = power && context.is_file();
                self.database.crashed(context, power);
            }
            (Incident::Reload { fails }, Some(server)) => {
                // Most reloads are for the rotation of logs: the files have not changed.
                if !fails && context.random.percent(50) {
                    self.rules = Arc::new(Rules::random(&mut context.random, self.order));
                }
                server.reload(context, &self.rules, fails);
            }
            (Incident::Stop | Incident::Crash { .. } | Incident::Reload { .. }, None) => (),
        }
    }
}

/// Schedules an incident and its end.
fn plan_incident(context: &mut Context, delay: Duration) {
    match context.random.between(0, 9) {
        0..=3 if context.injects(Fault::Database, 100) => {
            let health = context.random.pick(&[Health::Flaky, Health::Hanging, Health::Down]);
            context.after(delay, Event::Incident(Incident::Health(health)));
            // A local file hangs for seconds; a remote database can be down for hours.
            let longest = if context.is_file() { 11 } else { 23 };
            let end = delay + Duration::from_millis(context.random.magnitude(longest));
            context.after(end, Event::Incident(Incident::Health(Health::Healthy)));
        }
        4 | 5 if context.injects(Fault::Reloads, 100) => {
            let fails = context.random.percent(25);
            context.after(delay, Event::Incident(Incident::Reload { fails }));
        }
        6 | 7 if context.injects(Fault::Clock, 100) => {
            context.after(delay, Event::Incident(Incident::Clock { correct: false }));
            let end = delay + Duration::from_millis(context.random.magnitude(25));
            context.after(end, Event::Incident(Incident::Clock { correct: true }));
        }
        8 if context.injects(Fault::Crashes, 100) => {
            let power = context.random.percent(50);
            context.after(delay, Event::Incident(Incident::Crash { power }));
            let pause = Duration::from_millis(context.random.magnitude(12));
            context.after(delay + pause, Event::Incident(Incident::Start));
        }
        9 if context.injects(Fault::Stops, 100) => {
            context.after(delay, Event::Incident(Incident::Stop));
            let pause = Duration::from_millis(context.random.magnitude(14));
            context.after(delay + pause, Event::Incident(Incident::Start));
        }
        _ => (),
    }
}

fn set_clock(context: &mut Context) {
    /// 2038-01-19 03:14:07, the last second of 32 bits.
    const LAST_SECOND: i64 = 2_147_483_647;
    /// 9999-12-31 23:59:59, the last second of four digits.
    const LAST_YEAR: i64 = 253_402_300_799;
    const SHIFTS: [i64; 10] = [-1, 1, -290, 290, -310, 310, -3600, 86_400, -86_400, -31_536_000];
    const SECONDS: [i64; 7] = [LAST_SECOND - 1, LAST_YEAR, 0, -1, -86_400, i64::MIN, i64::MAX];
    match context.random.between(0, 2) {
        0 => context.clock.shift_wall(context.random.pick(&SHIFTS)),
        _ => context.clock.set_wall(UnixTime::from_seconds(context.random.pick(&SECONDS))),
    }
}

/// Returns smaller plans: with fewer phases, or with one more fault excluded.
pub(crate) fn smaller(plan: &Plan) -> impl Iterator<Item = Plan> {
    let fewer = (1..plan.phases).map(|phases| Plan { phases, ..plan.clone() });
    let calmer = Fault::ALL.into_iter().filter(|fault| !plan.without.contains(fault)).map(|fault| {
        let without: BTreeSet<Fault> = plan.without.iter().copied().chain([fault]).collect();
        Plan { without, ..plan.clone() }
    });
    fewer.chain(calmer)
}
