//! The labels of requests, named as OpenTelemetry names the attributes. `gen_ai_request_model` is the
//! profile: what clients name as model, as far as the configuration knows it.

use prometheus_client::encoding::EncodeLabelSet;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Attributes {
    gen_ai_operation_name: &'static str,
    gen_ai_request_model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Failed {
    gen_ai_operation_name: &'static str,
    gen_ai_request_model: String,
    /// The error's code; empty when there was none.
    error_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TokenType {
    gen_ai_operation_name: &'static str,
    gen_ai_request_model: String,
    gen_ai_token_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ending {
    profile: String,
    status: &'static str,
}

impl Attributes {
    pub fn new(endpoint: &str, profile: &str) -> Attributes {
        Attributes { gen_ai_operation_name: operation(endpoint), gen_ai_request_model: profile.to_owned() }
    }
}

impl Failed {
    pub fn new(of: &Attributes, error: Option<&str>) -> Failed {
        Failed {
            gen_ai_operation_name: of.gen_ai_operation_name,
            gen_ai_request_model: of.gen_ai_request_model.clone(),
            error_type: error.unwrap_or_default().to_owned(),
        }
    }
}

impl TokenType {
    pub fn new(of: &Attributes, kind: &'static str) -> TokenType {
        TokenType {
            gen_ai_operation_name: of.gen_ai_operation_name,
            gen_ai_request_model: of.gen_ai_request_model.clone(),
            gen_ai_token_type: kind,
        }
    }
}

impl Ending {
    pub fn new(profile: &str, status: &'static str) -> Ending {
        Ending { profile: profile.to_owned(), status }
    }
}

/// OpenTelemetry's name for what an endpoint does.
fn operation(endpoint: &str) -> &'static str {
    match endpoint {
        "/v1/completions" => "text_completion",
        "/v1/embeddings" => "embeddings",
        "/v1/images/generations" | "/v1/images/edits" => "generate_content",
        "/v1/audio/transcriptions" => "transcription",
        _ => "chat",
    }
}
