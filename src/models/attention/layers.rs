//! Which layer of a model keeps what: read from lists, patterns and intervals, each family's own way.
//! Pure; knows no sizes.

use serde_json::Value;

use super::super::config::{Settings, whole};

/// What a layer keeps of what it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// Everything.
    Full,
    /// The last tokens.
    Window(u64),
    /// A state that does not grow.
    State,
    Nothing,
}

/// Families for which the engines keep every token although some layers look no further than a window.
const KEEPS_ALL: [&str; 1] = ["gemma2"];

/// The layers in order. Where a family says nothing of its own, all of them keep everything.
pub(super) fn layers(settings: &Settings<'_>, count: usize) -> Vec<Layer> {
    let mut layers = listed(settings).or_else(|| patterned(settings, count)).unwrap_or_default();
    layers.resize(count, layers.last().copied().unwrap_or(Layer::Full));
    if KEEPS_ALL.iter().any(|family| settings.is_family(family)) {
        layers.fill(Layer::Full);
    }
    let shared = settings.number(&["num_kv_shared_layers"]).unwrap_or(0);
    let own = count.saturating_sub(usize::try_from(shared).unwrap_or(count));
    if let Some(rest) = layers.get_mut(own..) {
        // They look into the cache of an earlier layer.
        rest.fill(Layer::Nothing);
    }
    layers
}

/// Layer by layer in the configuration.
fn listed(settings: &Settings<'_>) -> Option<Vec<Layer>> {
    if let Some(types) = settings.list("layer_types").or_else(|| settings.list("layers_block_type")) {
        return Some(types.iter().map(|name| named(settings, name.as_str().unwrap_or_default())).collect());
    }
    if let Some(pattern) = settings.text("hybrid_override_pattern") {
        return Some(pattern.chars().map(lettered).collect());
    }
    if let Some(pattern) = settings.list("hybrid_override_pattern") {
        let letters = pattern.iter().map(|one| one.as_str().and_then(|text| text.chars().next()));
        return Some(letters.map(|letter| lettered(letter.unwrap_or('*'))).collect());
    }
    if let Some(types) = settings.list("attn_type_list") {
        let full = |one: &Value| if one.as_u64() == Some(0) { Layer::State } else { Layer::Full };
        return Some(types.iter().map(full).collect());
    }
    None
}

fn named(settings: &Settings<'_>, name: &str) -> Layer {
    match name {
        "sliding_attention" => window(settings),
        "chunked_attention" => chunk(settings),
        "linear_attention" | "conv" | "mamba" | "mamba2" | "recurrent" | "short_conv" => Layer::State,
        "moe" | "mlp" => Layer::Nothing,
        _ => Layer::Full,
    }
}

fn lettered(letter: char) -> Layer {
    match letter {
        'M' => Layer::State,
        '-' | 'E' => Layer::Nothing,
        _ => Layer::Full,
    }
}

/// By a rule that repeats.
fn patterned(settings: &Settings<'_>, count: usize) -> Option<Vec<Layer>> {
    let every = |rule: &dyn Fn(usize) -> Layer| Some((0..count).map(rule).collect::<Vec<Layer>>());
    if let Some(linear) = settings.get("linear_attn_config") {
        // Counted from one.
        let full = indices(linear.get("full_attn_layers"));
        return every(&|layer| if full.contains(&(layer + 1)) { Layer::Full } else { Layer::State });
    }
    if let Some(full) = settings.get("full_attn_idxs") {
        let full = indices(Some(full));
        return every(&|layer| if full.contains(&layer) { Layer::Full } else { Layer::State });
    }
    let hybrid = settings.is_family("qwen3_next") || settings.is_family("qwen3_5");
    if let Some(interval) = interval(settings, "full_attention_interval").or(hybrid.then_some(4)) {
        return every(&|layer| last_of(layer, interval, Layer::Full, Layer::State));
    }
    if let Some(period) = interval(settings, "attn_layer_period") {
        let offset = settings.number(&["attn_layer_offset"]).map_or(0, |n| usize::try_from(n).unwrap_or(0));
        return every(&|layer| if layer % period == offset { Layer::Full } else { Layer::State });
    }
    if settings.is_family("llama4") {
        let chunk = chunk(settings);
        return every(&|layer| last_of(layer, 4, Layer::Full, chunk));
    }
    let window = window(settings);
    if let Some(pattern) = settings.text("sliding_window_pattern").filter(|pattern| !pattern.is_empty()) {
        let letters: Vec<char> = pattern.chars().collect();
        return every(&|layer| {
            if letters.get(layer % letters.len()) == Some(&'L') { window } else { Layer::Full }
        });
    }
    let known = [("gemma3", 6), ("gemma4", 5), ("cohere2", 4), ("gpt_oss", 2)];
    let usual = known.iter().find(|(family, _)| settings.is_family(family)).map(|(_, every)| *every);
    let interval = interval(settings, "sliding_window_pattern").or(usual)?;
    every(&|layer| last_of(layer, interval, Layer::Full, window))
}

/// The last layer of each `interval` is one thing, the others another.
fn last_of(layer: usize, interval: usize, last: Layer, others: Layer) -> Layer {
    if (layer + 1).is_multiple_of(interval) { last } else { others }
}

/// Without a length there is no window.
fn window(settings: &Settings<'_>) -> Layer {
    let tokens = settings.number(&["sliding_window", "sliding_window_size"]).filter(|tokens| *tokens > 0);
    // What Gemma 3 leaves out of its configuration is the usual value.
    let usual = settings.is_family("gemma3").then_some(512);
    tokens.or(usual).map_or(Layer::Full, Layer::Window)
}

fn chunk(settings: &Settings<'_>) -> Layer {
    let tokens = settings.number(&["attention_chunk_size"]).filter(|tokens| *tokens > 0);
    tokens.or(settings.is_family("llama4").then_some(8192)).map_or(Layer::Full, Layer::Window)
}

fn interval(settings: &Settings<'_>, name: &str) -> Option<usize> {
    settings.number(&[name]).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0)
}

fn indices(list: Option<&Value>) -> Vec<usize> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|index| usize::try_from(whole(index)?).ok()).collect()
}
