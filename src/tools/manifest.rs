//! `plugin.toml`: what a plugin says of itself and asks for. Reads text, not files.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::permissions::Permissions;
use super::schema;
use crate::config::parse_bytes;
use crate::outward::{Destination, Network};

/// Bytes of a `plugin.toml`.
pub const MANIFEST_MAX: u64 = 64 << 10;

/// A plugin's `plugin.toml`, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub name: String,
    pub version: String,
    pub description: String,
    /// The component, beside the manifest.
    pub wasm: String,
    pub destinations: Vec<Destination>,
    pub allow_private: Vec<Network>,
    pub secrets: Vec<Secret>,
    /// What the guest reads with `config.get`.
    pub config: BTreeMap<String, String>,
    pub limits: Limits,
}

/// A header that the host adds to requests to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    pub destination: Destination,
    pub header: http::HeaderName,
    /// The environment variable that holds its value.
    pub env: String,
}

/// What one call may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limits {
    pub memory_bytes: u64,
    pub cpu_ms: u64,
    /// Host calls included.
    pub wall_ms: u64,
    pub output_bytes: u64,
    /// Calls at once.
    pub concurrent: u32,
}

/// Of every plugin, whatever it asks for.
const MEMORY_MAX: u64 = 1 << 30;
const CPU_MS_MAX: u64 = 600_000;
const WALL_MS_MAX: u64 = 3_600_000;
const OUTPUT_MAX: u64 = 64 << 20;
const CONCURRENT_MAX: u32 = 64;

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: 64 << 20,
            cpu_ms: 1000,
            wall_ms: 30_000,
            output_bytes: 1 << 20,
            concurrent: 16,
        }
    }
}

