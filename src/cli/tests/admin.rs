//! Commands that ask for figures and show them.

use super::gateway::{Gateway, Json};

const SYSTEM: &str = r#"{"version":"0.1.0","uptime_s":185.2,"pid":4711,"data_dir":"/data",
    "config_file":"/etc/mlx/config.toml","listen":["http://127.0.0.1:10242"],"auth":{"key_required":true,"message":"an API key is required, since a key was made"},
    "backends":{"ready":1,"stopped":2,"failed":0},
    "memory":{"budget_bytes":38654705664,"total_bytes":51539607552}}"#;

const SERVERS: &str = r#"{"servers":[
    {"id":"qwen","profiles":["qwen","qwen-terse"],"engine":"mlx-openai-server","model":"mlx-community/Qwen3-4B-4bit",
     "state":"ready","detail":null,"pid":812,"port":51234,"uptime_s":64.0,"idle_stop_in_s":540.0,"in_flight":2,"queued":0,
     "tokens_per_s":48.26,"total_tokens":12345,"error":null,"log_tail":[],"command":["x"]},
    {"id":"demo","profiles":["demo"],"engine":"mlx-openai-server","model":"builtin:demo","state":"preparing",
     "detail":"installing mlx-openai-server"},
    {"id":"broken","profiles":["broken"],"engine":"mlx-lm","model":"/nowhere","state":"failed",
     "error":{"message":"it exited with code 0 before it answered"},
     "log_tail":["1","2","3","4","5","Error: no such folder"]}]}"#;

const USAGE: &str = r#"{"groups":[
    {"group":"2026-11-21","requests":3,"completed":3,"failed":0,"refused":0,"cancelled":0,"interrupted":0,
     "prompt_tokens":1200,"completion_tokens":340,"cached_tokens":0,"reasoning_tokens":12,"estimated_requests":0,
     "ttft_ms":{"p50":210.4,"p95":1400.0},"decode_tokens_per_s":{"p50":51.27,"p95":60}},
    {"group":null,"requests":2,"completed":0,"failed":1,"refused":0,"cancelled":1,"interrupted":0,
     "prompt_tokens":10,"completion_tokens":4,"cached_tokens":null,"reasoning_tokens":null,"estimated_requests":1,
     "ttft_ms":{"p50":null,"p95":null},"decode_tokens_per_s":null}],
    "total":{"requests":5,"completed":3,"failed":1,"refused":0,"cancelled":1,"interrupted":0,
     "prompt_tokens":1210,"completion_tokens":344,"cached_tokens":0,"reasoning_tokens":12,"estimated_requests":1,
     "ttft_ms":{"p50":210.4,"p95":1400.0},"decode_tokens_per_s":{"p50":51.27,"p95":60}}}"#;

const REQUEST: &str = r#"{"id":"0198","client_request_id":"mine","started_at":1795307340000,"endpoint":"/v1/chat/completions",
    "requested_model":"gpt-4o-mini","profile":"qwen","model":"mlx-community/Qwen3-4B-4bit","key":null,"user":null,
    "streamed":true,"status":"failed","http_status":200,"error_code":"backend_error",
    "error_message":"the backend closed the connection","finish_reason":null,"prompt_tokens":20,"completion_tokens":7,
    "cached_tokens":16,"reasoning_tokens":0,"estimated":true,"queue_ms":0.2,"start_ms":4200.0,"ttft_ms":4340.0,
    "duration_ms":4600.0,"decode_tokens_per_s":23.1,"warnings":["logit_bias was dropped"],
    "attempts":[{"number":0,"backend":"qwen","started_at":1795307340000,"duration_ms":390.0,"status":"failed",
    "upstream_status":200,"error":"connection closed"}]}"#;

const ENGINES: &str = r#"{"engines":[
    {"name":"mlx-openai-server","managed":true,"state":"installed","version":"1.8.1","current":"1.8.1","previous":"1.7.1",
     "latest":"1.8.1","path":"/data/engines/mlx-openai-server/current"},
    {"name":"mlx-lm","managed":false,"state":"not installed","version":null}]}"#;

