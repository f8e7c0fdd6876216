//! One call: a fresh instance, its limits and its deadline, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::{Store, Trap, UpdateDeadline};

use super::bindings::ToolPluginPre;
use super::bindings::mlx_gateway::plugin::types;
use super::connector::{Access, Connector};
use super::engine::{CALLS_MAX, COMPONENT_MAX, Sandbox, WAITING_MAX};
use super::guest::{Guest, Listener, Origin, Stop, plain};
use super::meter::{Meter, Metered};
use super::output::{self, ListedTool};
use crate::fair::Places;
use crate::logging::InRequest;
use crate::tools::content::ToolOutput;
use crate::tools::error::{CallError, PluginError};
use crate::tools::manifest::Limits;

/// Bytes that a guest may hand over beyond its result's own limit: names, lengths, the frame of it.
const HAND_OVER_SLACK: usize = 256 << 10;
/// Bytes that the list of a component's tools may have.
const LIST_MAX: usize = 4 << 20;
/// What listing tools may take, whatever the plugin's own limits.
const LIST_CPU_MS: u64 = 10_000;

/// A component that is compiled and linked.
pub struct Component {
    pre: ToolPluginPre<Guest>,
    plugin: Arc<str>,
    config: Arc<BTreeMap<String, String>>,
    access: Arc<Access>,
    limits: Limits,
    places: Places,
    sandbox: Arc<Sandbox>,
}

/// A call of a tool.
pub struct Call<'a> {
    pub tool: &'a str,
    /// JSON.
    pub arguments: &'a str,
    pub request_id: &'a str,
    pub origin: Origin,
    pub model: Option<&'a str>,
    pub principal: Option<&'a str>,
    /// At most so long, when the caller has less time than the plugin's limit.
    pub deadline: Option<Duration>,
    pub listener: Option<Arc<dyn Listener>>,
}

/// A call with all it needs, so that it can go on wherever.
struct Job {
    pre: ToolPluginPre<Guest>,
    guest: Guest,
    fuel: usize,
    ask: Ask,
    /// Of the caller, who takes turns with others.
    lane: Arc<str>,
}

enum Ask {
    List,
    Call { tool: String, arguments: String, context: types::CallContext },
}

enum Told {
    List(Result<Vec<ListedTool>, CallError>),
    Call(Result<super::bindings::exports::mlx_gateway::plugin::tools::ToolResult, types::ToolError>),
}

/// What is left when an instance is gone.
struct Left {
    outcome: wasmtime::Result<Told>,
    memory_refused: bool,
    denied: Option<String>,
    over: bool,
    words: Option<String>,
}

