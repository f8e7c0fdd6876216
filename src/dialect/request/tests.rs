//! What leaves for an engine, given what came from a client.

use serde_json::{Map, Value, json};

use super::{scanned_for_tests as scanned, *};
use crate::dialect::quirks::{MLX_LM, MLX_OPENAI_SERVER, PASSTHROUGH, Quirks};

struct Case {
    quirks: &'static Quirks,
    prompt: Option<&'static str>,
    defaults: Value,
    context: Option<u32>,
    answer_max: Option<u64>,
}

impl Default for Case {
    fn default() -> Self {
        Case {
            quirks: &MLX_OPENAI_SERVER,
            prompt: None,
            defaults: json!({}),
            context: Some(4096),
            answer_max: None,
        }
    }
}

impl Case {
    fn run(&self, body: &str) -> Result<(Value, Prepared), BadRequest> {
        let defaults: Map<String, Value> = self.defaults.as_object().unwrap().clone();
        let target = Target {
            operation: Operation::Chat,
            quirks: self.quirks,
            served_name: "served",
            system_prompt: self.prompt,
            defaults: &defaults,
            context_length: self.context,
            answer_max: self.answer_max,
        };
        let prepared = prepare(&scanned(body), target)?;
        let text = prepared.body.to_vec();
        Ok((serde_json::from_slice(&text).expect("valid JSON leaves"), prepared))
    }

    fn body(&self, body: &str) -> Value {
        self.run(body).unwrap().0
    }

    fn refused(&self, body: &str) -> String {
        let error = self.run(body).unwrap_err();
        format!("{}: {}", error.param.unwrap_or_default(), error.message)
    }
}

const HI: &str = r#""messages":[{"role":"user","content":"hi"}]"#;