#[tokio::test]
async fn status_says_how_the_gateway_stands() {
    let gateway = Gateway::answering(&[("GET /api/v1/system", Json(200, SYSTEM))]).await;
    let ran = gateway.run(&["status"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(ran.stdout, @r"
    mlx-gateway 0.1.0, running for 3 min, pid 4711
      listening http://127.0.0.1:10242
      config    /etc/mlx/config.toml
      data      /data
      access    an API key is required, since a key was made
      memory    36 GB for backends (of 48 GB)
      backends  1 ready, 2 stopped
    ");
}

#[tokio::test]
async fn status_of_a_gateway_that_tells_little_is_short() {
    let gateway = Gateway::answering(&[("GET /api/v1/system", Json(200, "{}"))]).await;
    insta::assert_snapshot!(gateway.run(&["status"]).await.stdout, @r"
    mlx-gateway of an unknown version
      config    none, defaults only
      backends  none
    ");
}

#[tokio::test]
async fn ps_lists_the_backends_and_why_one_failed() {
    let gateway = Gateway::answering(&[("GET /api/v1/servers", Json(200, SERVERS))]).await;
    let ran = gateway.run(&["ps"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(ran.stdout, @r"
    PROFILES          STATE                                    MODEL                        ENGINE             PID   PORT     UP  STOPS IN  ACTIVE  QUEUED  CPU  MEMORY  EXPECTED  TOKENS/S  TOKENS
    qwen, qwen-terse  ready                                    mlx-community/Qwen3-4B-4bit  mlx-openai-server  812  51234  1 min     9 min       2       0    -       -         -      48.3  12,345
    demo              preparing: installing mlx-openai-server  builtin:demo                 mlx-openai-server    -      -      -         -       -       -    -       -         -         -       -
    broken            failed                                   /nowhere                     mlx-lm               -      -      -         -       -       -    -       -         -         -       -

    broken failed: it exited with code 0 before it answered
      | 2
      | 3
      | 4
      | 5
      | Error: no such folder
    ");
}

#[tokio::test]
async fn json_is_what_the_gateway_answered() {
    let gateway = Gateway::answering(&[("GET /api/v1/servers", Json(200, SERVERS))]).await;
    let ran = gateway.run(&["ps", "--json"]).await;
    assert_eq!(ran.stdout, format!("{SERVERS}\n"));
}

#[tokio::test]
async fn usage_shows_tokens_and_speed_by_group() {
    let gateway =
        Gateway::answering(&[("GET /api/v1/usage?group_by=day&tz=Europe%2FBerlin", Json(200, USAGE))]).await;
    let ran = gateway.run(&["usage"]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!(ran.stdout, @r"
    DAY         REQUESTS  UNSUCCESSFUL  PROMPT  CACHED  COMPLETION  REASONING  FIRST TOKEN    P95  TOKENS/S
    2026-11-21         3             0   1,200       0         340         12       210 ms  1.4 s      51.3
    -                  2             2     ~10       -          ~4          -            -      -         -
    total              5             2  ~1,210       0        ~344         12       210 ms  1.4 s      51.3
    ");
    insta::assert_snapshot!(ran.stderr, @"~ partly estimated: the backend did not count the tokens of some requests");
}

#[tokio::test]
async fn usage_asks_for_a_period_in_a_time_zone() {
    let gateway = Gateway::answering(&[]).await;
    gateway.run(&["usage", "--by", "model", "--since", "7d", "--until", "yesterday", "--tz", "UTC"]).await;
    assert_eq!(
        gateway.asked(),
        ["GET /api/v1/usage?group_by=model&tz=UTC&from=2026-11-15T00%3A30%3A00Z&to=2026-11-22T00%3A00%3A00Z"]
    );
}

#[tokio::test]
async fn a_period_that_is_not_understood_is_a_usage_error() {
    let gateway = Gateway::answering(&[]).await;
    let ran = gateway.run(&["usage", "--since", "soon"]).await;
    assert_eq!(ran.code, 2);
    insta::assert_snapshot!(ran.stderr, @"error: --since soon is not understood; write 7d, 12h, 2w, today, yesterday, a date such as 2026-11-22, or an instant such as 2026-11-22T00:30:00Z");
    assert!(gateway.asked().is_empty());
}

#[tokio::test]
async fn requests_are_listed_newest_first_as_they_come() {
    const LIST: &str = r#"{"requests":[
        {"id":"0199","started_at":1795307399500,"status":"running","profile":"qwen"},
        {"id":"0198","started_at":1795307340000,"status":"failed","requested_model":"nope","error_code":"model_not_found",
         "prompt_tokens":20,"completion_tokens":7,"estimated":true,"ttft_ms":340.0,"decode_tokens_per_s":23.1,"duration_ms":600.0}]}"#;
    let gateway = Gateway::answering(&[("GET /api/v1/requests?limit=20", Json(200, LIST))]).await;
    let ran = gateway.run(&["requests"]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!(ran.stdout, @r"
    ID    STARTED    STATUS   PROFILE  PROMPT  COMPLETION  FIRST TOKEN  TOKENS/S    TOOK  ERROR
    0199  just now   running  qwen          -           -            -         -       -
    0198  1 min ago  failed   nope         20          ~7       340 ms      23.1  600 ms  model_not_found
    ");
    assert_eq!(gateway.run(&["requests", "list"]).await.stdout, ran.stdout);
}

#[tokio::test]
async fn requests_are_filtered_by_the_gateway() {
    let gateway = Gateway::answering(&[(
        "GET /api/v1/requests?limit=3&status=failed",
        Json(200, r#"{"requests":[]}"#),
    )])
    .await;
    let ran = gateway.run(&["requests", "--limit", "3", "--status", "failed"]).await;
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", "No requests yet.\n"));
}

#[tokio::test]
async fn one_request_is_shown_with_all_that_is_kept() {
    let gateway = Gateway::answering(&[("GET /api/v1/requests/0198", Json(200, REQUEST))]).await;
    let ran = gateway.run(&["requests", "show", "0198"]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!(ran.stdout, @r"
    id                 0198
    client's id        mine
    status             failed (HTTP 200)
    error              backend_error: the backend closed the connection
    started            2026-11-22 01:29:00.000 CET
    endpoint           /v1/chat/completions
    asked for          gpt-4o-mini
    profile            qwen
    model              mlx-community/Qwen3-4B-4bit
    streamed           yes
    prompt tokens      20
      cached           16
    completion tokens  ~7
      reasoning        0
    waited for a turn  0 ms
    waited for start   4.2 s
    first token after  4.3 s
    tokens/s           23.1
    took               4.6 s
    warning            logit_bias was dropped
    attempt            1 at qwen: failed, HTTP 200, 390 ms, connection closed
    ");
}

#[tokio::test]
async fn a_request_is_cancelled() {
    let gateway = Gateway::answering(&[("POST /api/v1/requests/0199/cancel", Json(200, "{}"))]).await;
    let ran = gateway.run(&["requests", "cancel", "0199"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "0199 is cancelled\n"));
    let ran = gateway.run(&["requests", "cancel", "gone"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (5, ""));
}

#[tokio::test]
async fn engines_are_listed_under_both_names() {
    let gateway = Gateway::answering(&[("GET /api/v1/engines", Json(200, ENGINES))]).await;
    let ran = gateway.run(&["engine", "ls"]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!(ran.stdout, @r"
    ENGINE             STATE          VERSION  PREVIOUS  NEWEST KNOWN  INSTALLED BY  PATH
    mlx-openai-server  installed      1.8.1    1.7.1     1.8.1         mlx-gateway   /data/engines/mlx-openai-server/current
    mlx-lm             not installed  -        -         -             you           -
    ");
    assert_eq!(gateway.run(&["engine", "list"]).await.stdout, ran.stdout);
}

#[tokio::test]
async fn top_shows_the_machine_and_the_backends_once_where_nothing_can_be_drawn() {
    const MACHINE: &str = r#"{"version":"0.1.0","uptime_s":60,"cpu_percent":12.4,"gpu":{"percent":null},
        "memory":{"budget_bytes":36000000000,"promised_bytes":6000000000,"used_bytes":5000000000,"available_bytes":null,
        "pressure":"normal"},"thermal":null}"#;
    let gateway = Gateway::answering(&[
        ("GET /api/v1/system", Json(200, MACHINE)),
        ("GET /api/v1/servers", Json(200, SERVERS)),
    ])
    .await;
    let ran = gateway.run(&["top"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let head = ran.stdout.lines().next().unwrap();
    assert!(head.contains("CPU 12 % · GPU n/a · memory") && head.contains("n/a free"), "{head}");
    assert!(ran.stdout.contains("mlx-community/Qwen3-4B-4bit"), "{}", ran.stdout);
}

#[tokio::test]
async fn top_as_json_is_one_event_a_line() {
    const EVENTS: &[&str] = &[
        "retry: 1000\nid: 1-0\nevent: stream.opened\ndata: {}\n\n: heartbeat\n\n",
        "id: 1-1\nevent: server.changed\ndata: {\"id\":\"a\"}\n\n",
    ];
    let gateway =
        Gateway::answering(&[("GET /api/v1/events?topics=servers,system", super::gateway::Pieces(EVENTS))])
            .await;
    let ran = gateway.run(&["top", "--json"]).await;
    assert_eq!(
        ran.stdout,
        "{\"event\":\"stream.opened\",\"data\":{}}\n{\"event\":\"server.changed\",\"data\":{\"id\":\"a\"}}\n"
    );
}
