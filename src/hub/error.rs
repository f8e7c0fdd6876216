//! What a model hub may answer instead of what was asked. Each is an ordinary answer, with words that
//! say what to do; knows no HTTP status of ours.

use std::time::Duration;

/// Why the hub did not give what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    #[error("the hub {endpoint} cannot be reached ({reason}); check the network, or `endpoint` under [hub]")]
    Offline { endpoint: String, reason: String },
    #[error(
        "{model} is gated: accept its terms at {url}, then give the gateway a token of that account \
         (HF_TOKEN, `token_file` under [hub], or PUT /api/v1/hub/token)"
    )]
    Gated { model: String, url: String },
    #[error(
        "the hub gives no access to {model}: there is no such model, or it is private and the token \
         is missing or wrong (HF_TOKEN, `token_file` under [hub], or PUT /api/v1/hub/token)"
    )]
    NoAccess { model: String },
    #[error("the hub has no {0}; `mlx-gateway models search` finds what there is")]
    NotFound(String),
    #[error("the hub asks for fewer requests; try again in {} s, or give a token, which allows more", .retry_after.as_secs())]
    RateLimited { retry_after: Duration },
    #[error("the hub answered {status}{}", if *.status >= 500 { "; it has a problem of its own, try again later" } else { "" })]
    Status { status: u16 },
    #[error("the hub's answer broke off ({reason})")]
    Cut { reason: String },
    #[error("the hub sent nothing for {} s", .after.as_secs())]
    Silent { after: Duration },
    #[error("what the hub sent is not understood: {0}; is `endpoint` under [hub] a Hugging Face hub?")]
    Malformed(String),
    #[error("\"{0}\" is not the name of a model on the hub: that is OWNER/NAME")]
    BadId(String),
}

impl HubError {
    /// As APIs and scripts call it.
    pub fn code(&self) -> &'static str {
        match self {
            HubError::Offline { .. } | HubError::Silent { .. } | HubError::Cut { .. } => "hub_offline",
            HubError::Gated { .. } => "model_gated",
            HubError::NoAccess { .. } => "model_not_accessible",
            HubError::NotFound(_) => "not_found",
            HubError::RateLimited { .. } => "hub_rate_limited",
            HubError::Status { .. } | HubError::Malformed(_) => "hub_error",
            HubError::BadId(_) => "invalid_model_id",
        }
    }

    /// Whether the same question may be answered later, with nothing changed here.
    pub fn is_temporary(&self) -> bool {
        match self {
            HubError::Offline { .. }
            | HubError::RateLimited { .. }
            | HubError::Cut { .. }
            | HubError::Silent { .. } => true,
            HubError::Status { status } => *status >= 500 || *status == 408,
            _ => false,
        }
    }

    /// How long the hub asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            HubError::RateLimited { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}

/// An error with what lies beneath it, since the outermost only says "client error".
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        // Some repeat what lies beneath them.
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_by_itself_is_tried_again() {
        let offline = HubError::Offline { endpoint: "x".into(), reason: "y".into() };
        assert!(offline.is_temporary() && HubError::Status { status: 503 }.is_temporary());
        assert!(!HubError::Status { status: 400 }.is_temporary());
        assert!(!HubError::NotFound("a/b".into()).is_temporary());
        let limited = HubError::RateLimited { retry_after: Duration::from_secs(7) };
        assert_eq!(limited.retry_after(), Some(Duration::from_secs(7)));
        assert!(limited.to_string().contains("try again in 7 s"));
    }
}
