//! Tests of the registry over the plugins that come along.

use std::path::Path;

use super::*;
use crate::system::clock::SystemClock;
use crate::tools::{Call, CallError, Origin, ToolOutput};
use crate::worker::Program;

pub fn registry(folder: &Path) -> Registry {
    registry_with(folder, components())
}

fn registry_with(folder: &Path, bundled: Vec<Bundled>) -> Registry {
    Registry::new(RegistryDeps {
        dir: folder.join("plugins"),
        bundled,
        cache: folder.join("cache"),
        store: Store::open(&folder.join("store.db")).unwrap(),
        events: Bus::new(),
        clock: Arc::new(SystemClock),
        worker: Worker::new(Program::Thread),
        environment: HashMap::new(),
    })
}

pub async fn call(registry: &Registry, tool: &str, arguments: &str) -> Result<ToolOutput, CallError> {
    let found = registry.tool(tool).await.ok_or_else(|| CallError::UnknownTool(tool.to_owned()))?;
    found
        .call(&Call {
            tool,
            arguments,
            request_id: "r",
            origin: Origin::Chat,
            model: None,
            principal: None,
            deadline: None,
            listener: None,
        })
        .await
}

/// What comes with the program, or the same built anew: `scripts/test-plugins.sh` names a folder of them.
fn components() -> Vec<Bundled> {
    let mut all = bundled();
    for (one, name) in all.iter_mut().zip(["calculator", "get_weather"]) {
        one.wasm = component(name).map_or_else(|| one.wasm.clone(), Into::into);
    }
    all
}

/// A component that was built anew, where there is one.
pub fn component(name: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("MLX_GATEWAY_TEST_PLUGINS")?;
    Some(std::fs::read(Path::new(&folder).join(format!("{name}.wasm"))).unwrap())
}

/// A copy of the bundled weather with settings of its own.
fn put_weather(folder: &Path, permissions: &str) {
    let there = folder.join("plugins/get_weather");
    std::fs::create_dir_all(&there).unwrap();
    std::fs::write(there.join("get_weather.wasm"), &components()[1].wasm).unwrap();
    let manifest = format!("name = \"get_weather\"\nversion = \"2.0.0\"\n{permissions}");
    std::fs::write(there.join("plugin.toml"), manifest).unwrap();
}

#[tokio::test]
async fn the_calculator_is_there_and_calculates() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(folder.path());
    let output = call(&registry, "calculator", "{\"expression\":\"0.1 + 0.2\"}").await.unwrap();
    assert_eq!((output.for_model().as_str(), output.is_error), ("0.3", false));
    let wrong = call(&registry, "calculator", "{\"expression\":\"2 +\"}").await.unwrap();
    assert!(wrong.is_error && wrong.for_model().contains("a number is missing"), "{wrong:?}");
    let escaped = call(&registry, "calculator", "{\"expression\":\"\\u0032 \\u00d7 3\"}").await.unwrap();
    assert_eq!(escaped.for_model(), "6");
    let view = registry.plugin("calculator").await.unwrap();
    assert_eq!((view.state.as_str(), view.calls, view.failures), ("ready", 3, 1));
    assert!(view.bundled && view.size_bytes < 200_000);
}

#[tokio::test]
async fn arguments_are_checked_before_the_call() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(folder.path());
    for wrong in ["{}", "[]", "{", "{\"expression\":1}", "{\"expression\":\"1\",\"more\":1}"] {
        let error = call(&registry, "calculator", wrong).await.unwrap_err();
        assert!(matches!(error, CallError::InvalidArguments(_)), "{wrong}: {error:?}");
    }
    let view = registry.plugin("calculator").await.unwrap();
    assert_eq!(view.errors["invalid_arguments"], 5);
    assert!(matches!(call(&registry, "nothing", "{}").await, Err(CallError::UnknownTool(_))));
}

#[tokio::test]
async fn many_calls_at_once_each_get_their_own_answer() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(folder.path());
    let calls = (0..64).map(|n| {
        let registry = registry.clone();
        tokio::spawn(async move {
            let arguments = format!("{{\"expression\":\"{n} * {n}\"}}");
            (n * n, call(&registry, "calculator", &arguments).await.unwrap().for_model())
        })
    });
    for done in futures_util::future::join_all(calls).await {
        let (expected, found) = done.unwrap();
        assert_eq!(found, expected.to_string());
    }
}

