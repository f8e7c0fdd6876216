//! `/api/v1/plugins`, `/api/v1/tools` and the commands over them.

use serde_json::{Value, json};

use crate::support::{Gateway, PROFILES, wait_for};

fn call(gateway: &Gateway, tool: &str, arguments: &Value) -> (u16, Value) {
    let body = json!({"arguments": arguments}).to_string();
    let answer = gateway.post(&format!("/api/v1/tools/{tool}/call"), &body);
    (answer.status, answer.json())
}

#[test]
fn tools_are_listed_and_called() {
    let gateway = Gateway::start(PROFILES);
    let tools = gateway.get("/api/v1/tools").json();
    let names: Vec<&str> =
        tools["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names, ["calculator", "get_weather"]);
    assert_eq!(tools["tools"][0]["input_schema"]["required"], json!(["expression"]));
    let (status, result) = call(&gateway, "calculator", &json!({"expression": "0.1 + 0.2"}));
    assert_eq!((status, &result["content"][0]), (200, &json!({"type": "text", "text": "0.3"})));
    assert_eq!(result["is_error"], false);
    assert!(result["duration_ms"].as_f64().unwrap() > 0.0);
    let (status, result) = call(&gateway, "calculator", &json!({"expression": "1 / 0"}));
    assert_eq!((status, &result["is_error"]), (200, &json!(true)));
    for (tool, arguments, expected, code) in [
        ("calculator", json!({"expression": 1}), 400, "invalid_arguments"),
        ("calculator", json!({}), 400, "invalid_arguments"),
        ("nothing", json!({}), 404, "unknown_tool"),
    ] {
        let (status, answer) = call(&gateway, tool, &arguments);
        assert_eq!((status, answer["error"]["code"].as_str()), (expected, Some(code)), "{answer}");
    }
    let broken = gateway.post("/api/v1/tools/calculator/call", "{\"argments\":{}}");
    assert_eq!(broken.status, 400, "{broken:?}");
}

#[test]
fn the_command_line_lists_adds_grants_calls_and_removes() {
    let gateway = Gateway::start(PROFILES);
    let listed = gateway.cli_json(&["plugins", "ls"]);
    assert_eq!(listed["plugins"][0]["state"], "ready", "{listed}");
    let output = gateway.cli(&["plugins", "call", "calculator", "{\"expression\":\"2^10\"}"]);
    assert_eq!((String::from_utf8_lossy(&output.stdout).trim(), output.status.code()), ("1024", Some(0)));
    assert_eq!(
        gateway.cli(&["plugins", "call", "calculator", "{\"expression\":\"1/0\"}"]).status.code(),
        Some(1)
    );
    assert_eq!(gateway.cli(&["plugins", "call", "nothing"]).status.code(), Some(5));
    assert_eq!(gateway.cli(&["plugins", "rm", "calculator"]).status.code(), Some(6));
    let own = gateway.folder.path().join("own");
    std::fs::create_dir_all(&own).unwrap();
    let manifest = "name = \"test_tools\"\n[permissions]\nhttp = [\"http://127.0.0.1:9\"]\n";
    std::fs::write(own.join("plugin.toml"), manifest).unwrap();
    let wasm = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plugins/test_tools/test_tools.wasm");
    std::fs::copy(wasm, own.join("test_tools.wasm")).unwrap();
    let added = gateway.cli(&["plugins", "add", own.to_str().unwrap()]);
    assert_eq!(added.status.code(), Some(4), "{added:?}");
    assert!(
        String::from_utf8_lossy(&added.stderr).contains("send requests to http://127.0.0.1:9"),
        "{added:?}"
    );
    assert_eq!(gateway.cli(&["plugins", "call", "test_simple_text"]).status.code(), Some(4));
    let granted = gateway.cli(&["plugins", "grant", "test_tools", "--yes"]);
    assert_eq!(granted.status.code(), Some(0), "{granted:?}");
    let output = gateway.cli(&["plugins", "call", "test_simple_text"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("simple text"), "{output:?}");
    let info = gateway.cli(&["plugins", "info", "test_tools"]);
    assert!(String::from_utf8_lossy(&info.stdout).contains("send requests to"), "{info:?}");
    assert_eq!(gateway.cli(&["plugins", "rm", "test_tools"]).status.code(), Some(0));
    assert_eq!(gateway.cli(&["plugins", "info", "test_tools"]).status.code(), Some(5));
}

#[test]
fn a_new_plugin_is_written_as_a_whole_and_never_over_another() {
    let gateway = Gateway::start(PROFILES);
    let path = gateway.folder.path().to_str().unwrap();
    let written = gateway.cli(&["plugins", "new", "my-tool", "--path", path]);
    assert_eq!(written.status.code(), Some(0), "{written:?}");
    let folder = gateway.folder.path().join("my-tool");
    for file in ["Cargo.toml", "plugin.toml", "src/lib.rs", "src/component.rs", "wit/world.wit", "build.sh"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let build = std::fs::read_to_string(folder.join("build.sh")).unwrap();
    assert!(build.contains("my_tool.wasm") && !build.contains("{{"), "{build}");
    assert_eq!(gateway.cli(&["plugins", "new", "my-tool", "--path", path]).status.code(), Some(2));
    for (language, files) in
        [("javascript", ["package.json", "plugin.js"]), ("python", ["app.py", "build.sh"])]
    {
        let name = format!("in-{language}");
        let written = gateway.cli(&["plugins", "new", &name, "--path", path, "--language", language]);
        assert_eq!(written.status.code(), Some(0), "{written:?}");
        for file in files.iter().chain(&["plugin.toml", "wit/world.wit"]) {
            let text = std::fs::read_to_string(gateway.folder.path().join(&name).join(file)).unwrap();
            assert!(!text.contains("{{"), "{file}: {text}");
        }
    }
    assert_eq!(gateway.cli(&["plugins", "new", "../x"]).status.code(), Some(2));
}

#[test]
fn a_folder_that_is_dropped_into_the_directory_is_picked_up() {
    let gateway = Gateway::start(PROFILES);
    gateway.get("/api/v1/tools");
    let folder = gateway.folder.path().join("plugins/test_tools");
    wait_for("the plugin directory", || folder.parent().unwrap().is_dir().then_some(()));
    std::fs::create_dir_all(&folder).unwrap();
    let wasm = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plugins/test_tools/test_tools.wasm");
    std::fs::copy(wasm, folder.join("test_tools.wasm")).unwrap();
    std::fs::write(folder.join("plugin.toml"), "name = \"test_tools\"").unwrap();
    wait_for("the plugin", || {
        let (status, result) = call(&gateway, "test_simple_text", &json!({}));
        (status == 200).then(|| assert!(result["content"][0]["text"].as_str().unwrap().contains("simple")))
    });
    std::fs::remove_dir_all(&folder).unwrap();
    wait_for("its end", || (call(&gateway, "test_simple_text", &json!({})).0 == 404).then_some(()));
}

#[test]
fn a_plugin_directory_that_was_deleted_or_replaced_is_watched_again() {
    let gateway = Gateway::start(PROFILES);
    gateway.get("/api/v1/tools");
    let plugins = gateway.folder.path().join("plugins");
    wait_for("the plugin directory", || plugins.is_dir().then_some(()));
    let wasm = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plugins/test_tools/test_tools.wasm");
    let write = |into: &std::path::Path| {
        std::fs::create_dir_all(into.join("test_tools")).unwrap();
        std::fs::write(into.join("test_tools/plugin.toml"), "name = \"test_tools\"").unwrap();
        std::fs::copy(wasm, into.join("test_tools/test_tools.wasm")).unwrap();
    };
    let is_there = |expected: bool| {
        wait_for(if expected { "the plugin" } else { "its end" }, || {
            let status = call(&gateway, "test_simple_text", &json!({})).0;
            (status == if expected { 200 } else { 404 }).then_some(())
        });
    };
    for _ in 0..2 {
        write(&plugins);
        is_there(true);
        std::fs::remove_dir_all(&plugins).unwrap();
        is_there(false);
    }
    // What editors and deployments do: another directory takes its place.
    let next = gateway.folder.path().join("next");
    write(&next);
    std::fs::rename(&next, &plugins).unwrap();
    is_there(true);
    std::fs::remove_dir_all(plugins.join("test_tools")).unwrap();
    is_there(false);
}
