//! How long listing two hundred local models takes: cold, with every folder read, and warm, when none
//! has changed. Run by hand: `cargo bench --bench inspect`. At most 500 ms and 20 ms are wanted.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{Criterion, criterion_group, criterion_main};
use mlx_gateway::models::FactsCache;
use serde_json::{Map, Value, json};

const MODELS: usize = 200;
/// Of a small model in four bits: a weight, its scales and its biases for each of seven matrices a layer.
const LAYERS: usize = 36;
/// Tokenizers say so much about their tokens.
const TOKENIZER_BYTES: usize = 200_000;

fn listing(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let folders: Vec<PathBuf> = (0..MODELS).map(|n| model(dir.path(), n)).collect();
    let mut group = c.benchmark_group("inspect 200 local models");
    group.sample_size(20);
    group.bench_function("cold", |b| b.iter(|| black_box(FactsCache::new().read_all(&folders)).len()));
    let cache = FactsCache::new();
    assert!(cache.read_all(&folders).iter().all(Result::is_ok));
    group.bench_function("warm", |b| b.iter(|| black_box(cache.read_all(&folders)).len()));
    group.finish();
}

fn model(dir: &Path, number: usize) -> PathBuf {
    let folder = dir.join(number.to_string());
    std::fs::create_dir(&folder).expect("a folder for the model");
    let config = json!({
        "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 2560, "head_dim": 128,
        "num_hidden_layers": LAYERS, "num_attention_heads": 32, "num_key_value_heads": 8,
        "max_position_embeddings": 40_960, "quantization": {"group_size": 64, "bits": 4},
    });
    let tokenizer =
        json!({"chat_template": "{% if tools %}<tool_call>", "added": "x".repeat(TOKENIZER_BYTES)});
    for (name, text) in [
        ("config.json", config.to_string()),
        ("tokenizer_config.json", tokenizer.to_string()),
        ("generation_config.json", "{\"temperature\":0.6}".to_owned()),
        ("README.md", "---\nlicense: apache-2.0\n---\n".to_owned()),
        ("tokenizer.json", "{}".to_owned()),
    ] {
        std::fs::write(folder.join(name), text).expect("a file of the model");
    }
    let table = Value::Object(tensors()).to_string();
    let file = [&(table.len() as u64).to_le_bytes()[..], table.as_bytes()].concat();
    std::fs::write(folder.join("model.safetensors"), file).expect("the weights' table");
    folder
}

fn tensors() -> Map<String, Value> {
    let mut tensors = Map::new();
    let parts = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    for (layer, part) in (0..LAYERS).flat_map(|layer| parts.iter().map(move |part| (layer, part))) {
        for (name, dtype, columns) in [("weight", "U32", 320), ("scales", "BF16", 40), ("biases", "BF16", 40)]
        {
            let tensor = json!({"dtype": dtype, "shape": [2560, columns], "data_offsets": [0, 0]});
            tensors.insert(format!("model.layers.{layer}.self_attn.{part}.{name}"), tensor);
        }
    }
    tensors
}

criterion_group!(benches, listing);
criterion_main!(benches);
