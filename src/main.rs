//! Arguments, configuration, logging and exit codes; everything else is the library's.

use std::process::ExitCode;

use mlx_gateway::app::{App, AppError, ThisMachine};
use mlx_gateway::cli::{self, CliError, Exit, Global, LogFormat, Out, ServeArgs, Task};
use mlx_gateway::config::{self, Config, Flags, LoadError, Sources, Warning};
use mlx_gateway::logging::{self, LogFile};
use mlx_gateway::shutdown::{Signals, shut_down};
use mlx_gateway::system::limits;
use mlx_gateway::worker;

/// What one thread allocates, another frees: the writer of records frees what the serving threads made,
/// and with the system's allocator they would wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FILTER_VARIABLE: &str = "MLX_GATEWAY_LOG";

/// For how many milliseconds the allocator keeps memory that was freed. 0 while the gateway starts, which
/// takes 25 MB for moments and would keep them until there is traffic; `KEPT_MS` from then on.
fn keep_freed_memory(ms: std::ffi::c_long) {
    /// `mi_option_purge_delay`; the bindings do not name it.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    #[expect(unsafe_code, reason = "a foreign function; it only stores a number")]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, ms);
    }
}

/// The allocator's own default.
const KEPT_MS: std::ffi::c_long = 10;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == worker::ARGUMENT) {
        return if worker::child::run().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    keep_freed_memory(0);
    let invocation = match cli::parse(std::env::args_os(), &mut Out::standard(false)) {
        Ok(invocation) => invocation,
        Err(exit) => return exit.into(),
    };
    // Two providers are linked; without a choice the first connection over TLS would panic.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return tell(&CliError::Failed("TLS was set up twice".into()), &invocation.global).into();
    }
    let exit = match invocation.task {
        Task::Serve(args) => serve(&args, &invocation.global),
        Task::Check => check(&invocation.global),
        Task::Client(command) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let host = ThisMachine::new(|| {
                let loaded = load(&invocation.global, &ServeArgs::default());
                Ok(loaded.map_err(|error| CliError::Usage(error.to_string()))?.0)
            });
            match runtime {
                Ok(runtime) => runtime.block_on(async {
                    let exit = cli::run(command, &invocation.global, &host).await;
                    host.close().await;
                    exit
                }),
                Err(error) => tell(&CliError::Failed(error.to_string()), &invocation.global),
            }
        }
    };
    exit.into()
}

fn load(global: &Global, args: &ServeArgs) -> Result<(Config, Vec<Warning>, Sources), LoadFailure> {
    let sources = Sources::of_process(Flags {
        config: global.config.clone(),
        data_dir: global.data_dir.clone(),
        listen: args.listen.clone(),
        insecure: args.insecure,
        log_file: args.log_file.clone(),
    })?;
    let (config, warnings) = config::load(&sources)?;
    Ok((config, warnings, sources))
}

#[derive(Debug, thiserror::Error)]
enum LoadFailure {
    #[error("{0}")]
    Config(#[from] LoadError),
    #[error("the current folder cannot be found: {0}")]
    Io(#[from] std::io::Error),
}

fn check(global: &Global) -> Exit {
    let mut out = Out::standard(global.json);
    let (told, exit) = match load(global, &ServeArgs::default()) {
        Ok((config, warnings, _)) if global.json => {
            let names: Vec<&str> = config.profiles.iter().map(|profile| profile.name.as_str()).collect();
            let report = serde_json::json!({
                "ok": true, "file": config.file, "profiles": names, "warnings": warnings, "problems": [],
            });
            (out.raw_json(report.to_string().as_bytes()), Exit::Ok)
        }
        Ok((config, warnings, _)) => {
            let told = warnings.iter().try_for_each(|warning| out.note(&format!("warning: {warning}")));
            let file =
                config.file.map_or("the built-in configuration".into(), |file| file.display().to_string());
            (
                told.and_then(|()| {
                    out.line(&format!("{file}: {} profiles, no problems", config.profiles.len()))
                }),
                Exit::Ok,
            )
        }
        Err(LoadFailure::Config(error)) if global.json => {
            (out.raw_json(error.to_json().to_string().as_bytes()), Exit::Usage)
        }
        Err(error) => (out.error(&CliError::Usage(error.to_string())), Exit::Usage),
    };
    told.map_or_else(|error| error.exit(), |()| exit)
}

fn serve(args: &ServeArgs, global: &Global) -> Exit {
    let (config, warnings, sources) = match load(global, args) {
        Ok(loaded) => loaded,
        Err(error) => return tell(&CliError::Usage(error.to_string()), global),
    };
    if let Err(error) = begin_log(args, &config) {
        return tell(&error, global);
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    match limits::raise_open_files() {
        Ok(files) => tracing::debug!(files, "So many files and connections may be open"),
        Err(error) => tracing::warn!(%error, "How many files may be open is not known"),
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tell(&CliError::Failed(error.to_string()), global),
    };
    match runtime.block_on(run(config, sources)) {
        Ok(()) => Exit::Ok,
        Err(error @ AppError::InUse(_)) => {
            let told = tell(&CliError::Failed(error.to_string()), global);
            if told == Exit::Failure { Exit::Conflict } else { told }
        }
        Err(error) => tell(&CliError::Failed(error.to_string()), global),
    }
}

async fn run(config: Config, sources: Sources) -> Result<(), AppError> {
    let mut signals = Signals::new()?;
    let app = App::open(config).await?;
    let mut listeners = app.bind().await?;
    app.start().await?;
    keep_freed_memory(KEPT_MS);
    app.follow(sources);
    let addresses = listeners.addresses();
    listeners.serve(&app.routes, &app.gateway)?;
    let scheme = listeners.scheme();
    for address in addresses {
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            "mlx-gateway is listening on {scheme}://{address} (OpenAI clients: {scheme}://{address}/v1)"
        );
    }
    for link in app.gateway.setup_links() {
        tracing::info!("Create the administrator's account at {link}");
    }
    let signal = signals.next().await;
    tracing::info!(signal, "A signal asks for the end");
    shut_down(&app, &listeners, &mut signals).await;
    Ok(())
}

fn begin_log(args: &ServeArgs, config: &Config) -> Result<(), CliError> {
    let (config, data_dir) = (config.log.clone(), &config.server.data_dir);
    let setup = logging::Setup {
        filter: args.log_level.clone().or_else(|| std::env::var(FILTER_VARIABLE).ok()),
        json: args.log_format.unwrap_or_default() == LogFormat::Json,
        file: config.file.map(|path| LogFile {
            is_private: path.starts_with(data_dir),
            path,
            max_size: config.max_size,
            keep: config.keep,
        }),
    };
    logging::init(setup).map_err(|error| CliError::Usage(error.to_string()))
}

/// Prints an error and says how the process ends.
fn tell(error: &CliError, global: &Global) -> Exit {
    match Out::standard(global.json).error(error) {
        Ok(()) => error.exit(),
        Err(unprinted) => unprinted.exit(),
    }
}
