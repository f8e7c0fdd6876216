//! `/metrics`: what monitoring sees of requests, backends and plugins, and who may look.

use serde_json::json;

use crate::support::{Gateway, PROFILES, wait_for};

/// The value of a line of the page, told by its name with labels.
fn value(page: &str, line: &str) -> Option<f64> {
    page.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

#[test]
fn requests_backends_and_plugins_are_told_as_open_metrics() {
    let gateway = Gateway::start(PROFILES);
    gateway.streamed("qwen", "#chunks=5 hello");
    gateway.chat("qwen", "#error=500");
    gateway.chat("nobody", "hi");
    gateway.record("refused");
    let called = json!({"arguments": {"expression": "6 * 7"}}).to_string();
    assert_eq!(gateway.post("/api/v1/tools/calculator/call", &called).status, 200);
    // Its processes are looked at once a second.
    let answer = wait_for("a look at the backend's processes", || {
        let answer = gateway.get("/metrics");
        answer.body.contains("mlx_gateway_backend_memory_bytes").then_some(answer)
    });
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let page = answer.body;
    let chat = r#"gen_ai_operation_name="chat",gen_ai_request_model="qwen""#;
    for (line, least) in [
        (format!("gen_ai_server_request_duration_seconds_count{{{chat},error_type=\"\"}}"), 1.0),
        (format!("gen_ai_server_time_to_first_token_seconds_count{{{chat}}}"), 1.0),
        (format!("gen_ai_server_time_per_output_token_seconds_count{{{chat}}}"), 1.0),
        (format!("gen_ai_client_token_usage_sum{{{chat},gen_ai_token_type=\"output\"}}"), 5.0),
        ("mlx_gateway_requests_total{profile=\"qwen\",status=\"completed\"}".into(), 1.0),
        ("mlx_gateway_requests_total{profile=\"\",status=\"refused\"}".into(), 1.0),
        ("mlx_gateway_overhead_seconds_count".into(), 3.0),
        ("mlx_gateway_backends{state=\"ready\"}".into(), 1.0),
        ("mlx_gateway_backend_memory_bytes{backend=\"qwen\"}".into(), 1.0),
        ("mlx_gateway_memory_budget_bytes".into(), 1.0),
        ("mlx_gateway_plugin_calls_total{plugin=\"calculator\"}".into(), 1.0),
    ] {
        assert!(value(&page, &line).is_some_and(|found| found >= least), "{line} >= {least}\n{page}");
    }
    assert!(!page.contains("nobody"), "what clients send is no label");
    assert!(page.ends_with("# EOF\n"));
}

#[test]
fn cold_starts_have_buckets_of_their_own() {
    let gateway = Gateway::start(PROFILES);
    gateway.streamed("qwen", "#chunks=2");
    let page = gateway.get("/metrics").body;
    for bound in ["20.0", "80.0", "320.0"] {
        let bucket = format!("le=\"{bound}\",gen_ai_operation_name=\"chat\"");
        assert!(page.contains(&bucket), "{bucket}\n{page}");
    }
}
