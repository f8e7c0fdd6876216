//! How many weights there are, and how many bytes they take: from the tables of the files, else from
//! what an index or a hub has counted. Pure.

use std::collections::HashMap;

use serde_json::Value;

use super::config::whole;
use super::facts::{Facts, Known, Source};
use super::quantization::Quantization;
use super::safetensors::Header;
use super::sources::Sources;

const WEIGHTS: [&str; 4] = [".safetensors", ".npz", ".gguf", ".bin"];
const USUAL_GROUP: u64 = 64;
const WORD_BITS: u64 = 32;

/// All weights, packed ones unpacked.
pub(super) fn parameters(sources: &Sources, packing: Option<&Quantization>) -> Option<Known<u64>> {
    if !sources.headers.is_empty() {
        let total =
            sources.headers.iter().fold(0, |sum: u64, header| sum.saturating_add(of_header(header, packing)));
        return (total > 0).then(|| Known::new(total, Source::SafetensorsHeaders));
    }
    let of_index = || {
        let total = sources.index.as_ref()?.get("metadata")?.get("total_parameters").and_then(whole)?;
        Some(Known::new(total, Source::SafetensorsIndex))
    };
    of_index().or_else(|| of_hub(sources.hub_safetensors.as_ref()?, packing))
}

/// Bytes of the weights.
pub(super) fn bytes(sources: &Sources) -> Option<Known<u64>> {
    let kinds = WEIGHTS.iter().map(|ending| sum(sources, |path| path.ends_with(ending) && !is_beside(path)));
    // A repository may hold the same weights in several formats; the first is the one that is loaded.
    if let Some(bytes) = kinds.flatten().find(|bytes| *bytes > 0) {
        return Some(Known::new(bytes, Source::Files));
    }
    let index = sources.index.as_ref()?.get("metadata")?.get("total_size").and_then(whole)?;
    Some(Known::new(index, Source::SafetensorsIndex))
}

/// Bytes of everything.
pub(super) fn size(sources: &Sources) -> Option<Known<u64>> {
    sum(sources, |_| true).map(|bytes| Known::new(bytes, Source::Files))
}

/// The type that most elements have.
pub(super) fn main_type(headers: &[Header]) -> Option<String> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for tensor in headers.iter().flat_map(|header| header.tensors.values()) {
        let count = counts.entry(&tensor.dtype).or_default();
        *count = count.saturating_add(tensor.elements());
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(dtype, _)| dtype.to_owned())
}

/// What a weight takes when all is told.
pub(super) fn bits_per_weight(facts: &mut Facts) {
    let (Some(bytes), Some(parameters)) = (facts.weights_bytes, facts.parameters) else { return };
    if let Some(packing) = facts.quantization.as_mut().filter(|_| parameters.value > 0) {
        let bits = bytes.value as f64 * 8.0 / parameters.value as f64;
        packing.value.bits_per_weight = Some((bits * 100.0).round() / 100.0);
    }
}

/// `None` where there is no file, or the size of one is unknown.
fn sum(sources: &Sources, wanted: impl Fn(&str) -> bool) -> Option<u64> {
    let mut files = sources.files.iter().filter(|file| wanted(&file.path)).peekable();
    files.peek()?;
    files.try_fold(0_u64, |sum, file| Some(sum.saturating_add(file.bytes?)))
}

/// Weights that are not the model's own.
fn is_beside(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("training_args") || name.starts_with("optimizer") || path.starts_with("original/")
}

fn of_header(header: &Header, packing: Option<&Quantization>) -> u64 {
    let counted = header.tensors.iter().map(|(name, tensor)| {
        let Some(layer) = name.strip_suffix(".weight") else {
            return beside_weights(name, header, tensor.elements());
        };
        if tensor.dtype != "U32" {
            return tensor.elements();
        }
        // Each group has one scale, however many bits its weights have.
        let group = packing.and_then(|packing| packing.group_of(layer)).unwrap_or(USUAL_GROUP);
        match header.tensors.get(&format!("{layer}.scales")) {
            Some(scales) => scales.elements().saturating_mul(group),
            None => tensor
                .elements()
                .saturating_mul(WORD_BITS / packing.and_then(|p| p.bits).unwrap_or(4).clamp(1, WORD_BITS)),
        }
    });
    counted.fold(0, u64::saturating_add)
}

/// Scales and biases of packed weights are no weights; two of OpenAI's four-bit ones share a byte.
fn beside_weights(name: &str, header: &Header, elements: u64) -> u64 {
    const SCALES: [&str; 5] = ["_scales", "_scale", "_scale_inv", ".qzeros", ".g_idx"];
    if name.ends_with("_blocks") {
        return elements.saturating_mul(2);
    }
    let packed = |layer: &str| {
        header.tensors.get(&format!("{layer}.weight")).is_some_and(|weight| weight.dtype == "U32")
    };
    let of_packed = [".scales", ".biases"].iter().any(|end| name.strip_suffix(end).is_some_and(packed));
    if of_packed || name.ends_with(".scales") || SCALES.iter().any(|end| name.ends_with(end)) {
        return 0;
    }
    elements
}

/// The Hub counts packed words as elements, and scales and biases beside them.
fn of_hub(counted: &Value, packing: Option<&Quantization>) -> Option<Known<u64>> {
    let known = |total| Some(Known::new(total, Source::HubMetadata));
    let parameters = counted.get("parameters").and_then(Value::as_object);
    let words = parameters.and_then(|types| types.get("U32")).and_then(whole).unwrap_or(0);
    let Some((types, packing)) = parameters.zip(packing).filter(|_| words > 0) else {
        let total = counted.get("total").and_then(whole);
        let sum = || parameters.map(|types| types.values().filter_map(whole).fold(0, u64::saturating_add));
        return known(total.or_else(sum)?);
    };
    let bits = packing.bits.filter(|bits| (1..=WORD_BITS).contains(bits))?;
    let group = packing.group_size.unwrap_or(USUAL_GROUP).max(1);
    let unpacked = words.saturating_mul(WORD_BITS) / bits;
    let others = types.iter().filter(|(name, _)| *name != "U32").filter_map(|(_, count)| whole(count));
    let others = others.fold(0, u64::saturating_add);
    let beside = (unpacked / group).saturating_mul(if packing.method == "affine" { 2 } else { 1 });
    known(unpacked.saturating_add(others.saturating_sub(beside)))
}
