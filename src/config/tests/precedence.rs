//! Flag over environment over file over default, and where everything lies.

use std::path::PathBuf;
use std::time::Duration;

use super::super::{ApiAuth, Flags, KeySource, MemoryBudget, ModelRef, Origin, Secret, shown};
use super::{Folder, demo};

fn listen(address: &str) -> Flags {
    Flags { listen: vec![address.to_owned()], ..Flags::default() }
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let key = "server.listen";
    let variable = "MLX_GATEWAY_SERVER__LISTEN";
    let shown = |folder: &Folder| {
        let config = folder.config();
        (config.server.listen[0].to_string(), config.origins.of(key).to_string())
    };
    let pair = |address: &str, origin: &str| (address.to_owned(), origin.to_owned());

    let folder = Folder::with("");
    assert_eq!(shown(&folder), pair("127.0.0.1:10242", "default"));
    let folder = Folder::with("[server]\nlisten = \"127.0.0.1:1\"");
    assert_eq!(shown(&folder), pair("127.0.0.1:1", "line 2"));
    let folder = folder.set(variable, "127.0.0.1:2");
    assert_eq!(shown(&folder), pair("127.0.0.1:2", variable));
    let folder = folder.flags(listen("127.0.0.1:3"));
    assert_eq!(shown(&folder), pair("127.0.0.1:3", "--listen"));
}

#[test]
fn a_resolved_configuration_knows_where_each_value_came_from() {
    let folder = Folder::with(
        r#"
[server]
listen = ["127.0.0.1:0", "[::1]:0"]
data_dir = "~/data"
max_body = 1024

[engine.mlx-openai-server]
command = ["./bin/server", "--x"]

[[profile]]
name = "qwen"
aliases = ["gpt-*"]
model = "mlx-community/Qwen3-4B-4bit"
defaults = { top_p = 0.5, temperature = 1, stop = ["a"], chat_template_kwargs = { z = 1, a = false } }
memory = "6GiB"
keep_alive = "forever"
queue = { size = 5 }
env = { A = "b" }

[[profile]]
name = "qwen/far"
engine = "url"
url = "https://example.com/v1/"
api_key_file = "key"
"#,
    )
    .set("MLX_GATEWAY_AUTH__SESSION_DAYS", "3")
    .set("MLX_GATEWAY_MEMORY__BUDGET", "75%")
    .set("MLX_MANAGER_API_KEY", "secret-of-the-operator")
    .set("HF_TOKEN", "secret-of-the-hub")
    .flags(Flags { listen: vec!["127.0.0.1:7".to_owned()], insecure: true, ..Flags::default() });
    let shown = folder.shown(format!("{:#?}", folder.config()));
    assert!(!shown.contains("secret-of"));
    insta::assert_snapshot!(shown);
}

#[test]
fn the_environment_reaches_every_kind_of_setting() {
    let config = Folder::with("")
        .set("MLX_GATEWAY_SERVER__LISTEN", "127.0.0.1:1, 127.0.0.1:2")
        .set("MLX_GATEWAY_SERVER__ALLOWED_HOSTS", "[\"a.example\", \"b.example\"]")
        .set("MLX_GATEWAY_SERVER__MAX_BODY", "1MiB")
        .set("MLX_GATEWAY_SERVER__SHUTDOWN_GRACE", "\"5s\"")
        .set("MLX_GATEWAY_AUTH__API", "required")
        .set("MLX_GATEWAY_MEMORY__BUDGET", "1000")
        .set("MLX_GATEWAY_USAGE__RETENTION_DAYS", "7")
        .set("MLX_GATEWAY_ENGINE__MLX_OPENAI_SERVER__MANAGED", "true")
        .set("MLX_GATEWAY_ENGINE__MLX_OPENAI_SERVER__INDEX_URL", "http://127.0.0.1:9/simple/")
        .set("MLX_GATEWAY_PLUGINS__DIR", "tools")
        .set("MLX_GATEWAY_HUB__TOKEN_FILE", "");
    let here = config.path().to_path_buf();
    let config = config.config();
    assert_eq!(config.server.listen.len(), 2);
    assert_eq!(config.server.allowed_hosts, ["a.example", "b.example"]);
    assert_eq!(config.server.max_body, 1 << 20);
    assert_eq!(config.server.shutdown_grace, Duration::from_secs(5));
    assert_eq!(config.auth.api, ApiAuth::Required);
    assert_eq!(config.memory.budget, MemoryBudget::Bytes(1000));
    assert_eq!(config.usage.retention_days, 7);
    assert_eq!(config.engines.mlx_openai_server.index_url.as_deref(), Some("http://127.0.0.1:9/simple"));
    assert_eq!(config.plugins.dir, here.join("tools"));
    assert_eq!(config.hub.token_file, None);
    let variable = "MLX_GATEWAY_ENGINE__MLX_OPENAI_SERVER__MANAGED".to_owned();
    assert_eq!(config.origins.of("engine.mlx-openai-server.managed"), Origin::Environment { variable });
}

