//! Each invariant can fail: servers that are broken on purpose are found out, and for the right reason.

use pyzord_simulator::{Invariant, Plan, Sabotage, minimise, run, trace};

/// So many seeds are tried; a fault that chance rarely meets needs a few.
const SEEDS: u64 = 200;

fn violations(sabotage: Sabotage) -> impl Iterator<Item = (Plan, Invariant)> {
    let plans = (0..SEEDS).map(move |seed| Plan { sabotage: Some(sabotage), ..Plan::new(seed) });
    plans.filter_map(|plan| {
        let invariant = run(&plan).err()?.invariant;
        Some((plan, invariant))
    })
}

macro_rules! sensitivity {
    ($($name:ident: $sabotage:ident breaks $invariant:ident $(or $other:ident)*;)*) => {$(
        #[test]
        fn $name() {
            let known = [Invariant::$invariant $(, Invariant::$other)*];
            let violation = violations(Sabotage::$sabotage)
                .inspect(|(plan, invariant)| assert!(known.contains(invariant), "{invariant:?}: {plan:?}"))
                .find(|(_, invariant)| *invariant == Invariant::$invariant);
            assert!(violation.is_some(), "no seed of {SEEDS} found it");
        }
    )*};
}

// Where a second invariant is named, a run may meet it first: a stop comes before ten seconds have passed,
// and what half a policy grants is seen when the store is asked for it.
sensitivity! {
    a_store_that_counts_twice: CountsTwice breaks EachCallCountsOnce;
    a_server_that_acknowledges_first: AcknowledgesFirst breaks AcknowledgedIsCounted;
    a_server_that_repeats_lost_batches: RepeatsLostBatches breaks NothingIsInvented;
    a_reload_that_mixes_policies: MixesPolicies breaks AnswersAreLawful or OnlyGrantedCalls;
    a_failed_reload_that_forgets: FailedReloadForgets breaks AnswersAreLawful or OnlyGrantedCalls;
    a_server_that_answers_twice: AnswersTwice breaks AnsweredOnce;
    a_server_that_forgets_what_it_cannot_do: ForgetsOverflow breaks AnsweredSoon or StopsAnswerAll;
    a_server_that_counts_what_is_forbidden: CountsForbidden breaks OnlyGrantedCalls;
    a_reload_that_forgets_copies: ReloadForgetsCopies breaks CopiesCountOnce or LimitsHold;
    a_memory_that_never_settles: NeverSettles breaks AnsweredOnce;
    a_server_without_limits: LimitsNobody breaks LimitsHold;
    a_limit_for_everybody_together: LimitsEverybody breaks TheHonestAreServed;
    a_host_shut_out_for_what_others_send: FailuresShutOut breaks TheHonestAreServed;
    a_server_that_answers_replies: AnswersReplies breaks NothingWithoutOp;
    a_server_that_answers_port_zero: AnswersPortZero breaks NothingToPortZero;
    a_server_that_pads_replies: PadsReplies breaks RepliesWeighLittle;
    a_server_that_mixes_peers: MixesPeers breaks RepliesGoToTheirPeers;
    a_server_with_stale_reads: StaleReads breaks ReadsAreTrue;
    a_server_that_loses_answers: LosesAnswers breaks RefusedForACause;
    a_queue_that_refuses_early: RefusesEarly breaks RefusedForACause;
    an_endless_queue: EndlessQueue breaks InFlightIsBounded;
    pings_that_wait_for_the_database: PingsWait breaks PingsNeverWait;
    a_link_without_pauses: ConnectsWithoutPause breaks ConnectsAreSpaced;
    a_link_that_gives_up: NeverReconnects breaks ComesBack;
    upkeep_that_spins: UpkeepSpins breaks UpkeepIsSpaced;
    a_server_that_skips_syncs: SkipsSync breaks SyncsInTime;
    a_server_that_skips_expiry: SkipsExpiry breaks ExpiresInTime;
    expiry_that_removes_nothing: ExpiresNothing breaks RoundsAreComplete;
    expiry_that_removes_the_fresh: ExpiresFresh breaks FreshRecordsStay;
    a_stop_at_once: StopsAtOnce breaks StopsAnswerAll;
    a_stop_that_forgets_the_queue: NeverCloses breaks StopsEnd;
    a_stop_without_sync: StopsWithoutSync breaks StopsSync;
}

#[test]
fn the_least_plan_fails_for_the_same_reason_and_its_trace_shows_it() {
    let (plan, invariant) = violations(Sabotage::CountsTwice).next().unwrap();
    let least = minimise(&plan, invariant);
    assert!(least.acts < plan.acts && !least.without.is_empty());
    let (lines, outcome) = trace(&least);
    assert_eq!(outcome.unwrap_err().invariant, invariant);
    assert!(!lines.is_empty() && lines.len() <= trace(&plan).0.len());
}
