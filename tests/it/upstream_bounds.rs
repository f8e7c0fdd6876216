//! Upstreams that do not stop and figures that cannot be: what is kept of an answer is bounded, and so are sums.

use serde_json::{Value, json};

use crate::fake::FakeServer;
use crate::support::http::Answer;
use crate::support::raw::RawUpstream;
use crate::support::{Gateway, PROFILES, wait_for};

/// Memory that the gateway may take beyond what it has at its start.
const MORE_MAX_MIB: u64 = 150;
const ENDLESS: &str = "#endless=4096";

fn chat(gateway: &Gateway, headers: &str, more: &Value) -> Answer {
    let mut body = json!({"model": "q", "messages": [{"role": "user", "content": ENDLESS}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    gateway.post_with("/v1/chat/completions", headers, &body.to_string())
}

/// The newest record tells that the answer was too large, and the upstream is left.
fn assert_recorded(gateway: &Gateway, what: &str) {
    let record = wait_for("the end of the request", || {
        let newest = gateway.get("/api/v1/requests?limit=1").json()["requests"][0].clone();
        (newest["status"] != "running").then_some(newest)
    });
    let told = (&record["status"], &record["error_code"]);
    assert_eq!(told, (&json!("failed"), &json!("answer_too_large")), "{what}: {record}");
}

fn assert_refused(gateway: &Gateway, what: &str, answer: &Answer) {
    let told: String = answer.body.chars().take(300).collect();
    assert_eq!(answer.status, 502, "{what}: {told}");
    assert_eq!(answer.error().1, "answer_too_large", "{what}: {told}");
    assert_recorded(gateway, what);
}

/// The last event of a stream that tells an error.
fn assert_told(gateway: &Gateway, what: &str, answer: &Answer) {
    let end = &answer.body[answer.body.floor_char_boundary(answer.body.len().saturating_sub(600))..];
    assert!(end.contains("answer_too_large"), "{what}: {end}");
    assert_recorded(gateway, what);
}

#[test]
fn an_endless_answer_ends_with_an_error_and_takes_little_memory_wherever_it_is_kept() {
    let far = FakeServer::start(&[]);
    let gateway = Gateway::start(&format!(
        "[[profile]]\nname = \"q\"\nmodel = \"./model\"\n\
         [[profile]]\nname = \"fake\"\nengine = \"url\"\nurl = {0:?}\n\
         [[profile]]\nname = \"renamed\"\nengine = \"url\"\nurl = {0:?}\nmodel = \"fake\"\n",
        far.url()
    ));
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
    gateway.grows_at_most(MORE_MAX_MIB, || endless(&gateway));
    crate::fake::seen(&gateway.backend_address("q"), "active=0&wait-ms=5000");
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
}

fn endless(gateway: &Gateway) {
    let tools = "x-mlx-gateway-tools: calculator\r\n";
    let json_object = json!({"type": "json_object"});

    assert_refused(gateway, "chat", &chat(gateway, "", &json!({})));
    assert_refused(gateway, "tool chat", &chat(gateway, tools, &json!({})));
    assert_told(gateway, "streamed tool chat", &chat(gateway, tools, &json!({"stream": true})));
    assert_refused(gateway, "two choices", &chat(gateway, "", &json!({"n": 2})));
    let structured = chat(gateway, "", &json!({"response_format": json_object}));
    assert_refused(gateway, "structured", &structured);
    let structured = chat(gateway, "", &json!({"response_format": json_object, "stream": true}));
    assert_told(gateway, "streamed structured", &structured);

    for model in ["q", "fake"] {
        let body =
            json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": ENDLESS}]});
        let answer = gateway.post("/v1/messages", &body.to_string());
        assert_eq!((answer.status, &answer.json()["type"]), (502, &json!("error")), "{model}");
        assert_recorded(gateway, "messages");
        let body = json!({"model": model, "input": ENDLESS}).to_string();
        assert_refused(gateway, "response", &gateway.post("/v1/responses", &body));
    }
    let body =
        json!({"model": "q", "input": ENDLESS, "tools": [{"type": "mcp", "server_label": "mlx-gateway"}]});
    assert_refused(gateway, "response with tools", &gateway.post("/v1/responses", &body.to_string()));
    let body = json!({"model": "q", "input": ENDLESS, "stream": true}).to_string();
    let streamed = gateway.post("/v1/responses", &body);
    assert!(streamed.body.contains("event: response.failed"));
    assert_recorded(gateway, "streamed response");
    let body = json!({"model": "q", "input": ENDLESS, "background": true}).to_string();
    let begun = gateway.post("/v1/responses", &body).json();
    let path = format!("/v1/responses/{}", begun["id"].as_str().unwrap());
    wait_for("the background response to fail", || {
        (gateway.get(&path).json()["status"] == "failed").then_some(())
    });
    assert_recorded(gateway, "background response");
    assert_refused(gateway, "renamed answer", &gateway.chat("renamed", ENDLESS));

    let line = |model: &str, headers: &str, stream: bool| {
        let body = crate::support::http::body(model, "#endless-line", stream);
        gateway.post_with("/v1/chat/completions", headers, &body)
    };
    for (model, headers) in [("q", ""), ("q", tools), ("fake", "")] {
        assert_told(gateway, "streamed endless line", &line(model, headers, true));
    }
    assert_refused(gateway, "endless line", &line("q", "", false));
    assert_refused(gateway, "endless line in a tool round", &line("q", tools, false));
}

#[test]
fn absurd_usage_neither_overflows_sums_nor_makes_them_implausible() {
    let usage = |figures: &str| {
        let json = format!("{{\"choices\":[{{\"finish_reason\":\"stop\"}}],\"usage\":{figures}}}");
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{json}",
            json.len()
        )
    };
    let most = u64::MAX;
    let huge = format!(
        "{{\"prompt_tokens\":{most},\"completion_tokens\":{most},\"prompt_tokens_details\":{{\"cached_tokens\":{most}}}}}"
    );
    let odd =
        "{\"prompt_tokens\":-5,\"completion_tokens\":\"7\",\"prompt_tokens_details\":\"none\"}".to_owned();
    let fraction = "{\"prompt_tokens\":2.5,\"completion_tokens\":1e300}".to_owned();
    let upstreams = [&huge, &odd, &fraction].map(|figures| RawUpstream::start(usage(figures)));
    let names = ["huge", "odd", "fraction"];
    let far: String = upstreams.iter().zip(names).map(|(upstream, name)| upstream.profile(name)).collect();
    let gateway = Gateway::start(&format!("{PROFILES}{far}"));
    let admin = gateway.admin();
    let (key, _) = gateway.key(&admin, &json!({"name": "k", "tokens_per_day": 1_000_000}));
    for name in ["odd", "huge", "fraction", "huge"] {
        for who in [&admin, &key] {
            // The budget is gone with the first one.
            let answer = gateway.chat_as(who, name, "hi");
            assert!(answer.status == 200 || (who == &key && answer.status == 429), "{answer:?}");
        }
    }
    // The scripted server adds up too.
    let most = u64::MAX - 1000;
    let prompt = format!("#chunks=2 #prompt-tokens={most} #cached={most}");
    let as_admin = |path: &str, body: &Value| gateway.as_bearer(&admin, "POST", path, Some(body));
    let messages = json!([{"role": "user", "content": prompt}]);
    for body in [
        json!({"model": "qwen", "messages": messages, "n": 2}),
        json!({"model": "qwen", "messages": messages, "tools": [{"type": "mcp", "server_label": "mlx-gateway"}]}),
    ] {
        assert_eq!(as_admin("/v1/chat/completions", &body).status, 200);
    }
    let body = json!({"model": "qwen", "max_tokens": 9, "messages": messages});
    assert_eq!(as_admin("/v1/messages", &body).status, 200);
    assert_eq!(as_admin("/v1/responses", &json!({"model": "qwen", "input": prompt})).status, 200);
    for by in ["none", "day", "key", "user", "profile", "model"] {
        let query = if by == "none" { String::new() } else { format!("?group_by={by}") };
        let report = gateway.as_bearer(&admin, "GET", &format!("/api/v1/usage{query}"), None).json();
        let total = report["total"]["total_tokens"].as_u64().unwrap();
        // Each figure counts at most 2^32.
        assert!((1..20 << 32).contains(&total), "{report}");
        assert!(report["total"]["prompt_tokens"].as_u64().unwrap() <= total);
    }
    assert_eq!(gateway.as_bearer(&admin, "GET", "/metrics", None).status, 200);
    assert_eq!(gateway.as_bearer(&admin, "GET", "/api/v1/servers", None).status, 200);
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}
