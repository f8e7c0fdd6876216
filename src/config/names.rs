//! What profiles, aliases, models and variables may be called. Pure; shared with whoever makes
//! profiles at run time.

/// Longest name of a profile, and longest alias.
pub const MAX_NAME_LEN: usize = 128;
/// Longest part of a Hub id.
const MAX_HUB_PART_LEN: usize = 96;

/// `^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$`
pub fn valid_profile_name(name: &str) -> bool {
    !name.contains('*') && valid_alias(name)
}

/// As a profile's name, with `*` anywhere.
pub fn valid_alias(alias: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._:/-*".contains(c);
    alias.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '*')
        && alias.len() <= MAX_NAME_LEN
        && alias.chars().all(fits)
}

/// `organisation/name`, as the Hub allows them.
pub fn valid_hub_id(id: &str) -> bool {
    let part = |part: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let edge = |c: char| c == '.' || c == '-';
        !part.is_empty()
            && part.len() <= MAX_HUB_PART_LEN
            && part.chars().all(fits)
            && !part.contains("..")
            && !part.contains("--")
            && !part.starts_with(edge)
            && !part.ends_with(edge)
    };
    id.split_once('/').is_some_and(|(organisation, name)| part(organisation) && part(name))
}

pub(super) fn valid_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_name_starts_with_a_letter_or_digit_and_has_no_star() {
        for name in
            ["demo", "qwen3:4b", "mlx-community/Qwen3-4B-4bit", "gpt-4o-mini", "4", "a.b_c", &"x".repeat(128)]
        {
            assert!(valid_profile_name(name), "{name}");
        }
        for name in ["", "-x", ".x", "/x", "a b", "ä", "a*", "a\n", "a?", &"x".repeat(129)] {
            assert!(!valid_profile_name(name), "{name:?}");
        }
    }

    #[test]
    fn an_alias_may_hold_stars() {
        for alias in ["claude-*", "*", "*-mini", "gpt-*-mini*"] {
            assert!(valid_alias(alias), "{alias}");
        }
        assert!(!valid_alias(""));
        assert!(!valid_alias("gpt ?"));
    }

    #[test]
    fn a_hub_id_has_an_organisation_and_a_name() {
        for id in ["mlx-community/Qwen3-4B-4bit", "openai-community/gpt2", "a/b.c_d"] {
            assert!(valid_hub_id(id), "{id}");
        }
        for id in
            ["gpt2", "a/b/c", "/b", "a/", "a/..", "a/b--c", "-a/b", "a/b.", "a b/c", "../../etc", "a/.b"]
        {
            assert!(!valid_hub_id(id), "{id}");
        }
    }
}
