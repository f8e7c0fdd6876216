//! What becomes of other programs' configurations: valid profiles, and comments for the rest.

use serde_json::json;

use super::{llama_swap, model_manager, text};
use crate::store::model_manager::ServerProfile;

const SWAP: &str = r#"
healthCheckTimeout: 500
globalTTL: 0
apiKeys: ["sk-one"]
macros:
  latest: >
    /opt/llama/llama-server --port ${PORT}
  ctx: 4096
  args: "--ctx-size ${ctx}"
  home: "${env.HOME}/models"
hooks:
  on_startup:
    preload: ["gpt-oss"]
models:
  gpt-oss:
    macros:
      ctx: 16384
    cmd: |
      # a comment
      ${latest} --model '${home}/gpt oss.gguf' ${args}
    description: "thinks"
    env: ["CUDA_VISIBLE_DEVICES=0"]
    ttl: 60
    concurrencyLimit: 4
    aliases:
      - gpt-4o-mini
      - id: gpt-4o
    filters:
      stripParams: "top_k"
      setParams:
        temperature: 0.5
    cmdStop: docker stop x
  qwen:
    cmd: mlx_lm.server --model mlx-community/Qwen3-4B-4bit --port ${PORT}
    proxy: "http://127.0.0.1:${PORT}"
  gemma:
    cmd: /usr/local/bin/mlx-openai-server launch --model-path=mlx-community/gemma-3-4b-it-4bit --model-type multimodal --context-length 8192
    checkEndpoint: /ready
"#;

#[test]
fn models_of_llama_swap_become_profiles_with_their_macros_filled_in() {
    let found = llama_swap::read(SWAP, |name| (name == "HOME").then(|| "/home/ada".to_owned())).unwrap();
    let named = |name: &str| found.profiles.iter().find(|one| one.settings["name"] == name).unwrap();
    let oss = named("gpt-oss");
    assert_eq!(
        oss.settings["command"],
        json!([
            "/opt/llama/llama-server",
            "--port",
            "{port}",
            "--model",
            "/home/ada/models/gpt oss.gguf",
            "--ctx-size",
            "16384"
        ])
    );
    assert_eq!(oss.settings["aliases"], json!(["gpt-4o-mini", "gpt-4o"]));
    assert_eq!((&oss.settings["keep_alive"], &oss.settings["preload"]), (&json!("60s"), &json!(true)));
    assert_eq!(oss.settings["defaults"], json!({"temperature": 0.5}));
    assert!(oss.left_out.iter().any(|what| what.contains("top_k")), "{:?}", oss.left_out);
    let qwen = named("qwen");
    assert_eq!(
        (&qwen.settings["engine"], &qwen.settings["model"]),
        (&json!("mlx-lm"), &json!("mlx-community/Qwen3-4B-4bit"))
    );
    assert_eq!(qwen.settings["keep_alive"], "forever");
    assert!(qwen.left_out.is_empty(), "{:?}", qwen.left_out);
    let gemma = named("gemma");
    assert_eq!(
        (&gemma.settings["model_type"], &gemma.settings["context_length"]),
        (&json!("multimodal"), &json!(8192))
    );
    assert!(!gemma.settings.contains_key("command"));
    assert_eq!(found.left_out.len(), 1, "{:?}", found.left_out);
}

#[test]
fn what_is_no_such_configuration_is_said_to_be_none() {
    for wrong in ["", "just: text", "[[[", "models: 7"] {
        let error = llama_swap::read(wrong, |_| None).unwrap_err();
        assert!(error.contains("neither"), "{wrong}: {error}");
    }
}

#[test]
fn macros_that_call_each_other_end() {
    let circle = "macros: {a: \"${b}\", b: \"${a}\"}\nmodels: {m: {cmd: \"run ${a} ${unknown}\"}}";
    let found = llama_swap::read(circle, |_| None).unwrap();
    let command = found.profiles[0].settings["command"].to_string();
    assert!(command.contains("${unknown}"), "{command}");
}

#[test]
fn a_server_of_the_model_manager_becomes_a_profile() {
    let theirs = ServerProfile {
        name: "qwen".into(),
        model_path: "mlx-community/Qwen3-4B-4bit".into(),
        model_type: "lm".into(),
        port: 10240,
        max_concurrency: 1,
        queue_timeout: 300,
        queue_size: 100,
        tool_call_parser: Some("qwen3".into()),
        trust_remote_code: true,
        auto_start: true,
        system_prompt: Some("Be brief.".into()),
        ..ServerProfile::default()
    };
    let ours = model_manager::profile(&theirs);
    assert_eq!(
        serde_json::Value::Object(ours.settings),
        json!({"name": "qwen", "model": "mlx-community/Qwen3-4B-4bit", "system_prompt": "Be brief.",
            "queue": {"size": 100, "timeout": "300s"}, "preload": true})
    );
    assert_eq!(ours.left_out.len(), 3, "{:?}", ours.left_out);
}

#[test]
fn a_comment_stays_a_comment() {
    let mut found = llama_swap::read(SWAP, |_| None).unwrap();
    found.profiles[0].leave_out("two\nlines = true");
    let text = text(&found).unwrap();
    assert!(text.lines().all(|line| !line.starts_with("lines")), "{text}");
    assert!(text.contains("[[profile]]"));
}
