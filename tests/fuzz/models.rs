//! What files of models say, which come from whoever made the model: settings, cards, weights, tokenizers.

use mlx_gateway::models::{self, Sources, fit, safetensors};
use mlx_gateway::worker::child::Answers;
use mlx_gateway::worker::protocol::{Folder, Question, Reply};
use serde_json::Value;

use crate::harness::fuzz;

const CARD: &str = "---\nlicense: other\nlicense_name: \"x\"\ntags:\n- mlx\n- text\nlanguage: [en, de]\npipeline_tag: text-generation\n---\n# A model\n";
const WORDS: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":1,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,"model":{"type":"WordLevel","vocab":{"[UNK]":0,"<s>":1,"a":2},"unk_token":"[UNK]"}}"#;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/models/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn settings_of_models_become_facts_whatever_they_say() {
    let seeds = ["qwen3", "gemma3", "deepseek_v3", "gpt_oss", "nemotron_h", "qwen3_next", "llama4"]
        .map(|name| fixture(&format!("{name}/config.json")));
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    fuzz(&seeds, |bytes, _| {
        let Ok(config) = serde_json::from_slice::<Value>(bytes) else { return };
        let (generation, tokenizer) = (config.clone(), config.clone());
        let sources = Sources {
            config: Some(config),
            generation_config: Some(generation),
            tokenizer_config: Some(tokenizer),
            ..Sources::default()
        };
        let facts = models::inspect(&sources);
        assert_eq!(models::inspect(&sources), facts);
        serde_json::to_string(&facts).unwrap();
        // More context never needs less, and what is said to fit does.
        let (short, long) = (fit::estimate(&facts, 1_000, 1), fit::estimate(&facts, 100_000, 2));
        assert!(short.total_bytes() <= long.total_bytes());
        let budget = 64 << 30;
        if let Some(tokens) = fit::largest_context(&facts, budget, 1) {
            assert!(fit::estimate(&facts, tokens, 1).total_bytes() <= budget);
        }
        models::suggest(&facts, budget);
    });
}

#[test]
fn folders_of_models_are_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("config.json", &fixture("qwen3/config.json"));
    let template = fixture("qwen3/chat_template.jinja");
    fuzz(&[CARD.as_bytes(), &template], |bytes, _| {
        write("README.md", bytes);
        write("chat_template.jinja", bytes);
        let facts = models::read(folder.path()).unwrap();
        assert_eq!(facts.model_type, "qwen3");
        if let Some(license) = facts.license {
            assert!(String::from_utf8_lossy(bytes).contains(license.value.as_str()));
        }
    });
}

#[test]
fn tables_of_weights_are_read_or_refused() {
    let table = br#"{"__metadata__":{"format":"mlx"},"a.weight":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}"#;
    let mut weights = (table.len() as u64).to_le_bytes().to_vec();
    weights.extend_from_slice(table);
    fuzz(&[&weights], |bytes, _| {
        let Ok(header) = safetensors::read(&mut &bytes[..]) else { return };
        // The table stands behind its length; what nobody reads of it may hold half a character.
        let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        let table = String::from_utf8_lossy(&bytes[8..8 + length]);
        assert!(table.trim_start().starts_with('{') && table.trim_end().ends_with('}'), "{table}");
        assert_eq!(safetensors::parse(&bytes[8..8 + length]).unwrap(), header);
    });
}

#[test]
fn tokenizers_count_or_say_that_they_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let texts = ["a <s> b".to_owned(), "é\u{0}".to_owned()];
    fuzz(&[WORDS.as_bytes()], |bytes, _| {
        std::fs::write(folder.path().join("tokenizer.json"), bytes).unwrap();
        let folder = Folder { path: folder.path().to_owned(), version: 0 };
        let count = || {
            let question =
                Question::CountTexts { folder: folder.clone(), texts: texts.to_vec(), limit: 1_000 };
            match Answers::default().answer(question, &mut |_| {}) {
                // Which of two missing fields it names depends on the order of a hash map.
                Reply::Nothing { problem } => Reply::Nothing { problem: problem.map(|_| String::new()) },
                reply => reply,
            }
        };
        assert_eq!(count(), count());
    });
}
