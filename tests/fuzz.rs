//! Bytes that others send, broken in every way that chance finds: nothing panics, nothing depends on how a stream
//! is cut, and what is taken is what it claims to be. Begins with good bytes (recorded answers, requests as
//! clients send them) and changes those. `MLX_GATEWAY_FUZZ_SECONDS` says for how long each (1; `make fuzz`: 20).

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mlx_gateway::dialect::aggregate::Aggregate;
use mlx_gateway::dialect::anthropic;
use mlx_gateway::dialect::facts::Facts;
use mlx_gateway::dialect::failure::UpstreamFailure;
use mlx_gateway::dialect::form::{Form, boundary};
use mlx_gateway::dialect::repair::Repair;
use mlx_gateway::dialect::request::Scanned;
use mlx_gateway::dialect::rope::Rope;
use mlx_gateway::dialect::scan::{Scan, ScanError, Scanner};
use mlx_gateway::dialect::structured::Format;
use mlx_gateway::dialect::transcript::{self, Transcript};
use mlx_gateway::dialect::{prompt, responses, sse};
use mlx_gateway::models::safetensors;
use mlx_gateway::outward::{Destination, Network};
use mlx_gateway::tools::Manifest;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use serde_json::Value;

const CHAT: &str = r#"{"model":"m","stream":true,"messages":[{"role":"developer","content":"Be \u00e9."},{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}],"tools":[{"type":"function","function":{"name":"f"}}],"stop":["x"],"max_tokens":5,"chat_template_kwargs":{"a":[1,null,true,-1.5e3]}}"#;
const MESSAGE: &str = r#"{"model":"m","max_tokens":9,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}},{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"r"}],"is_error":true}]},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{}},{"type":"thinking","thinking":"x"}]}],"tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"any"}}"#;
const RESPONSE: &str = r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"x"},{"type":"input_image","image_url":"data:,"}]},{"type":"reasoning","summary":[],"encrypted_content":"bWx4LWdhdGV3YXktMTp4"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"r"}]},{"type":"mcp_call","id":"m","name":"f","arguments":"{}","error":{"message":"e"}}],"tools":[{"type":"custom","name":"p"},{"type":"mcp","server_label":"mlx-gateway","allowed_tools":["a"]}],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"custom","name":"p"}]},"text":{"format":{"type":"json_schema","name":"n","schema":{}}},"metadata":{"a":"b"},"reasoning":{"effort":"low"}}"#;
const STREAM: &str = "data: {\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"<think>hm</think>Hi é\"},\"finish_reason\":null}]}\n\n: note\n\ndata: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\r\n\r\ndata: {\"mlx_gateway\":{\"calls\":[{\"id\":\"1\",\"name\":\"f\",\"arguments\":\"{}\"}]}}\n\ndata: {\"mlx_gateway\":{\"results\":[{\"id\":\"1\",\"text\":\"r\",\"failed\":false}]}}\n\ndata: {\"error\":{\"message\":\"x\",\"code\":\"429\"}}\n\ndata: [DONE]\n\n";
const FORM: &str = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--B--\r\n";
const PLUGIN: &str = "name = \"a\"\nversion = \"1.0.0\"\ndescription = \"d\"\nwasm = \"a.wasm\"\n[permissions]\nhttp = [\"https://x.example:8443\"]\nallow_private = [\"10.0.0.0/8\"]\nsecrets = { \"https://x.example\" = { header = \"authorization\", env = \"T\" } }\n[limits]\nmemory = \"64MiB\"\ncpu_ms = 10\n";
/// Words that mean something to one parser or another.
const WORDS: [&str; 20] = [
    "\"", "\\", "\\u00", "\\ud83d", "{", "}", "[", "]", ",", ":", "null", "1e999", "\r\n", "\n\n", "data: ",
    "--B", "<think>", "</think>", "\u{0}", "\u{feff}",
];

/// A change of bytes.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Cut(usize, usize),
    Copy(usize, usize, usize),
    Word(usize, usize),
    End(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<usize>(), 1..40_usize).prop_map(|(at, length)| Change::Cut(at, length)),
        (any::<usize>(), 1..200_usize, any::<usize>())
            .prop_map(|(at, length, to)| Change::Copy(at, length, to)),
        (any::<usize>(), 0..WORDS.len()).prop_map(|(at, word)| Change::Word(at, word)),
        any::<usize>().prop_map(Change::End),
    ]
}

