//! No text whatever makes the loader panic.

use proptest::prelude::*;

use super::super::{Flags, Sources, load};

const KEYS: &[&str] = &[
    "server",
    "listen",
    "tls",
    "cert",
    "auth",
    "api",
    "memory",
    "budget",
    "profile",
    "name",
    "aliases",
    "model",
    "engine",
    "mlx-openai-server",
    "command",
    "url",
    "defaults",
    "stop",
    "queue",
    "timeouts",
    "env",
    "keep_alive",
    "extra_args",
    "context_length",
    "x",
];

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("true".to_owned()),
        any::<i64>().prop_map(|integer| integer.to_string()),
        any::<f64>().prop_map(|float| format!("{float:?}").to_lowercase()),
        "[0-9.]{0,4}(KiB|MiB|ms|s|m|h|%|)".prop_map(|text| format!("{text:?}")),
        "\\PC{0,12}".prop_map(|text| format!("{text:?}")),
        prop::sample::select(vec![
            "\"url\"",
            "\"command\"",
            "\"builtin:demo\"",
            "\"~/\"",
            "\"*\"",
            "1979-05-27",
            "inf"
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let key = prop::sample::select(KEYS);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((key, inner), 0..4).prop_map(|entries| {
                let entries: Vec<String> =
                    entries.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                format!("{{ {} }}", entries.join(", "))
            }),
        ]
    })
}

fn document() -> impl Strategy<Value = String> {
    let key = prop::sample::select(KEYS);
    let header = prop::collection::vec(key.clone(), 1..3).prop_map(|path| format!("[{}]", path.join(".")));
    let line = prop_oneof![
        4 => (key, value()).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => header,
        2 => Just("[[profile]]".to_owned()),
    ];
    prop::collection::vec(line, 0..24).prop_map(|lines| lines.join("\n"))
}

/// Both outcomes are fine; whatever is said has to be sayable.
fn survives(text: &[u8], variable: Option<(String, String)>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.toml"), text).unwrap();
    let sources = Sources {
        flags: Flags::default(),
        environment: variable.into_iter().collect(),
        current_dir: folder.path().to_path_buf(),
        home: None,
        macos: false,
    };
    match load(&sources) {
        Ok((config, _)) => assert!(!config.server.listen.is_empty()),
        Err(error) => {
            assert!(!error.problems.is_empty());
            assert!(error.to_string().lines().count() > error.problems.len());
            assert!(error.to_json().is_object());
        }
    }
}

#[test]
fn deep_nesting_is_survived() {
    const DEPTH: usize = 3_000;
    for opening in ["a.", "[", "{a=", "[[a]]\n[a.a]\n"] {
        survives(format!("x = {}", opening.repeat(DEPTH)).as_bytes(), None);
        survives(opening.repeat(DEPTH).as_bytes(), None);
    }
    survives(format!("[{}a]", "a.".repeat(DEPTH)).as_bytes(), None);
    survives(format!("{}a = 1", "a.".repeat(DEPTH)).as_bytes(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&bytes, None);
    }

    #[test]
    fn any_text_is_survived(text in "[\\[\\]{}=\"'#.,a-z0-9\n ]{0,120}|\\PC{0,60}") {
        survives(text.as_bytes(), None);
    }

    #[test]
    fn any_document_of_known_keys_is_survived(text in document()) {
        survives(text.as_bytes(), None);
    }

    #[test]
    fn any_variable_is_survived(name in "(SERVER|AUTH|MEMORY|ENGINE|PROFILE|X|)_{0,4}(LISTEN|TLS|API|BUDGET|)_{0,3}[A-Z]{0,3}", value in "\\PC{0,20}|[\\[{][^\\pC]{0,10}[}\\]]") {
        survives(b"", Some((format!("MLX_GATEWAY_{name}"), value)));
    }
}
