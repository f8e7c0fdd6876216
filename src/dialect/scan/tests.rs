//! Bodies, good and bad, whole and in pieces.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn scan(body: &str) -> Result<Scan, ScanError> {
    let mut scanner = Scanner::default();
    scanner.feed(body.as_bytes())?;
    scanner.finish()
}

fn scan_in(body: &[u8], cuts: &[usize]) -> Result<Scan, ScanError> {
    let mut scanner = Scanner::default();
    let mut from = 0;
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
    cuts.sort_unstable();
    for cut in cuts.into_iter().chain([body.len()]) {
        scanner.feed(&body[from..cut])?;
        from = cut;
    }
    scanner.finish()
}

#[test]
fn members_are_found_with_their_ranges() {
    let body = r#" {"model" : "qwen", "stream":true,"n":1.5e3 ,"x":{"a":[1,2]},"y":null}"#;
    let found = scan(body).unwrap();
    let got: Vec<_> =
        found.members.iter().map(|m| (m.key.as_str(), &body[m.value.clone()], m.kind)).collect();
    assert_eq!(
        got,
        [
            ("model", "\"qwen\"", Kind::String),
            ("stream", "true", Kind::Bool),
            ("n", "1.5e3", Kind::Number),
            ("x", "{\"a\":[1,2]}", Kind::Object),
            ("y", "null", Kind::Null),
        ]
    );
    assert_eq!(&body[found.members[0].whole.clone()], "\"model\" : \"qwen\"");
    assert_eq!(&body[found.braces], body.trim());
}

