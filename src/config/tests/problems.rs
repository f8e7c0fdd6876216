//! What is wrong is listed at once, with line, key and suggestion.

use super::{Folder, demo, problems_of};

const BROKEN: &str = r##"
listen = "127.0.0.1:10242"

[server]
lsten = "127.0.0.1:1"
listen = ["127.0.0.1", "0.0.0.0:80"]
max_body = "64M"
tls = { cert = "missing.pem" }
shutdown_grace = 30
cors_origins = ["*"]
trusted_proxies = ["10.0.0.0/8"]

[auth]
api = "opne"
session_days = 0

[memory]
budget = "150%"

[hub]
endpoint = "huggingface.co"

[plugins]
max_rounds = "8"

[engine.mlx-opanai-server]
managed = true

[[profile]]
name = "qwen"
aliases = ["qwen", "b", "no spaces"]
model = "Qwen3"
keep_alive = "soon"
timeouts = { start = "5m", first_tokn = "1m" }
defaults = { temperature = 3.0, max_tokns = 5, model = "x", top_k = 1.5 }
extra_args = ["--host=0.0.0.0", "--trust", "--kv-bits"]
env = { MLX_GATEWAY_API_KEY = "x", "A B" = "" }
trust_remote_code = "yes"

[[profile]]
name = "qwen"
engine = "mlx-openai-sever"

[[profile]]
aliases = ["b"]
engine = "command"
command = ["serve", "--model", "{model}"]

[[profile]]
name = "far"
engine = "url"
api_key_env = "KEY"
api_key_file = "key"
command = ["x"]

[[profile]]
name = "none"
max_concurrent = 0
model = "builtin:other"
"##;

#[test]
fn every_problem_of_a_very_broken_file_is_listed_at_once() {
    let folder = Folder::with(BROKEN).flags(Default::default());
    let error = folder.error();
    assert!(error.problems.len() >= 15);
    insta::assert_snapshot!(folder.shown(&error));
}

