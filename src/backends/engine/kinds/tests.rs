//! Golden arguments for each version, from its own help text.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::{command_arguments, mlx_lm_arguments, server_arguments};
use crate::backends::engine::argv::{Launch, kv_quantization, prompt_cache_bytes};
use crate::backends::engine::capabilities::Capabilities;
use crate::config::ModelType;
use crate::models::fit::KvQuantization;
use crate::models::parsers::Parsers;

fn known(version: &str) -> Capabilities {
    let read = |kind: &str| {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/engine");
        std::fs::read_to_string(format!("{dir}/{kind}-{version}.txt")).unwrap()
    };
    Capabilities::parse(&read("version"), &read("help"))
}

fn launch<'a>() -> Launch<'a> {
    Launch {
        model: OsStr::new("/models/demo one"),
        model_type: ModelType::Lm,
        served_name: "demo",
        port: "4711",
        context_length: Some(8192),
        parsers: Parsers { tool: Some("hermes"), reasoning: Some("qwen3") },
        prompt_cache_bytes: prompt_cache_bytes(16 * 1024 * 1024 * 1024),
        prompt_cache_dir: Path::new("/run/demo/prompt-cache"),
        structured: true,
        trust_remote_code: true,
        extra_args: &[],
    }
}

/// One option a line, as it would be typed.
fn shown(args: &[OsString]) -> String {
    let joined: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    joined.join(" ").replace(" --", "\n--")
}

#[test]
fn golden_arguments_for_1_6_3() {
    insta::assert_snapshot!(shown(&server_arguments(&known("1.6.3"), &launch()).unwrap()), @r"
    launch
    --model-path /models/demo one
    --model-type lm
    --host 127.0.0.1
    --port 4711
    --no-log-file
    --log-level INFO
    --queue-size 1000
    --queue-timeout 86400
    --max-concurrency 1
    --context-length 8192
    --tool-call-parser hermes
    --enable-auto-tool-choice
    --reasoning-parser qwen3
    --max-bytes 1717986918
    --trust-remote-code
    ");
}

#[test]
fn golden_arguments_for_1_7_1() {
    insta::assert_snapshot!(shown(&server_arguments(&known("1.7.1"), &launch()).unwrap()), @r"
    launch
    --model-path /models/demo one
    --model-type lm
    --served-model-name demo
    --host 127.0.0.1
    --port 4711
    --no-log-file
    --log-level INFO
    --queue-size 1000
    --queue-timeout 86400
    --context-length 8192
    --tool-call-parser hermes
    --enable-auto-tool-choice
    --reasoning-parser qwen3
    --max-bytes 1717986918
    --trust-remote-code
    ");
}

#[test]
fn golden_arguments_for_1_8_1() {
    insta::assert_snapshot!(shown(&server_arguments(&known("1.8.1"), &launch()).unwrap()), @r"
    launch
    --model-path /models/demo one
    --model-type lm
    --served-model-name demo
    --host 127.0.0.1
    --port 4711
    --no-log-file
    --log-level INFO
    --queue-size 1000
    --queue-timeout 86400
    --context-length 8192
    --tool-call-parser hermes
    --enable-auto-tool-choice
    --reasoning-parser qwen3
    --disable-batching
    --max-bytes 1717986918
    --prompt-cache-dir /run/demo/prompt-cache
    --trust-remote-code
    ");
}

#[test]
fn golden_arguments_for_embeddings() {
    let launch = Launch { model_type: ModelType::Embeddings, trust_remote_code: false, ..launch() };
    insta::assert_snapshot!(shown(&server_arguments(&known("1.8.1"), &launch).unwrap()), @r"
    launch
    --model-path /models/demo one
    --model-type embeddings
    --served-model-name demo
    --host 127.0.0.1
    --port 4711
    --no-log-file
    --log-level INFO
    --queue-size 1000
    --queue-timeout 86400
    ");
}

#[test]
fn golden_arguments_for_mlx_lm() {
    insta::assert_snapshot!(shown(&mlx_lm_arguments(&known("mlx-lm-0.31.3"), &launch()).unwrap()), @r"
    --model /models/demo one
    --host 127.0.0.1
    --port 4711
    --allowed-origins http://127.0.0.1
    --log-level INFO
    --prompt-cache-bytes 1717986918
    --trust-remote-code
    ");
}

#[test]
fn a_parser_the_version_lacks_is_left_out_with_its_switch() {
    let launch = Launch { parsers: Parsers { tool: Some("gemma4"), reasoning: Some("gemma4") }, ..launch() };
    let old = shown(&server_arguments(&known("1.6.3"), &launch).unwrap());
    assert!(!old.contains("parser") && !old.contains("auto-tool"), "{old}");
    let new = shown(&server_arguments(&known("1.8.1"), &launch).unwrap());
    assert!(new.contains("--tool-call-parser gemma4\n--enable-auto-tool-choice"), "{new}");
}

#[test]
fn trust_and_batching_need_to_be_asked_for() {
    let launch = Launch { structured: false, trust_remote_code: false, ..launch() };
    let args = shown(&server_arguments(&known("1.8.1"), &launch).unwrap());
    assert!(!args.contains("trust") && !args.contains("batching"), "{args}");
}

#[test]
fn the_users_own_arguments_come_last() {
    let extra = ["--kv-bits".to_owned(), "4".to_owned()];
    let launch = Launch { extra_args: &extra, ..launch() };
    let args = server_arguments(&known("1.8.1"), &launch).unwrap();
    assert_eq!(args[args.len() - 2..], ["--kv-bits", "4"]);
}

#[test]
fn a_program_that_is_something_else_is_refused() {
    let other = Capabilities::parse("", "  --model-path TEXT  path\n");
    let error = server_arguments(&other, &launch()).unwrap_err().to_string();
    assert!(error.contains("--model-type"), "{error}");
}

#[test]
fn the_prompt_cache_is_a_share_of_the_budget_within_limits() {
    const GIB: u64 = 1024 * 1024 * 1024;
    assert_eq!(prompt_cache_bytes(0), 256 * 1024 * 1024);
    assert_eq!(prompt_cache_bytes(20 * GIB), 2 * GIB);
    assert_eq!(prompt_cache_bytes(500 * GIB), 8 * GIB);
}

#[test]
fn placeholders_of_a_command_are_filled_without_a_shell() {
    let template = ["serve", "--port={port}", "{model}", "--root={model}/x:{port}"].map(str::to_owned);
    let args = command_arguments(&template, Some(OsStr::new("/a b")), "81");
    assert_eq!(args, ["serve", "--port=81", "/a b", "--root=/a b/x:81"]);
}

#[test]
fn a_packed_cache_is_known_by_the_arguments_that_ask_for_it() {
    let of = |words: &[&str]| kv_quantization(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
    let packed = |bits, group_size| Some(KvQuantization { bits, group_size });
    assert_eq!(of(&["--kv-bits", "4"]), packed(4, 64));
    assert_eq!(of(&["--kv-bits=8", "--kv-group-size", "32", "--debug"]), packed(8, 32));
    assert_eq!(of(&["--kv-bits", "8", "--kv-bits", "4"]), packed(4, 64), "the last one wins");
    assert_eq!(of(&["--kv-group-size", "32"]), None);
    assert_eq!(of(&["--kv-bits", "many"]), None);
    assert!(["1.6.3", "1.7.1", "1.8.1"].map(|v| known(v).knows("--kv-bits")) == [false, false, true]);
}
