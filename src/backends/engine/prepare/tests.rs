//! Launches on a made-up machine, from settings to the finished command.

use super::super::testing::{Machine, NEW, folder, settings};
use super::*;

const THINKING: &str =
    "<tool_call>{% if add_generation_prompt %}{% if enable_thinking is false %}'<think>\\n\\n</think>'";

async fn prepared(machine: &Machine, settings: &LaunchSettings) -> Result<Command, EngineError> {
    let engines = machine.engines(NEW);
    engines.prepare(settings, "demo", 4711, &machine.instance(), &|_| {}).await
}

/// The command as lines, the made-up machine's folders left out.
fn shown(machine: &Machine, command: &Command) -> String {
    let mut lines = vec![command.program.display().to_string()];
    lines.extend(command.args.iter().map(|arg| arg.to_string_lossy().into_owned()));
    machine.neutral(&lines.join(" ").replace(" --", "\n--")).replace(&NEW.id(), "ID")
}

fn env_of(machine: &Machine, command: &Command, name: &str) -> Option<String> {
    let (_, value) = command.env.iter().find(|(known, _)| known == name)?;
    Some(machine.neutral(&value.to_string_lossy()))
}

#[tokio::test]
async fn a_folder_becomes_a_command_with_parsers_cache_and_clean_environment() {
    let machine = Machine::new();
    let model = machine.model("my model", r#"{"model_type":"qwen3"}"#, THINKING);
    let settings = settings(EngineKind::MlxOpenaiServer, folder(&model));
    let command = prepared(&machine, &settings).await.unwrap();
    insta::assert_snapshot!(shown(&machine, &command), @r"
    ROOT/data/engines/mlx-openai-server/ID/venv/bin/mlx-openai-server launch
    --model-path ROOT/my model
    --model-type lm
    --served-model-name demo
    --host 127.0.0.1
    --port 4711
    --no-log-file
    --log-level INFO
    --queue-size 1000
    --queue-timeout 86400
    --tool-call-parser hermes
    --enable-auto-tool-choice
    --reasoning-parser qwen3
    --max-bytes 1717986918
    --prompt-cache-dir ROOT/instance/prompt-cache
    ");
    let names: Vec<_> = command.env.iter().map(|(name, _)| name.to_string_lossy()).collect();
    insta::assert_snapshot!(names.join(" "), @r"
    HF_HUB_DISABLE_TELEMETRY HF_HUB_OFFLINE HOME LANG MLX_DISABLE_COMPILE NO_COLOR PATH PYTHONUNBUFFERED TMPDIR TOKENIZERS_PARALLELISM
    ");
    assert_eq!(env_of(&machine, &command, "TMPDIR").unwrap(), "ROOT/instance/tmp");
    assert_eq!(env_of(&machine, &command, "HF_HUB_OFFLINE").as_deref(), Some("1"));
    assert_eq!(command.version.as_deref(), Some("1.8.1"));
    assert_eq!(command.request_model.as_deref(), Some("demo"));
    assert_eq!(command.readiness, Readiness { paths: vec!["/health"], first_token: None });
    assert!(machine.instance().join("tmp").is_dir());
    assert!(machine.instance().join("prompt-cache").is_dir());
}

#[tokio::test]
async fn the_demo_model_is_made_once() {
    let machine = Machine::new();
    let settings = settings(EngineKind::MlxOpenaiServer, Some(ModelRef::Demo));
    let first = prepared(&machine, &settings).await.unwrap();
    assert!(shown(&machine, &first).contains("--model-path ROOT/data/models/demo-"));
    std::fs::remove_file(machine.bin("fake-python")).unwrap();
    assert_eq!(prepared(&machine, &settings).await.unwrap(), first);
    let models = std::fs::read_dir(machine.root.path().join("data/models")).unwrap();
    assert_eq!(models.count(), 1, "no temporary folder may be left");
}

#[tokio::test]
async fn mlx_lm_runs_from_the_same_installation_and_proves_itself_with_a_token() {
    let machine = Machine::new();
    let settings = settings(EngineKind::MlxLm, Some(ModelRef::Demo));
    // The made-up server tells the options of the other one.
    let error = prepared(&machine, &settings).await.unwrap_err().to_string();
    assert!(error.contains("mlx_lm.server does not know --model,"), "{error}");
    let known = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/engine/help-mlx-lm-0.31.3.txt");
    let bin = machine.engines(NEW).inner.managed.current("text").unwrap().venv.bin();
    std::fs::write(bin.join("mlx_lm.server"), format!("#!/bin/sh\ncat '{known}'\n")).unwrap();
    let command = prepared(&machine, &settings).await.unwrap();
    assert!(shown(&machine, &command).contains("venv/bin/mlx_lm.server\n--model ROOT/data/models"));
    assert_eq!(command.request_model.as_deref(), Some("default_model"));
    assert_eq!(command.readiness.first_token.unwrap()["max_tokens"], 1);
}

#[tokio::test]
async fn a_cached_hub_model_is_used_offline() {
    let machine = Machine::new();
    let repo = "home/.cache/huggingface/hub/models--org--name";
    let snapshot = machine.model(&format!("{repo}/snapshots/c0ffee"), "{}", "");
    std::fs::create_dir_all(machine.root.path().join(repo).join("refs")).unwrap();
    std::fs::write(machine.root.path().join(repo).join("refs/main"), "c0ffee").unwrap();
    let hub = Some(ModelRef::Hub("org/name".into()));
    let command = prepared(&machine, &settings(EngineKind::MlxOpenaiServer, hub)).await.unwrap();
    assert!(command.args.contains(&snapshot.into_os_string()));
    assert_eq!(env_of(&machine, &command, "HF_HUB_OFFLINE").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_missing_hub_model_is_fetched_before_it_is_launched_or_the_error_says_how() {
    let machine = Machine::new();
    let fetched = machine.model("home/hub-model", "{}", THINKING);
    let steps = std::sync::Mutex::new(Vec::new());
    let report = |step: super::super::Step| steps.lock().unwrap().push(step.to_string());
    let settings = settings(EngineKind::MlxOpenaiServer, Some(ModelRef::Hub("org/name".into())));
    let engines = machine.engines(NEW);
    let missing = prepared(&machine, &settings).await.unwrap_err().to_string();
    assert!(missing.contains("`mlx-gateway models pull org/name`"), "{missing}");
    engines.inner.fetch_model(&settings, &report).await.unwrap();
    let command = engines.prepare(&settings, "demo", 1, &machine.instance(), &report).await.unwrap();
    assert!(command.args.contains(&fetched.into_os_string()));
    assert!(shown(&machine, &command).contains("--reasoning-parser qwen3"));
    let steps = steps.lock().unwrap();
    assert!(steps.contains(&"downloading org/name, 50 % of 0 MB".to_owned()), "{steps:?}");
    assert_eq!(env_of(&machine, &command, "HF_TOKEN"), None, "servers get no token");
}

#[tokio::test]
async fn a_folder_that_is_no_model_is_refused_before_anything_is_installed() {
    let machine = Machine::new();
    for engine in [EngineKind::MlxOpenaiServer, EngineKind::MlxLm] {
        let missing = folder(&machine.root.path().join("nowhere"));
        let error = prepared(&machine, &settings(engine, missing)).await.unwrap_err();
        assert!(matches!(error, EngineError::Model(_)), "{error}");
        let empty = folder(machine.root.path());
        let error = prepared(&machine, &settings(engine, empty)).await.unwrap_err();
        assert!(error.to_string().contains("holds no config.json"), "{error}");
    }
    assert!(machine.asked().is_empty());
}

#[tokio::test]
async fn on_linux_only_text_is_served_and_the_error_says_so() {
    let machine = Machine::new();
    let model = machine.model("vision", r#"{"vision_config":{}}"#, "");
    let detected = settings(EngineKind::MlxOpenaiServer, folder(&model));
    let command = prepared(&machine, &detected).await.unwrap();
    assert!(shown(&machine, &command).contains("--model-type lm"));
    let asked = LaunchSettings { model_type: Some(ModelType::Multimodal), ..detected };
    let error = prepared(&machine, &asked).await.unwrap_err();
    assert!(matches!(error, EngineError::TypeNeedsMacos(_)), "{error}");
}

#[tokio::test]
async fn a_command_gets_its_port_and_model_and_needs_no_installation() {
    let machine = Machine::new();
    let model = machine.model("m", "{}", "");
    let mut settings = settings(EngineKind::Command, folder(&model));
    settings.command = ["uv", "--port", "{port}", "{model}"].map(str::to_owned).into();
    settings.extra_args = vec!["--last".to_owned()];
    settings.env.insert("MINE".to_owned(), "1".to_owned());
    let command = prepared(&machine, &settings).await.unwrap();
    insta::assert_snapshot!(shown(&machine, &command), @r"
    ROOT/bin/uv
    --port 4711 ROOT/m
    --last
    ");
    assert_eq!(command.readiness.paths, ["/health", "/v1/models"]);
    assert_eq!(command.request_model, None);
    assert_eq!(env_of(&machine, &command, "MINE").as_deref(), Some("1"));
    assert!(machine.asked().is_empty(), "nothing is installed for it");

    settings.command = vec!["no-such-program".to_owned()];
    let error = prepared(&machine, &settings).await.unwrap_err().to_string();
    assert!(error.contains("no program no-such-program"), "{error}");
    settings.command.clear();
    assert!(matches!(prepared(&machine, &settings).await, Err(EngineError::NoCommand)));
}

#[tokio::test]
async fn a_server_that_is_not_managed_is_asked_what_it_knows() {
    let machine = Machine::new();
    let server = config::ManagedEngine {
        managed: false,
        command: Some(vec![machine.bin("fake-server").display().to_string()]),
        index_url: None,
    };
    let engines = machine.engines_with(NEW, server);
    let model = machine.model("m", "{}", THINKING);
    let settings = settings(EngineKind::MlxOpenaiServer, folder(&model));
    let command = engines.prepare(&settings, "demo", 1, &machine.instance(), &|_| {}).await.unwrap();
    assert_eq!(command.program, machine.bin("fake-server"));
    assert_eq!(command.version.as_deref(), Some("1.8.1"));
    assert!(shown(&machine, &command).contains("--served-model-name demo"));
    assert!(machine.asked().is_empty());
    let error = engines.upgrade(&|_| {}).await.unwrap_err();
    assert!(matches!(error, EngineError::NotManaged));
}

#[tokio::test]
async fn a_url_is_not_launched() {
    let machine = Machine::new();
    let error = prepared(&machine, &settings(EngineKind::Url, None)).await.unwrap_err();
    assert!(matches!(error, EngineError::NothingToLaunch));
    let error = prepared(&machine, &settings(EngineKind::MlxLm, None)).await.unwrap_err();
    assert!(error.to_string().contains("needs a `model`"), "{error}");
}