#[test]
fn a_passthrough_body_that_needs_nothing_leaves_as_the_same_bytes() {
    let case = Case { quirks: &PASSTHROUGH, ..Case::default() };
    let body = format!(r#" {{"model" : "served", {HI}, "anything":[1,null] }} "#);
    assert_eq!(case.run(&body).unwrap().1.body.to_vec(), body.as_bytes());
    let renamed = case.body(&format!(r#"{{"model":"alias",{HI}}}"#));
    assert_eq!(renamed["model"], "served");
}

#[test]
fn an_engine_sees_only_its_own_fields_and_the_rest_is_noted() {
    let (body, prepared) = Case::default()
        .run(&format!(r#"{{"draft_model":"/etc","model":"a",{HI},"store":true,"seed":null}}"#))
        .unwrap();
    let hi = json!([{"role": "user", "content": "hi"}]);
    assert_eq!(body, json!({"model": "served", "messages": hi, "stream": true, "max_tokens": 4096}));
    assert_eq!(
        prepared.warnings,
        ["the field \"draft_model\" was left out", "the field \"store\" was left out"]
    );
    let lm = Case { quirks: &MLX_LM, context: None, ..Case::default() };
    let body = lm.body(&format!(r#"{{"model":"/etc","adapters":"/x",{HI}}}"#));
    let usage = json!({"include_usage": true});
    assert_eq!(
        body,
        json!({"messages": hi, "stream": true, "stream_options": usage, "max_tokens": DEFAULT_MAX_TOKENS})
    );
}

#[test]
fn the_profiles_prompt_stands_first_unless_the_client_brings_one() {
    let case = Case { prompt: Some("Be \"kind\""), ..Case::default() };
    let body = case.body(&format!(r#"{{"model":"a",{HI}}}"#));
    assert_eq!(body["messages"][0], json!({"role": "system", "content": "Be \"kind\""}));
    assert_eq!(body["messages"][1]["role"], "user");
    for role in ["system", "developer"] {
        let own = case.body(&format!(r#"{{"model":"a","messages":[{{"role":"{role}","content":"x"}}]}}"#));
        assert_eq!(own["messages"], json!([{"role": "system", "content": "x"}]), "{role}");
    }
}

#[test]
fn defaults_fill_absent_keys_only() {
    let case = Case {
        defaults: json!({"temperature": 0.7, "max_tokens": 50, "stop": "X", "unknown": 1}),
        ..Case::default()
    };
    let body = case.body(&format!(r#"{{"model":"a",{HI},"temperature":0}}"#));
    assert_eq!(
        (&body["temperature"], &body["max_tokens"], &body["stop"]),
        (&json!(0), &json!(50), &json!(["X"]))
    );
    assert!(body.get("unknown").is_none());
    let body = case.body(&format!(r#"{{"model":"a",{HI},"max_completion_tokens":9,"temperature":null}}"#));
    assert_eq!((&body["temperature"], &body["max_tokens"]), (&json!(0.7), &json!(9)));
    assert!(body.get("max_completion_tokens").is_none());
    let open = Case { quirks: &PASSTHROUGH, ..case };
    let body = open.body(&format!(r#"{{"model":"a",{HI},"max_completion_tokens":9}}"#));
    assert_eq!((body.get("max_tokens"), &body["max_completion_tokens"]), (None, &json!(9)));
}

#[test]
fn spellings_the_engine_refuses_are_put_right() {
    let case = Case::default();
    let body = case.body(&format!(r#"{{"model":"a",{HI},"stop":"END","stream":false}}"#));
    assert_eq!((&body["stop"], &body["stream"]), (&json!(["END"]), &json!(true)));
    let body = case.body(&format!(r#"{{"model":"a",{HI},"reasoning_effort":"xhigh"}}"#));
    assert_eq!(body["chat_template_kwargs"], json!({"reasoning_effort": "high"}));
    assert!(body.get("reasoning_effort").is_none());
    let body = case
        .body(&format!(r#"{{"model":"a",{HI},"reasoning_effort":"none","chat_template_kwargs":{{"x":1}}}}"#));
    assert_eq!(body["chat_template_kwargs"], json!({"x": 1, "enable_thinking": false}));
}

#[test]
fn what_cannot_be_served_is_refused_with_the_field_at_fault() {
    let case = Case::default();
    let refused = |rest: &str| case.refused(&format!(r#"{{"model":"a",{rest}}}"#));
    insta::assert_snapshot!([
        refused(r#""messages":[]"#),
        refused(r#""messages":"hi""#),
        refused(r#""stream":true"#),
        refused(&format!(r#"{HI},"temperature":"hot""#)),
        refused(&format!(r#"{HI},"n":2"#)),
        refused(&format!(r#"{HI},"logprobs":true"#)),
        refused(&format!(r#"{HI},"max_tokens":0"#)),
        refused(&format!(r#"{HI},"max_completion_tokens":1.5"#)),
        refused(&format!(r#"{HI},"stream":1"#)),
        refused(&format!(r#"{HI},"stream_options":{{"include_usage":"yes"}}"#)),
        refused(&format!(r#"{HI},"reasoning_effort":"huge""#)),
        refused(r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"/etc/passwd"}}]}]"#),
    ].join("\n"));
    for body in [r#"{"messages":[]}"#, r#"{"model":1}"#, r#"{"model":" "}"#] {
        assert_eq!(scanned(body).model().unwrap_err().param.as_deref(), Some("model"), "{body}");
    }
}

#[test]
fn what_is_left_of_a_budget_limits_answers_for_which_the_client_set_no_limit() {
    for (quirks, unlimited) in [(&MLX_OPENAI_SERVER, json!(4096)), (&PASSTHROUGH, Value::Null)] {
        let case = |answer_max| Case { quirks, answer_max, ..Case::default() };
        assert_eq!(case(None).body(&format!("{{{HI}}}"))["max_tokens"], unlimited);
        assert_eq!(case(Some(70)).body(&format!("{{{HI}}}"))["max_tokens"], 70);
        let asked = case(Some(70)).body(&format!(r#"{{{HI},"max_tokens":900}}"#));
        assert_eq!(asked["max_tokens"], 900, "refused elsewhere, never changed behind the client's back");
        let profile = Case { defaults: json!({"max_tokens": 500}), ..case(Some(70)) };
        assert_eq!(profile.body(&format!("{{{HI}}}"))["max_tokens"], 70);
    }
}
