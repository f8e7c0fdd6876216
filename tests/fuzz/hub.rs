//! What the model hub answers: lists, pages, redirects.

use std::path::{Component, Path};

use mlx_gateway::hub::answers;
use serde_json::Value;

use crate::harness::fuzz;

const HITS: &str = r#"[{"id":"org/m","sha":"0a","tags":["mlx","license:mit"],"gated":"manual","private":false,"downloads":3,"likes":1,"lastModified":"2026-01-02T03:04:05.000Z","pipeline_tag":"text-generation","library_name":"mlx","config":{"model_type":"qwen3"},"siblings":[{"rfilename":"config.json"}]},{"id":"n"}]"#;
const TREE: &str = r#"[{"type":"directory","path":"sub","oid":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"},{"type":"file","path":"sub/a.json","size":7,"oid":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"},{"type":"file","path":"m.safetensors","size":9,"oid":"c","lfs":{"oid":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":9,"pointerSize":134}}]"#;
const LINKS: &str =
    "<http://hub.test/api/models?cursor=1>; rel=\"next\", <http://hub.test/api/models>; rel=\"first\"";

#[test]
fn lists_of_models_hold_what_the_hub_wrote_or_are_refused() {
    fuzz(&[HITS.as_bytes()], |bytes, _| {
        let Ok(hits) = answers::hits(bytes) else { return };
        // What nobody reads may hold half a character.
        let Ok(told) = serde_json::from_slice::<Vec<Value>>(bytes) else { return };
        assert_eq!(hits.len(), told.len());
        for (hit, told) in hits.iter().zip(&told) {
            assert_eq!(told["id"], hit.id.as_str());
            let tags = told["tags"].as_array().map_or(0, Vec::len);
            assert_eq!(hit.tags.len(), tags);
        }
    });
}

#[test]
fn files_of_a_model_stay_in_its_folder_and_have_a_hash_or_are_refused() {
    fuzz(&[TREE.as_bytes()], |bytes, _| {
        let Ok(files) = answers::files(bytes) else { return };
        if let Ok(told) = serde_json::from_slice::<Vec<Value>>(bytes) {
            assert_eq!(files.len(), told.iter().filter(|entry| entry["type"] == "file").count());
        }
        for file in &files {
            let path = Path::new(&file.path);
            assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{:?}", file.path);
            let digest = file.digest.name();
            assert!(matches!(digest.len(), 40 | 64) && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
    });
}

#[test]
fn pages_and_redirects_lead_where_the_hub_said() {
    let seeds: [&[u8]; 5] = [LINKS.as_bytes(), b"/a/b?c=d", b"../x", b"//cdn.test/x", b"https://cdn.test/x"];
    fuzz(&seeds, |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        if let Some(next) = answers::next_page(&text) {
            assert!(text.contains(&format!("<{next}>")) && !next.contains('>'));
        }
        let base = "https://hub.test:8443/a/b?c=d/e";
        let led = answers::redirected(base, &text);
        assert!(led.contains("://"), "{led}");
        if !text.contains("://") && !text.starts_with("//") {
            assert!(led.starts_with("https://hub.test:8443/") && led.ends_with(&*text), "{led}");
        }
    });
}
