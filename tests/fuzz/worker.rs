//! What the worker and the gateway say to each other, and the schemas and values that strangers send.

use std::cell::RefCell;

use mlx_gateway::tools::PlainSchema;
use mlx_gateway::worker::Count;
use mlx_gateway::worker::child::Answers;
use mlx_gateway::worker::protocol::{Folder, Question, Reply, read_frame};

use crate::harness::fuzz;

const SCHEMA: &str = r##"{"$defs":{"t":{"anyOf":[{"properties":{"a":{"$ref":"#/$defs/t"}},"required":["a","b"]},{"type":"null"}]}},"type":"object","properties":{"a":{"$ref":"#/$defs/t"},"b":{"type":"string","pattern":"^(?!x)[a-z]{1,9}$"}},"patternProperties":{"^c":{"enum":[1,"2",null]}},"additionalProperties":false,"required":["b"]}"##;
const VALUE: &str = r#"{"a":{"a":null,"b":1},"b":"abc","c1":"2"}"#;

#[test]
fn messages_are_decoded_or_refused_and_mean_the_same_again() {
    let folder = Folder { path: "/models/m".into(), version: 1 };
    let questions = [
        Question::CountTexts { folder: folder.clone(), texts: vec!["a".into(), "é".into()], limit: 9 },
        Question::CountChat { folder: folder.clone(), chat: "{}".into(), limit: 9 },
        Question::Decode { folder, lists: vec![vec![1, 2], vec![]] },
        Question::Check { digest: [1; 32], schema: "{}".into(), value: "1".into(), faults: 5 },
    ];
    let replies = [
        Reply::Count(Count { tokens: 1, whole: true, estimate: 1 }),
        Reply::Faults(vec!["a".into(), "b".into()]),
        Reply::Nothing { problem: Some("p".into()) },
    ];
    let mut seeds: Vec<Vec<u8>> = questions.iter().map(|question| question.to_frame().unwrap()).collect();
    seeds.extend(replies.iter().map(Reply::to_frame));
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    fuzz(&seeds, |bytes, _| {
        let Ok(Some(message)) = read_frame(&mut &bytes[..]) else { return };
        if let Ok(question) = Question::decode(&message) {
            let again = question.to_frame().unwrap();
            assert_eq!(Question::decode(&again[4..]), Ok(question));
        }
        if let Ok(reply) = Reply::decode(&message) {
            assert_eq!(Reply::decode(&reply.to_frame()[4..]), Ok(reply));
        }
    });
}

#[test]
fn schemas_are_compiled_and_checked_or_refused() {
    fuzz(&[SCHEMA.as_bytes(), VALUE.as_bytes()], |bytes, _| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let mut answers = Answers::default();
        let mut answer = |question| answers.answer(question, &mut |_| {});
        let compiled = answer(Question::Compile { digest: [0; 32], schema: text.to_owned() });
        assert!(matches!(compiled, Reply::Compiled { .. } | Reply::Refused { .. }), "{compiled:?}");
        let check = |digest: u8, schema: &str, value: &str| {
            let (schema, value) = (schema.to_owned(), value.to_owned());
            Question::Check { digest: [digest; 32], schema, value, faults: 5 }
        };
        let checked = answer(check(0, text, VALUE));
        assert_eq!(matches!(checked, Reply::Refused { .. }), matches!(compiled, Reply::Refused { .. }));
        if let Reply::Faults(faults) = answer(check(1, SCHEMA, text)) {
            assert!((1..=5).contains(&faults.len()), "{faults:?}");
        }
    });
}

const PLAIN: &str = r#"{"type":"object","properties":{"a":{"type":"string","minLength":1,"maxLength":3},"b":{"type":"integer","minimum":0,"maximum":9},"c":{"type":"array","items":{"enum":["x",null,true]}},"d":{"type":"number"}},"required":["a"],"additionalProperties":false}"#;

#[test]
fn a_value_that_is_accepted_without_the_worker_is_accepted_by_it() {
    let values = [r#"{"a":"xyz","b":9,"c":["x",null,true],"d":1.5}"#, r#"{"a":"é","b":0}"#, "[]"];
    let seeds: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).chain([PLAIN.as_bytes()]).collect();
    let answers = RefCell::new(Answers::default());
    let checked = |digest: u8, schema: &str, value: &str| {
        let Some(plain) = serde_json::from_str(schema).ok().and_then(|schema| PlainSchema::read(&schema))
        else {
            return;
        };
        if !serde_json::from_str(value).is_ok_and(|value| plain.accepts(&value)) {
            return;
        }
        let (schema, value) = (schema.to_owned(), value.to_owned());
        let question = Question::Check { digest: [digest; 32], schema, value, faults: 5 };
        let said = answers.borrow_mut().answer(question.clone(), &mut |_| {});
        assert!(matches!(said, Reply::Fits | Reply::Refused { .. }), "{question:?}: {said:?}");
        if digest != 0 {
            *answers.borrow_mut() = Answers::default();
        }
    };
    fuzz(&seeds, |bytes, _| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        checked(0, PLAIN, text);
        values.iter().for_each(|value| checked(1, text, value));
    });
}
