//! What programs write: logs of backends, what an engine tells of itself, what systems tell; what captures keep of
//! it all; and files of backups.

use std::path::Path;

use mlx_gateway::backends::engine::Capabilities;
use mlx_gateway::backends::{LineCutter, MAX_LINE_BYTES, RawLine};
use mlx_gateway::backup::{self, Places};
use mlx_gateway::captures::redact;
use mlx_gateway::cli::Comments;
use mlx_gateway::system::parse;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::{fuzz, pieces};

const LOG: &str = "\x1b[32mINFO\x1b[0m ready\r\n 10%|##\r 99%|####\r100%\n\x1b]0;title\x07after\x1b]8;;http://x\x1b\\link\n\u{9b}31mgr\u{f6}\u{df}er\n\x1b(Bplain";
const MEMINFO: &str = "MemTotal:       24596552 kB\nMemFree:        16928384 kB\nMemAvailable:   22139392 kB\nSwapTotal:       2097148 kB\nSwapFree:        2097000 kB\n";
const ACCELERATOR: &str = "\"PerformanceStatistics\" = {\"Device Utilization %\"=13,\"In use system memory\"=26315456512}\n\tCPU_Speed_Limit \t= 70\nfull avg10=30.00 avg60=8.00\n";
const SAID: &str = "{\"api_key\": \"s3cret\", \"messages\":[{\"content\":\"hi\"}],\"x\":\"a\\\"b\"}\nAuthorization: Bearer abc.def-123=\nhttps://x/?access_token=abc&y=1 \\\"password\\\":\\\"";
const STREAM: &str = ": queued 2\n\ndata: {\"a\": 1}\n:loading qwen 12s\r\n\r\ndata: x\n\n: prefill\n";

#[test]
fn logs_become_the_same_bounded_lines_however_they_come() {
    let cut = |pieces: &mut dyn Iterator<Item = &[u8]>| -> Vec<(String, bool)> {
        let mut cutter = LineCutter::default();
        let mut lines: Vec<RawLine> = pieces.flat_map(|piece| cutter.feed(piece)).collect();
        lines.extend(cutter.finish());
        lines.into_iter().map(|line| (line.text.to_string(), line.transient)).collect()
    };
    let long = [b"\x1b[1m".repeat(1_000), vec![b'x'; 3 * MAX_LINE_BYTES]].concat();
    fuzz(&[LOG.as_bytes(), &long], |bytes, cuts| {
        let lines = cut(&mut std::iter::once(bytes));
        assert_eq!(lines, cut(&mut pieces(bytes, cuts)));
        for (line, _) in &lines {
            assert!(line.len() <= MAX_LINE_BYTES + '…'.len_utf8());
            assert!(line.chars().all(|c| c == '\t' || !c.is_control()), "{line:?}");
        }
        // Plain text comes out as it went in.
        if let Ok(text) = std::str::from_utf8(bytes)
            && text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t'))
            && text.lines().all(|line| line.len() <= MAX_LINE_BYTES)
        {
            let plain: Vec<&str> = text.lines().collect();
            assert_eq!(lines.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>(), plain);
        }
    });
}

#[test]
fn comments_of_a_stream_are_found_however_it_is_cut() {
    fuzz(&[STREAM.as_bytes()], |bytes, cuts| {
        let last = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let mut comments = Comments::default();
            pieces.filter_map(|piece| comments.read(piece)).last()
        };
        let found = last(&mut std::iter::once(bytes));
        assert_eq!(found, last(&mut pieces(bytes, cuts)));
        assert!(found.is_none_or(|comment| comment.chars().count() <= 200));
    });
}

#[test]
fn what_engines_and_systems_tell_is_read_as_far_as_it_goes() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/engine/");
    let help = std::fs::read(format!("{folder}help-1.8.1.txt")).unwrap();
    fuzz(
        &[&help, b"mlx-openai-server, version v1.8.1", MEMINFO.as_bytes(), ACCELERATOR.as_bytes()],
        |bytes, _| {
            let text = String::from_utf8_lossy(bytes);
            let known = Capabilities::parse(&text, &text);
            if let Some(version) = &known.version {
                assert!(text.contains(version.as_str()) && version.contains('.') && !version.contains(' '));
            }
            assert!(!known.knows("--port") || text.contains("--port"));
            let memory = parse::MemInfo::read(&text);
            std::hint::black_box((memory, parse::vm_pressure_level(&text)));
            assert!(parse::working_set(Some(&text), 1 << 36) <= 1 << 36);
            assert!(
                parse::io_accelerator(&text).percent.is_none_or(|percent| (0.0..=100.0).contains(&percent))
            );
            std::hint::black_box(parse::thermal(&text));
        },
    );
}

#[test]
fn no_credential_is_kept_whatever_stands_around_it() {
    let secret = "sk-0123456789abcdefghij";
    fuzz(&[SAID.as_bytes()], |bytes, cuts| {
        let text = String::from_utf8_lossy(bytes);
        let at = text.floor_char_boundary(bytes.len() / cuts.first().map_or(1, |cut| *cut));
        let (before, after) = text.split_at(at);
        for text in [format!("{before} {secret} {after}"), format!("{before}\"{secret}\"{after}")] {
            assert!(!redact::credentials(&text).contains(secret), "{text}");
        }
        let kept = redact::credentials(&text);
        assert_eq!(redact::credentials(&kept), kept);
        if let (Ok(Value::Object(whole)), Some(shape)) =
            (serde_json::from_str(&text), redact::contents(&text))
        {
            let shape: serde_json::Map<String, Value> = serde_json::from_str(&shape).unwrap();
            assert!(shape.keys().eq(whole.keys()));
            assert!(
                shape
                    .get("messages")
                    .and_then(Value::as_array)
                    .is_none_or(|all| !all.iter().any(|m| m["content"] == "hi"))
            );
        }
    });
}

#[test]
fn a_backup_is_what_was_noted_of_it_or_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (data, plugins) = (folder.path().join("data"), folder.path().join("plugins"));
    std::fs::create_dir_all(plugins.join("a")).unwrap();
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("session.key"), [7; 64]).unwrap();
    std::fs::write(plugins.join("a/plugin.toml"), "name = \"a\"\n").unwrap();
    let database = folder.path().join("copy.db");
    std::fs::write(&database, "not really a database\n".repeat(40)).unwrap();
    let places = Places { data_dir: data, config: None, plugins };
    let mut written = std::io::Cursor::new(Vec::new());
    backup::write(&mut written, &places, &database, 1).unwrap();
    let (file, outside) = (folder.path().join("file.zip"), folder.path().join("out"));
    let into = outside.join("into");
    fuzz(&[written.get_ref()], |bytes, _| {
        std::fs::create_dir_all(&into).unwrap();
        std::fs::write(&file, bytes).unwrap();
        if let Ok(manifest) = backup::read(&file, &into) {
            for (name, digest) in &manifest.files {
                let found = Sha256::digest(std::fs::read(into.join(name)).unwrap());
                let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(&found, digest, "{name}");
            }
        }
        assert_eq!(names(&outside), ["into"]);
        std::fs::remove_dir_all(&into).unwrap();
    });
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
