//! The hub's JSON: lists, details, file trees. Refusals in its own words.

use serde_json::{Value, json};

use crate::Hub;
use crate::content::Model;
use crate::http1::{Head, Request};

/// Entries of a page of a file tree; the real hub sends a thousand.
const TREE_PAGE: usize = 50;

pub type Answer = (Head, Vec<u8>);

pub fn json_answer(value: &Value) -> Answer {
    let bytes = value.to_string().into_bytes();
    (Head::new(200).with("Content-Type", "application/json; charset=utf-8"), bytes)
}

pub fn refusal(status: u16, code: Option<&str>, message: &str) -> Answer {
    let mut head =
        Head::new(status).with("Content-Type", "application/json").with("X-Error-Message", message);
    if let Some(code) = code {
        head = head.with("X-Error-Code", code);
    }
    (head, json!({"error": message}).to_string().into_bytes())
}

/// A model that the request may see.
pub fn model(hub: &Hub, id: &str, request: &Request, content: bool) -> Result<Model, Answer> {
    let found = Model::find(&hub.root, id, hub.large);
    // To a stranger it does not tell what is private from what is not there.
    let missing = || match request.header("authorization") {
        None => refusal(401, None, "Invalid username or password."),
        Some(_) => refusal(404, Some("RepoNotFound"), "Repository not found"),
    };
    let model = found.ok_or_else(missing)?;
    let allowed = request.header("authorization").is_some_and(|value| value == "Bearer hf_good");
    if content && model.is_gated() && !allowed {
        let status = if request.header("authorization").is_some() { 403 } else { 401 };
        let message = format!("Access to model {id} is restricted. You must be authenticated to access it.");
        return Err(refusal(status, Some("GatedRepo"), &message));
    }
    Ok(model)
}

/// `GET /api/models?search=&author=&filter=&sort=&limit=`
pub fn search(hub: &Hub, request: &Request) -> Answer {
    let lower = |text: &str| text.to_lowercase();
    let mut infos: Vec<Value> = Model::all(&hub.root, hub.large)
        .into_iter()
        .filter(|model| {
            request.asked("search").is_none_or(|text| {
                text.split_whitespace().all(|word| lower(&model.id).contains(&lower(word)))
            })
        })
        .filter(|model| {
            request.asked("author").is_none_or(|author| model.id.starts_with(&format!("{author}/")))
        })
        .map(|model| model.info())
        .filter(|info| {
            let tags = info["tags"].as_array().unwrap();
            request.asked("filter").is_none_or(|filter| tags.iter().any(|tag| tag == filter))
        })
        .collect();
    let sort = request.asked("sort").unwrap_or("trendingScore").to_owned();
    infos.sort_by_key(|info| match &info[&sort] {
        Value::String(date) => std::cmp::Reverse((0, date.clone())),
        number => std::cmp::Reverse((number.as_u64().unwrap_or(0), String::new())),
    });
    let limit = request.asked("limit").and_then(|limit| limit.parse().ok()).unwrap_or(1000);
    infos.truncate(limit);
    json_answer(&Value::Array(infos))
}

/// `GET /api/models/{id}/tree/{revision}?recursive=true&cursor=N`
pub fn tree(hub: &Hub, model: &Model, request: &Request) -> Answer {
    let from: usize = request.asked("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let entries: Vec<Value> = model
        .files
        .iter()
        .skip(from)
        .take(TREE_PAGE)
        .map(|file| {
            let mut entry = json!({"type": "file", "oid": file.oid, "size": file.size, "path": file.path});
            if let Some(sha256) = &file.lfs {
                entry["lfs"] = json!({"oid": sha256, "size": file.size, "pointerSize": 135});
                entry["xetHash"] = json!(sha256.chars().rev().collect::<String>());
            }
            entry
        })
        .collect();
    let (mut head, bytes) = json_answer(&Value::Array(entries));
    if from + TREE_PAGE < model.files.len() {
        let path = &request.path;
        let next = from + TREE_PAGE;
        let url = format!("http://127.0.0.1:{}{path}?recursive=true&cursor={next}", hub.port);
        head = head.with("Link", format!("<{url}>; rel=\"next\""));
    }
    (head, bytes)
}
