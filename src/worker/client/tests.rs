//! Tests of the client over a worker that is a thread.

use super::*;

const WORDS: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
    "pre_tokenizer":{"type":"WhitespaceSplit"},"post_processor":null,"decoder":null,
    "model":{"type":"WordLevel","vocab":{"[UNK]":0,"red":1},"unk_token":"[UNK]"}}"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), WORDS).unwrap();
    folder
}

#[tokio::test]
async fn questions_are_answered_from_several_tasks_at_one_time() {
    let (worker, folder) = (Worker::new(Program::Thread), folder());
    let asked = (1..=20_u64).map(|words| {
        let (worker, path) = (worker.clone(), folder.path().to_owned());
        tokio::spawn(async move {
            let text = "word ".repeat(usize::try_from(words).unwrap());
            (words, worker.count(&path, &[text], u64::MAX).await)
        })
    });
    for answered in futures_util::future::join_all(asked).await {
        let (words, count) = answered.unwrap();
        assert_eq!(count, Some(Count { tokens: words, whole: true, estimate: words }));
    }
    assert_eq!(worker.decode(folder.path(), vec![vec![1, 1]]).await, Ok(vec!["red red".into()]));
    let foreign = worker.decode(folder.path(), vec![vec![7]]).await;
    assert_eq!(foreign, Err(NotText::Foreign));
    let long = worker.decode(folder.path(), vec![vec![1; NUMBERS_MAX + 1]]).await;
    assert_eq!(long, Err(NotText::TooMany(NUMBERS_MAX, NUMBERS_IN_ALL_MAX)));
    worker.close();
    assert_eq!(worker.count(folder.path(), &["x".into()], 1).await, None);
}

#[tokio::test]
async fn a_folder_whose_files_change_is_read_again() {
    let (worker, folder) = (Worker::new(Program::Thread), folder());
    let chat = || r#"{"messages":[{"role":"user","content":"a b"}]}"#.to_owned();
    assert_eq!(worker.count_chat(folder.path(), chat(), 9).await, None);
    let template = "{% for m in messages %}{{ m.content }}{% endfor %} c";
    std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    assert_eq!(worker.count_chat(folder.path(), chat(), 9).await.map(|count| count.tokens), Some(3));
}

#[tokio::test]
async fn a_text_that_is_too_long_is_counted_in_part_and_estimated() {
    let (worker, folder) = (Worker::new(Program::Thread), folder());
    let count =
        worker.count(folder.path(), &["w".repeat(9) + " ", "w ".repeat(TEXTS_MAX)], 10).await.unwrap();
    assert!(!count.whole && count.tokens > 10 && count.estimate > 1_000_000, "{count:?}");
    assert_eq!(first_bytes(&["é".into(), "éé".into(), "x".into()], 5), ["é", "é"]);
    assert_eq!(first_bytes(&["a".into(), "b".into()], 9), ["a", "b"]);
    assert_eq!(scaled(10, 100, 50), 20);
}

#[tokio::test]
async fn a_program_that_is_no_worker_is_unavailable() {
    let worker = Worker::new(Program::Path("/bin/true".into()));
    let schema = JsonSchema::new("true");
    assert!(matches!(worker.compile(&schema).await, Err(CompileError::Unavailable(_))));
    assert!(matches!(worker.check(&schema, "1", 1).await, Verdict::Unchecked(_)));
    let worker = Worker::new(Program::Path("/there/is/none".into()));
    assert!(matches!(worker.compile(&schema).await, Err(CompileError::Unavailable(_))));
}

#[test]
fn token_numbers_are_asked_about_in_batches_that_keep_their_order() {
    let half = NUMBERS_AT_ONCE / 2;
    let lists: Vec<Vec<u32>> = [half, half, 1, NUMBERS_MAX, 0, 3].map(|length| vec![0; length]).into();
    let lengths = |lists: &Vec<Vec<u32>>| lists.iter().map(Vec::len).collect::<Vec<_>>();
    let batches: Vec<_> = batches(lists).iter().map(lengths).collect();
    assert_eq!(batches, [vec![half, half], vec![1], vec![NUMBERS_MAX, 0], vec![3]]);
}
