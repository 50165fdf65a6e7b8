//! Each invariant can fail: the simulator detects every sabotage, for the right reason.

use pyzord_simulator::{Invariant, Plan, Sabotage, minimise, run, trace};

/// The most seeds per sabotage; most need few.
const SEEDS: u64 = 600;

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
            assert!(violation.is_some(), "none of {SEEDS} seeds found it");
        }
    )*};
}

// If a second invariant is named, a run may break it first: a stop comes before ten seconds have passed, and the
// grant of half a policy shows in the store calls.
sensitivity! {
    a_store_that_counts_twice: CountsTwice breaks EachCallCountsOnce;
    a_server_that_acknowledges_first: AcknowledgesFirst breaks AcknowledgedIsCounted;
    a_server_that_resends_lost_batches: RepeatsLostBatches breaks NoExtraCounts or CopiesCountOnce;
    a_reload_that_mixes_policies: MixesPolicies breaks RepliesFollowTheRules or OnlyGrantedCalls;
    a_failed_reload_that_forgets: FailedReloadForgets breaks RepliesFollowTheRules or OnlyGrantedCalls;
    a_server_that_answers_twice: AnswersTwice breaks AnsweredOnce;
    a_server_that_forgets_refused_batches: ForgetsOverflow breaks AnsweredSoon or StopsAnswerAll;
    a_server_that_counts_forbidden_reports: CountsForbidden breaks OnlyGrantedCalls;
    a_reload_that_forgets_copies: ReloadForgetsCopies breaks CopiesCountOnce or LimitsHold;
    a_guard_that_never_settles: NeverSettles breaks AnsweredOnce;
    a_server_that_repeats_what_may_be_counted: TakesUnknownForRefused breaks CopiesCountOnce;
    a_database_that_forgets_marks: ForgetsMarks breaks CopiesCountOnce;
    a_guard_per_worker: GuardPerWorker breaks CopiesCountOnce or AnsweredOnce or LimitsHold;
    a_server_without_limits: LimitsNobody breaks LimitsHold;
    a_limit_that_all_hosts_share: LimitsEverybody breaks AllWithinLimitsAreServed;
    a_host_refused_for_forged_requests: FailuresShutOut breaks AllWithinLimitsAreServed;
    a_server_that_answers_replies: AnswersReplies breaks NoReplyWithoutOp;
    a_server_that_answers_port_zero: AnswersPortZero breaks NoReplyToPortZero;
    a_server_that_pads_replies: PadsReplies breaks RepliesAreSmall;
    a_server_that_mixes_peers: MixesPeers breaks RepliesGoToTheSender;
    a_server_with_stale_reads: StaleReads breaks ReadsMatchRecords;
    a_store_that_loses_answers: LosesAnswers breaks RefusedForAReason;
    a_store_that_answers_too_few_calls: AnswersTooFew breaks NoInternalErrors;
    a_queue_that_refuses_early: RefusesEarly breaks RefusedForAReason;
    a_check_that_overtakes_a_report: Overtakes breaks DigestsKeepTheirOrder or InFlightIsBounded;
    a_check_beside_counts_under_way: ReadsPassCounts breaks DigestsKeepTheirOrder;
    checks_that_wait_for_counts: ReadsWait breaks ReadsNeverWait;
    an_endless_queue: EndlessQueue breaks InFlightIsBounded;
    pings_that_wait_for_the_database: PingsWait breaks PingsNeverWait;
    a_link_without_pauses: ConnectsWithoutPause breaks ConnectsAreSpaced;
    a_link_that_gives_up: NeverReconnects breaks Recovers;
    upkeep_that_spins: UpkeepSpins breaks UpkeepIsSpaced;
    a_server_that_skips_syncs: SkipsSync breaks SyncsInTime;
    a_server_that_skips_expiry: SkipsExpiry breaks ExpiresInTime;
    expiry_that_believes_any_clock: BelievesAnyClock breaks ActiveRecordsStay;
    dates_that_follow_the_clock: DatesFollowTheClock breaks DatesNeverGoBack or EachCallCountsOnce;
    expiry_that_removes_nothing: ExpiresNothing breaks RoundsAreComplete;
    expiry_that_removes_fresh_records: ExpiresFresh breaks FreshRecordsStay;
    a_stop_without_replies: StopsAtOnce breaks StopsAnswerAll;
    a_stop_that_forgets_the_queue: NeverCloses breaks StopsEnd;
    a_stop_without_sync: StopsWithoutSync breaks StopsSync;
}

#[test]
fn the_smallest_plan_breaks_the_same_invariant_and_has_a_trace() {
    let (plan, invariant) = violations(Sabotage::CountsTwice).next().unwrap();
    let smallest = minimise(&plan, invariant);
    assert!(smallest.phases < plan.phases && !smallest.without.is_empty());
    let (lines, outcome) = trace(&smallest);
    assert_eq!(outcome.unwrap_err().invariant, invariant);
    // It may be longer than that of the plan: a smaller plan draws other numbers.
    assert!(!lines.is_empty());
}
