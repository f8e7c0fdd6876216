//! The facts of real-world shapes of models, each worked out by hand from its configuration: the
//! fixtures hold config.json, chat template and generation_config.json as such models have them, and
//! the facts that follow. Nothing that a file may hold makes the reading of it panic.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models")
}

fn expected(family: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(family.join("expected.json")).unwrap()).unwrap()
}

/// The value of a fact without its source.
fn value_of(facts: &Value, name: &str) -> Value {
    match name {
        "kv_bytes_per_token" => facts["kv_cache"]["value"]["bytes_per_token"].clone(),
        "kv_bytes_per_token_beyond_windows" => {
            facts["kv_cache"]["value"]["bytes_per_token_beyond_windows"].clone()
        }
        "kv_fixed_bytes" => facts["kv_cache"]["value"]["fixed_bytes"].clone(),
        "quantization" => facts["quantization"]["value"]["label"].clone(),
        "bits" => facts["quantization"]["value"]["bits"].clone(),
        "group_size" => facts["quantization"]["value"]["group_size"].clone(),
        _ => match facts[name].as_object().and_then(|known| known.get("value")) {
            Some(value) => value.clone(),
            None => facts[name].clone(),
        },
    }
}

#[test]
fn each_family_has_the_facts_that_were_worked_out_by_hand() {
    let mut families: Vec<PathBuf> =
        std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    families.sort();
    assert_eq!(families.len(), 23, "{families:?}");
    let mut wrong = Vec::new();
    for family in &families {
        let wanted = expected(family);
        for name in ["kind", "context_length", "kv_bytes_per_token", "tool_use", "thinking"] {
            assert!(wanted.get(name).is_some(), "{}: {name} was not worked out", family.display());
        }
        let writes_text = wanted["kind"] == "lm" || wanted["kind"] == "multimodal";
        assert_eq!(family.join("chat_template.jinja").is_file(), writes_text, "{}", family.display());
        let facts = read(family).unwrap();
        let parsers = parsers::choose(&facts);
        let facts = serde_json::to_value(&facts).unwrap();
        for (name, wanted) in expected(family).as_object().unwrap() {
            let found = match name.as_str() {
                "tool_parser" => json!(parsers.tool),
                "reasoning_parser" => json!(parsers.reasoning),
                _ => value_of(&facts, name),
            };
            if found != *wanted {
                wrong.push(format!("{}: {name} is {found}, not {wanted}", family.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn each_fact_says_where_it_was_found() {
    let facts = serde_json::to_value(read(&fixtures().join("qwen3")).unwrap()).unwrap();
    let source = |name: &str| facts[name]["source"].as_str().unwrap_or("unknown").to_owned();
    assert_eq!(source("context_length"), "config.json");
    assert_eq!(source("tool_use"), "chat template");
    assert_eq!(source("sampling"), "generation_config.json");
    assert_eq!(source("size_bytes"), "files");
    assert_eq!(source("weights_bytes"), "unknown");
}

fn of(config: Value) -> Facts {
    inspect(&Sources { config: Some(config), ..Sources::default() })
}

#[test]
fn a_stretched_context_counts_where_only_the_short_one_is_written_down() {
    let context = |config| of(config).context_length.map(|known| known.value);
    let yarn = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768});
    assert_eq!(context(json!({"max_position_embeddings": 32768, "rope_scaling": yarn})), Some(131_072));
    let deepseek = json!({"rope_type": "yarn", "factor": 40, "original_max_position_embeddings": 4096});
    assert_eq!(context(json!({"max_position_embeddings": 163_840, "rope_scaling": deepseek})), Some(163_840));
    let llama = json!({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192});
    assert_eq!(context(json!({"max_position_embeddings": 131_072, "rope_scaling": llama})), Some(131_072));
    let linear = json!({"rope_type": "linear", "factor": 8.0});
    assert_eq!(
        context(json!({"text_config": {"max_position_embeddings": 131_072, "rope_scaling": linear}})),
        Some(131_072)
    );
    assert_eq!(context(json!({"model_type": "x"})), None);
}

#[test]
fn parameters_are_counted_in_headers_packed_weights_unpacked() {
    let table = json!({
        "model.embed.weight": {"dtype": "U32", "shape": [1000, 64], "data_offsets": [0, 0]},
        "model.embed.scales": {"dtype": "BF16", "shape": [1000, 8], "data_offsets": [0, 0]},
        "model.embed.biases": {"dtype": "BF16", "shape": [1000, 8], "data_offsets": [0, 0]},
        "model.gate.weight": {"dtype": "U32", "shape": [10, 128], "data_offsets": [0, 0]},
        "model.gate.scales": {"dtype": "BF16", "shape": [10, 8], "data_offsets": [0, 0]},
        "model.gate.biases": {"dtype": "BF16", "shape": [10, 8], "data_offsets": [0, 0]},
        "model.norm.weight": {"dtype": "BF16", "shape": [512], "data_offsets": [0, 0]},
    });
    let header = safetensors::parse(table.to_string().as_bytes()).unwrap();
    let quantization = json!({"group_size": 64, "bits": 4, "model.gate": {"group_size": 64, "bits": 8}});
    let facts = inspect(&Sources {
        config: Some(json!({"model_type": "qwen3_moe", "quantization": quantization})),
        headers: vec![header],
        files: vec![ModelFile { path: "model.safetensors".into(), bytes: Some(300_000) }],
        ..Sources::default()
    });
    // 4 bits: 64 words of 8; 8 bits: 128 words of 4. Both are rows of 512.
    assert_eq!(facts.parameters, Some(Known::new(1000 * 512 + 10 * 512 + 512, Source::SafetensorsHeaders)));
    let packing = facts.quantization.unwrap().value;
    assert_eq!((packing.label.as_str(), packing.mixed, packing.bits), ("mixed 4/8-bit", true, Some(4)));
    assert_eq!(packing.bits_per_weight, Some((300_000.0 * 8.0 / 517_632.0 * 100.0_f64).round() / 100.0));
}

#[test]
fn what_the_hub_has_counted_is_unpacked_alike() {
    // The same model as above without its gate: 64,000 words, 16,000 scales and biases, 512 others.
    let facts = inspect(&Sources {
        config: Some(json!({"quantization": {"group_size": 64, "bits": 4}})),
        hub_safetensors: Some(json!({"parameters": {"BF16": 16_512, "U32": 64_000}, "total": 80_512})),
        ..Sources::default()
    });
    assert_eq!(facts.parameters, Some(Known::new(512_512, Source::HubMetadata)));
    let whole = inspect(&Sources {
        config: Some(json!({"torch_dtype": "bfloat16"})),
        hub_safetensors: Some(json!({"parameters": {"BF16": 1000}, "total": 1000})),
        ..Sources::default()
    });
    assert_eq!(whole.parameters.map(|known| known.value), Some(1000));
    assert_eq!(whole.quantization.map(|known| known.value.label), Some("bf16".into()));
}

#[test]
fn a_suggestion_follows_from_the_facts_and_the_memory() {
    let facts = read(&fixtures().join("qwen3")).unwrap();
    let roomy = suggest(&facts, 64 << 30);
    assert_eq!(roomy.model_type, "lm");
    assert_eq!(Value::Object(roomy.defaults), json!({"temperature": 0.6, "top_p": 0.95, "top_k": 20}));
    assert_eq!((roomy.tool_parser, roomy.reasoning_parser), (Some("hermes"), Some("qwen3")));
    let mut facts = facts;
    facts.weights_bytes = Some(Known::new(2 << 30, Source::Files));
    assert_eq!(suggest(&facts, 64 << 30).context_length, Some(32_768));
    // 2 GiB of weights and 640 MiB of overhead leave 10,240 tokens of 147,456 bytes.
    let budget = (2 << 30) + (640 << 20) + 10_240 * 147_456 + 100;
    assert_eq!(suggest(&facts, budget).context_length, Some(10_240));
    let whisper = suggest(&read(&fixtures().join("whisper")).unwrap(), 64 << 30);
    assert_eq!((whisper.model_type, whisper.context_length), ("whisper", None));
}

#[test]
fn an_empty_model_is_unknown_in_everything() {
    let facts = inspect(&Sources::default());
    assert_eq!(facts, Facts::default());
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("text_config".to_owned()),
        Just("num_hidden_layers".into()),
        Just("layer_types".into()),
        Just("quantization".into()),
        Just("rope_scaling".into()),
        Just("num_key_value_heads".into()),
        Just("hybrid_override_pattern".into()),
        Just("sliding_window_pattern".into()),
        Just("kv_lora_rank".into()),
        Just("model_type".into()),
        Just("architectures".into()),
        Just("full_attention_interval".into()),
        Just("num_kv_shared_layers".into()),
        Just("hidden_size".into()),
        Just("num_attention_heads".into()),
        Just("linear_attn_config".into()),
        Just("metadata".into()),
        Just("bits".into()),
        "[a-z_]{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0_u64..200).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("llama4")),
        Just(json!("gemma3")),
        Just(json!("LLLG")),
        Just(json!("M*-E")),
    ];
    leaf.prop_recursive(4, 64, 10, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..10)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_the_reading_panic(config in any_json(), other in any_json(), budget in any::<u64>()) {
        let facts = inspect(&Sources {
            config: Some(config),
            generation_config: Some(other.clone()),
            tokenizer_config: Some(other.clone()),
            index: Some(other.clone()),
            hub_safetensors: Some(other.clone()),
            card: Some(other),
            ..Sources::default()
        });
        let layers = facts.kv_cache.as_ref().map_or(0, |cache| cache.value.layers.iter().map(|l| l.count).sum());
        prop_assert!(layers <= 4096);
        prop_assert!(fit::largest_context(&facts, budget, 3).is_none_or(|tokens| tokens <= 1 << 41));
        prop_assert!(suggest(&facts, budget).model_type == facts.kind.name());
        prop_assert!(serde_json::to_value(&facts).is_ok());
    }

    #[test]
    fn no_bytes_make_the_reading_of_a_header_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let read = safetensors::read(&mut &bytes[..]);
        prop_assert!(read.is_ok() || read.is_err());
    }
}
