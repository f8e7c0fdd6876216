//! What a plugin may reach, as asked for and as granted. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Everything a plugin asks for, or was granted, as it is stored and shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Permissions {
    /// `https://api.example.com`, with the port where it is not the scheme's.
    pub http: BTreeSet<String>,
    /// Addresses or networks that may be reached although they are private.
    pub allow_private: BTreeSet<String>,
    /// `EXAMPLE_TOKEN as authorization to https://api.example.com`: secrets that the host adds.
    pub secrets: BTreeSet<String>,
}

impl Permissions {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.http.is_empty() && self.allow_private.is_empty() && self.secrets.is_empty()
    }

    /// What `self` has that `granted` has not.
    pub fn beyond(&self, granted: &Permissions) -> Permissions {
        let minus = |asked: &BTreeSet<String>, granted: &BTreeSet<String>| {
            asked.difference(granted).cloned().collect()
        };
        Permissions {
            http: minus(&self.http, &granted.http),
            allow_private: minus(&self.allow_private, &granted.allow_private),
            secrets: minus(&self.secrets, &granted.secrets),
        }
    }

    /// One line per permission, for people.
    pub fn in_words(&self) -> Vec<String> {
        let http = self.http.iter().map(|url| format!("send requests to {url}"));
        let private = self.allow_private.iter().map(|net| format!("reach the private address {net}"));
        let secrets = self.secrets.iter().map(|secret| format!("use the secret {secret}"));
        http.chain(private).chain(secrets).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_asked_for_again() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let granted = Permissions { http: set(&["https://a"]), ..Permissions::default() };
        let asked = Permissions { http: set(&["https://a", "https://b"]), ..Permissions::default() };
        assert_eq!(asked.beyond(&granted).http, set(&["https://b"]));
        assert!(granted.beyond(&asked).is_empty());
        assert_eq!(asked.beyond(&granted).in_words(), ["send requests to https://b"]);
    }
}
