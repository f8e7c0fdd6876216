//! The ledger of a request: any order of attempts and ends gives one record that adds up.

use proptest::prelude::*;

use super::*;
use crate::auth::{Counts, Estimate, KeyMeter, Limits};

/// Tokens of a budget.
const BUDGET: u64 = 5_000;

/// An attempt at a backend.
#[derive(Debug, Clone)]
struct Try {
    /// Tokens of the prompt, and those that the answer may have.
    prompt: u64,
    answer: u64,
    /// How many deltas of the answer come.
    deltas: u64,
    /// Whether the backend reports usage.
    is_reported: bool,
    status: Status,
    /// A tool call follows.
    has_tool_call: bool,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Finish(Status),
    Drop,
    Cancel,
    /// Dropped while an attempt is under way.
    DropWithin,
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let status =
        prop_oneof![4 => Just(Status::Completed), 1 => Just(Status::Failed), 1 => Just(Status::Cancelled)];
    let one = (1_u64..200, 1_u64..50, 0_u64..50, any::<bool>(), status, any::<bool>()).prop_map(
        |(prompt, answer, deltas, is_reported, status, has_tool_call)| Try {
            prompt,
            answer,
            deltas: deltas.min(answer),
            is_reported,
            status,
            has_tool_call,
        },
    );
    prop::collection::vec(one, 0..8)
}

fn end() -> impl Strategy<Value = End> {
    let status = prop_oneof![Just(Status::Completed), Just(Status::Failed), Just(Status::Refused)];
    prop_oneof![status.prop_map(End::Finish), Just(End::Drop), Just(End::Cancel), Just(End::DropWithin)]
}

/// Runs a request against the budget; false: the budget had not enough left.
fn run(fixture: &Fixture, meter: &Arc<KeyMeter>, tries: &[Try], end: End) -> bool {
    let Ok(permit) = meter.begin(true) else { return false };
    let mut ledger = fixture.begin();
    ledger.hold(permit);
    for (nth, one) in tries.iter().enumerate() {
        if ledger.reserve(Estimate::counted(one.prompt, one.answer), one.prompt).is_err() {
            ledger.finish(Outcome::new(Status::Refused, 429));
            return true;
        }
        ledger.begin_attempt("qwen");
        for _ in 0..one.deltas {
            ledger.live().add_tokens(1);
        }
        if matches!(end, End::DropWithin) && nth + 1 == tries.len() {
            return true;
        }
        let reported = Tokens {
            prompt: one.is_reported.then_some(one.prompt),
            completion: one.is_reported.then_some(one.deltas),
            ..Tokens::default()
        };
        ledger.end_attempt(one.status, reported, None);
        if one.has_tool_call {
            ledger.push_tool_call("calculator", Duration::from_millis(1), None);
        }
    }
    match end {
        End::Finish(status) => ledger.finish(Outcome::new(status, 200)),
        End::Cancel => assert!(fixture.recorder.cancel(&ledger.id().to_string())),
        End::Drop | End::DropWithin => {}
    }
    true
}

async fn adds_up(requests: Vec<(Vec<Try>, End)>) {
    let fixture = Fixture::new();
    let limits = Limits { tokens_per_day: Some(BUDGET), ..Limits::default() };
    let meter = Arc::new(KeyMeter::new(limits, Counts::default(), fixture.clock.clone()));
    let mut begun = 0;
    for (tries, end) in requests {
        begun += usize::from(run(&fixture, &meter, &tries, end));
        assert!(meter.used().0 <= BUDGET, "the budget is passed");
    }
    let views = fixture.all().await;
    assert_eq!(views.len(), begun, "one record per request");
    let mut used = 0;
    for view in views {
        let attempts = view.attempts.as_slice();
        let numbers: Vec<usize> = attempts.iter().map(|attempt| attempt.number as usize).collect();
        assert_eq!(numbers, (0..attempts.len()).collect::<Vec<_>>());
        let sum = |figure: fn(&AttemptView) -> Option<u64>| attempts.iter().filter_map(figure).sum::<u64>();
        assert_eq!(view.prompt_tokens.unwrap_or(0), sum(|attempt| attempt.prompt_tokens));
        assert_eq!(view.completion_tokens.unwrap_or(0), sum(|attempt| attempt.completion_tokens));
        assert_eq!(view.estimated, attempts.iter().any(|attempt| attempt.estimated));
        used += view.prompt_tokens.unwrap_or(0) + view.completion_tokens.unwrap_or(0);
    }
    assert_eq!(meter.used().0, used, "budgets settle from the records' sums");
    assert_eq!(meter.left(), Some(BUDGET - used), "nothing stays reserved");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn ledger_adds_up_for_any_order_of_attempts_and_ends(
        requests in prop::collection::vec((tries(), end()), 1..12)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(adds_up(requests));
    }
}

#[tokio::test]
async fn ledger_estimates_the_prompt_of_an_attempt_whose_client_left() {
    let fixture = Fixture::new();
    let mut ledger = fixture.begin();
    let id = ledger.id();
    ledger.reserve(Estimate::default(), 120).unwrap();
    ledger.begin_attempt("qwen");
    drop(ledger);
    let view = fixture.get(id).await;
    assert_eq!((view.status.as_str(), view.prompt_tokens, view.estimated), ("cancelled", Some(120), true));
}

#[tokio::test]
async fn ledger_invents_no_prompt_for_an_attempt_that_failed_before_its_first_token() {
    let fixture = Fixture::new();
    let mut ledger = fixture.begin();
    let id = ledger.id();
    ledger.reserve(Estimate::default(), 120).unwrap();
    ledger.begin_attempt("qwen");
    ledger.end_attempt(Status::Failed, Tokens::default(), Some("reset".into()));
    ledger.begin_attempt("qwen");
    let reported = Tokens { prompt: Some(100), completion: Some(7), ..Tokens::default() };
    ledger.finish(Outcome { tokens: reported, ..Outcome::new(Status::Completed, 200) });
    let view = fixture.get(id).await;
    assert_eq!((view.prompt_tokens, view.completion_tokens, view.estimated), (Some(100), Some(7), false));
    assert_eq!(view.attempts[0].prompt_tokens, None);
}
