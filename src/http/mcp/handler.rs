//! What an MCP client may ask: the tools it may use, and calling them.

#![expect(deprecated, reason = "clients of the protocol versions of today expect messages of plugins")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rmcp::ErrorData;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, SetLevelRequestParams, SubscriptionFilter,
    Tool as McpTool,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, SubscriptionContext};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::listener::{Threshold, pair};
use crate::auth::Caller;
use crate::http::edge::Arrival;
use crate::http::state::Shared;
use crate::logging::InRequest;
use crate::tools::{Call, CallError, Content, Origin, Tool, ToolOutput};

/// One session, or one request where the protocol has no sessions.
#[derive(Clone)]
pub struct Handler {
    gateway: Shared,
    threshold: Arc<Threshold>,
    /// Cancelled when the session has ended.
    ended: CancellationToken,
    /// Whether the session hears of changed tools, however often its client says that it is ready.
    is_ready: Arc<AtomicBool>,
}

impl Handler {
    pub fn new(gateway: Shared, ended: CancellationToken) -> Handler {
        Handler { gateway, threshold: Arc::default(), ended, is_ready: Arc::default() }
    }

    async fn call(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let caller = caller(&context)?;
        let unknown = || ErrorData::invalid_params(format!("there is no tool \"{}\"", request.name), None);
        let tool = self.gateway.tools.tool(&request.name).await;
        let tool = tool.filter(|tool| caller.tool_is_allowed(&tool.name)).ok_or_else(unknown)?;
        let arguments = Value::Object(request.arguments.unwrap_or_default()).to_string();
        let token = context.meta.get_progress_token();
        // A session says once what it wants to hear; without sessions each request does.
        let threshold = match context.meta.protocol_version() {
            Some(_) => Arc::new(Threshold::asked(context.meta.log_level())),
            None => Arc::clone(&self.threshold),
        };
        let (ear, voice) = pair(context.peer.clone(), token, &tool.plugin, threshold);
        let request_id = request_id(&context);
        let call = Call {
            tool: &tool.name,
            arguments: &arguments,
            request_id: &request_id,
            origin: Origin::Mcp,
            model: None,
            principal: caller.principal(),
            deadline: None,
            listener: Some(ear),
        };
        let run = async {
            let outcome = tool.call(&call).await;
            // With it the ear goes, and the voice comes to its end.
            drop(call);
            outcome
        };
        // What the plugin says is told while it runs, and all of it before its result.
        let both = futures_util::future::join(run, voice.tell());
        let outcome = tokio::select! {
            (outcome, ()) = both => outcome,
            () = context.ct.cancelled() => return Err(ErrorData::internal_error("the call was cancelled", None)),
            () = caller.ended() => return Err(ErrorData::internal_error("the caller lost the right to the call", None)),
        };
        result(outcome)
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_tool_list_changed().enable_logging().build();
        let server = Implementation::new("mlx-gateway", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities).with_server_info(server)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = caller(&context)?;
        let tools = self.gateway.tools.tools().await;
        let seen = tools.iter().filter(|tool| tool.withheld.is_none() && caller.tool_is_allowed(&tool.name));
        let tools = seen.map(|tool| shown(tool)).collect::<Result<_, _>>()?;
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        // The session's task is no request's.
        match arrival(&context).map(|arrival| arrival.log.clone()) {
            Some(log) => InRequest::new(&log, Box::pin(self.call(request, context))).await,
            None => self.call(request, context).await,
        }
        .map(Into::into)
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.threshold.set(request.level);
        Ok(())
    }

    /// Sessions hear of it when tools come, go or change, as long as their client is there.
    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        if self.is_ready.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut changes = self.gateway.tools.changes();
        let (peer, ended) = (context.peer, self.ended.clone());
        self.gateway.tasks.spawn(ended.run_until_cancelled_owned(async move {
            while changes.changed().await.is_ok() {
                if peer.is_transport_closed() || peer.notify_tool_list_changed().await.is_err() {
                    break;
                }
            }
        }));
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    /// The same where the protocol has subscriptions instead of sessions.
    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.gateway.tools.changes();
        loop {
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() || context.sink().notify_tool_list_changed().await.is_err() {
                        return Ok(());
                    }
                }
                () = context.cancelled() => return Ok(()),
            }
        }
    }
}

fn caller(context: &RequestContext<RoleServer>) -> Result<Caller, ErrorData> {
    let parts = context.extensions.get::<http::request::Parts>();
    let caller = parts.and_then(|parts| parts.extensions.get::<Caller>());
    caller.cloned().ok_or_else(|| ErrorData::internal_error("the caller is not known", None))
}

fn arrival(context: &RequestContext<RoleServer>) -> Option<&Arrival> {
    context.extensions.get::<http::request::Parts>()?.extensions.get::<Arrival>()
}

fn request_id(context: &RequestContext<RoleServer>) -> String {
    arrival(context).map_or_else(|| context.id.to_string(), |arrival| arrival.id.to_string())
}

/// A tool as MCP describes it.
fn shown(tool: &Tool) -> Result<McpTool, ErrorData> {
    let mut described = json!({
        "name": tool.name,
        "description": tool.description,
        "inputSchema": tool.input.value,
        "annotations": tool.annotations(),
    });
    if let Some(title) = &tool.title {
        described["title"] = title.as_str().into();
    }
    if let Some(output) = &tool.output {
        described["outputSchema"] = output.value.clone();
    }
    serde_json::from_value(described).map_err(|error| {
        ErrorData::internal_error(format!("the tool {} cannot be shown: {error}", tool.name), None)
    })
}

/// A tool that fails is a result too; only what was wrong with the question is an error of the protocol.
fn result(outcome: Result<ToolOutput, CallError>) -> Result<CallToolResult, ErrorData> {
    let output = match outcome {
        Ok(output) => output,
        Err(error @ CallError::UnknownTool(_)) => {
            return Err(ErrorData::invalid_params(error.to_string(), None));
        }
        Err(error) => ToolOutput::failure(error.to_string()),
    };
    let block = |content: &Content| {
        serde_json::from_value::<ContentBlock>(content.to_json()).map_err(|error| {
            ErrorData::internal_error(format!("a content cannot be passed on: {error}"), None)
        })
    };
    let content = output.content.iter().map(block).collect::<Result<Vec<_>, _>>()?;
    let mut result =
        if output.is_error { CallToolResult::error(content) } else { CallToolResult::success(content) };
    result.structured_content = output.structured;
    Ok(result)
}
