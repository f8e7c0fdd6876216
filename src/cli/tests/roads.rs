//! How a command line is understood and which gateway it reaches.

use super::gateway::{Directory, Gateway, Json, run};
use super::screen::Screen;
use crate::cli::args::LogFormat;
use crate::cli::connect::key;
use crate::cli::{Exit, Invocation, Task, parse};

fn parsed(arguments: &[&str], screen: &Screen) -> Result<Invocation, u8> {
    let arguments = [&["mlx-gateway"], arguments].concat();
    parse(arguments, &mut screen.out(false)).map_err(Exit::code)
}

#[test]
fn without_a_command_it_serves() {
    let serve = |arguments: &[&str]| match parsed(arguments, &Screen::default()).unwrap() {
        Invocation { task: Task::Serve(serve), .. } => serve,
        other => panic!("{other:?}"),
    };
    assert_eq!(serve(&[]), serve(&["serve"]));
    let expected = serve(&["--listen", "127.0.0.1:1", "--insecure", "--log-format", "json"]);
    assert_eq!(expected.listen, ["127.0.0.1:1"]);
    assert_eq!(expected.log_format, Some(LogFormat::Json));
    assert_eq!(serve(&["serve", "--insecure", "--listen=127.0.0.1:1", "--log-format=json"]), expected);
    assert_eq!(serve(&["--insecure", "serve", "--listen=127.0.0.1:1", "--log-format=json"]), expected);
    assert_eq!(
        serve(&["--log-level", "info", "serve", "--log-level", "debug"]).log_level.as_deref(),
        Some("debug")
    );
}

#[test]
fn flags_of_every_command_may_stand_before_and_after_it() {
    for arguments in [
        &["--json", "--config", "c", "--data-dir", "d", "--server", "s", "--key", "k", "ps"][..],
        &["ps", "--json", "--config", "c", "--data-dir", "d", "--server", "s", "--key", "k"],
        &[
            "--json",
            "--config",
            "c",
            "requests",
            "--data-dir",
            "d",
            "show",
            "1",
            "--server",
            "s",
            "--key",
            "k",
        ],
    ] {
        let global = parsed(arguments, &Screen::default()).unwrap().global;
        assert!(global.json, "{arguments:?}");
        assert_eq!(global.config.unwrap().to_str(), Some("c"));
        assert_eq!(global.data_dir.unwrap().to_str(), Some("d"));
        assert_eq!((global.server.as_deref(), global.key.as_deref()), (Some("s"), Some("k")));
    }
}

