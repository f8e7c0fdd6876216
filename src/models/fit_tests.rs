//! What fits, as a table.

use super::*;
use crate::models::{Sources, inspect};
use serde_json::json;

const GIB: u64 = 1 << 30;

/// 36 layers, 8 heads of 128 in 16 bits: 147,456 bytes a token.
fn qwen3_4b(weights_bytes: u64) -> Facts {
    inspect(&Sources {
        config: Some(json!({
            "model_type": "qwen3", "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
            "head_dim": 128, "hidden_size": 2560, "max_position_embeddings": 40960,
        })),
        files: vec![crate::models::ModelFile {
            path: "model.safetensors".into(),
            bytes: Some(weights_bytes),
        }],
        ..Sources::default()
    })
}

#[test]
fn an_estimate_adds_up_weights_cache_and_overhead() {
    let facts = qwen3_4b(2 * GIB);
    let estimate = estimate(&facts, 1000, 4);
    assert_eq!(estimate.weights_bytes, 2 * GIB);
    assert_eq!(estimate.kv_bytes, 4 * 1024 * 147_456, "caches grow by 256 tokens at once");
    assert_eq!(estimate.overhead_bytes, GIB / 2 + GIB / 8);
    assert_eq!(estimate.total_bytes(), 2 * GIB + 603_979_776 + GIB / 2 + GIB / 8);
    assert!(estimate.complete);
}

#[test]
fn a_packed_cache_takes_its_bits_and_those_of_its_scales() {
    let packed = |facts: &Facts, bits, group_size| {
        estimate_packed(facts, 1024, 1, Some(KvQuantization { bits, group_size })).kv_bytes
    };
    let facts = qwen3_4b(2 * GIB);
    let plain = estimate(&facts, 1024, 1).kv_bytes;
    // 4 bits and 32 more for each 64: 4.5 of 16.
    assert_eq!(packed(&facts, 4, 64), plain * 9 / 32);
    assert_eq!(packed(&facts, 8, 32), plain * 9 / 16);
    assert_eq!(packed(&facts, 16, 64), plain, "never more than without");
    // One layer in two looks back 512 tokens only, and stays as it is.
    let windowed = inspect(&Sources {
        config: Some(json!({
            "model_type": "gemma3_text", "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1,
            "head_dim": 256, "sliding_window": 512, "layer_types": ["sliding_attention", "full_attention"],
        })),
        ..Sources::default()
    });
    let each = 2 * 256 * 2;
    assert_eq!(estimate(&windowed, 1024, 1).kv_bytes, each * (512 + 1024));
    assert_eq!(packed(&windowed, 4, 64), each * 512 + each * 1024 * 9 / 32);
}

#[test]
fn what_is_unknown_is_counted_as_nothing_and_said() {
    let mut facts = qwen3_4b(2 * GIB);
    facts.kv_cache = None;
    let partial = estimate(&facts, 1000, 1);
    assert_eq!((partial.kv_bytes, partial.complete), (0, false));
    assert_eq!(largest_context(&facts, 100 * GIB, 1), None);
    facts.weights_bytes = None;
    assert_eq!(estimate(&facts, 1000, 1).weights_bytes, 0);
}

#[test]
fn weights_that_were_not_seen_follow_from_parameters_and_bits() {
    let mut facts = qwen3_4b(0);
    facts.weights_bytes = None;
    facts.parameters = Some(crate::models::Known::new(4_000_000_000, crate::models::Source::HubMetadata));
    facts.quantization = inspect(&Sources {
        config: Some(json!({"quantization": {"bits": 4, "group_size": 64}})),
        ..Sources::default()
    })
    .quantization;
    // 4 bits and 32 more for each group of 64: 4.5.
    assert_eq!(estimate(&facts, 0, 1).weights_bytes, 2_250_000_000);
}

#[test]
fn a_verdict_says_yes_tight_or_no_with_its_numbers() {
    let of = |needed: u64, budget, in_use| {
        let estimate = Estimate { weights_bytes: needed, complete: true, ..Estimate::default() };
        judge(&estimate, budget, in_use).fit
    };
    let table = [
        (89, 100, 0, Fit::Yes),
        (90, 100, 0, Fit::Yes),
        (91, 100, 0, Fit::Tight),
        (100, 100, 0, Fit::Tight),
        (101, 100, 0, Fit::No),
        (45, 100, 50, Fit::Yes),
        (46, 100, 50, Fit::Tight),
        (60, 100, 50, Fit::Tight),
        (60, 100, 200, Fit::Tight),
        (0, 0, 0, Fit::Yes),
        (1, 0, 0, Fit::No),
        (u64::MAX, u64::MAX, 0, Fit::Tight),
    ];
    for (needed, budget, in_use, fit) in table {
        assert_eq!(of(needed, budget, in_use), fit, "{needed} of {budget}, {in_use} in use");
    }
    let verdict = judge(&Estimate { kv_bytes: 7, ..Estimate::default() }, 10, 2);
    assert_eq!((verdict.needed_bytes, verdict.budget_bytes, verdict.in_use_bytes), (7, 10, 2));
}

#[test]
fn the_largest_context_is_the_last_that_fits() {
    let facts = qwen3_4b(2 * GIB);
    let fixed = 2 * GIB + GIB / 2 + GIB / 8;
    let room = |tokens: u64, concurrency: u32| {
        largest_context(&facts, fixed + tokens * 147_456 * u64::from(concurrency), concurrency)
    };
    assert_eq!(room(1024, 1), Some(1024));
    assert_eq!(room(1279, 1), Some(1024), "the next step needs 256 more");
    assert_eq!(room(1280, 4), Some(1280));
    assert_eq!(room(1 << 20, 1), Some(40_960), "no more than the model was made for");
    assert_eq!(largest_context(&facts, GIB, 1), Some(0), "the weights alone are too much");
    for tokens in [256, 1024, 4096] {
        let found = room(tokens, 1).unwrap();
        assert!(estimate(&facts, found, 1).total_bytes() <= fixed + tokens * 147_456);
        assert!(estimate(&facts, found + 1, 1).total_bytes() > fixed + tokens * 147_456);
    }
}

#[test]
fn nothing_overflows() {
    let facts = qwen3_4b(u64::MAX);
    assert_eq!(estimate(&facts, u64::MAX, u32::MAX).total_bytes(), u64::MAX);
    assert!(largest_context(&facts, u64::MAX, u32::MAX).is_some());
}
