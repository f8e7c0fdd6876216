//! Reads config.json, whose text model may stand in a table of its own. Knows where settings stand
//! and by which names, not what they mean.

use serde_json::Value;

/// Tables in which multimodal models keep their text model, outermost first.
const NESTS: [&[&str]; 7] = [
    &["text_config"],
    &["llm_config"],
    &["language_config"],
    &["thinker_config", "text_config"],
    &["thinker_config"],
    &["language_model"],
    &["decoder"],
];
/// No model has figures beyond this; what does is a slip or worse.
const MOST: u64 = 1 << 40;

/// config.json and the part of it that speaks of the text model.
#[derive(Clone, Copy)]
pub(super) struct Settings<'a> {
    root: Option<&'a Value>,
    text: Option<&'a Value>,
}

impl<'a> Settings<'a> {
    pub(super) fn of(root: Option<&'a Value>) -> Settings<'a> {
        let text = root.and_then(|root| {
            let nests = NESTS.iter().map(|path| path.iter().try_fold(root, |at, key| at.get(*key)));
            nests.flatten().find(|nest| nest.as_object().is_some_and(|table| !table.is_empty()))
        });
        Settings { root, text }
    }

    pub(super) fn is_known(&self) -> bool {
        self.root.is_some_and(Value::is_object)
    }

    /// A value that is not null, of the text model first.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        let of = |table: Option<&'a Value>| table?.get(key).filter(|value| !value.is_null());
        of(self.text).or_else(|| of(self.root))
    }

    /// The first of the names that holds a whole number in a sensible range.
    pub(super) fn number(&self, names: &[&str]) -> Option<u64> {
        names.iter().find_map(|name| whole(self.get(name)?))
    }

    pub(super) fn boolean(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str()
    }

    /// Of the outermost table alone.
    pub(super) fn root_text(&self, name: &str) -> String {
        self.root.and_then(|root| root.get(name)?.as_str()).unwrap_or_default().to_owned()
    }

    /// Whether either `model_type` begins so.
    pub(super) fn is_family(&self, prefix: &str) -> bool {
        let of = |table: Option<&'a Value>| table?.get("model_type")?.as_str();
        [of(self.root), of(self.text)].into_iter().flatten().any(|name| name.starts_with(prefix))
    }

    pub(super) fn architectures(&self) -> Vec<String> {
        let names = self.root.and_then(|root| root.get("architectures")?.as_array());
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        names.map(str::to_owned).collect()
    }

    pub(super) fn list(&self, name: &str) -> Option<&'a [Value]> {
        self.get(name)?.as_array().map(Vec::as_slice)
    }
}

/// A whole number that is not absurd, also where it was written as `4.0`.
pub(super) fn whole(value: &Value) -> Option<u64> {
    let exact = value.as_u64();
    let rounded = || value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=MOST as f64).contains(n));
    exact.or_else(|| rounded().map(|n| n as u64)).filter(|n| *n <= MOST)
}
