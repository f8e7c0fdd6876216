//! Chats that use the gateway's tools: whether one does, and its answer out of several rounds.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Response};
use uuid::Uuid;

use super::driver::{self, Whole};
use crate::http::state::Shared;
use crate::proxy::{Answer, Failure, ResolvedRequest};
use crate::tools::Tool;
use crate::tools::chat::{Chat, Plan, Wanted, choose};

/// The header by which a request asks for tools.
const HEADER: &str = "x-mlx-gateway-tools";

/// What a request's headers ask for.
pub fn asked(headers: &HeaderMap) -> Option<Wanted> {
    headers.get(HEADER).map(|value| Wanted::from_header(value.to_str().unwrap_or("?")))
}

/// Which tools a chat asks for; none: it has nothing to do with them and passes through.
pub fn wanted(asked: Option<Wanted>, request: &ResolvedRequest) -> Option<Wanted> {
    // A choice that binds is held by the same rounds, whether or not the gateway's tools take part.
    let bound = request.binds_tools().then_some(Wanted::None);
    if let Some(wanted) = asked {
        // Without any of its own the gateway has no part in the chat.
        return Some(wanted).filter(|wanted| *wanted != Wanted::None).or(bound);
    }
    let asked = request.tools().and_then(|tools| Wanted::from_tools(&tools));
    asked.or_else(|| (!request.profile().tools.is_empty()).then_some(Wanted::Profile)).or(bound)
}

/// Answers a chat in as many rounds as it takes. `told`: what the tools do stands between the chunks, and
/// the whole comes as events too.
pub async fn answer(
    gateway: &Shared,
    request: Box<ResolvedRequest>,
    wanted: Wanted,
    id: Uuid,
    told: bool,
) -> Response<Answer> {
    let tools = match taking_part(gateway, &request, &wanted).await {
        Ok(tools) => tools,
        Err(failure) => return request.refuse(failure),
    };
    let mut plan = match request
        .body()
        .and_then(|body| Plan::new(body, &tools).map_err(|why| Failure::invalid(why, None)))
    {
        Ok(plan) => plan,
        Err(failure) => return request.refuse(failure),
    };
    plan.include_usage |= !request.wants_stream();
    plan.recall(&gateway.aside, request.caller.principal());
    let total = request.profile().timeouts.total;
    let (max_rounds, request_id, model) =
        (gateway.max_rounds, id.to_string(), request.profile().name.clone());
    let principal = request.caller.principal().map(str::to_owned);
    let (deadline, aside) = (Instant::now() + total, gateway.aside.clone());
    let form = if told { Whole::Events } else { Whole::Object(1) };
    driver::answer(request, form, move |rounds, out| {
        let chat = Chat { plan, tools, max_rounds, request_id, model, principal, deadline, aside, told, out };
        Box::pin(chat.run(rounds))
    })
    .await
}

/// The tools that the request asks for and the caller may call.
async fn taking_part(
    gateway: &Shared,
    request: &ResolvedRequest,
    wanted: &Wanted,
) -> Result<Vec<Arc<Tool>>, Failure> {
    let mut all = gateway.tools.tools().await;
    all.retain(|tool| request.caller.may_use_tool(&tool.name));
    let names: Vec<String> =
        all.iter().filter(|tool| tool.withheld.is_none()).map(|tool| tool.name.clone()).collect();
    let asked = match wanted {
        Wanted::Named(asked) => asked.as_slice(),
        Wanted::Profile => request.profile().tools.as_slice(),
        Wanted::All | Wanted::None => &[],
    };
    for missing in asked.iter().filter(|name| !names.contains(name)) {
        if *wanted == Wanted::Profile {
            request.warn(format!("the tool \"{missing}\" of the profile is not available"));
        } else {
            let message = format!("there is no tool \"{missing}\" for you; there is: {}", names.join(", "));
            return Err(Failure::invalid(message, Some("tools".to_owned())));
        }
    }
    Ok(choose(wanted, &request.profile().tools, all))
}
