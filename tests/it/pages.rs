//! The pages as they are served: which paths lead to them, how they are kept and guarded, and where a
//! stranger is led. What they show is tested in a browser (web/e2e).

use crate::support::Gateway;
use crate::support::http::Answer;

const PROFILES: &str = "[[profile]]\nname = \"qwen\"\nmodel = \"builtin:demo\"\n";
const KEYED: [(&str, &str); 1] = [("MLX_GATEWAY_API_KEY", "sk-of-the-environment")];

fn ask(gateway: &Gateway, path: &str, headers: &str) -> Answer {
    gateway.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}connection: close\r\n\r\n"))
}

#[test]
fn a_page_is_looked_at_anew_and_its_scripts_are_kept_forever() {
    let gateway = Gateway::start(PROFILES);
    let page = ask(&gateway, "/servers", "");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("cache-control").as_deref(), Some("no-cache"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    let html = &page.body;
    assert!(!html.contains("<script>") && !html.contains("http://") && !html.contains("https://"), "{html}");

    let script = html.split('"').find(|part| part.starts_with("/assets/") && part.ends_with(".js")).unwrap();
    let kept = ask(&gateway, script, "");
    assert_eq!(kept.header("cache-control").as_deref(), Some("public, max-age=31536000, immutable"));
    assert_eq!(kept.header("content-type").as_deref(), Some("text/javascript; charset=utf-8"));
    for (accepts, sent) in [("br, gzip", "br"), ("gzip", "gzip")] {
        let asked = format!(
            "GET {script} HTTP/1.1\r\nhost: localhost\r\naccept-encoding: {accepts}\r\nconnection: close\r\n\r\n"
        );
        let head = gateway.open(&asked).head;
        assert!(head.contains(&format!("content-encoding: {sent}\r\n")), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        assert!(length.parse::<usize>().unwrap() < kept.body.len());
    }
    let tag = page.header("etag").unwrap();
    assert_eq!(ask(&gateway, "/servers", &format!("if-none-match: {tag}\r\n")).status, 304);
}

#[test]
fn what_is_no_page_stays_an_error() {
    let gateway = Gateway::start(PROFILES);
    for path in ["/v1/nope", "/api/v1/nope", "/mcp/nope", "/robots.txt", "/assets/old-1.js"] {
        assert_eq!(ask(&gateway, path, "").error().0, 404, "{path}");
    }
    assert_eq!(
        gateway
            .send(
                "POST /servers HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            .status,
        404
    );
}

#[test]
fn the_first_page_of_a_new_gateway_is_the_set_up_until_somebody_has_left_it() {
    let gateway = Gateway::start(PROFILES);
    let browser = "accept: text/html\r\n";
    let first = ask(&gateway, "/", browser);
    assert_eq!((first.status, first.header("location").as_deref()), (303, Some("/setup")));
    assert_eq!(ask(&gateway, "/", &format!("{browser}cookie: mlx_gateway_setup=skipped\r\n")).status, 200);
    assert_eq!(ask(&gateway, "/servers", browser).status, 200);
    assert!(ask(&gateway, "/", "").body.contains("/v1"));
}

#[test]
fn without_a_session_a_page_leads_to_the_log_in_and_back_to_itself_alone() {
    let gateway = Gateway::with_env(PROFILES, &KEYED);
    let to = |path: &str| ask(&gateway, path, "accept: text/html\r\n").header("location");
    assert_eq!(to("/servers?open=1").as_deref(), Some("/login?next=%2Fservers%3Fopen%3D1"));
    assert_eq!(to("/").as_deref(), Some("/login"));
    for open in ["/login", "/reset", "/setup", "/favicon.svg"] {
        assert_eq!(ask(&gateway, open, "").status, 200, "{open}");
    }
    let known = ask(&gateway, "/servers", "authorization: Bearer sk-of-the-environment\r\n");
    assert_eq!(known.status, 200);
}

#[test]
fn the_doctor_finds_what_is_there_and_settings_say_where_they_come_from() {
    let gateway = Gateway::start(PROFILES);
    let output = gateway.cli(&["doctor", "--json"]);
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let ids: Vec<&str> =
        findings["findings"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(
        ids,
        ["engine", "python", "hub", "disk", "memory", "ports", "network", "access", "permissions"]
    );

    let settings = gateway.get("/api/v1/settings").json();
    let listen = settings["settings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["key"] == "server.listen")
        .unwrap()
        .clone();
    assert_eq!(listen["origin"], "file");
    let service = gateway.get("/api/v1/service").json();
    assert_eq!(service["installed"], false);
    let shown = gateway.cli(&["service", "install", "--dry-run"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("serve") && text.contains(&gateway.data_dir().display().to_string()), "{text}");
}
