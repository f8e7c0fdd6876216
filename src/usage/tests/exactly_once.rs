//! One record per request, whatever happens around it.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

const THREADS: usize = 8;
const REQUESTS_PER_THREAD: usize = 1250;

#[tokio::test]
async fn ten_thousand_requests_at_once_leave_one_record_each() {
    let fixture = Fixture::new();
    let mut expected = HashMap::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|nth| {
                scope.spawn({
                    let fixture = &fixture;
                    move || a_mix(fixture, nth)
                })
            })
            .collect();
        for thread in threads {
            expected.extend(thread.join().unwrap());
        }
    });
    fixture.recorder.flush().await.unwrap();

    let mut seen = HashMap::new();
    let mut before = None;
    loop {
        let filter = Filter { before: before.take(), limit: LIST_MAX, ..Filter::default() };
        let page = fixture.recorder.list(filter).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id.clone());
        for view in page {
            let ending = (view.status, view.completion_tokens);
            assert_eq!(seen.insert(view.id, ending), None, "a record was listed twice");
        }
    }
    assert_eq!(seen, expected);
    assert_eq!(fixture.recorder.lost(), 0);
    assert!(fixture.recorder.live().is_empty());
}

/// Begins and ends requests in every way, some of them overlapping.
fn a_mix(fixture: &Fixture, thread: usize) -> Vec<(String, (String, Option<u64>))> {
    let mut open = Vec::new();
    let mut expected = Vec::new();
    for nth in 0..REQUESTS_PER_THREAD {
        let ledger = fixture.begin();
        let id = ledger.id().to_string();
        let tokens = (nth % 7) as u64;
        (0..tokens).for_each(|_| ledger.live().add_tokens(1));
        let counted = (tokens > 0).then_some(tokens);
        match (thread + nth) % 4 {
            0 => {
                ledger.finish(completed(1, 100));
                expected.push((id, ("completed".to_owned(), Some(100))));
            }
            1 => {
                ledger.finish(Outcome::new(Status::Failed, 502));
                expected.push((id, ("failed".to_owned(), counted)));
            }
            2 => {
                drop(ledger);
                expected.push((id, ("cancelled".to_owned(), counted)));
            }
            _ => {
                open.push(ledger);
                expected.push((id, ("cancelled".to_owned(), counted)));
            }
        }
        if open.len() > 50 {
            open.clear();
        }
    }
    expected
}

#[derive(Debug, Clone)]
enum Action {
    Begin,
    Count(usize, u64),
    Finish(usize, Status),
    Drop(usize),
    Flush,
}

fn action() -> impl Strategy<Value = Action> {
    let status =
        prop::sample::select(vec![Status::Completed, Status::Failed, Status::Refused, Status::Cancelled]);
    prop_oneof![
        3 => Just(Action::Begin),
        3 => (any::<usize>(), 1_u64..9).prop_map(|(which, tokens)| Action::Count(which, tokens)),
        2 => (any::<usize>(), status).prop_map(|(which, status)| Action::Finish(which, status)),
        1 => any::<usize>().prop_map(Action::Drop),
        1 => Just(Action::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_leaves_one_record_per_request_with_its_last_state(
        actions in prop::collection::vec(action(), 1..60)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(plays_out(actions));
    }
}

async fn plays_out(actions: Vec<Action>) {
    let fixture = Fixture::new();
    let mut open: Vec<(Ledger, u64)> = Vec::new();
    let mut expected: HashMap<String, (Status, u64)> = HashMap::new();
    for action in actions {
        let at = |which: usize| (!open.is_empty()).then(|| which % open.len());
        match action {
            Action::Begin => {
                let ledger = fixture.begin();
                expected.insert(ledger.id().to_string(), (Status::Running, 0));
                open.push((ledger, 0));
            }
            Action::Count(which, tokens) => {
                if let Some((ledger, counted)) = at(which).and_then(|at| open.get_mut(at)) {
                    ledger.live().add_tokens(tokens);
                    *counted += tokens;
                    expected.insert(ledger.id().to_string(), (Status::Running, *counted));
                }
            }
            Action::Finish(which, status) => {
                if let Some(at) = at(which) {
                    let (ledger, counted) = open.swap_remove(at);
                    expected.insert(ledger.id().to_string(), (status, counted));
                    ledger.finish(Outcome::new(status, 200));
                }
            }
            Action::Drop(which) => {
                if let Some(at) = at(which) {
                    let (ledger, counted) = open.swap_remove(at);
                    expected.insert(ledger.id().to_string(), (Status::Cancelled, counted));
                }
            }
            Action::Flush => fixture.recorder.flush().await.unwrap(),
        }
    }
    let views = fixture.all().await;
    assert_eq!(views.iter().map(|view| &view.id).collect::<HashSet<_>>().len(), views.len());
    let found: HashMap<_, _> = views
        .into_iter()
        .map(|view| {
            (view.id, (Status::from_name(&view.status).unwrap(), view.completion_tokens.unwrap_or(0)))
        })
        .collect();
    assert_eq!(found, expected);
}