/// The digest that names a component.
pub fn digest(wasm: &[u8]) -> String {
    Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Component {
    /// Compiles (or finds compiled) and links. Blocks.
    pub fn load(
        sandbox: &Arc<Sandbox>,
        wasm: &[u8],
        plugin: &str,
        config: BTreeMap<String, String>,
        access: Access,
        limits: Limits,
    ) -> Result<Component, PluginError> {
        if wasm.len() as u64 > COMPONENT_MAX {
            return Err(PluginError::Compile(format!("it is larger than {COMPONENT_MAX} bytes")));
        }
        let component = sandbox.cache.component(&sandbox.engine, wasm, &digest(wasm))?;
        let interface = |error: wasmtime::Error| PluginError::Interface(format!("{error:#}"));
        let linked = sandbox.linker.instantiate_pre(&component).map_err(interface)?;
        let pre = ToolPluginPre::new(linked).map_err(interface)?;
        Ok(Component {
            pre,
            plugin: Arc::from(plugin),
            config: Arc::new(config),
            access: Arc::new(access),
            places: Places::new(limits.concurrent as usize, WAITING_MAX),
            limits,
            sandbox: Arc::clone(sandbox),
        })
    }

    /// The tools it says it has.
    pub async fn list(&self) -> Result<Vec<ListedTool>, CallError> {
        let limits = Limits { cpu_ms: self.limits.cpu_ms.max(LIST_CPU_MS), ..self.limits.clone() };
        // Whoever lists has no need to reach anything.
        let lane = Arc::from("");
        let job = self.job((Ask::List, lane), &limits, Access::none().into(), None, LIST_MAX);
        match self.run(job, &limits, self.limits.wall()).await? {
            Told::List(list) => list,
            Told::Call(_) => Err(CallError::Internal("it answered another question".to_owned())),
        }
    }

    /// Runs a tool. Dropping the future ends the guest.
    pub async fn call(&self, call: &Call<'_>) -> Result<ToolOutput, CallError> {
        let wall = call.deadline.map_or(self.limits.wall(), |deadline| deadline.min(self.limits.wall()));
        let context = types::CallContext {
            request_id: call.request_id.to_owned(),
            origin: match call.origin {
                Origin::Mcp => types::Origin::Mcp,
                Origin::Chat => types::Origin::Chat,
            },
            model: call.model.map(str::to_owned),
            principal: call.principal.map(str::to_owned),
            deadline_ms: u32::try_from(wall.as_millis()).unwrap_or(u32::MAX),
        };
        let ask = Ask::Call { tool: call.tool.to_owned(), arguments: call.arguments.to_owned(), context };
        let fuel = usize::try_from(self.limits.output_bytes).unwrap_or(usize::MAX) + HAND_OVER_SLACK;
        let lane = Arc::from(call.principal.unwrap_or_default());
        let access = Arc::clone(&self.access);
        let job = self.job((ask, lane), &self.limits, access, call.listener.clone(), fuel);
        match self.run(job, &self.limits, wall).await? {
            Told::Call(Ok(result)) => output::output(result, self.limits.output_bytes),
            Told::Call(Err(error)) => Err(output::told(error, call.tool)),
            Told::List(_) => Err(CallError::Internal("it answered another question".to_owned())),
        }
    }

    fn job(
        &self,
        (ask, lane): (Ask, Arc<str>),
        limits: &Limits,
        access: Arc<Access>,
        listener: Option<Arc<dyn Listener>>,
        fuel: usize,
    ) -> Job {
        let guest = Guest::new(
            Arc::clone(&self.plugin),
            Arc::clone(&self.config),
            limits.memory_bytes,
            limits.cpu_ms,
            Connector::new(access),
            listener,
        );
        Job { pre: self.pre.clone(), guest, fuel, ask, lane }
    }

    /// Runs a job within `wall`, the wait for a place included.
    async fn run(&self, job: Job, limits: &Limits, wall: Duration) -> Result<Told, CallError> {
        let late = CallError::Deadline(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
        match tokio::time::timeout(wall, self.placed(job)).await {
            Ok(Ok(left)) => classify(left, limits),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(late),
        }
    }

    async fn placed(&self, job: Job) -> Result<Left, CallError> {
        let concurrent = self.limits.concurrent;
        let own = self.places.enter(&job.lane).await.ok_or(CallError::Busy(concurrent))?;
        let all = self.sandbox.places.enter(&job.lane).await.ok_or(CallError::Busy(CALLS_MAX))?;
        let running = self.sandbox.ticker.enter();
        let meter = Arc::clone(&job.guest.meter);
        let call = Metered { inner: Box::pin(perform(job)), meter: Arc::clone(&meter) };
        let left = self.in_turns(call, &meter).await;
        drop((own, all, running));
        left
    }

    /// Runs where the caller is, and goes on elsewhere once it has taken a whole tick, so that no
    /// caller's thread is kept from its other work.
    async fn in_turns<F>(&self, mut call: Metered<F>, meter: &Meter) -> Result<Left, CallError>
    where
        F: Future<Output = Left> + Send + 'static,
    {
        let first = std::future::poll_fn(|cx| match std::pin::Pin::new(&mut call).poll(cx) {
            std::task::Poll::Ready(left) => std::task::Poll::Ready(Some(left)),
            std::task::Poll::Pending if meter.is_long() => std::task::Poll::Ready(None),
            std::task::Poll::Pending => std::task::Poll::Pending,
        });
        if let Some(left) = first.await {
            return Ok(left);
        }
        let Some(runtime) = self.sandbox.runtime() else { return Ok(call.await) };
        let task = tokio_util::task::AbortOnDropHandle::new(runtime.spawn(InRequest::current(call)));
        task.await.map_err(|error| CallError::Internal(error.to_string()))
    }
}

async fn perform(job: Job) -> Left {
    let Job { pre, guest, fuel, ask, .. } = job;
    let mut store = Store::new(pre.engine(), guest);
    store.limiter(|guest| &mut guest.limiter);
    store.set_hostcall_fuel(fuel);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|context| {
        let guest = context.data();
        if guest.meter.interrupt() > Duration::from_millis(guest.cpu_ms) {
            return Err(Stop::OutOfCpu.into());
        }
        Ok(UpdateDeadline::Yield(1))
    });
    let outcome = ask_guest(&pre, &mut store, ask).await;
    let guest = store.data();
    let words = outcome.is_err().then(|| guest.printed.last_line()).flatten();
    let printed = guest.printed.text();
    if !printed.is_empty() {
        tracing::debug!(plugin.name = &*guest.plugin, "A plugin printed: {}", plain(&printed));
    }
    Left {
        memory_refused: guest.limiter.refused,
        denied: guest.connector.denied(),
        over: guest.connector.is_over(),
        words,
        outcome,
    }
}

async fn ask_guest(pre: &ToolPluginPre<Guest>, store: &mut Store<Guest>, ask: Ask) -> wasmtime::Result<Told> {
    let instance = pre.instantiate_async(&mut *store).await?;
    let tools = instance.mlx_gateway_plugin_tools();
    match ask {
        Ask::List => {
            let list = tools.call_list_tools(store).await?;
            let list = list.map(|list| list.into_iter().map(output::listed).collect());
            Ok(Told::List(list.map_err(|why| CallError::Internal(plain(&why)))))
        }
        Ask::Call { tool, arguments, context } => {
            Ok(Told::Call(tools.call_call_tool(store, &tool, &arguments, &context).await?))
        }
    }
}

/// What an ending means. A refusal of ours that the guest could not cope with is the reason, not what
/// the guest made of it.
fn classify(left: Left, limits: &Limits) -> Result<Told, CallError> {
    let error = match left.outcome {
        Ok(Told::Call(Err(_))) if left.denied.is_some() => {
            return Err(CallError::Denied(left.denied.unwrap_or_default()));
        }
        // What it made of an answer that was cut off is no result.
        Ok(Told::Call(_)) if left.over => return Err(CallError::Flood("HTTP requests or bytes")),
        Ok(told) => return Ok(told),
        Err(error) => error,
    };
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return Err(match stop {
            Stop::OutOfCpu => CallError::OutOfCpu(limits.cpu_ms),
            Stop::Flood(what) => CallError::Flood(what),
        });
    }
    if left.memory_refused {
        return Err(CallError::OutOfMemory(limits.memory_bytes));
    }
    if let Some(reason) = left.denied {
        return Err(CallError::Denied(reason));
    }
    if left.over {
        return Err(CallError::Flood("HTTP requests or bytes"));
    }
    let trap = error.downcast_ref::<Trap>().map(ToString::to_string);
    let exit =
        error.downcast_ref::<wasmtime_wasi::I32Exit>().map(|exit| format!("it exited with {}", exit.0));
    match trap.or(exit) {
        Some(trap) => Err(CallError::Trap(
            left.words.map_or(trap.clone(), |words| format!("{trap}: {}", plain(&words))),
        )),
        // Neither the guest's doing nor a refusal: what it handed over could not be taken.
        None => Err(CallError::TooMuchOutput(plain(&format!("{:#}", error.root_cause())))),
    }
}
