//! File and store side by side: who wins, what is taken, and what is applied.

use std::sync::Mutex;

use super::*;
use crate::config::read_stored;
use serde_json::json;

type Seen = Arc<Mutex<Vec<Vec<String>>>>;

fn profile(settings: Value) -> Profile {
    read_stored(settings.as_object().unwrap(), None).unwrap().0
}

fn stored(settings: Value) -> StoredProfile {
    let settings = settings.as_object().unwrap().clone();
    StoredProfile {
        profile: profile(Value::Object(settings.clone())),
        settings,
        created_at: 1,
        updated_at: 1,
    }
}

fn book(file: Vec<Profile>) -> (ProfileBook, Seen) {
    let seen = Seen::default();
    let told = Arc::clone(&seen);
    let apply: Apply = Box::new(move |set: ProfileSet| {
        let models = set.entries().iter().map(|entry| format!("{}={}", entry.name, entry.model));
        told.lock().unwrap().push(models.collect());
    });
    (ProfileBook::new(file, Vec::new(), apply), seen)
}

#[test]
fn each_change_applies_what_is_in_force() {
    let (book, seen) = book(vec![profile(json!({"name": "a", "model": "m/file"}))]);
    book.put(stored(json!({"name": "b", "model": "m/store"})));
    book.put(stored(json!({"name": "a", "model": "m/shadowed"})));
    book.set_file(Vec::new());
    book.remove("b");
    let seen = seen.lock().unwrap();
    let expected: [&[&str]; 5] = [
        &["a=m/file"],
        &["a=m/file", "b=m/store"],
        &["a=m/file", "b=m/store"],
        &["a=m/shadowed", "b=m/store"],
        &["a=m/shadowed"],
    ];
    assert_eq!(*seen, expected);
}

#[test]
fn a_shadowed_profile_is_still_shown() {
    let (book, _) = book(vec![profile(json!({"name": "a", "model": "m/file"}))]);
    book.put(stored(json!({"name": "a", "model": "m/store"})));
    assert!(matches!(book.get("a"), Some(Placed::File(_))));
    let all = book.all();
    assert!(matches!(all.as_slice(), [Placed::File(_), Placed::Store { shadowed: true, .. }]), "{all:?}");
}

#[test]
fn names_and_aliases_belong_to_one_profile() {
    let (book, _) = book(vec![profile(json!({"name": "a", "aliases": ["gpt-4o"], "model": "m/a"}))]);
    book.put(stored(json!({"name": "b", "model": "m/b"})));
    let taken = |settings, replaces| {
        let taken = book.taken(&profile(settings), replaces);
        taken.into_iter().map(|one| (one.taken, one.owner, one.alias)).collect::<Vec<_>>()
    };
    let of = |name: &str, owner: &str, alias| (name.to_owned(), owner.to_owned(), alias);
    assert_eq!(taken(json!({"name": "c", "model": "m/c"}), None), []);
    assert_eq!(taken(json!({"name": "gpt-4o", "model": "m/c"}), None), [of("gpt-4o", "a", false)]);
    assert_eq!(
        taken(json!({"name": "b", "aliases": ["a", "gpt-4o"], "model": "m/c"}), Some("b")),
        [of("a", "a", true), of("gpt-4o", "a", true)]
    );
}