fn changed(seed: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for change in changes {
        let place = |at: &usize| at % (bytes.len() + 1);
        match change {
            Change::Set(at, byte) => {
                let at = place(at);
                if let Some(old) = bytes.get_mut(at) {
                    *old = *byte;
                }
            }
            Change::Cut(at, length) => {
                let at = place(at);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Change::Copy(at, length, to) => {
                let (at, to) = (place(at), place(to));
                let part = bytes[at..(at + length).min(bytes.len())].to_vec();
                bytes.splice(to..to, part);
            }
            Change::Word(at, word) => {
                let at = place(at);
                bytes.splice(at..at, WORDS[*word].bytes());
            }
            Change::End(at) => bytes.truncate(place(at)),
        }
    }
    bytes
}

/// Checks changed seeds until the time is over; what fails is made small and shown.
fn fuzz(seeds: &[&[u8]], check: impl Fn(&[u8], &[usize])) {
    let seconds =
        std::env::var("MLX_GATEWAY_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    let inputs =
        (0..seeds.len(), prop::collection::vec(change(), 0..12), prop::collection::vec(1..64_usize, 1..6));
    let mut rounds = 0_u64;
    while rounds == 0 || Instant::now() < until {
        let mut runner =
            TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
        let found = runner.run(&inputs, |(seed, changes, cuts)| {
            check(&changed(&seeds[seed], &changes), &cuts);
            Ok(())
        });
        if let Err(TestError::Fail(why, (seed, changes, cuts))) = found {
            let bytes = changed(&seeds[seed], &changes);
            panic!("{why}\ncut into {cuts:?}: {:?}", String::from_utf8_lossy(&bytes));
        }
        rounds += 1;
    }
}

/// The bytes in pieces of these sizes, again and again.
fn pieces<'a>(mut bytes: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    cuts.iter().cycle().map_while(move |cut| {
        let (piece, rest) = bytes.split_at_checked(*cut).unwrap_or((bytes, &[]));
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What has to be JSON, but for what its grammar allows and few can hold: half a character, a number without end.
fn tree(bytes: &[u8]) -> Option<Value> {
    match serde_json::from_slice(bytes) {
        Ok(tree) => Some(tree),
        Err(error) => {
            let words = error.to_string();
            let known = ["hex escape", "surrogate", "number out of range"];
            assert!(
                known.iter().any(|known| words.contains(known)),
                "{words}: {}",
                String::from_utf8_lossy(bytes)
            );
            None
        }
    }
}

fn scan<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Scan, ScanError> {
    let mut scanner = Scanner::default();
    for piece in pieces {
        scanner.feed(piece)?;
    }
    scanner.finish()
}

#[test]
fn requests_are_scanned_as_they_are_however_they_are_cut() {
    fuzz(&[CHAT.as_bytes(), MESSAGE.as_bytes(), RESPONSE.as_bytes()], |bytes, cuts| {
        let whole = scan(std::iter::once(bytes));
        assert_eq!(whole.is_ok(), scan(pieces(bytes, cuts)).is_ok());
        let Ok(found) = whole else { return };
        assert_eq!(scan(pieces(bytes, cuts)).unwrap(), found);
        // What the scanner takes, any parser takes, and finds the same in it.
        let Some(tree) = tree(bytes) else { return };
        for member in &found.members {
            let value: Value = serde_json::from_slice(&bytes[member.value.clone()]).unwrap();
            assert_eq!(tree[&member.key], value);
        }
        let scanned = Scanned::new(Rope::from(Bytes::copy_from_slice(bytes)), found);
        std::hint::black_box((scanned.model().is_ok(), prompt::texts(bytes)));
    });
}

#[test]
fn messages_and_responses_become_chats_or_are_refused() {
    fuzz(&[MESSAGE.as_bytes(), RESPONSE.as_bytes(), CHAT.as_bytes()], |bytes, _| {
        let Ok(request) = serde_json::from_slice::<Value>(bytes) else { return };
        if let Ok(chat) = anthropic::chat(&request, true) {
            assert!(chat["messages"].is_array());
            anthropic::estimated_tokens(&chat);
        }
        if let Ok(asked) = responses::Asked::read(&request, "0") {
            drop(asked.chat(&asked.input));
            assert!(asked.response("r", "m", 1)["output"].is_array());
        }
        drop(Format::read(&request["text"]["format"]));
    });
}

#[test]
fn streams_of_backends_are_read_to_their_end_however_broken() {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/transcripts/");
    let recorded = |name: &str| std::fs::read(format!("{fixtures}{name}")).unwrap();
    let one = recorded("mlx-lm-server-0.31.3/11-tools-stream.response.txt");
    let other = recorded("mlx-lm-server-0.31.3/06-stream-usage.response.txt");
    fuzz(&[STREAM.as_bytes(), &one, &other], |bytes, cuts| {
        let end = sse::last_boundary(bytes, 0).unwrap_or(0);
        let events = &bytes[..end];
        assert!(sse::events(events).count() <= events.len());
        let (mut facts, mut out) = (Facts::default(), BytesMut::new());
        let mut repair = Repair::new("m", true, Some(3)).stopping_at(&["é".to_owned()], 1);
        repair.feed(events, &mut out, &mut facts);
        for data in sse::events(&out) {
            if data.as_ref() != sse::DONE {
                tree(&data);
            }
        }
        let mut aggregate = Aggregate::new("m", None).reading(&["x".to_owned()]);
        let mut facts = Facts::default();
        aggregate.feed(events, &mut facts);
        drop(aggregate.finish(&mut facts));
        anthropic::Events::new("m", 1).feed(events);
        let mut told = Vec::new();
        Transcript::default().feed(events, &mut told);
        let request =
            serde_json::json!({"model": "m", "input": "x", "tools": [{"type": "custom", "name": "f"}]});
        let asked = responses::Asked::read(&request, "0").unwrap();
        let fresh = || responses::Events::new(asked.response("r", "m", 1), "0", asked.manner(&[]));
        let (mut whole, mut cut) = (fresh(), fresh());
        whole.feed(bytes);
        pieces(bytes, cuts).for_each(|piece| drop(cut.feed(piece)));
        assert_eq!(whole.finish(2).response, cut.finish(2).response);
    });
}

#[test]
fn failures_and_whole_answers_of_backends_are_read_in_any_shape() {
    let seeds: [&[u8]; 4] = [
        br#"{"error":{"message":"x","type":"t","param":null,"code":429}}"#,
        br#"{"detail":{"error":{"message":"x","code":"500"}}}"#,
        br#"{"detail":[{"type":"missing","loc":["body","messages",0],"msg":"Field required"}]}"#,
        br#""Hello \u00e9""#,
    ];
    fuzz(&seeds, |bytes, _| {
        for status in [200, 404, 422, 429, 500] {
            let failure = UpstreamFailure::from_answer(status, bytes);
            assert!(failure.status >= 400 && serde_json::from_slice::<Value>(&failure.as_json()).is_ok());
        }
        transcript::plain(bytes);
    });
}

#[test]
fn forms_are_found_within_their_bounds() {
    fuzz(&[FORM.as_bytes()], |bytes, _| {
        drop(boundary(&String::from_utf8_lossy(bytes)));
        let Ok(form) = Form::read(bytes, "B") else { return };
        for field in &form.fields {
            assert!(field.whole.start < field.value.start && field.value.end <= field.whole.end);
            assert_eq!(&bytes[field.name_at.clone()], field.name.as_bytes());
        }
        let scanned = Scanned::of_form(Bytes::copy_from_slice(bytes), form);
        std::hint::black_box((scanned.model().is_ok(), scanned.wants_stream().is_ok()));
    });
}

#[test]
fn what_plugins_and_models_say_of_themselves_is_read_or_refused() {
    let table = br#"{"__metadata__":{"format":"mlx"},"a.weight":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}"#;
    let mut weights = (table.len() as u64).to_le_bytes().to_vec();
    weights.extend_from_slice(table);
    fuzz(&[PLUGIN.as_bytes(), &weights, b"https://x.example:8443", b"10.0.0.0/8"], |bytes, _| {
        drop(safetensors::read(&mut &bytes[..]));
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        drop(Manifest::parse(text));
        if let Ok(destination) = Destination::parse(text) {
            assert_eq!(Destination::parse(&destination.to_string()), Ok(destination));
        }
        if let Ok(network) = Network::parse(text) {
            assert_eq!(Network::parse(&network.to_string()), Ok(network));
        }
    });
}
