//! `/api/v1/chats`: the conversations of whoever asks. Nobody sees another's, administrators included.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::chats::{ChatError, Chats, Wish};
use crate::events::{Audience, Kind};
use crate::http::caller::{SessionChanger, SessionUser};
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, Query};
use crate::http::openapi::ErrorBody;
use crate::http::state::Shared;
use crate::proxy::Failure;
use crate::store::chats::{ChatFilter, ChatRow};

/// Pictures are in it.
pub const BODY_MAX: usize = 64 << 20;
/// Conversations given without a wish.
const LIMIT: usize = 100;

/// Which conversations.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// In the title or in what was said.
    q: Option<String>,
    /// At most 500; default 100.
    limit: Option<usize>,
    /// Only those changed before, in milliseconds since 1970, UTC.
    before: Option<i64>,
}

/// Those changed last first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChatList {
    chats: Vec<ChatSummary>,
}

/// A conversation without its messages.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChatSummary {
    id: String,
    title: String,
    profile: String,
    created_at_ms: i64,
    updated_at_ms: i64,
}

/// A conversation.
#[derive(Debug, Serialize, ToSchema)]
pub struct Chat {
    #[serde(flatten)]
    summary: ChatSummary,
    /// The last message of the branch that is shown.
    leaf: Option<String>,
    /// In the order in which they were written, all branches together.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<Box<RawValue>>,
}

/// A new conversation, or what changes in one; what is left out stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatBody {
    /// At most 200 characters.
    title: Option<String>,
    profile: Option<String>,
    /// The last message of the branch that is shown.
    leaf: Option<String>,
    /// New ones, and those that take the place of the one with their id: each with `id`, `parent`, `role`,
    /// `text` and whatever else the page wants to keep.
    #[schema(value_type = Option<Vec<Object>>)]
    messages: Option<Vec<Box<RawValue>>>,
    /// Ids of messages that go.
    remove: Option<Vec<String>>,
}

/// List the caller's conversations.
#[utoipa::path(get, path = "/chats", tag = "chats", params(Asked), responses((status = 200, body = ChatList)))]
pub async fn list(
    State(gateway): State<Shared>,
    caller: SessionUser,
    Query(asked): Query<Asked>,
) -> Result<Json<ChatList>, ApiError> {
    let filter = ChatFilter {
        search: asked.q.filter(|text| !text.is_empty()),
        limit: asked.limit.unwrap_or(LIMIT),
        before: asked.before,
    };
    let rows = of(&gateway, &caller).list(filter).await?;
    Ok(Json(ChatList { chats: rows.into_iter().map(summary).collect() }))
}

/// Begin a conversation.
#[utoipa::path(post, path = "/chats", tag = "chats", request_body = ChatBody,
    responses((status = 201, body = ChatSummary), (status = 400, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 507, body = ErrorBody)))]
pub async fn create(
    State(gateway): State<Shared>,
    SessionChanger(caller): SessionChanger,
    Json(body): Json<ChatBody>,
) -> Result<(StatusCode, Json<ChatSummary>), ApiError> {
    let row = of(&gateway, &caller).create(wish(body)).await?;
    publish(&gateway, &caller, &row.id, false);
    Ok((StatusCode::CREATED, Json(summary(row))))
}

/// Show a conversation with its messages.
#[utoipa::path(get, path = "/chats/{id}", tag = "chats",
    responses((status = 200, body = Chat), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(gateway): State<Shared>,
    caller: SessionUser,
    Path(id): Path<String>,
) -> Result<Json<Chat>, ApiError> {
    let (row, messages) = of(&gateway, &caller).get(&id).await?;
    let messages = messages.into_iter().map(|message| RawValue::from_string(message.content));
    let messages = messages
        .collect::<Result<_, _>>()
        .map_err(|error| ApiError::internal("a message in the store is not JSON", &error))?;
    Ok(Json(Chat { leaf: row.leaf.clone(), summary: summary(row), messages }))
}

/// Change a conversation: its name, its branch, its messages.
#[utoipa::path(patch, path = "/chats/{id}", tag = "chats", request_body = ChatBody,
    responses((status = 200, body = ChatSummary), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 507, body = ErrorBody)))]
pub async fn change(
    State(gateway): State<Shared>,
    SessionChanger(caller): SessionChanger,
    Path(id): Path<String>,
    Json(body): Json<ChatBody>,
) -> Result<Json<ChatSummary>, ApiError> {
    let row = of(&gateway, &caller).change(&id, wish(body)).await?;
    publish(&gateway, &caller, &row.id, false);
    Ok(Json(summary(row)))
}

/// Delete a conversation.
#[utoipa::path(delete, path = "/chats/{id}", tag = "chats",
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn remove(
    State(gateway): State<Shared>,
    SessionChanger(caller): SessionChanger,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    of(&gateway, &caller).remove(&id).await?;
    publish(&gateway, &caller, &id, true);
    Ok(StatusCode::NO_CONTENT)
}

/// Not `SessionUser::owner`, which lets administrators see everybody's things.
fn owner(caller: &SessionUser) -> &str {
    caller.0.user.as_deref().unwrap_or_default()
}

fn of<'a>(gateway: &'a Shared, caller: &'a SessionUser) -> Chats<'a> {
    Chats { store: &gateway.store, owner: owner(caller), now_ms: gateway.proxy.clock.unix_ms() }
}

/// Publishes that a conversation changed, to other tabs of the same owner.
fn publish(gateway: &Shared, caller: &SessionUser, id: &str, removed: bool) {
    let data = serde_json::json!({"id": id, "removed": removed});
    gateway.events.publish(Kind::ChatChanged, Audience::Owner(owner(caller).into()), &data);
}

fn wish(body: ChatBody) -> Wish {
    Wish {
        title: body.title,
        profile: body.profile,
        leaf: body.leaf.map(Some),
        messages: body.messages.unwrap_or_default(),
        remove: body.remove.unwrap_or_default(),
    }
}

fn summary(row: ChatRow) -> ChatSummary {
    ChatSummary {
        id: row.id,
        title: row.title,
        profile: row.profile,
        created_at_ms: row.created_at,
        updated_at_ms: row.updated_at,
    }
}

impl From<ChatError> for ApiError {
    fn from(error: ChatError) -> ApiError {
        match error {
            ChatError::Unknown(_) => ApiError::not_found(error.to_string()),
            ChatError::Invalid { message, param } => ApiError::bad_request(message, param),
            ChatError::MessageTooLarge { .. } => full(413, "message_too_large", &error),
            ChatError::ChatTooLarge => full(413, "conversation_too_large", &error),
            ChatError::OwnerFull | ChatError::TooMany => full(507, "conversations_full", &error),
            ChatError::Store(error) => error.into(),
        }
    }
}

fn full(status: u16, code: &'static str, error: &ChatError) -> ApiError {
    Failure::refused(status, "invalid_request_error", code, error.to_string()).into()
}
