//! What a call of a plugin costs: beside a bare instantiate-and-call of the same component in the same run,
//! for many callers, and while another plugin spins; how long a compiled plugin takes to load, and what both
//! bundled ones add in memory. Prints figures; not part of the tests, because a loaded machine says
//! nothing about them.

#[path = "tools/bare.rs"]
mod bare;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlx_gateway::events::Bus;
use mlx_gateway::store::Store;
use mlx_gateway::system::clock::SystemClock;
use mlx_gateway::tools::{Call, NewPlugin, Origin, Registry, RegistryDeps, Tool, bundled};
use mlx_gateway::worker::{Program, Worker};
use tokio::runtime::{Builder, Runtime};

/// The gateway's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SUM: &str = "{\"expression\":\"0.1 + 0.2\"}";
const WARM_UP: usize = 2_000;
const ROUNDS: usize = 10;
const CALLS: usize = 2_000;
const CALLERS: usize = 16;
const LOADS: usize = 20;
/// The folder of compiled plugins, for the process that measures memory alone.
const MEMORY_OF: &str = "MLX_GATEWAY_BENCH_MEMORY";

/// What is promised.
const TIMES_BARE_MAX: f64 = 1.5;
const P99_US_MAX: f64 = 100.0;
const LOAD_MS_MAX: f64 = 2.0;
const DELAY_MS_MAX: f64 = 10.0;

fn main() {
    if let Some(folder) = std::env::var_os(MEMORY_OF) {
        return println!("{}", memory(Path::new(&folder)));
    }
    let folder = tempfile::tempdir().unwrap();
    let threads = Builder::new_multi_thread().enable_all().build().unwrap();
    let one = Builder::new_current_thread().enable_all().build().unwrap();
    let registry = registry(folder.path());
    let calculator = one.block_on(async { registry.tool("calculator").await.unwrap() });

    let (ours, bare) = beside_bare(&one, &calculator);
    println!("bare call:    p50 {:.1} us, p99 {:.1} us", micros(&bare, 50), micros(&bare, 99));
    println!("sandboxed:    p50 {:.1} us, p99 {:.1} us", micros(&ours, 50), micros(&ours, 99));
    let mut missed = 0;
    let mut limit = |what: &str, found: f64, most: f64| {
        let verdict = if found <= most { "PASS" } else { "FAIL" };
        missed += u32::from(found > most);
        println!("{verdict}  {what}: {found:.2} (at most {most})");
    };
    limit("p50, times the bare call's", micros(&ours, 50) / micros(&bare, 50), TIMES_BARE_MAX);
    limit("p99, us", micros(&ours, 99), P99_US_MAX);
    limit("load of a compiled plugin, ms, median", load(&one, folder.path()), LOAD_MS_MAX);
    limit("delay of others by a plugin that spins, ms, p99", spinning(&registry, &calculator), DELAY_MS_MAX);
    let (added, with_code) = memory_of(folder.path());
    println!(
        "both bundled plugins and a call, in a process that does nothing else: {with_code:.2} MiB, {added:.2} MiB"
    );
    println!(
        "of them without the pages of the program's own file; what they add to a gateway: cargo bench --bench load"
    );
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (alone, many) = (throughput(&threads, &calculator, 1), throughput(&threads, &calculator, CALLERS));
    println!(
        "{CALLERS} callers:   {many:.0} calls/s, one caller {alone:.0}: {:.2} times, {cores} cores",
        many / alone
    );
    println!("{missed} limits missed");
}

fn registry(folder: &Path) -> Registry {
    Registry::new(RegistryDeps {
        dir: folder.join("plugins"),
        bundled: bundled(),
        cache: folder.join("cache"),
        store: Store::open(&folder.join("bench.db")).unwrap(),
        events: Bus::new(),
        clock: Arc::new(SystemClock),
        worker: Worker::new(Program::Path(env!("CARGO_BIN_EXE_mlx-gateway").into())),
        environment: HashMap::new(),
    })
}

async fn call(tool: &Tool, arguments: &str) {
    let call = Call {
        tool: &tool.name,
        arguments,
        request_id: "bench",
        origin: Origin::Chat,
        model: None,
        principal: None,
        deadline: None,
        listener: None,
    };
    // What spins ends with an error; a sum does not.
    let output = tool.call(&call).await;
    assert!(output.is_ok_and(|output| output.for_model() == "0.3") || tool.name == "spin");
}