#[test]
fn a_key_that_comes_twice_is_refused_also_behind_escapes() {
    assert_eq!(scan(r#"{"a":1,"a":2}"#), Err(ScanError::Duplicate { key: "a".into() }));
    assert_eq!(scan(r#"{"model":1,"mod\u0065l":2}"#), Err(ScanError::Duplicate { key: "model".into() }));
    assert!(scan(r#"{"x":{"a":1,"a":2}}"#).is_ok(), "only the top level is ours to judge");
}

#[test]
fn roles_are_found() {
    let body = r#"{"messages":[{"role":"developer","content":"x"},{"content":"role","role":"user"}]}"#;
    let found = scan(body).unwrap();
    assert!(found.has_system);
    assert_eq!(found.developer_roles.iter().map(|r| &body[r.clone()]).collect::<Vec<_>>(), ["\"developer\""]);
    let plain = scan(r#"{"messages":[{"role":"user","content":"system"}],"role":"system"}"#).unwrap();
    assert!(!plain.has_system && plain.developer_roles.is_empty());
}

#[test]
fn only_inline_media_pass() {
    let part =
        |part: &str| scan(&format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#)).unwrap();
    for fine in [
        r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}"#,
        r#"{"type":"image_url","image_url":"DATA:image/png;base64,AAAA"}"#,
        r#"{"type":"text","text":"http://example.com/ image_url"}"#,
    ] {
        assert_eq!(part(fine).foreign_media, None, "{fine}");
    }
    for (foreign, name) in [
        (r#"{"type":"image_url","image_url":{"url":"http://10.0.0.1/x.png"}}"#, "image_url"),
        (r#"{"type":"image_url","image_url":{"url":"/etc/passwd"}}"#, "image_url"),
        (r#"{"type":"image_url","image_url":"file:///etc/passwd"}"#, "image_url"),
        (r#"{"type":"image_url","image\u005furl":{"ur\u006c":"/etc/passwd"}}"#, "image_url"),
        (
            r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA","url":"/etc/passwd"}}"#,
            "image_url",
        ),
        (r#"{"type":"video_url","video_url":{"x":["/etc/passwd"]}}"#, "video_url"),
        (r#"{"type":"input_audio","input_audio":{"data":"/etc/passwd"}}"#, "input_audio"),
    ] {
        assert_eq!(part(foreign).foreign_media.map(|m| m.part), Some(name), "{foreign}");
    }
    let lone =
        scan(r#"{"messages":[{"role":"user","content":{"image_url":{"url":"/etc/passwd"}}}]}"#).unwrap();
    assert!(lone.foreign_media.is_some());
}

#[test]
fn inline_media_are_counted_where_models_do_not_read_their_text() {
    let part = |part: &str| {
        let body = format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#);
        let found = scan(&body).unwrap().inline_media;
        (found.count, found.bytes)
    };
    let url = "\"data:image/png;base64,AAAA\"";
    let bytes = url.len() as u64;
    assert_eq!(part(&format!(r#"{{"type":"image_url","image_url":{{"url":{url}}}}}"#)), (1, bytes));
    assert_eq!(part(&format!(r#"{{"image_url":{url}}},{{"image_url":{url}}}"#)), (2, 2 * bytes));
    assert_eq!(part(r#"{"type":"input_audio","input_audio":{"data":"AAAA"}}"#), (1, 6));
    for read in [
        format!(r#"{{"type":"text","text":{url}}}"#),
        url.to_owned(),
        r#"{"type":"file","file":{"file_data":"data:text/plain;base64,AAAA"}}"#.to_owned(),
        r#"{"image_url":{"url":"http://example.com/a.png"}}"#.to_owned(),
    ] {
        assert_eq!(part(&read), (0, 0), "{read}");
    }
}

#[test]
fn broken_bodies_are_named() {
    assert_eq!(scan("[1]"), Err(ScanError::NotAnObject));
    assert_eq!(scan(""), Err(ScanError::Malformed { at: 0, reason: "the end comes too early" }));
    for broken in [
        "{",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":tru}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":[1,]}",
        "{\"a\":[1}",
        "{\"a\":1]",
        "{} x",
        "{\"a\":+1}",
        "{a:1}",
        "{\"a\":\"",
    ] {
        assert!(scan(broken).is_err(), "{broken}");
    }
    assert_eq!(scan(&format!("{{\"a\":{}", "[".repeat(200))), Err(ScanError::TooDeep));
    let many = (0..300).map(|i| format!("\"k{i}\":1")).collect::<Vec<_>>().join(",");
    assert_eq!(scan(&format!("{{{many}}}")), Err(ScanError::TooManyMembers));
    let mut scanner = Scanner::default();
    assert!(scanner.feed(b"{\"a\":\"\xff\"}").is_err());
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f32>().prop_map(|x| serde_json::json!(x)),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,6}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_chunking_finds_the_same(value in json(), key in "[a-z]{1,5}", cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        let body = serde_json::json!({"model": "x", key: value}).to_string();
        let whole = scan_in(body.as_bytes(), &[]);
        prop_assert_eq!(&scan_in(body.as_bytes(), &cuts), &whole);
        let found = whole.unwrap();
        let parsed: serde_json::Map<String, Value> = serde_json::from_str(&body).unwrap();
        prop_assert_eq!(found.members.len(), parsed.len());
        for member in &found.members {
            let value: Value = serde_json::from_str(&body[member.value.clone()]).unwrap();
            prop_assert_eq!(&value, &parsed[&member.key]);
        }
    }

    #[test]
    fn what_it_accepts_is_json(value in json(), at in any::<usize>(), with in any::<u8>()) {
        let mut body = serde_json::json!({"model": "x", "y": value}).to_string().into_bytes();
        let at = at % body.len();
        body[at] = with;
        let ours = scan_in(&body, &[at]);
        let theirs = serde_json::from_slice::<serde_json::Map<String, Value>>(&body);
        if let Ok(found) = &ours {
            // Numbers out of range and lone surrogates are refused by serde_json only.
            if let Err(error) = &theirs {
                let text = error.to_string();
                prop_assert!(text.contains("out of range") || text.contains("surrogate") || text.contains("escape"), "{}", text);
            } else {
                prop_assert!(!found.braces.is_empty());
            }
        } else if let Err(ScanError::Malformed { .. }) = ours {
            prop_assert!(theirs.is_err());
        }
    }
}