#[test]
fn problems_can_be_read_by_scripts() {
    let folder = Folder::with("[server]\nlsten = 1\n");
    let error = folder.error();
    insta::assert_snapshot!(folder.shown(error.to_json()), @r#"{"problems":[{"file":"[folder]/config.toml","line":2,"key":"server.lsten","message":"unknown key","suggestion":"did you mean `listen`?"}],"warnings":[{"key":"profile","message":"there is none, so nothing can be served","suggestion":"add a [[profile]]"}]}"#);
}

#[test]
fn a_syntax_error_says_its_line() {
    insta::assert_debug_snapshot!(problems_of("[server]\nlisten = \n[auth\n\"x"), @r#"
    [
        "2: : not valid TOML: string values must be quoted, expected literal string",
        "3: : not valid TOML: unclosed table, expected `]`",
        "4: : not valid TOML: key with no value, expected `=`",
    ]
    "#);
}

#[test]
fn a_key_given_twice_hides_no_other_problem() {
    insta::assert_debug_snapshot!(problems_of("[auth]\napi = \"auto\"\napi = \"open\"\n[usage]\ndays = 1\n"), @r#"
    [
        "3: api: is given twice",
        "5: usage.days: unknown key",
    ]
    "#);
}

#[test]
fn a_table_in_place_of_profiles_says_how_to_write_them() {
    let error = Folder::with("[profile.qwen]\nmodel = \"a/b\"\n").error();
    insta::assert_snapshot!(error.problems[0].suggestion.as_deref().unwrap_or_default(), @r#"write [[profile]]"#);
}

#[test]
fn wrong_types_are_refused_by_name() {
    let config = r#"
server = 1
auth = { api = true, session_days = "x" }
memory = { budget = 1.5, min_stay = [] }
usage = { retention_days = 99999999999999999999 }
profile = [ 1, { name = 2, aliases = "a", model = {}, tools = [1], queue = "x", memory = true } ]
"#;
    insta::assert_debug_snapshot!(problems_of(config), @r#"
    [
        "2: server: has to be a table, not an integer",
        "3: auth.api: has to be a string, not true or false",
        "3: auth.session_days: has to be an integer, not a string",
        "4: memory.min_stay: has to be a duration such as \"30s\", not a list",
        "4: memory.budget: has to be a size such as \"64MiB\", not a number with a fraction",
        "5: usage.retention_days: has to be an integer, not an integer of more than 64 bits",
        "6: profile[0]: has to be a table, not an integer",
        "6: profile[1].name: has to be a string, not an integer",
        "6: profile[1].aliases: has to be a list, not a string",
        "6: profile[1].model: has to be a string, not a table",
        "6: profile[1].memory: has to be a size such as \"64MiB\", not true or false",
        "6: profile[1].queue: has to be a table, not a string",
        "6: profile[1].tools[0]: has to be a string, not an integer",
    ]
    "#);
}

#[test]
fn a_reachable_listener_needs_a_key() {
    for (auth, refused) in
        [("", true), ("api = \"auto\"", true), ("api = \"open\"", true), ("api = \"required\"", false)]
    {
        let folder = Folder::with(&format!("[server]\nlisten = \"0.0.0.0:1\"\n[auth]\n{auth}"));
        assert_eq!(folder.load().is_err(), refused, "{auth}");
    }
    let config = "[server]\nlisten = [\"127.0.0.1:1\", \"[::]:1\"]\n";
    insta::assert_debug_snapshot!(problems_of(config), @r#"
    [
        "2: server.listen: [::]:1 can be reached by others, and nothing asks them for a key",
    ]
    "#);
    assert!(Folder::with(config).set("MLX_GATEWAY_API_KEY", "k").load().is_ok());
    assert!(Folder::with(config).set("MLX_GATEWAY_API_KEY", "").load().is_err());
    let open = format!("{config}[auth]\napi = \"open\"");
    assert!(Folder::with(&open).set("MLX_GATEWAY_API_KEY", "k").load().is_err());
    let insecure = super::Flags { insecure: true, ..Default::default() };
    assert!(Folder::with(&open).flags(insecure).config().server.insecure);
}

#[test]
fn extra_args_reach_neither_host_port_model_nor_trust() {
    for arg in [
        "--host",
        "--host=x",
        "--port",
        "--port=1",
        "--model-path",
        "--model",
        "--served-model-name",
        "--trust-remote-code",
        "--hos",
        "--trust",
        "--Model=x",
        "--model_path",
    ] {
        let problems = problems_of(&demo(&format!("extra_args = [{arg:?}]")));
        assert!(problems.len() == 1 && problems[0].contains("must not set --"), "{arg}: {problems:?}");
    }
    let allowed =
        demo(r#"extra_args = ["--kv-bits", "4", "--model-type", "--prompt-cache-size=3", "-x", ""]"#);
    assert_eq!(Folder::with(&allowed).config().profiles[0].launch.extra_args.len(), 6);
}

#[test]
fn a_profiles_environment_holds_no_secret_of_the_gateway() {
    for (name, value) in [
        ("MLX_GATEWAY_API_KEY", "x"),
        ("MLX_MANAGER_API_KEY", "x"),
        ("HF_TOKEN", "x"),
        ("OTHER", "the-operators-key"),
        ("OTHER", "Bearer the-operators-key"),
        ("1X", "x"),
    ] {
        let config = demo(&format!("env = {{ {name:?} = {value:?} }}"));
        let error = Folder::with(&config).set("MLX_GATEWAY_API_KEY", "the-operators-key").error();
        assert_eq!(error.problems.len(), 1, "{name}");
        assert!(!error.to_string().contains("the-operators-key"));
    }
    let config = Folder::with(&demo("env = { OMP_NUM_THREADS = \"2\" }")).config();
    assert_eq!(config.profiles[0].launch.env["OMP_NUM_THREADS"], "2");
}

#[test]
fn each_engine_is_told_what_it_needs_and_what_it_has_no_use_for() {
    let profile = |settings: &str| problems_of(&format!("[[profile]]\nname = \"p\"\n{settings}\n"));
    insta::assert_debug_snapshot!([
        profile(""),
        profile("engine = \"mlx-lm\""),
        profile("engine = \"command\""),
        profile("engine = \"command\"\ncommand = []"),
        profile("engine = \"command\"\ncommand = [\"serve\"]"),
        profile("engine = \"command\"\ncommand = [\"serve\", \"{port}\"]\nmodel = \"builtin:demo\""),
        profile("engine = \"command\"\ncommand = [\"serve\", \"{port}\"]\nextra_args = [\"-x\"]"),
        profile("engine = \"url\""),
        profile("engine = \"url\"\nurl = \"ftp://host/v1\""),
        profile("engine = \"url\"\nurl = \"http://user:pass@host/v1\""),
        profile("engine = \"url\"\nurl = \"http://host/v1?key=1\""),
        profile("engine = \"url\"\nurl = \"http://\""),
        profile("model = \"a/b\"\nurl = \"http://host/v1\""),
    ], @r#"
    [
        [
            "1: profile.p: has no `model`, which engine = \"mlx-openai-server\" needs",
        ],
        [
            "1: profile.p: has no `model`, which engine = \"mlx-lm\" needs",
        ],
        [
            "1: profile.p: has no `command`, which engine = \"command\" needs",
        ],
        [
            "4: profile.p.command: names no program",
        ],
        [
            "4: profile.p.command: does not say {port}: the gateway chooses the port",
        ],
        [
            "5: profile.p.model: \"builtin:demo\" needs engine = \"mlx-openai-server\" or \"mlx-lm\"",
        ],
        [
            "5: profile.p.extra_args: belongs into `command` for engine = \"command\"",
        ],
        [
            "1: profile.p: has no `url`, which engine = \"url\" needs",
        ],
        [
            "4: profile.p.url: has to be an http or https URL with a host",
        ],
        [
            "4: profile.p.url: must not hold a user name or password",
        ],
        [
            "4: profile.p.url: must not have a query or fragment",
        ],
        [
            "4: profile.p.url: has to be an http or https URL with a host",
        ],
        [
            "4: profile.p.url: belongs to engine = \"url\"; this profile's engine is \"mlx-openai-server\"",
        ],
    ]
    "#);
}

#[test]
fn a_file_that_was_asked_for_has_to_be_there() {
    let folder = Folder::empty().set("MLX_GATEWAY_CONFIG", "other.toml");
    insta::assert_snapshot!(folder.shown(folder.error()), @r#"
    1 problem in the configuration:

    [folder]/other.toml: cannot be read: No such file or directory (os error 2)
    "#);
    let folder = Folder::empty();
    std::fs::write(folder.path().join("config.toml"), b"\xff\xfe").unwrap();
    insta::assert_snapshot!(folder.shown(folder.error()), @r#"
    1 problem in the configuration:

    [folder]/config.toml: is not UTF-8 text
    "#);
}

#[test]
fn what_may_be_missing_for_now_is_a_warning() {
    let config = r#"
[hub]
token_file = "token"
[engine.mlx-openai-server]
managed = true
command = ["bin/server"]
[[profile]]
name = "folder"
model = "./models/none"
[[profile]]
name = "far"
engine = "url"
url = "http://host/v1/"
api_key_env = "FAR_KEY"
env = { A = "b" }
"#;
    let folder = Folder::with(config).set("MLX_GATEWAY_SERVER__LSTEN", "x").set("MLX_GATEWAY_NONSENSE", "x");
    insta::assert_debug_snapshot!(folder.warnings(), @r#"
    [
        "MLX_GATEWAY_NONSENSE: unknown variable, not used\n    settings are named MLX_GATEWAY_SECTION__KEY",
        "MLX_GATEWAY_SERVER__LSTEN: server.lsten: unknown key\n    did you mean `listen`?",
        "[folder]/config.toml:3: hub.token_file: there is no file [folder]/token",
        "[folder]/config.toml:5: engine.mlx-openai-server.managed: is not used, since `command` names a program\n    remove one of the two",
        "[folder]/config.toml:9: profile.folder.model: there is no folder [folder]/models/none\n    the profile is unavailable until it is there",
        "[folder]/config.toml:14: profile.far.api_key_env: the variable FAR_KEY is not set",
        "[folder]/config.toml:15: profile.far.env: has no effect: engine = \"url\" starts no process",
    ]
    "#);
}
