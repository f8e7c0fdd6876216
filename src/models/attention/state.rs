//! The size of the states that layers without attention keep: convolutions, state spaces and gated
//! delta rules. Pure.

use super::super::config::Settings;

/// Recurrent states are kept in full precision.
const STATE_BYTES: u64 = 4;

/// Bytes of one layer's state in one conversation; `None` where the configuration does not tell.
pub(super) fn bytes(settings: &Settings<'_>, element_bytes: u64) -> Option<u64> {
    let convolution = |kernel: u64, width: u64| {
        kernel.saturating_sub(1).saturating_mul(width).saturating_mul(element_bytes)
    };
    if let Some(kernel) = settings.number(&["conv_L_cache"]) {
        return Some(convolution(kernel, settings.number(&["hidden_size"])?));
    }
    if let Some(heads) = settings.number(&["linear_num_value_heads"]) {
        let value_dim = settings.number(&["linear_value_head_dim"])?;
        let key_dim = settings.number(&["linear_key_head_dim"])?;
        let keys = settings.number(&["linear_num_key_heads"])?.saturating_mul(key_dim);
        let width = keys.saturating_mul(2).saturating_add(heads.saturating_mul(value_dim));
        let kernel = settings.number(&["linear_conv_kernel_dim"]).unwrap_or(4);
        return Some(convolution(kernel, width).saturating_add(recurrent(heads, value_dim, key_dim)));
    }
    if let Some(linear) = settings.get("linear_attn_config") {
        let figure = |name: &str| linear.get(name).and_then(super::super::config::whole);
        let (heads, dim) = (figure("num_heads")?, figure("head_dim")?);
        let kernel = figure("short_conv_kernel_size").unwrap_or(4);
        let width = heads.saturating_mul(dim).saturating_mul(3);
        return Some(convolution(kernel, width).saturating_add(recurrent(heads, dim, dim)));
    }
    mamba(settings, convolution)
}

/// Mamba 2 with heads; Mamba 1 and lightning attention without.
fn mamba(settings: &Settings<'_>, convolution: impl Fn(u64, u64) -> u64) -> Option<u64> {
    let size = settings.number(&["ssm_state_size", "mamba_d_state", "state_size"]);
    let kernel = settings.number(&["conv_kernel", "mamba_d_conv", "conv_kernel_size"]).unwrap_or(4);
    if let (Some(size), Some(heads)) = (size, settings.number(&["mamba_num_heads", "mamba_n_heads"])) {
        let dim = settings.number(&["mamba_head_dim", "mamba_d_head"])?;
        let groups = settings.number(&["n_groups", "mamba_n_groups"]).unwrap_or(1);
        let inner = heads.saturating_mul(dim);
        let width = inner.saturating_add(groups.saturating_mul(size).saturating_mul(2));
        return Some(convolution(kernel, width).saturating_add(recurrent(heads, dim, size)));
    }
    if let Some(size) = size {
        let expand = settings.number(&["mamba_expand", "expand"]).unwrap_or(2);
        let inner = settings.number(&["hidden_size"])?.saturating_mul(expand);
        return Some(convolution(kernel, inner).saturating_add(recurrent(1, inner, size)));
    }
    // Lightning attention: one matrix a head.
    let heads = settings.number(&["num_attention_heads"])?;
    let dim =
        settings.number(&["head_dim"]).or_else(|| Some(settings.number(&["hidden_size"])? / heads.max(1)))?;
    Some(recurrent(heads, dim, dim))
}

fn recurrent(heads: u64, rows: u64, columns: u64) -> u64 {
    heads.saturating_mul(rows).saturating_mul(columns).saturating_mul(STATE_BYTES)
}
