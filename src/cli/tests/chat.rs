//! `run`: questions, answers and conversations.

use super::gateway::{Broken, Endless, Gateway, Json, Pieces};

const CHAT: &str = "POST /v1/chat/completions";

/// Waits, thinks, calls, answers.
const ANSWER: &[&str] = &[
    ": loading qwen 2s\n\n",
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"Hm. \"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"reasoning_content\":\"Yes.\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"calculator\",\"arguments\":\"{\\\"ex\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"pression\\\":\\\"1+1\\\"}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"It is\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"con",
    "tent\":\" two\"},\"finish_reason\":\"length\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":6,\"prompt_tokens_details\":{\"cached_tokens\":16}}}\n\n",
    "data: [DONE]\n\n",
];

const SHORT: &[&str] = &["data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: [DONE]\n\n"];

#[tokio::test]
async fn content_is_data_and_the_rest_stands_beside_it() {
    let gateway = Gateway::answering(&[(CHAT, Pieces(ANSWER))]).await;
    let ran = gateway.run(&["run", "qwen", "1+1?", "--system", "Be brief.", "--max-tokens", "5"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "It is two\n"));
    insta::assert_snapshot!(ran.stderr, @r#"
    Hm. Yes.
    calls calculator {"expression":"1+1"}
    (cut off at the token limit)
    6 tokens, 10.0 tokens/s, first token after 100 ms, 700 ms in all, prompt 20 tokens (16 cached)
    "#);
    insta::assert_snapshot!(gateway.asked().join("\n"), @r#"POST /v1/chat/completions {"model":"qwen","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"1+1?"}],"stream":true,"stream_options":{"include_usage":true},"max_tokens":5}"#);
}

#[tokio::test]
async fn on_a_terminal_waiting_is_shown_and_thinking_is_dim() {
    let gateway = Gateway::answering(&[(CHAT, Pieces(ANSWER))]).await;
    let ran = gateway.run_with(&["run", "qwen", "1+1?"], "", true).await;
    insta::assert_snapshot!(ran.stderr.replace('\x1b', "␛").replace('\r', "␍"), @r#"
    ␍␛[2K␛[2masking qwen …␛[0m␍␛[2K␛[2mloading qwen 2s␛[0m␍␛[2K␛[2mHm. ␛[0m␛[2mYes.␛[0m
    ␛[2mcalls calculator ␛[0m␛[2m{"ex␛[0m␛[2mpression":"1+1"}␛[0m
    ␛[2m(cut off at the token limit)␛[0m
    ␛[2m6 tokens, 10.0 tokens/s, first token after 100 ms, 700 ms in all, prompt 20 tokens (16 cached)␛[0m
    "#);
}

#[tokio::test]
async fn json_is_the_chunks_as_they_come() {
    let gateway = Gateway::answering(&[(CHAT, Pieces(ANSWER))]).await;
    let ran = gateway.run(&["--json", "run", "qwen", "1+1?"]).await;
    assert_eq!(ran.stderr, "");
    let lines: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 8);
    assert_eq!(lines[7]["usage"]["completion_tokens"], 6);
}

#[tokio::test]
async fn a_question_may_come_through_a_pipe() {
    let gateway = Gateway::answering(&[(CHAT, Pieces(SHORT))]).await;
    for arguments in [&["run", "demo"][..], &["run", "demo", "-"]] {
        let ran = gateway.run_with(arguments, "Hello?\nAnyone?", false).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "Hi\n"));
    }
    assert!(gateway.asked().iter().all(|asked| asked.contains(r#""content":"Hello?\nAnyone?""#)));
    assert_eq!(gateway.run_with(&["run", "demo"], " \n", false).await.code, 2);
    assert_eq!(gateway.run(&["run", "demo", ""]).await.code, 2);
    assert_eq!(gateway.run(&["run", "demo", "Hello?\nAnyone?"]).await.code, 0);
}

#[tokio::test]
async fn words_need_no_quotes() {
    let gateway = Gateway::answering(&[(CHAT, Pieces(SHORT))]).await;
    gateway.run(&["run", "demo", "why", "is", "the", "sky", "blue", "--system", "S"]).await;
    assert!(gateway.asked()[0].contains("why is the sky blue"), "{:?}", gateway.asked());
}

#[tokio::test]
async fn without_figures_from_the_backend_deltas_are_counted() {
    let gateway = Gateway::answering(&[(CHAT, Pieces(SHORT))]).await;
    insta::assert_snapshot!(gateway.run(&["run", "demo", "Hello?"]).await.stderr, @"~1 token, first token after 100 ms, 200 ms in all");
}

#[tokio::test]
async fn a_conversation_remembers_until_it_is_told_to_forget() {
    let gateway = Gateway::answering(&[(CHAT, Pieces(SHORT))]).await;
    let typed = "Hello?\n\n/help\nAgain?\n/clear\nNew?\n/bye\nnever asked\n";
    let ran = gateway.run_with(&["run", "demo", "--system", "S"], typed, true).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "Hi\nHi\nHi\n"));
    let said: Vec<String> = gateway
        .asked()
        .iter()
        .map(|asked| serde_json::from_str(asked.trim_start_matches(CHAT)).unwrap())
        .map(|body: serde_json::Value| {
            let messages = body["messages"].as_array().unwrap();
            messages.iter().map(|m| m["content"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(said, ["S Hello?", "S Hello? Hi Again?", "S New?"]);
}

#[tokio::test]
async fn a_conversation_ends_with_its_input() {
    let gateway = Gateway::answering(&[(CHAT, Pieces(SHORT))]).await;
    let ran = gateway.run_with(&["run", "demo"], "Hello?", true).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "Hi\n"));
}

#[tokio::test]
async fn an_unknown_profile_ends_a_conversation_before_it_begins() {
    let gateway = Gateway::answering(&[(
        CHAT,
        Json(404, r#"{"error":{"message":"There is no model nope.","code":"model_not_found"}}"#),
    )])
    .await;
    let ran = gateway.run_with(&["run", "nope"], "Hello?\nStill there?\n", true).await;
    assert_eq!((ran.code, gateway.asked().len()), (5, 1));
    assert!(ran.stderr.ends_with("error:\u{1b}[0m There is no model nope.\n"), "{}", ran.stderr);
}

#[tokio::test]
async fn an_error_in_the_stream_is_told_after_what_came_before() {
    let gateway = Gateway::answering(&[(
        CHAT,
        Pieces(&[
            "data: {\"choices\":[{\"delta\":{\"content\":\"Once upon\"}}]}\n\n",
            "data: {\"error\":{\"message\":\"The backend died.\",\"code\":\"backend_error\"}}\n\ndata: [DONE]\n\n",
        ]),
    )])
    .await;
    let ran = gateway.run(&["run", "demo", "Tell"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (1, "Once upon\n"));
    assert_eq!(ran.stderr, "error: The backend died.\n");
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_a_failure() {
    const PIECE: &[&str] = &["data: {\"choices\":[{\"delta\":{\"content\":\"Once\"}}]}\n\n"];
    for reply in [Pieces(PIECE), Broken(PIECE), Pieces(&["data: nonsense\n\n"])] {
        let routes = Box::leak(Box::new([(CHAT, reply)]));
        let ran = Gateway::answering(routes).await.run(&["run", "demo", "Tell"]).await;
        assert_eq!(ran.code, 1, "{}", ran.stderr);
    }
}

const ENDLESS: &[&str] = &["data: {\"choices\":[{\"delta\":{\"content\":\"Once <enough>\"}}]}\n\n"];

#[tokio::test]
async fn ctrl_c_ends_an_answer_and_hangs_up() {
    let gateway = Gateway::answering(&[(CHAT, Endless(ENDLESS))]).await;
    let ran = gateway.run(&["run", "demo", "Tell"]).await;
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (130, "Once <enough>\n", ""));
    gateway.hung_up().await;
}

#[tokio::test]
async fn in_a_conversation_ctrl_c_ends_only_the_answer() {
    let gateway = Gateway::answering(&[(CHAT, Endless(ENDLESS))]).await;
    let ran = gateway.run_with(&["run", "demo"], "Tell\nAgain\n/bye\n", true).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "Once <enough>\nOnce <enough>\n"));
    assert!(!gateway.asked()[1].contains("Tell"), "an answer that was ended is not remembered");
}

#[tokio::test]
async fn what_is_written_after_a_prompt_begins_a_line() {
    let gateway = Gateway::answering(&[(CHAT, Json(500, "{}"))]).await;
    let ran = gateway.run_with(&["run", "demo"], "Hello?\n", true).await;
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("\n\x1b[1;31merror:"), "{:?}", ran.stderr);
}
