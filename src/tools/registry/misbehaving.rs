//! Tools that misbehave: each gets its own error within its limit, and others are served on.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::tests::{call, component, registry};
use super::*;
use crate::tools::{Call, CallError, Level, Listener, Origin, ToolOutput};

const WASM: &[u8] = include_bytes!("../../../tests/plugins/test_tools/test_tools.wasm");

fn wasm() -> Vec<u8> {
    component("test_tools").unwrap_or_else(|| WASM.to_vec())
}

async fn with_test_tools(folder: &Path, manifest: &str) -> Registry {
    let registry = registry(folder);
    let text = format!(
        "name = \"test_tools\"\n{manifest}\n[limits]\nmemory = \"16MiB\"\ncpu_ms = 200\nwall_ms = 5000\n"
    );
    let new = NewPlugin { manifest: Some(text), name: None, wasm: wasm() };
    registry.add(new).await.unwrap();
    registry
}

async fn fails(registry: &Registry, tool: &str) -> CallError {
    let began = Instant::now();
    let error = call(registry, tool, "{}").await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(60), "{tool} took {:?}", began.elapsed());
    error
}

#[tokio::test]
async fn each_misbehaviour_has_its_own_error_and_others_are_served_on() {
    let folder = tempfile::tempdir().unwrap();
    let registry = with_test_tools(folder.path(), "").await;
    for (tool, code) in [
        ("spin", "out_of_cpu"),
        ("hog", "out_of_memory"),
        ("crash", "trap"),
        ("recurse", "trap"),
        ("flood", "out_of_memory"),
        ("many_items", "out_of_memory"),
        ("log_flood", "call_limit"),
        ("progress_flood", "call_limit"),
        ("wrong_result", "invalid_result"),
        ("no_result", "invalid_result"),
        ("broken_result", "invalid_result"),
        ("sleep", "deadline"),
    ] {
        let error = fails(&registry, tool).await;
        assert_eq!(error.code(), code, "{tool}: {error}");
        let output = call(&registry, "calculator", "{\"expression\":\"6 * 7\"}").await.unwrap();
        assert_eq!(output.for_model(), "42", "after {tool}");
    }
    let view = registry.plugin("test_tools").await.unwrap();
    assert_eq!((view.errors["trap"], view.errors["out_of_memory"], view.errors["deadline"]), (2, 3, 1));
}

#[tokio::test]
async fn nothing_of_the_machine_is_there_but_clocks_and_random_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let registry = with_test_tools(folder.path(), "").await;
    let seen = call(&registry, "look_around", "{}").await.unwrap().for_model();
    assert_eq!(
        seen,
        "files refused, writing refused, 0 variables and arguments, connecting refused, listening refused, \
         names refused, clock reached, random reached"
    );
}

/// Tells of the first line of log.
struct Heard(tokio::sync::mpsc::UnboundedSender<()>);

impl Listener for Heard {
    fn log(&self, _level: Level, _message: &str) {
        self.0.send(()).ok();
    }

    fn progress(&self, _progress: f64, _total: Option<f64>, _message: Option<&str>) {}
}

#[tokio::test]
async fn a_call_that_runs_finishes_on_what_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let registry = with_test_tools(folder.path(), "").await;
    let tool = registry.tool("test_tool_with_logging").await.unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let running = tokio::spawn(async move {
        let call = Call {
            tool: &tool.name,
            arguments: "{}",
            request_id: "r",
            origin: Origin::Mcp,
            model: None,
            principal: None,
            deadline: None,
            listener: Some(Arc::new(Heard(tell))),
        };
        tool.call(&call).await
    });
    told.recv().await.unwrap();
    registry.remove("test_tools").await.unwrap();
    assert!(registry.tool("test_tool_with_logging").await.is_none());
    let output = running.await.unwrap().unwrap();
    assert_eq!(output.for_model(), "Tool with logging executed successfully");
}

