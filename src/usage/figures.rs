//! Figures computed from others, purely.

/// Tokens per second after the first token: `(completion - 1) / (end - first token)`. None for fewer
/// than two tokens, or when no time has passed between the two.
pub fn decode_tokens_per_s(completion: Option<u64>, first_token_ms: Option<f64>, end_ms: f64) -> Option<f64> {
    let after_first = completion?.checked_sub(1).filter(|&tokens| tokens > 0)?;
    let seconds = (end_ms - first_token_ms?) / 1000.0;
    (seconds > 0.0).then(|| after_first as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::decode_tokens_per_s;

    #[test]
    fn the_first_token_belongs_to_the_prefill() {
        assert_eq!(decode_tokens_per_s(Some(101), Some(500.0), 2500.0), Some(50.0));
    }

    #[test]
    fn what_cannot_be_known_has_no_rate() {
        assert_eq!(decode_tokens_per_s(None, Some(1.0), 2.0), None);
        assert_eq!(decode_tokens_per_s(Some(9), None, 2.0), None);
        assert_eq!(decode_tokens_per_s(Some(0), Some(1.0), 2.0), None);
        assert_eq!(decode_tokens_per_s(Some(1), Some(1.0), 2.0), None);
        assert_eq!(decode_tokens_per_s(Some(9), Some(2.0), 2.0), None);
        assert_eq!(decode_tokens_per_s(Some(9), Some(3.0), 2.0), None);
    }
}
