//! What may become of an account, decided from its row and the number of active administrators. Pure.

use super::error::AuthFault;
use super::identity::Scopes;
use crate::store::users::UserRow;
use crate::system::terminal;

/// What an account may do: administer, or use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Admin,
    User,
}

/// How an account stands: waiting for approval, in use, or shut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Waits for approval.
    Pending,
    Active,
    Disabled,
}

/// What an administrator, or the owner, wants of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Approve,
    Reject,
    Disable,
    Enable,
    Role(Role),
    /// The hash of a new one.
    Password(String),
    /// Tools that it may use; none: all.
    Tools(Option<Vec<String>>),
    Delete,
}

/// What becomes of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Keep(UserRow),
    Remove,
}

impl Change {
    /// Whether it takes something away that must not come back with the next start, even if the store cannot be
    /// written now.
    pub fn withdraws(&self) -> bool {
        match self {
            Change::Disable | Change::Reject | Change::Delete | Change::Password(_) => true,
            Change::Role(role) => *role == Role::User,
            Change::Approve | Change::Enable | Change::Tools(_) => false,
        }
    }
}

impl Role {
    /// As the store and the API write it: `admin`, `user`.
    pub fn name(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::User => "user",
        }
    }

    /// The role of that name; `None` for any other.
    pub fn from_name(name: &str) -> Option<Role> {
        [Role::Admin, Role::User].into_iter().find(|role| role.name() == name)
    }

    /// What somebody of this role may do.
    pub fn scopes(self) -> Scopes {
        match self {
            Role::Admin => Scopes::ALL,
            Role::User => Scopes::USE,
        }
    }
}

impl Status {
    /// As the store and the API write it: `pending`, `active`, `disabled`.
    pub fn name(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Active => "active",
            Status::Disabled => "disabled",
        }
    }

    /// What cannot be read is closed.
    pub fn from_name(name: &str) -> Status {
        match name {
            "active" => Status::Active,
            "pending" => Status::Pending,
            _ => Status::Disabled,
        }
    }
}

/// What becomes of `user`. Every change but approval and that of its tools voids its sessions.
pub fn decide(user: &UserRow, active_admins: u64, change: &Change) -> Result<Verdict, AuthFault> {
    let status = Status::from_name(&user.status);
    let is_last = user.role == Role::Admin.name() && status == Status::Active && active_admins <= 1;
    let loses_admin = match change {
        Change::Disable | Change::Delete | Change::Reject => true,
        Change::Role(role) => *role != Role::Admin,
        Change::Approve | Change::Enable | Change::Password(_) | Change::Tools(_) => false,
    };
    if is_last && loses_admin {
        let words =
            "the last active administrator cannot be disabled, demoted or deleted; make another one first";
        return Err(AuthFault::Conflict(words.into()));
    }
    let mut next = user.clone();
    match (change, status) {
        (Change::Delete, _) | (Change::Reject, Status::Pending) => return Ok(Verdict::Remove),
        (Change::Reject, _) => {
            return Err(AuthFault::Conflict(
                "only an account that waits for approval can be rejected".into(),
            ));
        }
        (Change::Approve, Status::Disabled) => {
            return Err(AuthFault::Conflict("the account is disabled; enable it instead".into()));
        }
        (Change::Disable | Change::Enable, Status::Pending) => {
            return Err(AuthFault::Conflict("the account waits for approval; approve or reject it".into()));
        }
        (Change::Approve | Change::Enable, _) => next.status = Status::Active.name().into(),
        (Change::Disable, _) => next.status = Status::Disabled.name().into(),
        (Change::Role(role), _) => next.role = role.name().into(),
        (Change::Password(hash), _) => next.password = hash.clone(),
        (Change::Tools(tools), _) => next.tools.clone_from(tools),
    }
    // Tools are looked up with every request: there is nothing to void.
    let voids = !matches!(change, Change::Approve | Change::Tools(_));
    if next != *user && voids {
        next.version += 1;
    }
    Ok(Verdict::Keep(next))
}

/// Bytes of an e-mail address.
pub const EMAIL_MAX: usize = 254;

