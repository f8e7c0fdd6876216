//! What a page says after a few requests.

use super::{Ended, Metrics, Page};

const CHAT: Ended<'static> = Ended {
    endpoint: "/v1/chat/completions",
    profile: Some("qwen"),
    status: "completed",
    error_code: None,
    duration_ms: 1500.0,
    ttft_ms: Some(500.0),
    prompt_tokens: Some(12),
    completion_tokens: Some(101),
};

fn page(metrics: &Metrics) -> String {
    Page::default().text(metrics).unwrap()
}

#[test]
fn a_request_is_counted_in_every_histogram_under_its_profile() {
    let metrics = Metrics::default();
    metrics.observe(&CHAT);
    metrics.observe_overhead(0.000_03);
    let text = page(&metrics);
    let of = r#"gen_ai_operation_name="chat",gen_ai_request_model="qwen""#;
    for line in [
        format!(r#"gen_ai_server_request_duration_seconds_sum{{{of},error_type=""}} 1.5"#),
        format!("gen_ai_server_time_to_first_token_seconds_sum{{{of}}} 0.5"),
        format!("gen_ai_server_time_per_output_token_seconds_sum{{{of}}} 0.01"),
        format!(r#"gen_ai_client_token_usage_sum{{{of},gen_ai_token_type="input"}} 12"#),
        format!(r#"gen_ai_client_token_usage_sum{{{of},gen_ai_token_type="output"}} 101"#),
        r#"mlx_gateway_requests_total{profile="qwen",status="completed"} 1"#.to_owned(),
        r#"mlx_gateway_overhead_seconds_bucket{le="0.00005"} 1"#.to_owned(),
    ] {
        assert!(text.lines().any(|found| found.trim_end_matches(".0") == line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_failure_is_told_by_its_code_and_a_refusal_counts_as_request_alone() {
    let metrics = Metrics::default();
    let failed = Ended { status: "failed", error_code: Some("backend_error"), ttft_ms: None, ..CHAT };
    metrics.observe(&failed);
    metrics.observe(&Ended { status: "refused", profile: None, ..CHAT });
    let text = page(&metrics);
    assert!(text.contains(r#"error_type="backend_error""#), "{text}");
    assert!(text.contains(r#"mlx_gateway_requests_total{profile="",status="refused"} 1"#), "{text}");
    assert_eq!(text.matches("gen_ai_server_request_duration_seconds_count").count(), 1, "{text}");
    assert!(!text.contains("time_to_first_token_seconds_count"), "{text}");
}

#[test]
fn a_single_token_has_no_time_between_tokens() {
    let metrics = Metrics::default();
    metrics.observe(&Ended { completion_tokens: Some(1), ..CHAT });
    assert!(!page(&metrics).contains("time_per_output_token_seconds_count"));
}

#[test]
fn gauges_without_samples_are_left_out_and_counters_end_in_total() {
    let mut page = Page::default();
    page.gauge("mlx_gateway_empty", "Nothing", []);
    page.gauge("mlx_gateway_backends", "Backends", [(vec![("state", "ready".to_owned())], 2.0)]);
    page.counter("mlx_gateway_lost", "Lost", [(vec![], 3)]);
    let text = page.text(&Metrics::default()).unwrap();
    assert!(!text.contains("mlx_gateway_empty"));
    assert!(text.contains("mlx_gateway_backends{state=\"ready\"} 2.0"), "{text}");
    assert!(text.contains("mlx_gateway_lost_total 3"), "{text}");
}
