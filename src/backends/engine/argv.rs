//! Owns the arguments of each engine, built from what the installed version knows: an option it
//! does not know makes it exit. Pure; must not know where programs and models come from.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::capabilities::Capabilities;
use crate::config::ModelType;
use crate::models::fit::KvQuantization;
use crate::models::parsers::Parsers;

/// The gateway queues requests itself, fairly and with a bound; the engine's queue only must not
/// refuse what the gateway let through.
const ENGINE_QUEUE_SIZE: u32 = 1_000;
/// Also the limit for a single step of an answer, the prefill of a long prompt included; the
/// gateway has its own, configurable ones.
const ENGINE_TIMEOUT_SECONDS: u32 = 86_400;
/// What 1.6 could run at once; MLX's streams do not take more there.
const ENGINE_CONCURRENCY_1_6: u32 = 1;
/// The prompt cache's share of the memory budget, and its limits.
const PROMPT_CACHE_SHARE: u64 = 10;
const PROMPT_CACHE_MIN_BYTES: u64 = 256 * 1024 * 1024;
const PROMPT_CACHE_MAX_BYTES: u64 = 8 * 1024 * 1024 * 1024;

/// Where `--kv-group-size` is not said.
const KV_GROUP_SIZE: u32 = 64;

/// What one launch asks for.
#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// A folder or a Hub id.
    pub model: &'a OsStr,
    pub model_type: ModelType,
    pub served_name: &'a str,
    pub port: &'a str,
    pub context_length: Option<u32>,
    pub parsers: Parsers,
    pub prompt_cache_bytes: u64,
    pub prompt_cache_dir: &'a Path,
    pub structured: bool,
    pub trust_remote_code: bool,
    pub extra_args: &'a [String],
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgvError {
    #[error("{program} does not know {option}, so it cannot be launched; install a version that does")]
    Unsupported { program: &'static str, option: &'static str },
    #[error("mlx-openai-server {version} cannot serve models of type {model_type}")]
    ModelType { version: String, model_type: &'static str },
}

/// The bytes a prompt cache may hold under a memory budget.
pub fn prompt_cache_bytes(budget_bytes: u64) -> u64 {
    (budget_bytes / PROMPT_CACHE_SHARE).clamp(PROMPT_CACHE_MIN_BYTES, PROMPT_CACHE_MAX_BYTES)
}

/// How `mlx-openai-server` is told to pack its cache of keys and values, if it is.
pub fn kv_quantization(extra_args: &[String]) -> Option<KvQuantization> {
    let number = |option: &str| {
        let words = extra_args.iter().enumerate().rev();
        let mut values = words.filter_map(|(at, word)| match word.strip_prefix(option)? {
            "" => extra_args.get(at + 1)?.parse().ok(),
            joined => joined.strip_prefix('=')?.parse().ok(),
        });
        values.next()
    };
    let bits = number("--kv-bits").filter(|bits| *bits > 0)?;
    let group_size = number("--kv-group-size").filter(|size| *size > 0).unwrap_or(KV_GROUP_SIZE);
    Some(KvQuantization { bits, group_size })
}

/// The arguments of `mlx-openai-server`.
pub fn mlx_openai_server(known: &Capabilities, launch: &Launch<'_>) -> Result<Vec<OsString>, ArgvError> {
    let program = "mlx-openai-server";
    for option in ["--model-path", "--model-type", "--host", "--port"] {
        if !known.knows(option) {
            return Err(ArgvError::Unsupported { program, option });
        }
    }
    let model_type = launch.model_type.name();
    if !known.accepts("--model-type", model_type) {
        let version = known.version.clone().unwrap_or_else(|| "(version unknown)".to_owned());
        return Err(ArgvError::ModelType { version, model_type });
    }
    let mut args = Args::new(known, "launch");
    args.always("--model-path", launch.model);
    args.always("--model-type", model_type);
    args.value("--served-model-name", launch.served_name);
    args.always("--host", "127.0.0.1");
    args.always("--port", launch.port);
    args.flag("--no-log-file");
    args.value("--log-level", "INFO");
    args.value("--queue-size", ENGINE_QUEUE_SIZE.to_string());
    args.value("--queue-timeout", ENGINE_TIMEOUT_SECONDS.to_string());
    args.value("--max-concurrency", ENGINE_CONCURRENCY_1_6.to_string());
    if matches!(launch.model_type, ModelType::Lm | ModelType::Multimodal) {
        generation(&mut args, launch);
    }
    if launch.trust_remote_code {
        args.flag("--trust-remote-code");
    }
    Ok(args.finish(launch.extra_args))
}

/// What only models that write text take.
fn generation(args: &mut Args<'_>, launch: &Launch<'_>) {
    if let Some(length) = launch.context_length {
        args.value("--context-length", length.to_string());
    }
    if let Some(parser) = launch.parsers.tool
        && args.value("--tool-call-parser", parser)
    {
        args.flag("--enable-auto-tool-choice");
    }
    if let Some(parser) = launch.parsers.reasoning {
        args.value("--reasoning-parser", parser);
    }
    if launch.structured {
        args.flag("--disable-batching");
    }
    if launch.model_type == ModelType::Lm {
        args.value("--max-bytes", launch.prompt_cache_bytes.to_string());
        args.value("--prompt-cache-dir", launch.prompt_cache_dir);
    }
}

/// The arguments of `mlx_lm.server`.
pub fn mlx_lm_server(known: &Capabilities, launch: &Launch<'_>) -> Result<Vec<OsString>, ArgvError> {
    for option in ["--model", "--host", "--port"] {
        if !known.knows(option) {
            return Err(ArgvError::Unsupported { program: "mlx_lm.server", option });
        }
    }
    let mut args = Args { known, args: Vec::new() };
    args.always("--model", launch.model);
    args.always("--host", "127.0.0.1");
    args.always("--port", launch.port);
    // Its default lets every web page in the browser talk to it.
    args.value("--allowed-origins", "http://127.0.0.1");
    args.value("--log-level", "INFO");
    args.value("--prompt-cache-bytes", launch.prompt_cache_bytes.to_string());
    if launch.trust_remote_code {
        args.flag("--trust-remote-code");
    }
    Ok(args.finish(launch.extra_args))
}

/// The arguments of `engine = "command"`, its placeholders filled in. No shell is involved, so a
/// path with a space stays one argument.
pub fn command(template: &[String], model: Option<&OsStr>, port: &str) -> Vec<OsString> {
    template.iter().map(|word| fill(word, model.unwrap_or_default(), port)).collect()
}

fn fill(word: &str, model: &OsStr, port: &str) -> OsString {
    let mut filled = OsString::new();
    for (index, part) in word.split("{model}").enumerate() {
        if index > 0 {
            filled.push(model);
        }
        filled.push(part.replace("{port}", port));
    }
    filled
}

/// Arguments that grow by what the program knows.
struct Args<'a> {
    known: &'a Capabilities,
    args: Vec<OsString>,
}

impl<'a> Args<'a> {
    fn new(known: &'a Capabilities, subcommand: &str) -> Args<'a> {
        Args { known, args: vec![subcommand.into()] }
    }

    fn always(&mut self, option: &str, value: impl Into<OsString>) {
        self.args.push(option.into());
        self.args.push(value.into());
    }

    /// Adds the option if it is known and takes the value; says whether it did.
    fn value(&mut self, option: &str, value: impl Into<OsString>) -> bool {
        let value = value.into();
        let accepted = self.known.accepts(option, &value.to_string_lossy());
        if accepted {
            self.always(option, value);
        }
        accepted
    }

    fn flag(&mut self, option: &str) {
        if self.known.knows(option) {
            self.args.push(option.into());
        }
    }

    /// The user's own arguments come last, so that they win.
    fn finish(mut self, extra: &[String]) -> Vec<OsString> {
        self.args.extend(extra.iter().map(OsString::from));
        self.args
    }
}

#[cfg(test)]
mod tests;
