//! Owns how arguments are built from what the installed version knows: an option it does not know makes
//! it exit. Pure; must not know the engines, nor where programs and models come from.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::capabilities::Capabilities;
use crate::config::ModelType;
use crate::models::fit::KvQuantization;
use crate::models::parsers::Parsers;

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

/// Arguments that grow by what the program knows.
pub struct Args<'a> {
    known: &'a Capabilities,
    args: Vec<OsString>,
}

impl<'a> Args<'a> {
    /// Behind the words that choose a subcommand.
    pub fn new(known: &'a Capabilities, first: &[&str]) -> Args<'a> {
        Args { known, args: first.iter().map(OsString::from).collect() }
    }

    pub fn always(&mut self, option: &str, value: impl Into<OsString>) {
        self.args.push(option.into());
        self.args.push(value.into());
    }

    /// Adds the option if it is known and takes the value; says whether it did.
    pub fn value(&mut self, option: &str, value: impl Into<OsString>) -> bool {
        let value = value.into();
        let accepted = self.known.accepts(option, &value.to_string_lossy());
        if accepted {
            self.always(option, value);
        }
        accepted
    }

    pub fn flag(&mut self, option: &str) {
        if self.known.knows(option) {
            self.args.push(option.into());
        }
    }

    /// The user's own arguments come last, so that they win.
    pub fn finish(mut self, extra: &[String]) -> Vec<OsString> {
        self.args.extend(extra.iter().map(OsString::from));
        self.args
    }
}