#[tokio::test]
async fn a_plugin_that_asks_for_more_waits_for_its_grant_and_asks_again_when_it_wants_more_still() {
    let folder = tempfile::tempdir().unwrap();
    put_weather(folder.path(), "[permissions]\nhttp = [\"http://127.0.0.1:9\"]\n");
    let registry = registry(folder.path());
    let paris = "{\"location\":\"Paris\"}";
    let view = registry.plugin("get_weather").await.unwrap();
    assert_eq!((view.state.as_str(), view.bundled), ("needs_grant", false));
    assert_eq!(view.asks.in_words(), ["send requests to http://127.0.0.1:9"]);
    assert!(matches!(call(&registry, "get_weather", paris).await, Err(CallError::Denied(_))));
    let granted = registry.grant("get_weather", None, Some("env".into())).await.unwrap();
    assert_eq!(granted.state, "ready");
    // Its settings name the real service, which was not granted to this copy.
    let error = call(&registry, "get_weather", paris).await.unwrap_err();
    assert!(matches!(&error, CallError::Denied(why) if why.contains("geocoding-api")), "{error:?}");
    put_weather(folder.path(), "[permissions]\nhttp = [\"http://127.0.0.1:9\", \"http://127.0.0.1:10\"]\n");
    registry.reload().await;
    let upgraded = registry.plugin("get_weather").await.unwrap();
    assert_eq!(upgraded.state, "needs_grant");
    assert_eq!(upgraded.asks.in_words(), ["send requests to http://127.0.0.1:10"]);
    put_weather(folder.path(), "");
    registry.reload().await;
    assert_eq!(registry.plugin("get_weather").await.unwrap().state, "ready");
    let removed = registry.remove("get_weather").await.unwrap();
    assert!(!removed.bundled);
    assert!(registry.plugin("get_weather").await.unwrap().bundled);
}

/// A plugin in a folder, with the component of the bundled calculator, padded so that it is another one.
fn put(folder: &Path, at: &str, name: &str, padding: u8, permissions: &str) {
    let there = folder.join("plugins").join(at);
    std::fs::create_dir_all(&there).unwrap();
    // A custom section: its id, its size, the length of its name, the name.
    let wasm = [&*components()[0].wasm, &[0, 2, 1, padding]].concat();
    std::fs::write(there.join("x.wasm"), wasm).unwrap();
    std::fs::write(there.join("plugin.toml"), format!("name = \"{name}\"\nwasm = \"x.wasm\"\n{permissions}"))
        .unwrap();
}

const ASKS: &str = "[permissions]\nhttp = [\"http://127.0.0.1:9\"]\n";

/// One whose only plugins are those of the directory.
fn without_bundled(folder: &Path) -> Registry {
    registry_with(folder, Vec::new())
}

#[tokio::test]
async fn a_newcomer_gets_neither_name_nor_tools_nor_grant_of_an_installed_plugin() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "mine", "mine", b'a', ASKS);
    let registry = without_bundled(folder.path());
    assert_eq!(registry.grant("mine", None, None).await.unwrap().state, "ready");
    let path = folder.path().join("plugins/mine").display().to_string();
    // One claims its name, one its tool; both come first by the name of their folder.
    put(folder.path(), "aaa", "mine", b'b', ASKS);
    put(folder.path(), "aab", "other", b'b', "");
    registry.reload().await;
    for again in [registry.clone(), without_bundled(folder.path())] {
        let mine = again.plugin("mine").await.unwrap();
        assert_eq!((mine.state.as_str(), mine.path.as_deref()), ("ready", Some(path.as_str())));
        let claims = again.plugin("mine@aaa").await.unwrap();
        assert!(claims.reason.unwrap().contains(&format!("already installed from {path}")));
        let other = again.plugin("other").await.unwrap();
        assert!(other.reason.unwrap().contains("is one of the plugin \"mine\" already"));
        assert_eq!(again.tool("calculator").await.unwrap().plugin, "mine");
    }
}

#[tokio::test]
async fn a_grant_is_for_a_component_and_its_place_and_asked_for_again_when_both_change() {
    let folder = tempfile::tempdir().unwrap();
    let state = async |registry: &Registry| {
        registry.reload().await;
        registry.plugin("mine").await.unwrap().state
    };
    put(folder.path(), "mine", "mine", b'a', ASKS);
    let registry = without_bundled(folder.path());
    registry.grant("mine", None, None).await.unwrap();
    put(folder.path(), "mine", "mine", b'b', ASKS);
    assert_eq!(state(&registry).await, "ready", "an upgrade in its place");
    registry.grant("mine", None, None).await.unwrap();
    let at = |name: &str| folder.path().join("plugins").join(name);
    std::fs::rename(at("mine"), at("moved")).unwrap();
    assert_eq!(state(&registry).await, "ready", "the same component elsewhere");
    put(folder.path(), "moved", "mine", b'c', ASKS);
    assert_eq!(state(&registry).await, "needs_grant");
}

#[tokio::test]
async fn a_grant_from_before_bindings_holds_and_is_bound_to_the_plugin_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "mine", "mine", b'a', ASKS);
    let registry = without_bundled(folder.path());
    let row = crate::store::plugins::GrantRow {
        plugin: "mine".into(),
        permissions: "{\"http\":[\"http://127.0.0.1:9\"]}".into(),
        granted_at: 1,
        granted_by: None,
        digest: None,
        path: None,
    };
    registry.0.deps.store.grant_plugin(row.clone()).await.unwrap();
    let plugin = registry.plugin("mine").await.unwrap();
    assert_eq!(plugin.state, "ready");
    let bound = registry.0.deps.store.plugin_grants().await.unwrap();
    assert_eq!(
        (bound[0].digest.as_deref(), bound[0].path.as_deref()),
        (Some(plugin.digest.as_str()), Some("mine"))
    );
}

