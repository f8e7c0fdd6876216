//! Profiles that do not come from the file: what they may say, and that they come out as they went in.

use serde_json::{Map, Value, json};

use crate::config::{read_stored, settings_from_toml, settings_of, to_toml};

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn problems(settings: Value) -> Vec<(String, String)> {
    let problems = read_stored(&object(settings), None).unwrap_err();
    problems.into_iter().map(|problem| (problem.key.clone(), problem.to_string())).collect()
}

#[test]
fn what_would_be_a_shell_is_refused_with_the_reason() {
    for (key, value) in [
        ("command", json!(["sh", "{port}"])),
        ("url", json!("http://10.0.0.1/v1")),
        ("env", json!({"A": "b"})),
        ("extra_args", json!(["--x"])),
        ("trust_remote_code", json!(true)),
        ("api_key_env", json!("HOME")),
        ("api_key_file", json!("/etc/passwd")),
    ] {
        let mut settings = object(json!({"name": "a", "model": "m/a"}));
        settings.insert(key.to_owned(), value);
        let found = problems(Value::Object(settings));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, key);
        assert!(found[0].1.contains("config.toml alone"), "{found:?}");
    }
    for engine in ["command", "url"] {
        let found = problems(json!({"name": "a", "model": "m/a", "engine": engine}));
        assert!(
            found.iter().any(|(key, said)| key == "engine" && said.contains("config.toml alone")),
            "{found:?}"
        );
    }
}

#[test]
fn everything_wrong_is_listed_at_once_with_suggestions() {
    let found = problems(json!({
        "name": "a b", "modle": "m/a", "keep_alive": 5, "queue": {"size": -1}, "defaults": {"temprature": 1},
    }));
    let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
    for key in ["name", "modle", "keep_alive", "queue.size", "defaults.temprature"] {
        assert!(keys.contains(&key), "{key} in {found:?}");
    }
    assert!(found.iter().any(|(_, said)| said.contains("did you mean `temperature`?")), "{found:?}");
    assert!(problems(json!({"name": "a", "model": "./m"}))[0].1.contains("whole path"));
}

#[test]
fn settings_come_out_as_they_went_in() {
    let settings = json!({
        "name": "qwen", "aliases": ["gpt-*"], "description": "d", "model": "m/a", "engine": "mlx-lm",
        "model_type": "lm", "system_prompt": "Be \"brief\".\nVery.", "context_length": 4096, "memory": 6_000_000_001_u64,
        "keep_alive": "1h30m", "pinned": true, "preload": true, "auto_download": true, "structured": true,
        "max_concurrent": 3, "tools": ["calculator"], "defaults": {"temperature": 0.5, "stop": ["x"]},
        "queue": {"size": 3, "timeout": "10s"}, "timeouts": {"start": "1m"},
    });
    let (profile, warnings) = read_stored(&object(settings.clone()), None).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let (out, file_only) = settings_of(&profile);
    assert_eq!(Value::Object(out.clone()), settings);
    assert!(file_only.is_empty());
    let toml = to_toml(&out).unwrap();
    assert!(toml.starts_with("[[profile]]\n"), "{toml}");
    assert_eq!(Value::Object(settings_from_toml(&toml).unwrap()), settings);
    let (least, _) =
        settings_of(&read_stored(&object(json!({"name": "a", "model": "m/a"})), None).unwrap().0);
    assert_eq!(Value::Object(least), json!({"name": "a", "model": "m/a"}));
}

#[test]
fn a_text_with_two_profiles_is_not_one() {
    assert!(settings_from_toml("[[profile]]\nname = \"a\"\n[[profile]]\nname = \"b\"\n").is_err());
    assert!(settings_from_toml("[server]\n[[profile]]\nname = \"a\"\n").is_err());
    assert!(settings_from_toml("name = ").is_err());
    assert_eq!(settings_from_toml("name = \"a\"").unwrap()["name"], "a");
}
