//! What clients send: requests, messages, responses, forms.

use bytes::Bytes;
use mlx_gateway::dialect::anthropic;
use mlx_gateway::dialect::form::{Field, Form, FormError, boundary};
use mlx_gateway::dialect::parts::{Part, Parts};
use mlx_gateway::dialect::request::Scanned;
use mlx_gateway::dialect::rope::Rope;
use mlx_gateway::dialect::scan::{Scan, ScanError, Scanner};
use mlx_gateway::dialect::structured::Format;
use mlx_gateway::dialect::{prompt, responses};
use serde_json::Value;

use crate::harness::{fuzz, pieces, tree};

const CHAT: &str = r#"{"model":"m","stream":true,"messages":[{"role":"developer","content":"Be \u00e9."},{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}],"tools":[{"type":"function","function":{"name":"f"}}],"stop":["x"],"max_tokens":5,"chat_template_kwargs":{"a":[1,null,true,-1.5e3]}}"#;
const MESSAGE: &str = r#"{"model":"m","max_tokens":9,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}},{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"r"}],"is_error":true}]},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{}},{"type":"thinking","thinking":"x"}]}],"tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"any"}}"#;
const RESPONSE: &str = r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"x"},{"type":"input_image","image_url":"data:,"}]},{"type":"reasoning","summary":[],"encrypted_content":"bWx4LWdhdGV3YXktMTp4"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"r"}]},{"type":"mcp_call","id":"m","name":"f","arguments":"{}","error":{"message":"e"}}],"tools":[{"type":"custom","name":"p"},{"type":"mcp","server_label":"mlx-gateway","allowed_tools":["a"]}],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"custom","name":"p"}]},"text":{"format":{"type":"json_schema","name":"n","schema":{}}},"metadata":{"a":"b"},"reasoning":{"effort":"low"}}"#;
const FORM: &str = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--B--\r\n";

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

/// The fields of a form that comes in pieces: name, value, whether it is a file.
fn in_parts(bytes: &[u8], cuts: &[usize]) -> Result<Vec<(String, Vec<u8>, bool)>, FormError> {
    let (mut parts, mut fields) = (Parts::new("B"), Vec::new());
    for piece in pieces(bytes, cuts) {
        parts.feed(piece);
        while let Some(part) = parts.part()? {
            match part {
                Part::Head { name, is_file, .. } => fields.push((name, Vec::new(), is_file)),
                Part::Value(value) => fields.last_mut().unwrap().1.extend_from_slice(&value),
                Part::End | Part::Close(_) => {}
            }
        }
    }
    if parts.is_over() { Ok(fields) } else { Err(parts.missing()) }
}

#[test]
fn forms_are_found_within_their_bounds_and_the_same_however_they_are_cut() {
    fuzz(&[FORM.as_bytes()], |bytes, cuts| {
        drop(boundary(&String::from_utf8_lossy(bytes)));
        let whole = Form::read(bytes, "B");
        let fields = whole.clone().map(|form| {
            let field = |field: Field| (field.name, bytes[field.value].to_vec(), field.is_file);
            form.fields.into_iter().map(field).collect()
        });
        // Of two things that are wrong, one may be seen first as it arrives, and the other of the whole.
        let arriving = in_parts(bytes, cuts);
        assert!(arriving == fields || (arriving.is_err() && fields.is_err()), "{arriving:?}, not {fields:?}");
        let Ok(form) = whole else { return };
        for field in &form.fields {
            assert!(field.whole.start < field.value.start && field.value.end <= field.whole.end);
            assert_eq!(&bytes[field.name_at.clone()], field.name.as_bytes());
        }
        let scanned = Scanned::of_form(Bytes::copy_from_slice(bytes), form);
        std::hint::black_box((scanned.model().is_ok(), scanned.wants_stream().is_ok()));
    });
}