#[test]
fn what_cannot_be_understood_ends_with_2_and_a_suggestion() {
    let complaint = |arguments: &[&str]| {
        let screen = Screen::default();
        assert_eq!(parsed(arguments, &screen).unwrap_err(), 2, "{arguments:?}");
        assert_eq!(screen.stdout(), "");
        screen.stderr()
    };
    insta::assert_snapshot!(complaint(&["stauts"]), @r"
    error: unrecognized subcommand 'stauts'

      tip: some similar subcommands exist: 'restart', 'start', 'status'

    Usage: mlx-gateway [OPTIONS] [COMMAND]

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(complaint(&["ps", "--jsno"]), @r"
    error: unexpected argument '--jsno' found

      tip: a similar argument exists: '--json'

    Usage: mlx-gateway ps --json

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(complaint(&["--insecure", "ps"]), @r"
    error: --insecure is for serving; no other command understands it

    Usage: mlx-gateway [OPTIONS] [COMMAND]

    For more information, try '--help'.
    ");
    complaint(&["engine"]);
    complaint(&["engine", "instal"]);
    complaint(&["start"]);
    complaint(&["requests", "--limit", "0"]);
    complaint(&["requests", "--limit", "1001"]);
    complaint(&["usage", "--by", "moon"]);
    complaint(&["run", "demo", "x", "--max-tokens", "0"]);
}

#[test]
fn help_and_version_go_to_stdout() {
    let shown = |arguments: &[&str]| {
        let screen = Screen::default();
        assert_eq!(parsed(arguments, &screen).unwrap_err(), 0, "{arguments:?}");
        assert_eq!(screen.stderr(), "");
        screen.stdout()
    };
    assert_eq!(shown(&["--version"]), concat!("mlx-gateway ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = shown(&["--help"]);
    for word in [
        "serve", "check", "status", "ps", "start", "stop", "restart", "logs", "run", "usage", "requests",
        "engine",
    ] {
        assert!(help.contains(&format!("\n  {word} ")), "{word} is missing in {help}");
        shown(&[word, "--help"]);
    }
}

#[tokio::test]
async fn a_server_is_asked_with_the_key() {
    let gateway = Gateway::answering(&[("GET /api/v1/system", Json(200, "{}"))]).await;
    let elsewhere = Directory { dir: "/nowhere".into(), offline: None };
    let address = format!("{}/v1/", gateway.url);
    let ran = run(&elsewhere, &["status", "--server", &address, "--key", "sk-1"], "", false).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(gateway.asked(), ["GET /api/v1/system Bearer sk-1"]);
    let ran = run(&elsewhere, &["status", "--server", "ftp://x"], "", false).await;
    assert_eq!(ran.code, 2);
    let ran = run(&elsewhere, &["status", "--server", "x", "--key", "a\nb"], "", false).await;
    assert_eq!(ran.code, 2);
    let ran = run(&elsewhere, &["status", "--key", "sk-1"], "", false).await;
    assert_eq!(ran.code, 2);
}

#[test]
fn a_key_is_taken_from_the_flag_or_either_variable() {
    let variables = |name: &str| match name {
        "MLX_GATEWAY_API_KEY" => Some(String::new()),
        "MLX_MANAGER_API_KEY" => Some("old".into()),
        _ => None,
    };
    assert_eq!(key(Some("flag".into()), variables).as_deref(), Some("flag"));
    assert_eq!(key(None, variables).as_deref(), Some("old"));
    assert_eq!(key(None, |_| None), None);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unreachable() {
    let elsewhere = Directory { dir: "/nowhere".into(), offline: Some(&[]) };
    // Nothing listens on port 1 of the loopback address.
    for url in ["http://127.0.0.1:1", "https://127.0.0.1:1"] {
        let ran = run(&elsewhere, &["usage", "--server", url], "", false).await;
        assert_eq!(ran.code, 3, "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("{url} cannot be reached")), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn without_a_gateway_the_data_directory_answers_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let host = Directory {
        dir: dir.path().into(),
        offline: Some(&[
            ("GET /api/v1/requests?limit=20", Json(200, r#"{"requests":[]}"#)),
            ("GET /api/v1/engines", Json(200, r#"{"engines":[]}"#)),
            ("GET /api/v1/usage?group_by=day&tz=Europe%2FBerlin", Json(200, r#"{"total":{}}"#)),
        ]),
    };
    for command in [&["requests"][..], &["engine", "ls"], &["usage"]] {
        let ran = run(&host, command, "", false).await;
        assert_eq!(ran.code, 0, "{command:?}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn without_a_gateway_what_runs_is_unreachable() {
    let host = Directory { dir: "/nowhere".into(), offline: Some(&[]) };
    for command in [
        &["status"][..],
        &["ps"],
        &["start", "a"],
        &["stop", "a"],
        &["restart", "a"],
        &["logs"],
        &["run", "a", "b"],
        &["requests", "cancel", "1"],
    ] {
        let ran = run(&host, command, "", false).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{command:?}");
    }
    let ran = run(&host, &["ps", "--data-dir", "/nowhere", "--config", "c.toml"], "", false).await;
    insta::assert_snapshot!(ran.stderr, @"error: no gateway is running (nothing answers at /nowhere/gateway.sock); start one with `mlx-gateway --config c.toml --data-dir /nowhere`, or name one with --server URL");
}

#[tokio::test]
async fn a_locked_data_directory_is_said_so() {
    let host = Directory { dir: "/nowhere".into(), offline: None };
    let ran = run(&host, &["usage"], "", false).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (3, "error: the data directory is locked\n"));
}
