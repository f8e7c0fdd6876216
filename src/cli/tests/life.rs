//! Commands that make something happen, and what is written meanwhile.

use super::gateway::{Broken, Endless, Gateway, Json, Pieces};

#[tokio::test]
async fn start_waits_until_the_backend_answers() {
    const READY: &str = r#"{"state":"ready","pid":812,"port":51234}"#;
    let gateway = Gateway::answering(&[
        ("POST /api/v1/servers/qwen/start?wait=true", Json(200, READY)),
        ("POST /api/v1/servers/qwen/start", Json(202, r#"{"state":"starting"}"#)),
        ("POST /api/v1/servers/qwen/restart?wait=true", Json(200, READY)),
        ("POST /api/v1/servers/qwen/stop", Json(200, r#"{"state":"stopped"}"#)),
    ])
    .await;
    let said = async |arguments: &[&str]| gateway.run(arguments).await.stdout;
    assert_eq!(said(&["start", "qwen"]).await, "qwen is ready (pid 812, port 51234)\n");
    assert_eq!(said(&["start", "--no-wait", "qwen"]).await, "qwen is starting\n");
    assert_eq!(said(&["restart", "qwen"]).await, "qwen is ready (pid 812, port 51234)\n");
    assert_eq!(said(&["stop", "qwen"]).await, "qwen is stopped\n");
    assert_eq!(said(&["stop", "qwen", "--json"]).await, "{\"state\":\"stopped\"}\n");
}

#[tokio::test]
async fn on_a_terminal_starting_is_said_and_wiped_away() {
    let gateway =
        Gateway::answering(&[("POST /api/v1/servers/a%20b/stop", Json(200, r#"{"state":"stopped"}"#))]).await;
    let ran = gateway.run_with(&["stop", "a b"], "", true).await;
    assert_eq!(ran.stdout, "a b is stopped\n");
    assert_eq!(ran.stderr, "\r\x1b[2K\x1b[2mstopping a b …\x1b[0m\r\x1b[2K");
}

#[tokio::test]
async fn a_backend_that_fails_to_start_is_told_with_its_last_lines() {
    let gateway = Gateway::answering(&[(
        "POST /api/v1/servers/broken/start?wait=true",
        Json(
            503,
            r#"{"error":{"message":"broken did not start: it exited with code 0","type":"server_error","param":null,
                "code":"backend_failed","log_tail":["Loading","Error: no such folder"]}}"#,
        ),
    )])
    .await;
    let ran = gateway.run(&["start", "broken"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    insta::assert_snapshot!(ran.stderr, @r"
    error: broken did not start: it exited with code 0
      | Loading
      | Error: no such folder
    ");
}

#[tokio::test]
async fn each_refusal_ends_with_its_code() {
    let gateway = Gateway::answering(&[
        (
            "POST /api/v1/servers/a/stop",
            Json(401, r#"{"error":{"message":"No key.","code":"invalid_api_key"}}"#),
        ),
        ("POST /api/v1/servers/b/stop", Json(403, r#"{"error":{"message":"Not yours."}}"#)),
        ("POST /api/v1/servers/c/stop", Json(409, r#"{"error":{"message":"It is being upgraded."}}"#)),
        ("POST /api/v1/servers/d/stop", Json(502, "<html>bad gateway</html>")),
        ("POST /api/v1/servers/e/stop", Json(200, "<html>hello</html>")),
    ])
    .await;
    let mut told = String::new();
    for profile in ["a", "b", "c", "d", "e", "f"] {
        let ran = gateway.run(&["stop", profile]).await;
        told.push_str(&format!("{} {}", ran.code, ran.stderr));
    }
    insta::assert_snapshot!(told, @r"
    4 error: No key. (give a key with --key or in MLX_GATEWAY_API_KEY)
    4 error: Not yours.
    6 error: It is being upgraded.
    1 error: the gateway answered 502 Bad Gateway
    1 error: the answer is not what this version of mlx-gateway understands (expected value at line 1 column 1); is there another program at that address, or a gateway of another version?
    5 error: There is no such path.
    ");
}

#[tokio::test]
async fn an_engine_is_installed_step_by_step() {
    const STEPS: &[&str] = &[
        "{\"step\":\"downloading\",\"detail\":\"uv 0.9\"}\n{\"step\":\"insta",
        "lling\",\"detail\":\"62 packages\"}\n\n",
        "{\"step\":\"proving\"}\n{\"done\":true,\"version\":\"1.8.1\"}\n",
    ];
    let gateway = Gateway::answering(&[
        ("POST /api/v1/engines/mlx-openai-server/install", Pieces(STEPS)),
        ("POST /api/v1/engines/mlx-lm/upgrade", Broken(&["{\"step\":\"downloading\"}\n"])),
        (
            "POST /api/v1/engines/mlx-lm/rollback",
            Pieces(&["{\"error\":{\"message\":\"There is no version before.\",\"status\":409}}"]),
        ),
        ("POST /api/v1/engines/mlx-lm/install", Pieces(&["{\"step\":\"downloading\"}\n"])),
    ])
    .await;
    let ran = gateway.run(&["engine", "install"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "mlx-openai-server 1.8.1 is ready\n"));
    insta::assert_snapshot!(ran.stderr, @r"
    downloading: uv 0.9
    installing: 62 packages
    proving
    ");

    let ran = gateway.run(&["engine", "install", "--json"]).await;
    assert_eq!(ran.stdout, STEPS.concat().replace("\n\n", "\n"));

    let ran = gateway.run(&["engine", "rollback", "mlx-lm"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (6, "error: There is no version before.\n"));
    for verb in ["upgrade", "install"] {
        let ran = gateway.run(&["engine", verb, "mlx-lm"]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{verb}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn logs_of_one_profile_are_its_lines() {
    let gateway = Gateway::answering(&[
        ("GET /api/v1/servers/qwen/logs?lines=2", Pieces(&["one\nt", "wo\n"])),
        ("GET /api/v1/servers/qwen/logs?lines=100&follow=true", Pieces(&["one\n", "two"])),
    ])
    .await;
    assert_eq!(gateway.run(&["logs", "-n", "2", "qwen"]).await.stdout, "one\ntwo\n");
    assert_eq!(gateway.run(&["logs", "-f", "qwen"]).await.stdout, "one\ntwo\n");
    insta::assert_snapshot!(gateway.run(&["logs", "-f", "--json", "qwen"]).await.stdout, @r#"
    {"profile":"qwen","line":"one"}
    {"profile":"qwen","line":"two"}
    "#);
    assert_eq!(gateway.run(&["logs", "other"]).await.code, 5);
}

#[tokio::test]
async fn logs_of_all_profiles_say_whose_each_line_is() {
    const TWO: &str =
        r#"{"servers":[{"id":"qwen","profiles":["qwen"],"state":"ready"},{"id":"demo","state":"stopped"}]}"#;
    let gateway = Gateway::answering(&[
        ("GET /api/v1/servers", Json(200, TWO)),
        ("GET /api/v1/servers/qwen/logs?lines=100", Pieces(&["loading\nready\n"])),
        ("GET /api/v1/servers/demo/logs?lines=100", Pieces(&["hello"])),
        ("GET /api/v1/servers/qwen/logs?lines=1&follow=true", Pieces(&["ready\n"])),
        ("GET /api/v1/servers/demo/logs?lines=1&follow=true", Broken(&["hello\n"])),
    ])
    .await;
    insta::assert_snapshot!(gateway.run(&["logs"]).await.stdout, @r"
    qwen | loading
    qwen | ready
    demo | hello
    ");
    let ran = gateway.run(&["logs", "-f", "-n1"]).await;
    assert_eq!(ran.code, 1, "{}", ran.stderr);
}

#[tokio::test]
async fn a_profile_without_a_log_does_not_hide_the_others() {
    const TWO: &str = r#"{"servers":[{"id":"qwen"},{"id":"demo"}]}"#;
    let gateway = Gateway::answering(&[
        ("GET /api/v1/servers", Json(200, TWO)),
        ("GET /api/v1/servers/demo/logs?lines=100", Pieces(&["hello"])),
    ])
    .await;
    let ran = gateway.run(&["logs"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "demo | hello\n"));
}

#[tokio::test]
async fn ctrl_c_ends_following_and_hangs_up() {
    let gateway = Gateway::answering(&[(
        "GET /api/v1/servers/qwen/logs?lines=100&follow=true",
        Endless(&["one\n", "<enough>\n"]),
    )])
    .await;
    let ran = gateway.run(&["logs", "-f", "qwen"]).await;
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (130, "one\n<enough>\n", ""));
    gateway.hung_up().await;
}

#[tokio::test]
async fn a_start_that_ends_in_failure_is_one_whatever_its_status() {
    let gateway = Gateway::answering(&[(
        "POST /api/v1/servers/a/start?wait=true",
        Json(200, r#"{"state":"failed","error":"it exited"}"#),
    )])
    .await;
    let ran = gateway.run(&["start", "a"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (1, "error: a failed: it exited\n"));
}