/// Durations of our calls and of bare ones, turn by turn.
fn beside_bare(runtime: &Runtime, tool: &Tool) -> (Vec<Duration>, Vec<Duration>) {
    let bare = bare::Bare::new(&bundled()[0].wasm);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        for round in 0..=ROUNDS {
            let calls = if round == 0 { WARM_UP } else { CALLS };
            let (mut mine, mut plain) = (Vec::with_capacity(calls), Vec::with_capacity(calls));
            for _ in 0..calls {
                let began = Instant::now();
                call(tool, SUM).await;
                mine.push(began.elapsed());
            }
            for _ in 0..calls {
                let began = Instant::now();
                assert_eq!(bare.call("calculator", SUM).await, "0.3");
                plain.push(began.elapsed());
            }
            if round > 0 {
                ours.append(&mut mine);
                theirs.append(&mut plain);
            }
        }
    });
    (ours, theirs)
}

/// Calls per second of so many callers.
fn throughput(runtime: &Runtime, tool: &Arc<Tool>, callers: usize) -> f64 {
    let began = Instant::now();
    let each = ROUNDS * CALLS / callers;
    let callers = (0..callers).map(|_| {
        let tool = Arc::clone(tool);
        runtime.spawn(async move {
            for _ in 0..each {
                call(&tool, SUM).await;
            }
        })
    });
    let done: Vec<_> = callers.collect();
    let count = done.len() * each;
    done.into_iter().for_each(|caller| runtime.block_on(caller).unwrap());
    count as f64 / began.elapsed().as_secs_f64()
}

/// Milliseconds from nothing to the tools of a plugin whose compiled code is kept.
fn load(runtime: &Runtime, folder: &Path) -> f64 {
    let mut times: Vec<f64> = (0..LOADS)
        .map(|_| {
            let fresh = registry(folder);
            runtime.block_on(async { fresh.plugin("calculator").await.unwrap().load_ms })
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[LOADS / 2]
}

/// Milliseconds that others wait longer, on one serving thread, while a plugin that spins runs there too.
fn spinning(registry: &Registry, calculator: &Arc<Tool>) -> f64 {
    let manifest = "name = \"test_tools\"\n[limits]\ncpu_ms = 3000\n".to_owned();
    let wasm = include_bytes!("../tests/plugins/test_tools/test_tools.wasm").to_vec();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        registry.add(NewPlugin { manifest: Some(manifest), name: None, wasm }).await.unwrap();
        let spin = registry.tool("spin").await.unwrap();
        let alone = waits(calculator, 2_000).await;
        let spinning = tokio::spawn(async move { call(&spin, "{}").await });
        tokio::task::yield_now().await;
        let beside = waits(calculator, 2_000).await;
        spinning.await.unwrap();
        (micros(&beside, 99) - micros(&alone, 99)) / 1000.0
    })
}

async fn waits(tool: &Tool, calls: usize) -> Vec<Duration> {
    let mut waits = Vec::with_capacity(calls);
    for _ in 0..calls {
        let began = Instant::now();
        tokio::task::yield_now().await;
        call(tool, SUM).await;
        waits.push(began.elapsed());
    }
    waits
}

/// What a process of its own finds.
fn memory_of(folder: &Path) -> (f64, f64) {
    let own = std::env::current_exe().unwrap();
    let found = Command::new(own).env(MEMORY_OF, folder).output().unwrap();
    let (added, with_code) = std::str::from_utf8(&found.stdout).unwrap().trim().split_once(' ').unwrap();
    (added.parse().unwrap(), with_code.parse().unwrap())
}

/// Mebibytes that loading both bundled plugins and calling one adds to this process: without the pages of
/// the program's own file, and with them.
fn memory(folder: &Path) -> String {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let registry = registry(folder);
    let before = resident();
    runtime.block_on(async {
        registry.load().await;
        call(&registry.tool("calculator").await.unwrap(), SUM).await;
    });
    let after = resident();
    format!("{} {}", after.0 - before.0, after.1 - before.1)
}

/// Mebibytes of this process in memory, without and with the pages of the program's file; 0 where the
/// system does not say it in /proc.
fn resident() -> (f64, f64) {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let program = std::env::current_exe().unwrap();
    let (mut others, mut all, mut is_program) = (0.0, 0.0, false);
    for line in maps.lines() {
        match line.strip_prefix("Rss:").map(|rest| rest.trim().trim_end_matches(" kB")) {
            Some(kib) => {
                let mebibytes = kib.parse::<f64>().unwrap_or(0.0) / 1024.0;
                all += mebibytes;
                others += if is_program { 0.0 } else { mebibytes };
            }
            // A mapping's first line begins with its addresses, all others with a name and a colon.
            None if line.split(' ').next().is_some_and(|first| first.contains('-')) => {
                is_program = line.ends_with(program.to_str().unwrap());
            }
            None => {}
        }
    }
    (others, all)
}

fn micros(times: &[Duration], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted[sorted.len() * percent / 100].as_secs_f64() * 1e6
}
