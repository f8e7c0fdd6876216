//! What a model keeps of every token it has read: grouped and multi-query attention, latent attention,
//! sliding windows, and hybrids whose layers keep a state of fixed size or nothing. Pure. Goes by what
//! the MLX engines keep, which for some families is more than the architecture asks for.

mod layers;
mod state;

use serde::Serialize;
use utoipa::ToSchema;

use super::config::Settings;
use super::facts::{Kind, Known, Source};
use layers::{Layer, layers};

/// More layers than any model has; what says more is not believed.
const MOST_LAYERS: u64 = 4096;

/// The cache of keys and values, and of states, of one conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct KvCache {
    /// What a token costs while it is within every window.
    pub bytes_per_token: u64,
    /// What a token costs once the windows are full; equal where there are none.
    pub bytes_per_token_beyond_windows: u64,
    /// States that do not grow.
    pub fixed_bytes: u64,
    /// Bytes of a single figure: the cache is not quantized.
    pub bytes_per_element: u64,
    pub layers: Vec<KvLayers>,
}

/// Layers that keep alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct KvLayers {
    pub count: u64,
    /// Of each layer; 0 for those that keep nothing that grows.
    pub bytes_per_token: u64,
    /// Tokens after which the oldest go.
    pub window: Option<u64>,
}

impl KvCache {
    /// Bytes at so many tokens.
    pub fn bytes_at(&self, tokens: u64) -> u64 {
        let grown = self.layers.iter().map(|layers| {
            let kept = layers.window.map_or(tokens, |window| tokens.min(window));
            layers.count.saturating_mul(layers.bytes_per_token).saturating_mul(kept)
        });
        grown.fold(self.fixed_bytes, u64::saturating_add)
    }

    /// Of these, what layers keep that look back to the beginning.
    pub fn unbounded_bytes_at(&self, tokens: u64) -> u64 {
        let unbounded = self.layers.iter().filter(|layers| layers.window.is_none());
        let grown = unbounded.map(|layers| layers.count.saturating_mul(layers.bytes_per_token));
        grown.fold(0, u64::saturating_add).saturating_mul(tokens).min(self.bytes_at(tokens))
    }
}

/// What the configuration says; `None` where it does not say enough.
pub(super) fn of(settings: &Settings<'_>, kind: Kind) -> Option<Known<KvCache>> {
    let bytes_per_element = element_bytes(settings);
    if !kind.writes_text() {
        return Some(Known::new(KvCache::of_layers(&[], 0, bytes_per_element), Source::Kind));
    }
    let count = settings.number(&["num_hidden_layers", "n_layer", "n_layers", "num_layers"])?;
    let count = Some(count).filter(|count| (1..=MOST_LAYERS).contains(count))?;
    let layers = layers(settings, usize::try_from(count).ok()?);
    let mut kept = Vec::with_capacity(layers.len());
    let mut fixed = 0_u64;
    for layer in &layers {
        match layer {
            Layer::Nothing => {}
            Layer::State => fixed = fixed.saturating_add(state::bytes(settings, bytes_per_element)?),
            Layer::Full => kept.push((elements(settings, true)?, None)),
            Layer::Window(window) => kept.push((elements(settings, false)?, Some(*window))),
        }
    }
    // Some models have attention and a state in each layer.
    if settings.is_family("falcon_h1") {
        fixed = state::bytes(settings, bytes_per_element)?.saturating_mul(count);
    }
    let kept: Vec<(u64, Option<u64>)> = kept
        .into_iter()
        .map(|(elements, window)| (elements.saturating_mul(bytes_per_element), window))
        .collect();
    Some(Known::new(KvCache::of_layers(&kept, fixed, bytes_per_element), Source::Config))
}

impl KvCache {
    fn of_layers(kept: &[(u64, Option<u64>)], fixed_bytes: u64, bytes_per_element: u64) -> KvCache {
        let mut layers: Vec<KvLayers> = Vec::new();
        for &(bytes_per_token, window) in kept {
            match layers.iter_mut().find(|of| of.bytes_per_token == bytes_per_token && of.window == window) {
                Some(of) => of.count += 1,
                None => layers.push(KvLayers { count: 1, bytes_per_token, window }),
            }
        }
        let sum = |of: &mut dyn Iterator<Item = &KvLayers>| {
            of.fold(0, |sum: u64, of| sum.saturating_add(of.count.saturating_mul(of.bytes_per_token)))
        };
        KvCache {
            bytes_per_token: sum(&mut layers.iter()),
            bytes_per_token_beyond_windows: sum(&mut layers.iter().filter(|of| of.window.is_none())),
            fixed_bytes,
            bytes_per_element,
            layers,
        }
    }
}

/// Figures that a layer with attention keeps of each token.
fn elements(settings: &Settings<'_>, full: bool) -> Option<u64> {
    if let Some(rank) = settings.number(&["kv_lora_rank"]) {
        return latent(settings, rank);
    }
    let heads = settings
        .number(&["num_attention_heads", "n_head", "n_heads", "num_heads"])
        .filter(|heads| *heads > 0)?;
    let shared = settings.boolean("multi_query").then_some(1);
    let global = (full && settings.boolean("attention_k_eq_v"))
        .then(|| settings.number(&["num_global_key_value_heads"]))
        .flatten();
    let windowed = (!full).then(|| settings.number(&["swa_num_key_value_heads"])).flatten();
    let kv_heads = global
        .or(windowed)
        .or_else(|| settings.number(&["num_key_value_heads", "num_kv_heads", "n_kv_heads"]))
        .or(shared)
        .unwrap_or(heads);
    let global_dim = if full { settings.number(&["global_head_dim"]) } else { None };
    let key_dim = match global_dim.or_else(|| settings.number(&["head_dim", "attention_head_dim"])) {
        Some(dim) => dim,
        None => settings.number(&["hidden_size", "n_embd", "d_model", "dim"])? / heads,
    };
    let value_dim = settings.number(&["v_head_dim"]).unwrap_or(key_dim);
    Some(kv_heads.saturating_mul(key_dim.saturating_add(value_dim)))
}

/// Latent attention keeps one vector for all heads, the rotated part of the key, and where attention
/// is sparse the key of its index.
fn latent(settings: &Settings<'_>, rank: u64) -> Option<u64> {
    let rotated = settings.number(&["qk_rope_head_dim"])?;
    let index = settings.number(&["index_head_dim"]).unwrap_or(0);
    let each = rank.saturating_add(rotated).saturating_add(index);
    // Two attentions a layer.
    let twice = settings.is_family("longcat_flash");
    Some(if twice { each.saturating_mul(2) } else { each })
}

/// The cache has the type of the activations, which are never quantized.
fn element_bytes(settings: &Settings<'_>) -> u64 {
    let dtype = settings.text("torch_dtype").or_else(|| settings.text("dtype"));
    if dtype.is_some_and(|dtype| dtype.ends_with("float32")) { 4 } else { 2 }
}
