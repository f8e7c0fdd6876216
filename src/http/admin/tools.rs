//! Tools: what there is, and calling one.

use std::time::Instant;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::caller::{AdmittedToolCaller, ToolCaller};
use crate::http::edge::Arrival;
use crate::http::error::{ApiError, JsonBody};
use crate::http::state::Shared;
use crate::proxy::{Failure, rate_limit_headers};
use crate::tools::{Call, CallError, Content, Origin, ToolView};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Tools {
    tools: Vec<ToolView>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallBody {
    #[schema(value_type = Object)]
    arguments: Option<Value>,
}

/// What came of a call; a failure that the tool itself reports is one too.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CallResult {
    /// As MCP writes contents.
    #[schema(value_type = Vec<Object>)]
    content: Vec<Value>,
    #[schema(value_type = Option<Object>)]
    structured: Option<Value>,
    is_error: bool,
    duration_ms: f64,
}

/// `GET /api/v1/tools`
#[utoipa::path(get, path = "/tools", tag = "tools", responses((status = 200, body = Tools)))]
pub async fn list(State(gateway): State<Shared>, caller: ToolCaller) -> Json<Tools> {
    let tools = gateway.tools.tools().await;
    let seen = tools.iter().filter(|tool| caller.0.may_use_tool(&tool.name));
    Json(Tools { tools: seen.map(|tool| ToolView::of(tool)).collect() })
}

/// `POST /api/v1/tools/{name}/call`
#[utoipa::path(post, path = "/tools/{name}/call", tag = "tools", request_body = CallBody, responses((status = 200, body = CallResult)))]
pub async fn call(
    State(gateway): State<Shared>,
    AdmittedToolCaller(caller, permit): AdmittedToolCaller,
    Extension(arrival): Extension<Arrival>,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<CallBody>,
) -> Result<(HeaderMap, Json<CallResult>), ApiError> {
    let unknown = || CallError::UnknownTool(name.clone());
    let tool = gateway.tools.tool(&name).await.filter(|tool| caller.may_use_tool(&tool.name));
    let tool = tool.ok_or_else(unknown)?;
    let arguments = body.arguments.unwrap_or_else(|| Value::Object(serde_json::Map::new())).to_string();
    let request_id = arrival.id.to_string();
    let began = Instant::now();
    let call = Call {
        tool: &name,
        arguments: &arguments,
        request_id: &request_id,
        origin: Origin::Mcp,
        model: None,
        principal: caller.principal(),
        deadline: None,
        listener: None,
    };
    let output = tokio::select! {
        output = tool.call(&call) => output?,
        () = caller.ended() => return Err(Failure::revoked().into()),
    };
    let result = CallResult {
        content: output.content.iter().map(Content::to_json).collect(),
        structured: output.structured,
        is_error: output.is_error,
        duration_ms: began.elapsed().as_secs_f64() * 1000.0,
    };
    Ok((rate_limit_headers(permit.standing()), Json(result)))
}