/// An address in the form it is kept in.
pub fn email(text: &str) -> Result<String, AuthFault> {
    let email = text.trim().to_lowercase();
    let sound = email.len() <= EMAIL_MAX
        && !email.contains(|c: char| c.is_whitespace() || terminal::steers(c))
        && email.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !host.contains('@') && !host.starts_with('.')
        });
    if sound {
        return Ok(email);
    }
    Err(AuthFault::Invalid("this is not an e-mail address; write it like ada@example.com".into(), "email"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn email_refuses_what_steers_a_terminal_or_a_page() {
        for sound in ["ada@example.com", " Ada@Example.com ", "grüße@xn--a.de"] {
            assert!(email(sound).is_ok(), "{sound}");
        }
        for bad in [
            "\u{202e}a@x.org",
            "a\u{2066}@x.org",
            "a\u{1b}@x.org",
            "a b@x.org",
            "a\u{2028}@x.org",
            "@x",
            "a@",
        ] {
            assert!(email(bad).is_err(), "{bad:?}");
        }
    }

    fn user(role: Role, status: Status) -> UserRow {
        UserRow {
            id: "u".into(),
            email: "a@b.c".into(),
            password: "old".into(),
            role: role.name().into(),
            status: status.name().into(),
            version: 1,
            created_at: 0,
            last_login_at: None,
            tools: None,
        }
    }

    #[test]
    fn the_last_active_admin_cannot_be_lost() {
        let admin = user(Role::Admin, Status::Active);
        for change in [Change::Disable, Change::Delete, Change::Role(Role::User), Change::Reject] {
            assert!(matches!(decide(&admin, 1, &change), Err(AuthFault::Conflict(_))), "{change:?}");
        }
        for change in [Change::Disable, Change::Delete, Change::Role(Role::User)] {
            assert!(decide(&admin, 2, &change).is_ok(), "{change:?}");
        }
        assert!(decide(&admin, 1, &Change::Password("new".into())).is_ok());
        assert!(decide(&admin, 1, &Change::Role(Role::Admin)).is_ok());
        assert!(decide(&user(Role::Admin, Status::Disabled), 1, &Change::Delete).is_ok());
        assert!(decide(&user(Role::User, Status::Active), 1, &Change::Delete).is_ok());
    }

    #[test]
    fn each_change_fits_some_states_only() {
        use Status::{Active, Disabled, Pending};
        let table = [
            (Change::Approve, Pending, Some("active")),
            (Change::Approve, Active, Some("active")),
            (Change::Approve, Disabled, None),
            (Change::Reject, Pending, Some("gone")),
            (Change::Reject, Active, None),
            (Change::Disable, Active, Some("disabled")),
            (Change::Disable, Disabled, Some("disabled")),
            (Change::Disable, Pending, None),
            (Change::Enable, Disabled, Some("active")),
            (Change::Enable, Pending, None),
            (Change::Delete, Pending, Some("gone")),
        ];
        for (change, status, outcome) in table {
            let verdict = decide(&user(Role::User, status), 1, &change).ok();
            let became = verdict.map(|verdict| match verdict {
                Verdict::Keep(user) => user.status,
                Verdict::Remove => "gone".into(),
            });
            assert_eq!(became.as_deref(), outcome, "{change:?} of {status:?}");
        }
    }

    #[test]
    fn what_changes_an_account_voids_its_sessions() {
        let version = |change| match decide(&user(Role::User, Status::Active), 1, &change) {
            Ok(Verdict::Keep(user)) => user.version,
            _ => 0,
        };
        assert_eq!(version(Change::Disable), 2);
        assert_eq!(version(Change::Role(Role::Admin)), 2);
        assert_eq!(version(Change::Password("new".into())), 2);
        assert_eq!(version(Change::Enable), 1, "nothing changed");
    }

    #[test]
    fn addresses_are_kept_in_one_form() {
        assert_eq!(email(" Ada@Example.COM ").unwrap(), "ada@example.com");
        for wrong in ["", "ada", "@b", "a@", "a b@c.d", "a@b@c", "a\n@b.c", &"x".repeat(300)] {
            assert!(email(wrong).is_err(), "{wrong}");
        }
    }
}
