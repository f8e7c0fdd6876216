//! `/v1/responses`, as OpenAI's clients know it: each response is a chat, whose answer is told as items, and
//! which is kept for its owner to go on from.

mod background;
mod create;
mod kept;
mod request;

pub use create::{Asked, answer};
pub use kept::{
    __path_cancel, __path_delete, __path_get, __path_input_items, cancel, delete, get, input_items,
};

use crate::auth::Caller;
use crate::http::error::ApiError;
use crate::http::state::Shared;
use crate::proxy::Failure;
use crate::responses::{Responses, ResponsesError};

/// The responses of whoever asks.
fn of(gateway: &Shared, caller: &Caller) -> Responses {
    Responses { store: gateway.store.clone(), owner: caller.principal().unwrap_or_default().to_owned() }
}

impl From<ResponsesError> for ApiError {
    fn from(error: ResponsesError) -> ApiError {
        match error {
            ResponsesError::Unknown(_) => ApiError::not_found(error.to_string()),
            ResponsesError::Store(error) => error.into(),
            ResponsesError::Broken { .. } | ResponsesError::TooLong => ApiError(gone_on_from(&error)),
        }
    }
}

/// Why a request cannot go on from what it names.
fn gone_on_from(error: &ResponsesError) -> Failure {
    let mut failure = Failure::invalid(error.to_string(), Some("previous_response_id".to_owned()));
    if !matches!(error, ResponsesError::TooLong) {
        failure.code = "previous_response_not_found";
    }
    failure
}