#[test]
fn a_bad_value_in_the_environment_is_named_by_its_variable() {
    let folder = Folder::with("")
        .set("MLX_GATEWAY_USAGE__RETENTION_DAYS", "many")
        .set("MLX_GATEWAY_AUTH__API", "opne")
        .set("MLX_GATEWAY_SERVER__LISTEN", "127.0.0.1:1,here");
    insta::assert_snapshot!(folder.error(), @r#"
    3 problems in the configuration:

    MLX_GATEWAY_AUTH__API: auth.api: "opne" is not one of auto, open, required
        did you mean "open"?
    MLX_GATEWAY_SERVER__LISTEN: server.listen[1]: "here" is not an address with a port
        write "127.0.0.1:10242", or "0.0.0.0:10242" for every interface
    MLX_GATEWAY_USAGE__RETENTION_DAYS: usage.retention_days: has to be an integer, not a string
    "#);
}

#[test]
fn the_operators_key_comes_from_either_variable_and_an_empty_one_is_none() {
    let key = |folder: Folder| folder.config().auth.environment_key;
    let secret = |text: &str| Some(Secret(text.to_owned()));
    assert_eq!(key(Folder::with("")), None);
    assert_eq!(key(Folder::with("").set("MLX_GATEWAY_API_KEY", "  ")), None);
    assert_eq!(key(Folder::with("").set("MLX_GATEWAY_API_KEY", "a")), secret("a"));
    let both = Folder::with("").set("MLX_GATEWAY_API_KEY", "").set("MLX_MANAGER_API_KEY", "b");
    assert!(both.warnings().iter().all(|warning| !warning.contains("API_KEY")));
    assert_eq!(key(both), secret("b"));
}

#[test]
fn the_hubs_own_variables_are_honoured_below_ours() {
    let hub = |folder: &Folder| folder.config().hub.endpoint;
    let folder = Folder::with("[hub]\nendpoint = \"https://file.example\"");
    assert_eq!(hub(&folder), "https://file.example");
    let folder = folder.set("HF_ENDPOINT", "https://hf.example/");
    assert_eq!(hub(&folder), "https://hf.example");
    let folder = folder.set("MLX_GATEWAY_HUB__ENDPOINT", "https://ours.example");
    assert_eq!(hub(&folder), "https://ours.example");
}

#[test]
fn the_file_is_looked_for_in_order() {
    let profile = |name: &str| format!("[[profile]]\nname = \"{name}\"\nmodel = \"builtin:demo\"");
    let name = |folder: &Folder| folder.config().profiles[0].name.clone();

    let folder = Folder::empty();
    assert_eq!(name(&folder), "demo");
    folder.write("home/.config/mlx-gateway/config.toml", &profile("in-home"));
    assert_eq!(name(&folder), "in-home");
    folder.write("xdg/mlx-gateway/config.toml", &profile("in-xdg"));
    let xdg = folder.path().join("xdg").to_string_lossy().into_owned();
    let folder = folder.set("XDG_CONFIG_HOME", &xdg);
    assert_eq!(name(&folder), "in-xdg");
    folder.write("config.toml", &profile("here"));
    assert_eq!(name(&folder), "here");
    folder.write("named.toml", &profile("by-variable"));
    let folder = folder.set("MLX_GATEWAY_CONFIG", "named.toml");
    assert_eq!(name(&folder), "by-variable");
    folder.write("flag.toml", &profile("by-flag"));
    let flags = Flags { config: Some(PathBuf::from("flag.toml")), ..Flags::default() };
    assert_eq!(name(&folder.flags(flags)), "by-flag");
}

#[test]
fn data_lies_where_the_platform_keeps_it() {
    let data_dir = |folder: &Folder| folder.shown(folder.config().server.data_dir.display());
    let mut folder = Folder::with("");
    assert_eq!(data_dir(&folder), "[folder]/home/.local/share/mlx-gateway");
    folder.sources.macos = true;
    assert_eq!(data_dir(&folder), "[folder]/home/Library/Application Support/mlx-gateway");
    let folder = folder.set("XDG_DATA_HOME", "/data");
    assert_eq!(data_dir(&folder), "/data/mlx-gateway");
    let folder = folder.flags(Flags { data_dir: Some(PathBuf::from("./d")), ..Flags::default() });
    assert_eq!(data_dir(&folder), "[folder]/d");

    let mut homeless = Folder::with("");
    homeless.sources.home = None;
    insta::assert_snapshot!(homeless.error(), @r#"
    1 problem in the configuration:

    server.data_dir: is not given, and there is no home (HOME) to keep it in
        say --data-dir FOLDER
    "#);
}

#[test]
fn paths_start_where_they_are_written() {
    let folder = Folder::empty();
    folder.write(
        "conf/config.toml",
        &format!(
            "{}[[profile]]\nname = \"far\"\nengine = \"url\"\nurl = \"http://h/v1\"\napi_key_file = \"./key\"\n\
             [[profile]]\nname = \"home\"\nmodel = \"~/models/x\"\n[[profile]]\nname = \"near\"\nmodel = \"./models/x/\"\n\
             [[profile]]\nname = \"prog\"\nengine = \"command\"\ncommand = [\"./serve\", \"./{{port}}\"]\n",
            demo("")
        ),
    );
    let flags = Flags { config: Some(PathBuf::from("conf/config.toml")), ..Flags::default() };
    let folder = folder.flags(flags).set("MLX_GATEWAY_SERVER__DATA_DIR", "data");
    let config = folder.config();
    let here = folder.path();
    assert_eq!(config.server.data_dir, here.join("data"));
    assert_eq!(config.plugins.dir, here.join("conf/plugins"));
    let launch = |index: usize| &config.profiles[index].launch;
    let key = launch(1).upstream.as_ref().and_then(|upstream| upstream.api_key.clone());
    assert_eq!(key, Some(KeySource::File(here.join("conf/key"))));
    assert_eq!(launch(2).model, Some(ModelRef::Folder(here.join("home/models/x"))));
    assert_eq!(launch(3).model, Some(ModelRef::Folder(here.join("conf/models/x"))));
    assert_eq!(launch(4).command, [here.join("conf/serve").to_string_lossy(), "./{port}".into()]);
}

#[test]
fn sizes_and_times_are_shown_with_their_units() {
    let folder = Folder::with(
        "[server]\nmax_body = \"32MiB\"\nshutdown_grace = \"90s\"\n[memory]\nbudget = \"48GiB\"\n",
    );
    let all = shown(&folder.config());
    let value = |key: &str| all.iter().find(|one| one.key == key).unwrap().value.clone();
    assert_eq!(value("server.max_body"), "32MiB");
    assert_eq!(value("server.shutdown_grace"), "1m30s");
    assert_eq!(value("memory.budget"), "48GiB");
    assert_eq!(value("media.max_size"), "20MiB");
}
