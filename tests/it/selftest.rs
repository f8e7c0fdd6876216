//! `selftest`: figures beside each other, in one file without anybody's names.

use serde_json::Value;

use crate::support::{Gateway, PROFILES};

#[test]
fn a_self_test_compares_figures_and_writes_one_file_that_names_nobody() {
    let gateway = Gateway::start(PROFILES);
    let report = gateway.folder.path().join("report.json");
    let file = report.to_str().unwrap();
    let ran = gateway.cli(&["selftest", "--seconds", "3", "--profile", "qwen", "--report", file]);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{ran:?}");
    assert!(said.contains("tokens, client beside record"), "{said}");
    let text = std::fs::read_to_string(&report).unwrap();
    let home = gateway.folder.path().to_str().unwrap();
    assert!(!text.contains(home), "the home folder is not named");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["profile"], "qwen");
    let verdict = |name: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap()["verdict"].clone()
    };
    for name in ["answers", "tokens, client beside record", "first token, client beside record"] {
        assert_eq!(verdict(name), "ok", "{}", report["checks"]);
    }
    assert_ne!(verdict("memory, gateway beside resident"), "unknown", "{}", report["checks"]);
    assert!(report["answers"].as_array().unwrap().len() >= 3);
    assert!(report["samples"][0]["tree_bytes"].as_u64().unwrap() > 0, "{}", report["samples"]);
    assert!(report["readings"][0][1][0]["said"].as_str().is_some(), "{}", report["readings"]);
    let about: Vec<&str> =
        report["gateway"].as_array().unwrap().iter().map(|one| one[0].as_str().unwrap()).collect();
    assert_eq!(about, ["system", "settings", "doctor", "engines", "servers", "logs"]);
    assert_eq!(gateway.cli(&["selftest", "--report", file]).status.code(), Some(6), "it is there already");
}

#[test]
fn a_self_test_that_gets_no_answer_fails_and_says_why() {
    let gateway =
        Gateway::start("[[profile]]\nname = \"q\"\nmodel = \"./model\"\nenv = { FAKE_ERROR = \"500\" }\n");
    let ran = gateway.cli(&["selftest", "--seconds", "1"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("failed"), "{ran:?}");
}