#[tokio::test]
async fn output_beyond_its_limit_is_refused_when_memory_allows_it() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(folder.path());
    let text = "name = \"test_tools\"\n[limits]\nmemory = \"256MiB\"\ncpu_ms = 20000\n";
    let new = NewPlugin { manifest: Some(text.to_owned()), name: None, wasm: wasm() };
    registry.add(new).await.unwrap();
    for tool in ["flood", "many_items"] {
        let error = fails(&registry, tool).await;
        assert_eq!(error.code(), "output_limit", "{tool}: {error}");
    }
    let printed = call(&registry, "print_flood", "{}").await.unwrap();
    assert_eq!(printed.for_model(), "printed");
}

#[tokio::test]
async fn a_crash_is_told_with_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let registry = with_test_tools(folder.path(), "").await;
    let error = fails(&registry, "crash").await.to_string();
    assert!(error.contains("crashed"), "{error}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_plugin_that_spins_leaves_the_thread_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let registry = with_test_tools(folder.path(), "").await;
    let spinning: Vec<_> = (0..4)
        .map(|_| {
            let registry = registry.clone();
            tokio::spawn(async move { call(&registry, "spin", "{}").await })
        })
        .collect();
    let mut turns = 0u32;
    while spinning.iter().any(|task| !task.is_finished()) {
        tokio::task::yield_now().await;
        turns += 1;
    }
    // Each spin takes 100 ticks. Were this thread kept for them, it would have had few turns.
    assert!(turns > 1000, "{turns} turns");
    for task in spinning {
        assert_eq!(task.await.unwrap().unwrap_err().code(), "out_of_cpu");
    }
}

/// What a server does once its answer has begun.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Ends,
    GoesOnAndOn,
    SaysNoMore,
}

/// Answers each connection with these bytes.
async fn server(answer: &'static [u8], then: Then) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = [0; 2048];
                assert!(stream.read(&mut asked).await.is_ok_and(|read| read > 0));
                stream.write_all(answer).await.ok();
                while then == Then::GoesOnAndOn && stream.write_all(&[b'x'; 8192]).await.is_ok() {}
                if then == Then::SaysNoMore {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    url
}

async fn fetch(registry: &Registry, url: &str) -> Result<ToolOutput, CallError> {
    call(registry, "fetch", &format!("{{\"url\":\"{url}\"}}")).await
}

#[tokio::test]
async fn requests_reach_what_was_granted_and_nothing_else() {
    const BEGUN: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
    let good = server(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", Then::Ends).await;
    let silent = server(b"", Then::SaysNoMore).await;
    let slow = server(BEGUN, Then::SaysNoMore).await;
    let endless = server(BEGUN, Then::GoesOnAndOn).await;
    let redirect = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let elsewhere = server(redirect.as_bytes(), Then::Ends).await;
    // Granted by name, but neither is a public address nor allowed as a private one.
    let (metadata, loopback) = ("http://169.254.169.254", "http://[::1]:1");
    let folder = tempfile::tempdir().unwrap();
    let all = [&good, &silent, &slow, &endless, &elsewhere].map(String::as_str);
    let granted: Vec<&str> = all.into_iter().chain([metadata, loopback]).collect();
    let manifest = format!("[permissions]\nhttp = {granted:?}\nallow_private = [\"127.0.0.1\"]\n");
    let registry = with_test_tools(folder.path(), &manifest).await;
    assert_eq!(fetch(&registry, &good).await.unwrap_err().code(), "denied");
    registry.grant("test_tools", None, None).await.unwrap();
    assert_eq!(fetch(&registry, &good).await.unwrap().for_model(), "200 2");
    let port = good.rsplit_once(':').unwrap().1;
    for url in [
        "http://127.0.0.1:1".to_owned(),
        format!("https://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
        "https://example.com".to_owned(),
        format!("{metadata}/latest/meta-data"),
        loopback.to_owned(),
    ] {
        let error = fetch(&registry, &url).await.unwrap_err();
        assert_eq!(error.code(), "denied", "{url}: {error}");
    }
    assert_eq!(fetch(&registry, &elsewhere).await.unwrap().for_model(), "302 0");
    for (url, code) in [(&silent, "deadline"), (&slow, "deadline"), (&endless, "call_limit")] {
        let error = fetch(&registry, url).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    assert_eq!(fetch(&registry, &good).await.unwrap().for_model(), "200 2");
}