#[tokio::test]
async fn what_fails_to_load_is_shown_with_its_reason_and_stops_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    for (name, manifest, wasm) in [
        ("broken", "name = \"broken\"", &b"no component"[..]),
        ("typo", "name = \"typo\"\ntpyo = 1", b""),
        ("calculator", "name = \"calculator\"\nwasm = \"x.wasm\"", b"another"),
        ("gone", "name = \"gone\"\nwasm = \"elsewhere.wasm\"", b""),
    ] {
        std::fs::create_dir_all(plugins.join(name)).unwrap();
        std::fs::write(plugins.join(name).join("plugin.toml"), manifest).unwrap();
        std::fs::write(plugins.join(name).join("x.wasm"), wasm).unwrap();
        std::fs::write(plugins.join(name).join(format!("{name}.wasm")), wasm).unwrap();
    }
    let registry = registry(folder.path());
    let found = registry.plugins().await;
    let reason = |name: &str| {
        let plugin = found.iter().find(|plugin| plugin.name == name).unwrap();
        assert_eq!(plugin.state, "failed", "{name}");
        plugin.reason.clone().unwrap()
    };
    assert!(reason("broken").contains("cannot be compiled"), "{}", reason("broken"));
    assert!(reason("typo").contains("tpyo"));
    assert!(reason("calculator@calculator").contains("comes with the gateway"));
    assert!(reason("gone").contains("elsewhere.wasm"));
    let output = call(&registry, "calculator", "{\"expression\":\"1+1\"}").await.unwrap();
    assert_eq!(output.for_model(), "2");
}

#[tokio::test]
async fn a_plugin_is_added_only_when_it_works() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(folder.path());
    let new = |manifest: Option<&str>, name: Option<&str>, wasm: &[u8]| NewPlugin {
        manifest: manifest.map(str::to_owned),
        name: name.map(str::to_owned),
        wasm: wasm.to_vec(),
    };
    let wasm = &*components()[0].wasm;
    let invalid = registry.add(new(Some("name = \"bad\""), None, b"x")).await;
    assert!(matches!(invalid, Err(PluginError::Compile(_))), "{invalid:?}");
    let nameless = registry.add(new(None, None, wasm)).await;
    assert!(matches!(nameless, Err(PluginError::Invalid(_))), "{nameless:?}");
    // Its tool is taken.
    let taken = registry.add(new(None, Some("sums"), wasm)).await;
    assert!(matches!(taken, Err(PluginError::Conflict(_))), "{taken:?}");
    assert!(!folder.path().join("plugins/sums").exists());
    let added =
        registry.add(new(Some("name = \"calculator\"\nversion = \"1.0.1\""), None, wasm)).await.unwrap();
    assert_eq!((added.plugin.version.as_str(), added.replaced), ("1.0.1", true));
    assert!(matches!(registry.remove("get_weather").await, Err(PluginError::Conflict(_))));
    assert!(matches!(registry.remove("nothing").await, Err(PluginError::NotFound(_))));
}

#[tokio::test]
async fn a_compiled_plugin_comes_from_the_cache_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = registry(folder.path());
    first.load().await;
    let cached = |folder: &Path| std::fs::read_dir(folder.join("cache")).unwrap().count();
    assert_eq!(cached(folder.path()), 2);
    // One that was cut off is compiled anew.
    for entry in std::fs::read_dir(folder.path().join("cache")).unwrap() {
        std::fs::write(entry.unwrap().path(), b"\x7fELF").unwrap();
    }
    let second = registry(folder.path());
    assert_eq!(call(&second, "calculator", "{\"expression\":\"3!\"}").await.unwrap().for_model(), "6");
}

#[tokio::test]
async fn a_folder_that_is_dropped_into_the_directory_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(folder.path());
    let following = tokio::spawn({
        let registry = registry.clone();
        async move { registry.follow().await }
    });
    registry.load().await;
    let mut changes = registry.changes();
    while !folder.path().join("plugins").exists() {
        tokio::task::yield_now().await;
    }
    put_weather(folder.path(), "");
    loop {
        let view = registry.plugin("get_weather").await.unwrap();
        if !view.bundled && view.version == "2.0.0" {
            break;
        }
        changes.changed().await.unwrap();
    }
    following.abort();
}

/// A gateway that is started in a clone takes what lies in `plugins/` for its user's own: nothing for tests may lie there.
#[test]
fn the_plugins_of_a_clone_are_those_that_come_along() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let lying: std::collections::BTreeSet<String> =
        entries.filter_map(|path| std::fs::read_to_string(path.join("plugin.toml")).ok()).collect();
    let known = bundled().into_iter().map(|plugin| plugin.manifest.to_owned()).collect();
    assert_eq!(lying, known);
}

/// Loading does not check them.
#[tokio::test]
async fn the_schemas_of_the_plugins_that_come_along_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(folder.path());
    for name in ["calculator", "get_weather"] {
        let tool = registry.tool(name).await.unwrap();
        tool.compile().await.unwrap();
    }
}
