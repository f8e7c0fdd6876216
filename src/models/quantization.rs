//! How the weights are packed: bits, group size, and whether some layers differ. Pure.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::config::{Settings, whole};
use super::facts::{Known, Source};
use super::sources::Sources;

/// Bits of the scale and bias that each group of MLX's own format has beside its weights.
const GROUP_BITS: f64 = 32.0;
/// Bits of a group's scale in the formats of the Open Compute Project (mxfp4 and its like).
const SHARED_SCALE_BITS: f64 = 8.0;
const USUAL_GROUP: u64 = 64;

/// How a model's weights are stored.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Quantization {
    /// `affine` (MLX's own), `mxfp4`, `awq`, `fp8` and the like; `none` where weights are whole.
    pub method: String,
    /// Of most layers; for whole weights those of their type.
    pub bits: Option<u64>,
    pub group_size: Option<u64>,
    /// Some layers have other bits than most.
    pub mixed: bool,
    /// Of all weights together, scales included, where files and parameters were counted.
    pub bits_per_weight: Option<f64>,
    /// For badges: `4-bit`, `mixed 4/8-bit`, `mxfp4`, `bf16`.
    pub label: String,
    /// Layers that differ, by name: bits and group size.
    #[serde(skip)]
    pub overrides: Vec<(String, u64, u64)>,
}

impl Quantization {
    /// Bits that a weight takes on the disk, scales included.
    pub fn stored_bits(&self) -> Option<f64> {
        if let Some(bits) = self.bits_per_weight {
            return Some(bits);
        }
        let bits = self.bits? as f64;
        Some(match (self.method.as_str(), self.group_size) {
            ("none" | "fp8", _) => bits,
            ("affine", group) => bits + GROUP_BITS / group.unwrap_or(USUAL_GROUP).max(1) as f64,
            (_, Some(group)) => bits + SHARED_SCALE_BITS / group.max(1) as f64,
            _ => bits,
        })
    }

    /// The group size of a layer.
    pub(super) fn group_of(&self, layer: &str) -> Option<u64> {
        let own = self.overrides.iter().find(|(name, _, _)| name == layer);
        own.map(|(_, _, group)| *group).or(self.group_size)
    }

    fn new(method: &str, bits: Option<u64>, group_size: Option<u64>) -> Quantization {
        let mut made = Quantization {
            method: method.to_owned(),
            bits,
            group_size,
            mixed: false,
            bits_per_weight: None,
            label: String::new(),
            overrides: Vec::new(),
        };
        made.label = made.name();
        made
    }

    fn name(&self) -> String {
        match (self.method.as_str(), self.bits) {
            ("affine" | "gptq" | "awq", Some(bits)) => {
                let mut all: Vec<u64> =
                    self.overrides.iter().map(|(_, bits, _)| *bits).chain([bits]).collect();
                all.sort_unstable();
                all.dedup();
                let all: Vec<String> = all.iter().map(u64::to_string).collect();
                if self.mixed { format!("mixed {}-bit", all.join("/")) } else { format!("{bits}-bit") }
            }
            (method, _) => method.to_owned(),
        }
    }
}

pub(super) fn of(sources: &Sources) -> Option<Known<Quantization>> {
    let settings = Settings::of(sources.config.as_ref());
    let table =
        ["quantization", "quantization_config"].iter().find_map(|name| settings.get(name)?.as_object());
    match table {
        Some(table) => Some(Known::new(packed(table), Source::Config)),
        None if settings.is_known() => whole_weights(sources, &settings),
        None => None,
    }
}

fn packed(table: &Map<String, Value>) -> Quantization {
    let figure = |table: &Map<String, Value>, name: &str| table.get(name).and_then(whole).filter(|n| *n > 0);
    let text = |name: &str| table.get(name).and_then(Value::as_str);
    let method = text("quant_method").or_else(|| text("mode")).unwrap_or("affine").to_ascii_lowercase();
    let usual = match method.as_str() {
        "mxfp4" | "nvfp4" => Some(4),
        "fp8" | "mxfp8" => Some(8),
        _ => None,
    };
    let (bits, group) = (figure(table, "bits").or(usual), figure(table, "group_size"));
    let mut made = Quantization::new(&method, bits.filter(|bits| *bits <= 64), group);
    for (name, value) in table {
        let Some(own) = value.as_object() else { continue };
        if let Some(bits) = figure(own, "bits").filter(|bits| *bits <= 64) {
            let group = figure(own, "group_size").or(group).unwrap_or(USUAL_GROUP);
            made.overrides.push((name.clone(), bits, group));
        }
    }
    made.mixed = made.overrides.iter().any(|(_, own, _)| Some(*own) != made.bits);
    made.label = made.name();
    made
}

/// Whole weights have the type that most of them have in the headers, else the one that the
/// configuration names.
fn whole_weights(sources: &Sources, settings: &Settings<'_>) -> Option<Known<Quantization>> {
    let counted = super::weights::main_type(&sources.headers);
    let named = || settings.text("torch_dtype").or_else(|| settings.text("dtype")).and_then(short);
    let (name, source) = match counted.as_deref().and_then(short) {
        Some(name) => (name, Source::SafetensorsHeaders),
        None => (named()?, Source::Config),
    };
    let bits = match name {
        "f32" => 32,
        "fp8" => 8,
        _ => 16,
    };
    let mut made = Quantization::new(if name == "fp8" { "fp8" } else { "none" }, Some(bits), None);
    made.label = name.to_owned();
    Some(Known::new(made, source))
}

fn short(dtype: &str) -> Option<&'static str> {
    Some(match dtype.trim_start_matches("torch.").to_ascii_lowercase().as_str() {
        "bfloat16" | "bf16" => "bf16",
        "float16" | "f16" | "half" => "f16",
        "float32" | "f32" | "float" => "f32",
        "f8_e4m3" | "f8_e5m2" | "float8_e4m3fn" => "fp8",
        _ => return None,
    })
}
