//! Puts the environment and the flags over the tree of the file: `MLX_GATEWAY_SERVER__LISTEN` is
//! `server.listen`. Knows which variables mean something else, and nothing of what settings mean.

use std::collections::BTreeMap;

use super::tree::{self, Node, Table, Value};
use super::{Flags, Origin, Problem, Secret, Warning};

pub(super) const PREFIX: &str = "MLX_GATEWAY_";
pub(super) const CONFIG: &str = "MLX_GATEWAY_CONFIG";
/// The first that is set and not empty is the operator's key.
pub(super) const API_KEYS: [&str; 2] = ["MLX_GATEWAY_API_KEY", "MLX_MANAGER_API_KEY"];
/// Variables with the prefix that are no settings of the file.
const NOT_SETTINGS: [&str; 3] = [CONFIG, "MLX_GATEWAY_API_KEY", "MLX_GATEWAY_LOG"];
/// Variables of the Hugging Face tools that are settings here; our own names win over them.
const BORROWED: [(&str, &[&str]); 1] = [("HF_ENDPOINT", &["hub", "endpoint"])];

/// The variable's value, unless it is empty, which counts as unset.
pub(super) fn set<'a>(environment: &'a BTreeMap<String, String>, variable: &str) -> Option<&'a str> {
    environment.get(variable).map(|value| value.trim()).filter(|value| !value.is_empty())
}

/// The operator's key and the variable it stands in.
pub(super) fn api_key(environment: &BTreeMap<String, String>) -> Option<(Secret, Origin)> {
    API_KEYS.into_iter().find_map(|variable| {
        let key = set(environment, variable)?;
        Some((Secret(key.to_owned()), Origin::Environment { variable: variable.to_owned() }))
    })
}

/// Lays the environment over `root`; what names no setting there comes back as warnings.
pub(super) fn overlay(root: &mut Table, environment: &BTreeMap<String, String>) -> Vec<Warning> {
    for (variable, path) in BORROWED {
        if let Some(raw) = set(environment, variable) {
            let origin = Origin::Environment { variable: variable.to_owned() };
            root.put(path, Value::Untyped(raw.to_owned()), &origin);
        }
    }
    let mut warnings = Vec::new();
    for variable in environment.keys().filter(|variable| variable.starts_with(PREFIX)) {
        let Some(raw) = set(environment, variable) else {
            continue;
        };
        if NOT_SETTINGS.contains(&variable.as_str()) {
            continue;
        }
        let origin = Origin::Environment { variable: variable.clone() };
        let path = path_of(variable);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        // Profiles have no keys to name them by: they come from the file.
        let in_a_section = matches!(path.as_slice(), [section, _, ..] if *section != "profile");
        let names_a_setting = in_a_section && path.iter().all(|key| !key.is_empty());
        if !names_a_setting || !root.put(&path, value_of(raw, &origin), &origin) {
            let warning = Problem::at(None, &origin, "", "unknown variable, not used");
            warnings.push(warning.suggest("settings are named MLX_GATEWAY_SECTION__KEY"));
        }
    }
    warnings
}

/// Lays the flags over everything else.
pub(super) fn overlay_flags(root: &mut Table, flags: &Flags) {
    let origin = |flag: &str| Origin::Flag { flag: flag.to_owned() };
    if !flags.listen.is_empty() {
        let origin = origin("--listen");
        let node = |address: &String| Node { value: Value::Text(address.clone()), origin: origin.clone() };
        let listen = Value::List(flags.listen.iter().map(node).collect());
        root.put(&["server", "listen"], listen, &origin);
    }
    if let Some(data_dir) = &flags.data_dir {
        let data_dir = Value::Text(data_dir.to_string_lossy().into_owned());
        root.put(&["server", "data_dir"], data_dir, &origin("--data-dir"));
    }
    if let Some(file) = &flags.log_file {
        let file = Value::Text(file.to_string_lossy().into_owned());
        root.put(&["log", "file"], file, &origin("--log-file"));
    }
}

/// `MLX_GATEWAY_ENGINE__MLX_OPENAI_SERVER__MANAGED` is `engine.mlx-openai-server.managed`: a variable's
/// name has no hyphens, an engine's has no underscores.
fn path_of(variable: &str) -> Vec<String> {
    let name = variable.strip_prefix(PREFIX).unwrap_or(variable).to_ascii_lowercase();
    let mut path: Vec<String> = name.split("__").map(str::to_owned).collect();
    if let [section, engine, ..] = path.as_mut_slice()
        && section == "engine"
    {
        *engine = engine.replace('_', "-");
    }
    path
}

/// Tables are known by their braces; the rest is what the setting makes of it.
fn value_of(raw: &str, origin: &Origin) -> Value {
    match tree::toml_value(raw, origin) {
        Some(Node { value: Value::Table(table), .. }) => Value::Table(table),
        _ => Value::Untyped(raw.to_owned()),
    }
}
