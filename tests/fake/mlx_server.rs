//! `fake_mlx_server`: a real process that behaves on the wire and towards signals like
//! mlx-openai-server 1.8.1 with a scripted model, or goes wrong on request. See README.md here.

mod answer;
mod args;
mod endless;
mod form;
mod http1;
mod process;
mod script;
mod seen;
mod wire;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::Signal as Signals;
use tokio::task::JoinSet;

use args::{Args, Command};
use process::{asked_to_stop, complain, fork_child, gate_signal, log, say, watch_parent};
use seen::Seen;

/// What a process ended by TERM leaves as its code in a shell.
const CODE_TERMINATED: u8 = 143;
const READY_FILE_POLL: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    let args = Args::parse(std::env::args().skip(1), std::env::vars());
    match args.command {
        Command::Version => say("\n✨ mlx-openai-server - OpenAI Compatible API Server for MLX models ✨\n\
             ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━\n🚀 Version: 1.8.1\n"),
        Command::Help => say(include_str!("launch-help-1.8.1.txt").trim_end()),
        Command::Serve | Command::Child => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let outcome = runtime.and_then(|runtime| runtime.block_on(run(args)));
            return outcome.unwrap_or_else(|error| {
                complain(&format!("ERROR:    {error}"));
                ExitCode::FAILURE
            });
        }
    }
    ExitCode::SUCCESS
}

async fn run(args: Args) -> std::io::Result<ExitCode> {
    watch_parent(args.outlive_parent || args.command == Command::Child);
    if args.command == Command::Child {
        asked_to_stop(args.ignore_sigterm).await?;
        return Ok(ExitCode::from(CODE_TERMINATED));
    }
    let _child = start_up(&args)?;
    let loaded = tokio::select! {
        loaded = load(&args) => loaded,
        asked = asked_to_stop(args.ignore_sigterm) => {
            asked?;
            return Ok(ExitCode::from(CODE_TERMINATED));
        }
    };
    if let Some(failed) = loaded {
        return Ok(failed);
    }
    let listener = match TcpListener::bind(("127.0.0.1", args.port)).await {
        Ok(listener) => listener,
        Err(error) => {
            complain(&format!(
                "ERROR:    [Errno 98] error while attempting to bind on address \
                 ('127.0.0.1', {}): {error}",
                args.port
            ));
            return Ok(ExitCode::FAILURE);
        }
    };
    say("INFO:     Application startup complete.");
    say(&format!("INFO:     Uvicorn running on http://{} (Press CTRL+C to quit)", listener.local_addr()?));
    serve_until_stopped(listener, args).await?;
    Ok(ExitCode::from(CODE_TERMINATED))
}

fn start_up(args: &Args) -> std::io::Result<Option<std::process::Child>> {
    log("INFO", "app.main:print_multi_startup_banner:216", "✨ MLX Server v1.8.1 Starting ✨");
    for line in 0..args.flood_log {
        log("INFO", "app.main:flood:1", &format!("flood line {line}"));
    }
    if !args.fork_child {
        return Ok(None);
    }
    let child = fork_child(args.ignore_sigterm)?;
    let message = format!("Spawned handler process for '{}' (pid={})", args.model_name(), child.id());
    log("INFO", "app.core.handler_process:start:582", &message);
    Ok(Some(child))
}

/// Loads the model, as it were; a code when the process is to end instead.
async fn load(args: &Args) -> Option<ExitCode> {
    tokio::time::sleep(Duration::from_millis(args.ready_after_ms)).await;
    if let Some(file) = &args.ready_file {
        while !file.exists() {
            tokio::time::sleep(READY_FILE_POLL).await;
        }
    }
    if args.never_ready {
        std::future::pending::<()>().await;
    }
    if args.fail_load {
        let reason = format!(
            "Handler process for '{0}' failed to initialize: Error loading model: Repo id must \
             be in the form 'repo_name' or 'namespace/repo_name': '{0}'.",
            args.model_path
        );
        complain("ERROR:    Traceback (most recent call last):");
        complain("  File \"app/core/handler_process.py\", line 598, in start");
        complain("    raise RuntimeError(");
        complain(&format!("RuntimeError: {reason}"));
        complain("");
        complain("ERROR:    Application startup failed. Exiting.");
        return Some(ExitCode::SUCCESS);
    }
    args.exit_code.map(ExitCode::from)
}

/// After a signal it takes no more connections and waits for the open requests without limit.
async fn serve_until_stopped(listener: TcpListener, args: Args) -> std::io::Result<()> {
    let args = Arc::new(args);
    let seen = Arc::new(Seen::new());
    let gate_signal = gate_signal()?;
    let mut connections = JoinSet::new();
    let stop = asked_to_stop(args.ignore_sigterm);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn(answer::serve(stream, args.clone(), seen.clone()));
            }
            Some(_ended) = connections.join_next() => {}
            asked = &mut stop => {
                asked?;
                break;
            }
        }
    }
    drop(listener);
    tokio::select! {
        () = open_gate_on(gate_signal, &seen) => {}
        () = seen.all_ended() => {}
        () = async { while connections.join_next().await.is_some() {} } => {}
    }
    log("INFO", "app.server:lifespan:483", "Shutting down multi-handler application");
    Ok(())
}

/// Never ends.
async fn open_gate_on(mut signals: Signals, seen: &Seen) {
    while signals.recv().await.is_some() {
        seen.set_gate(true);
    }
    std::future::pending::<()>().await;
}