impl Limits {
    /// How long a call may take, waiting included.
    pub fn wall(&self) -> Duration {
        Duration::from_millis(self.wall_ms)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    wasm: Option<String>,
    #[serde(default)]
    permissions: RawPermissions,
    #[serde(default)]
    config: BTreeMap<String, toml::Value>,
    #[serde(default)]
    limits: RawLimits,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPermissions {
    http: Vec<String>,
    allow_private: Vec<String>,
    secrets: BTreeMap<String, RawSecret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecret {
    header: String,
    env: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLimits {
    memory: Option<String>,
    cpu_ms: Option<u64>,
    wall_ms: Option<u64>,
    output: Option<String>,
    concurrent: Option<u32>,
}

impl Manifest {
    /// Reads `plugin.toml`.
    pub fn parse(text: &str) -> Result<Manifest, String> {
        let raw: Raw =
            toml::from_str(text).map_err(|error| format!("plugin.toml: {}", error.to_string().trim()))?;
        schema::check_name(&raw.name).map_err(|why| format!("plugin.toml: name: {why}"))?;
        let wasm = raw.wasm.unwrap_or_else(|| format!("{}.wasm", raw.name));
        if wasm.contains(['/', '\\', '\0']) || wasm.starts_with('.') {
            return Err(format!("plugin.toml: wasm: `{wasm}` has to be a file beside plugin.toml"));
        }
        let told = |key: &'static str| move |why: String| format!("plugin.toml: {key}: {why}");
        let http = raw.permissions.http.iter().map(|url| Destination::parse(url));
        let private = raw.permissions.allow_private.iter().map(|net| Network::parse(net));
        let manifest = Manifest {
            destinations: http.collect::<Result<_, _>>().map_err(told("permissions.http"))?,
            allow_private: private.collect::<Result<_, _>>().map_err(told("permissions.allow_private"))?,
            secrets: secrets(&raw.permissions.secrets).map_err(told("permissions.secrets"))?,
            config: raw.config.into_iter().map(|(key, value)| (key, as_text(value))).collect(),
            limits: limits(&raw.limits).map_err(told("limits"))?,
            version: raw.version.unwrap_or_else(|| "0.0.0".to_owned()),
            name: raw.name,
            description: raw.description,
            wasm,
        };
        match manifest.secrets.iter().find(|secret| !manifest.destinations.contains(&secret.destination)) {
            Some(secret) => Err(format!(
                "plugin.toml: permissions.secrets: {} is not in permissions.http",
                secret.destination
            )),
            None => Ok(manifest),
        }
    }

    /// That of a bare component, which asks for nothing.
    pub fn bare(name: &str, wasm: &str) -> Result<Manifest, String> {
        schema::check_name(name)?;
        Ok(Manifest {
            name: name.to_owned(),
            version: "0.0.0".to_owned(),
            description: String::new(),
            wasm: wasm.to_owned(),
            destinations: Vec::new(),
            allow_private: Vec::new(),
            secrets: Vec::new(),
            config: BTreeMap::new(),
            limits: Limits::default(),
        })
    }

    /// What it asks for.
    pub fn permissions(&self) -> Permissions {
        let secret =
            |secret: &Secret| format!("{} as {} to {}", secret.env, secret.header, secret.destination);
        Permissions {
            http: self.destinations.iter().map(ToString::to_string).collect(),
            allow_private: self.allow_private.iter().map(ToString::to_string).collect(),
            secrets: self.secrets.iter().map(secret).collect(),
        }
    }
}

fn secrets(raw: &BTreeMap<String, RawSecret>) -> Result<Vec<Secret>, String> {
    let secret = |(url, raw): (&String, &RawSecret)| {
        let header = raw.header.to_ascii_lowercase();
        let header = header.parse().map_err(|_| format!("`{}` is not the name of a header", raw.header))?;
        // The gateway's own keys are nobody's secrets to send elsewhere.
        if raw.env.is_empty() || raw.env.starts_with("MLX_") {
            return Err(format!(
                "`{}` cannot be given to a plugin; name another environment variable",
                raw.env
            ));
        }
        Ok(Secret { destination: Destination::parse(url)?, header, env: raw.env.clone() })
    };
    raw.iter().map(secret).collect()
}

fn limits(raw: &RawLimits) -> Result<Limits, String> {
    let usual = Limits::default();
    let bytes = |text: &Option<String>, usual| text.as_deref().map_or(Ok(usual), parse_bytes);
    let limits = Limits {
        memory_bytes: bytes(&raw.memory, usual.memory_bytes)?,
        cpu_ms: raw.cpu_ms.unwrap_or(usual.cpu_ms),
        wall_ms: raw.wall_ms.unwrap_or(usual.wall_ms),
        output_bytes: bytes(&raw.output, usual.output_bytes)?,
        concurrent: raw.concurrent.unwrap_or(usual.concurrent),
    };
    let within = |name: &str, value: u64, most: u64| match value {
        0 => Err(format!("{name} has to be more than 0")),
        value if value > most => Err(format!("{name} is at most {most}, not {value}")),
        _ => Ok(()),
    };
    within("memory (bytes)", limits.memory_bytes, MEMORY_MAX)?;
    within("cpu_ms", limits.cpu_ms, CPU_MS_MAX)?;
    within("wall_ms", limits.wall_ms, WALL_MS_MAX)?;
    within("output (bytes)", limits.output_bytes, OUTPUT_MAX)?;
    within("concurrent", u64::from(limits.concurrent), u64::from(CONCURRENT_MAX))?;
    Ok(limits)
}

/// Guests read texts.
fn as_text(value: toml::Value) -> String {
    match value {
        toml::Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_manifest_is_read() {
        let manifest = Manifest::parse(
            r#"
            name = "get_weather"
            version = "1.0.0"
            [permissions]
            http = ["https://api.open-meteo.com", "http://127.0.0.1:81"]
            allow_private = ["127.0.0.1"]
            secrets = { "https://api.open-meteo.com" = { header = "Authorization", env = "TOKEN" } }
            [config]
            url = "https://x"
            days = 3
            [limits]
            memory = "8MiB"
            cpu_ms = 10
            "#,
        )
        .unwrap();
        assert_eq!(manifest.wasm, "get_weather.wasm");
        assert_eq!(manifest.config["days"], "3");
        assert_eq!((manifest.limits.memory_bytes, manifest.limits.wall_ms), (8 << 20, 30_000));
        let asked = manifest.permissions().in_words().join("; ");
        assert!(asked.contains("send requests to http://127.0.0.1:81"), "{asked}");
        assert!(asked.contains("TOKEN as authorization to https://api.open-meteo.com"), "{asked}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("name = \"a b\"", "name"),
            ("name = \"a\"\nwasm = \"../x.wasm\"", "beside plugin.toml"),
            ("name = \"a\"\ntypo = 1", "typo"),
            ("name = \"a\"\n[limits]\nmemory = \"2GiB\"", "at most"),
            ("name = \"a\"\n[limits]\ncpu_ms = 0", "more than 0"),
            ("name = \"a\"\n[permissions]\nhttp = [\"x\"]", "permissions.http"),
            (
                "name = \"a\"\n[permissions]\nsecrets = { \"https://a\" = { header = \"x\", env = \"Y\" } }",
                "not in permissions.http",
            ),
            (
                "name = \"a\"\n[permissions]\nhttp = [\"https://a\"]\nsecrets = { \"https://a\" = { header = \"x\", env = \"MLX_GATEWAY_API_KEY\" } }",
                "cannot be given",
            ),
            ("", "name"),
        ] {
            let error = Manifest::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
