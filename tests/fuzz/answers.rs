//! What backends answer: event streams, whole answers, failures.

use bytes::BytesMut;
use mlx_gateway::dialect::aggregate::Aggregate;
use mlx_gateway::dialect::anthropic;
use mlx_gateway::dialect::facts::Facts;
use mlx_gateway::dialect::failure::UpstreamFailure;
use mlx_gateway::dialect::repair::Repair;
use mlx_gateway::dialect::transcript::{self, Transcript};
use mlx_gateway::dialect::{responses, sse};
use serde_json::Value;

use crate::harness::{fuzz, pieces, tree};

const STREAM: &str = "data: {\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"<think>hm</think>Hi é\"},\"finish_reason\":null}]}\n\n: note\n\ndata: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\r\n\r\ndata: {\"mlx_gateway\":{\"calls\":[{\"id\":\"1\",\"name\":\"f\",\"arguments\":\"{}\"}]}}\n\ndata: {\"mlx_gateway\":{\"results\":[{\"id\":\"1\",\"text\":\"r\",\"failed\":false}]}}\n\ndata: {\"error\":{\"message\":\"x\",\"code\":\"429\"}}\n\ndata: [DONE]\n\n";

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
        Transcript::default().feed(events, &mut told).ok();
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
