//! What a model card says: licence, tags, task. Reads the front matter of a README as far as these
//! need it; knows nothing of the rest of YAML.

use serde_json::{Map, Value};

use super::facts::{Known, Source};
use super::sources::Sources;

/// Lines of a front matter that are looked at; long ones list data sets.
const MOST_LINES: usize = 2_000;
const FENCE: &str = "---";
/// What cards say when the licence stands elsewhere.
const ELSEWHERE: &str = "other";

pub(super) fn license(sources: &Sources) -> Option<Known<String>> {
    let of_card = |name: &str| {
        let value = sources.card.as_ref()?.get(name)?;
        let text = value.as_str().or_else(|| value.as_array()?.first()?.as_str())?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let named = || of_card("license_name");
    match of_card("license") {
        Some(license) if license == ELSEWHERE => {
            return Some(Known::new(named().unwrap_or(license), Source::Card));
        }
        Some(license) => return Some(Known::new(license, Source::Card)),
        None => {}
    }
    let tag = sources.tags.iter().find_map(|tag| tag.strip_prefix("license:"))?;
    Some(Known::new(tag.to_owned(), Source::Tags))
}

/// The front matter as far as it is plain: keys with a value each, and lists of plain values.
pub(super) fn front_matter(readme: &str) -> Option<Value> {
    let mut lines = readme.trim_start_matches('\u{feff}').lines().map(str::trim_end);
    if lines.next()? != FENCE {
        return None;
    }
    let mut table = Map::new();
    let mut list: Option<String> = None;
    for line in lines.take(MOST_LINES) {
        if line == FENCE {
            return Some(Value::Object(table));
        }
        if let Some(item) = line.trim_start().strip_prefix("- ") {
            if let Some(Value::Array(items)) = list.as_ref().and_then(|key| table.get_mut(key)) {
                items.push(plain(item));
            }
            continue;
        }
        let Some((key, value)) = line.split_once(':').filter(|_| !line.starts_with([' ', '\t', '#'])) else {
            continue;
        };
        let (key, value) = (key.trim().to_owned(), value.trim());
        if value.is_empty() {
            table.insert(key.clone(), Value::Array(Vec::new()));
            list = Some(key);
        } else if let Some(items) = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table.insert(key, items.split(',').map(plain).collect());
        } else {
            table.insert(key, plain(value));
        }
    }
    None
}

fn plain(text: &str) -> Value {
    let text = text.trim();
    let unquoted = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    Value::from(unquoted.unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_matter_is_read_as_far_as_it_is_plain() {
        let card = "---\nlicense: apache-2.0\n# comment\ntags:\n- mlx\n- \"tool-use\"\nlanguage: [en, de]\nextra:\n  nested: x\n---\n# Title\nlicense: not this\n";
        let read = front_matter(card).unwrap();
        assert_eq!(read["license"], "apache-2.0");
        assert_eq!(read["tags"], serde_json::json!(["mlx", "tool-use"]));
        assert_eq!(read["language"], serde_json::json!(["en", "de"]));
    }

    #[test]
    fn text_without_a_front_matter_says_nothing() {
        for text in ["", "# Title", "---\nlicense: mit\n", "----\n---"] {
            assert_eq!(front_matter(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_licence_of_its_own_is_shown_by_its_name() {
        let license_of = |card: Value, tags: &[&str]| {
            let tags = tags.iter().map(ToString::to_string).collect();
            license(&Sources { card: Some(card), tags, ..Sources::default() })
                .map(|known| (known.value, known.source))
        };
        let other = serde_json::json!({"license": "other", "license_name": "lfm1.0"});
        assert_eq!(license_of(other, &[]), Some(("lfm1.0".into(), Source::Card)));
        assert_eq!(license_of(serde_json::json!({}), &["license:mit"]), Some(("mit".into(), Source::Tags)));
        assert_eq!(license_of(serde_json::json!({}), &["mlx"]), None);
    }
}
