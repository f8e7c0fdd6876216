//! Several keys with limits that fill one queue: a greedy one with many clients, two modest ones that have to get
//! their turns beside it.

use std::time::Duration;

use serde_json::json;

use crate::clients::{BROKEN, COMPLETED, Dice, LATE};
use crate::support::Gateway;
use crate::{Kind, Soak, chat};

/// Tokens a day of one of the modest keys, and the most that one of its requests takes.
const BUDGET: u64 = 3_000;
const REQUEST: u64 = 100;

pub struct Keys {
    greedy: String,
    rated: String,
    budgeted: String,
    budgeted_id: String,
    pub mcp: String,
}

const LIMITED: &str = "429 rate_limit_exceeded";
const FULL: &str = "429 queue_full";

pub fn kinds() -> Vec<Kind> {
    vec![
        Kind {
            name: "greedy key",
            clients: (12, 16),
            ask: ask_greedily,
            ends: &[COMPLETED, FULL, BROKEN, LATE],
        },
        // Theirs is never the lane with the most waiting requests, so that they never find the queue full.
        Kind { name: "key with a rate", clients: (1, 1), ask: ask_rated, ends: &[COMPLETED, LIMITED] },
        Kind { name: "key with a budget", clients: (1, 1), ask: ask_budgeted, ends: &[COMPLETED, LIMITED] },
    ]
}

impl Keys {
    pub fn make(gateway: &Gateway, admin: &str) -> Keys {
        // Of another account: a queue is fair between accounts, and keys of one share their turns.
        let (owner, _) = gateway.user(admin, "greedy@example.com");
        let (greedy, _) = gateway.key(&owner, &json!({"name": "greedy", "tokens_per_month": 1_000_000_000}));
        let (rated, _) = gateway.key(admin, &json!({"name": "rated", "requests_per_minute": 120}));
        let (budgeted, budgeted_id) =
            gateway.key(admin, &json!({"name": "budgeted", "tokens_per_day": BUDGET}));
        let (mcp, _) = gateway.key(admin, &json!({"name": "mcp", "scopes": ["mcp"]}));
        Keys { greedy, rated, budgeted, budgeted_id, mcp }
    }
}

fn ask(soak: &Soak, key: &str, dice: &mut Dice, id: &str) -> Option<String> {
    let more = json!({"stream": dice.roll(2) > 0, "max_tokens": 20});
    let body = chat("narrow", "#chunks=10 #interval-us=5000", more);
    soak.post(id, "/v1/chat/completions", &format!("authorization: Bearer {key}\r\n"), &body)
}

fn ask_greedily(soak: &Soak, dice: &mut Dice, id: &str) -> Option<String> {
    let end = ask(soak, &soak.keys.greedy, dice, id)?;
    if end != COMPLETED {
        // Not a queue that is asked without a pause.
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Some(end)
}

fn ask_rated(soak: &Soak, dice: &mut Dice, id: &str) -> Option<String> {
    std::thread::park_timeout(Duration::from_millis(50));
    ask(soak, &soak.keys.rated, dice, id)
}

fn ask_budgeted(soak: &Soak, dice: &mut Dice, id: &str) -> Option<String> {
    std::thread::park_timeout(Duration::from_millis(50));
    ask(soak, &soak.keys.budgeted, dice, id)
}

/// The queue was full, and a budget was not passed by more than one request.
pub fn check_budgets(soak: &Soak) {
    assert!(soak.ledger.has("greedy key", FULL), "the queue was never full");
    let usage = soak.view("/api/v1/usage?group_by=key");
    let groups = usage["groups"].as_array().unwrap();
    let mine = groups.iter().find(|group| group["group"] == soak.keys.budgeted_id.as_str()).unwrap();
    let used = mine["total_tokens"].as_u64().unwrap();
    println!("{used:>8}  tokens of a budget of {BUDGET}");
    assert!(used <= BUDGET + REQUEST, "{used} tokens were used of {BUDGET}");
}
