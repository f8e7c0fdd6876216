//! Configurations: our own file, profiles as TOML, llama-swap's YAML.

use std::collections::BTreeMap;

use mlx_gateway::cli::import;
use mlx_gateway::config::{self, Flags, Sources};
use serde_json::{Map, Value};

use crate::harness::fuzz;

const OWN: &str = "[server]\nlisten = [\"127.0.0.1:10242\", \"[::1]:1\"]\nmax_body = \"64MiB\"\nshutdown_grace = \"30s\"\n[auth]\napi = \"auto\"\n[memory]\nbudget = \"75%\"\n[engine.mlx-openai-server]\nmanaged = true\n[[profile]]\nname = \"qwen\"\naliases = [\"gpt-*\"]\nmodel = \"a/b\"\nkeep_alive = \"10m\"\ndefaults = { temperature = 0.7, stop = [\"x\"] }\nqueue = { size = 9, timeout = \"5m\" }\ntools = [\"calculator\"]\n[[profile]]\nname = \"up\"\nengine = \"url\"\nurl = \"http://10.0.0.2:1/v1\"\n";
const PROFILE: &str = "[[profile]]\nname = \"qwen\"\nmodel = \"a/b\"\nkeep_alive = \"90s\"\nmemory = \"6GiB\"\nmax_concurrent = 3\naliases = [\"x\", \"y-*\"]\ndescription = \"d\\n\\\"e\\\"\"\npinned = true\n[profile.defaults]\ntemperature = 0.5\ntop_p = 1.0\n[profile.timeouts]\nidle = \"1m30s\"\n";
const SWAP: &str = "healthCheckTimeout: 500\nglobalTTL: 60\napiKeys: [\"sk-one\"]\nmacros:\n  ctx: 4096\n  args: \"--ctx ${ctx}\"\nhooks:\n  on_startup:\n    preload: [\"oss\"]\nmodels:\n  oss:\n    cmd: |\n      # a comment\n      /opt/server --port ${PORT} '${env.HOME}/a b' ${args}\n    env: [\"A=0\"]\n    ttl: 60\n    aliases: [one, {id: two}]\n    filters:\n      strip_params: \"top_k\"\n      set_params: {temperature: 0.5, stop: [a], x: {y: 1}}\n    cmdStop: \"docker\\nstop\"\n  qwen:\n    cmd: mlx_lm.server --model a/b\n";

#[test]
fn a_configuration_says_what_toml_says_or_names_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let sources = Sources {
        flags: Flags::default(),
        environment: BTreeMap::new(),
        current_dir: folder.path().to_path_buf(),
        home: None,
        macos: false,
    };
    fuzz(&[OWN.as_bytes()], |bytes, _| {
        std::fs::write(&file, bytes).unwrap();
        match config::load(&sources) {
            Ok((config, _)) => {
                let table: Map<String, Value> = toml::from_slice(bytes).unwrap();
                let told = table.get("profile").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                let names: Vec<&Value> = told.iter().map(|profile| &profile["name"]).collect();
                assert!(config.profiles.iter().map(|profile| &*profile.name).eq(names), "{told:?}");
                assert!(!config.server.listen.is_empty() && !config::shown(&config).is_empty());
            }
            Err(error) => {
                let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
                assert!(!error.problems.is_empty());
                assert!(error.problems.iter().all(|problem| problem.line.is_none_or(|line| line <= lines)));
            }
        }
    });
}

#[test]
fn profiles_survive_being_written_down_and_read_again() {
    fuzz(&[PROFILE.as_bytes()], |bytes, _| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let Ok(settings) = config::settings_from_toml(text) else { return };
        let written = config::to_toml(&settings).unwrap();
        let again = config::settings_from_toml(&written).unwrap();
        assert_eq!(again, settings, "{written}");
        let Ok((profile, _)) = config::read_stored(&settings, None) else { return };
        let (kept, _) = config::settings_of(&profile);
        let (same, _) = config::read_stored(&kept, None).unwrap();
        assert_eq!(config::settings_of(&same).0, kept);
    });
}

#[test]
fn profiles_of_llama_swap_become_toml_that_holds_them_all() {
    fuzz(&[SWAP.as_bytes()], |bytes, _| {
        let Ok(yaml) = std::str::from_utf8(bytes) else { return };
        let home = |name: &str| (name == "HOME").then(|| "/home/ada".to_owned());
        let Ok(text) = import::of_llama_swap(yaml, home) else { return };
        let table: Map<String, Value> =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let profiles = table.get("profile").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let told: Value = serde_saphyr::from_str(yaml).unwrap();
        let mut models: Vec<&str> = told["models"].as_object().unwrap().keys().map(String::as_str).collect();
        models.sort_unstable();
        assert!(profiles.iter().map(|profile| profile["name"].as_str().unwrap()).eq(models), "{text}");
        assert!(table.keys().all(|key| key == "profile"), "{text}");
    });
}
