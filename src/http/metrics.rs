//! `GET /metrics`, for Prometheus and whatever reads its formats: requests as they were counted, and
//! backends, queues, memory and plugins as they stand. No user and no key is a label.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;

use super::admin::servers::FIGURES_AGE;
use super::caller::DocsReader;
use super::error::ApiError;
use super::state::Shared;
use crate::backends::BackendSnapshot;
use crate::metrics::{CONTENT_TYPE, Page, Sample};
use crate::system::{Pressure, Thermal};
use crate::tools::PluginView;

/// Open on this machine; elsewhere it needs a key.
pub async fn page(State(gateway): State<Shared>, _caller: DocsReader) -> Result<Response, ApiError> {
    gateway.proxy.backends.look(FIGURES_AGE).await;
    let mut page = Page::default();
    process(&mut page, &gateway);
    backends(&mut page, &gateway.proxy.backends.snapshot());
    machine(&mut page, &gateway);
    plugins(&mut page, &gateway.tools.loaded());
    let text = page.text(gateway.proxy.recorder.metrics());
    let text = text.map_err(|error| ApiError::internal("the page of figures", &error))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

fn process(page: &mut Page, gateway: &Shared) {
    let recorder = &gateway.proxy.recorder;
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    page.gauge("mlx_gateway_build_info", "The gateway's version", [(version, 1.0)]);
    let uptime = gateway.about.started.elapsed().as_secs_f64();
    page.gauge("mlx_gateway_uptime_seconds", "Seconds since the gateway started", [plain(uptime)]);
    let running = recorder.running() as f64;
    page.gauge("mlx_gateway_requests_running", "Requests that are being answered", [plain(running)]);
    let bodies = gateway.proxy.bodies.bytes() as f64;
    page.gauge("mlx_gateway_request_body_bytes", "Memory that request bodies take", [plain(bodies)]);
    let lost = [(Vec::new(), recorder.lost())];
    page.counter("mlx_gateway_records_lost", "Records of requests that the store could not take", lost);
    let figures = recorder.throughput().all();
    let of = |profile: &str| vec![("profile", profile.to_owned())];
    let speeds = figures.iter().map(|(profile, speed, _)| (of(profile), *speed));
    page.gauge("mlx_gateway_tokens_per_second", "Completion tokens a second, over five seconds", speeds);
    let totals = figures.iter().map(|(profile, _, total)| (of(profile), *total));
    page.counter(
        "mlx_gateway_completion_tokens",
        "Completion tokens, those that stream now included",
        totals,
    );
}

fn backends(page: &mut Page, all: &[BackendSnapshot]) {
    let mut states: BTreeMap<&str, f64> = BTreeMap::new();
    for backend in all {
        *states.entry(backend.state).or_default() += 1.0;
    }
    let states = states.into_iter().map(|(state, count)| (vec![("state", state.to_owned())], count));
    page.gauge("mlx_gateway_backends", "Backends, by state", states);
    let of = |backend: &BackendSnapshot| vec![("backend", backend.id.clone())];
    let samples = |figure: &dyn Fn(&BackendSnapshot) -> Option<f64>| -> Vec<Sample> {
        all.iter().filter_map(|backend| Some((of(backend), figure(backend)?))).collect()
    };
    let in_flight = samples(&|backend| Some(f64::from(backend.in_flight)));
    page.gauge("mlx_gateway_backend_in_flight", "Requests that a backend is serving", in_flight);
    let queued = samples(&|backend| Some(backend.queued as f64));
    page.gauge("mlx_gateway_backend_queued", "Requests that wait for a backend", queued);
    let memory = samples(&|backend| backend.figures?.memory_bytes.map(|bytes| bytes as f64));
    page.gauge("mlx_gateway_backend_memory_bytes", "Memory of a backend's process tree", memory);
    let cpu = samples(&|backend| backend.figures?.cpu_percent);
    page.gauge("mlx_gateway_backend_cpu_percent", "Processor use of a process tree, 100 is one", cpu);
}

fn machine(page: &mut Page, gateway: &Shared) {
    let (about, backends) = (&gateway.about, &gateway.proxy.backends);
    let machine = backends.machine();
    let known = |figure: Option<f64>| figure.map(plain);
    let bytes = |figure: Option<u64>| known(figure.map(|bytes| bytes as f64));
    let budget = plain(about.memory_budget_bytes as f64);
    page.gauge("mlx_gateway_memory_budget_bytes", "What backends may use together", [budget]);
    let promised = plain(backends.promised_bytes() as f64);
    page.gauge("mlx_gateway_memory_promised_bytes", "Promised to backends that run and start", [promised]);
    page.gauge("mlx_gateway_machine_memory_bytes", "Memory of the machine", bytes(machine.memory_total));
    let available = bytes(machine.memory_available);
    page.gauge("mlx_gateway_machine_memory_available_bytes", "Memory that programs can still get", available);
    let pressure = machine.pressure.map(|pressure| match pressure {
        Pressure::Normal => 0.0,
        Pressure::Warning => 1.0,
        Pressure::Critical => 2.0,
    });
    page.gauge("mlx_gateway_machine_memory_pressure", "0 normal, 1 warning, 2 critical", known(pressure));
    let thermal = machine.thermal.map(|thermal| f64::from(u8::from(thermal == Thermal::Throttled)));
    page.gauge("mlx_gateway_machine_throttled", "1: slowed down because it is hot", known(thermal));
    page.gauge("mlx_gateway_gpu_percent", "Use of the graphics processor", known(machine.gpu.percent));
}

fn plugins(page: &mut Page, all: &[PluginView]) {
    let of = |plugin: &PluginView| vec![("plugin", plugin.name.clone())];
    let calls = all.iter().map(|plugin| (of(plugin), plugin.calls));
    page.counter("mlx_gateway_plugin_calls", "Calls of a plugin's tools", calls);
    let failures = all.iter().map(|plugin| (of(plugin), plugin.failures));
    page.counter("mlx_gateway_plugin_failures", "Calls whose tool reported a failure", failures);
    let errors = all.iter().flat_map(|plugin| {
        plugin.errors.iter().map(move |(code, count)| {
            let labels = vec![("plugin", plugin.name.clone()), ("code", code.clone())];
            (labels, *count)
        })
    });
    page.counter("mlx_gateway_plugin_errors", "Calls that did not come to their end, by code", errors);
}

fn plain(value: f64) -> Sample {
    (Vec::new(), value)
}
