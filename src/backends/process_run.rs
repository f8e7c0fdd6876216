//! A run of a backend, from nothing to nothing: folders, port, preparation, process, readiness,
//! end, clean-up. Knows no state machine and no waiter; it reports and is told to stop.

use super::admission::Permit;
use super::instance::{Instance, log_path};
use super::launcher::{Command, Launcher};
use super::logs::{LogBuffer, LogFile, RawLine};
use super::needs::Needs;
use super::orphans::{MARK, Record};
use super::ports::{Ports, ReservedPort};
use super::process::{Process, describe};
use super::readiness;
use super::run::{Job, ProcessFacts, Report, Runner};
use super::state::Failure;
use super::target::Target;
use super::workers::Workers;
use crate::config::{EngineKind, KeySource};
use crate::system::offload;
use crate::system::process::start_mark;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Log lines that tell why a run failed.
const FAILURE_LINES: usize = 20;
/// Ports tried when somebody else takes the one that was chosen.
const MAX_PORTS: u32 = 2;
/// How long the log file's last lines may take to be written.
const FILE_WAIT: Duration = Duration::from_secs(1);

/// Runs backends as processes of this machine, and `engine = "url"` as none.
pub struct ProcessRunner {
    data_dir: PathBuf,
    launcher: Arc<dyn Launcher>,
    needs: Arc<Needs>,
    ports: Ports,
}

/// How an attempt ended.
enum Ended {
    Asked,
    Failed(Failure),
    /// It goes on without what does its work, and would wait for that for ever.
    Hollow(Failure),
    /// Somebody else listens on its port.
    PortTaken,
}

impl ProcessRunner {
    pub fn new(data_dir: PathBuf, launcher: Arc<dyn Launcher>, needs: Arc<Needs>) -> ProcessRunner {
        ProcessRunner { data_dir, launcher, needs, ports: Ports::default() }
    }

    async fn run_job(&self, job: Job) -> Failure {
        if job.spec.settings.engine == EngineKind::Url {
            return run_elsewhere(&job).await;
        }
        // What can never fit is told before anything is installed for it.
        let need = self.needs.of(&job.spec).await.map_or(0, |need| need.bytes);
        if let Some(shortage) = job.admission.never_fits(need) {
            return Failure::short_of(shortage);
        }
        for _ in 0..MAX_PORTS {
            match self.attempt(&job).await {
                Ended::Asked => return Failure::because("it was stopped"),
                Ended::Failed(failure) | Ended::Hollow(failure) => return failure,
                Ended::PortTaken => {
                    tracing::info!(backend.id = %job.spec.id, "A backend's port was taken by another program");
                }
            }
        }
        Failure::because("its port was taken by another program each time; try again")
    }

    async fn attempt(&self, job: &Job) -> Ended {
        let instance = match Instance::create(&self.data_dir, &job.spec.id) {
            Ok(instance) => instance,
            Err(error) => {
                let dir = self.data_dir.display();
                return failed(format!("its folders cannot be made below {dir}: {error}"));
            }
        };
        let ended = match self.ports.reserve() {
            Ok(port) => self.run_in(&instance, &port, job).await,
            Err(error) => failed(format!("no port for it: {error}")),
        };
        instance.remove().await;
        ended
    }

    async fn run_in(&self, instance: &Instance, port: &ReservedPort, job: &Job) -> Ended {
        let reports = job.reports.clone();
        let report = move |step: String| {
            if reports.try_send(Report::Step(step)).is_err() {
                tracing::trace!("A step of a preparation is not shown: too many at once");
            }
        };
        let prepared = self.launcher.prepare(&job.spec, port.number(), &instance.dir, &report);
        let command = tokio::select! {
            () = job.stop.cancelled() => return Ended::Asked,
            prepared = prepared => match prepared {
                Ok(command) => command,
                Err(error) => return Ended::Failed(Failure {
                    log_tail: error.log_tail,
                    ..Failure::because(error.reason)
                }),
            },
        };
        // The model is here by now, so its files can be asked.
        let need = self.needs.of(&job.spec).await.map_or(0, |need| need.bytes);
        let permit = match job.admitted(need).await {
            None => return Ended::Asked,
            Some(Err(failure)) => return Ended::Failed(failure),
            Some(Ok(permit)) => permit,
        };
        if port.is_taken() {
            return Ended::PortTaken;
        }
        let before = job.logs.newest();
        let (file, written) = self.log_file(job).await;
        let mark = instance.dir.as_os_str().to_owned();
        let tmp = instance.tmp().into_os_string();
        let marks = [(MARK, mark.as_os_str()), ("TMPDIR", tmp.as_os_str())];
        let process = match Process::spawn(&command, marks, &job.logs, file) {
            Ok(process) => process,
            Err(error) => {
                let program = command.program.display();
                return failed(format!("{program} cannot be run: {error}"));
            }
        };
        let argv = std::iter::once(command.program.as_os_str())
            .chain(command.args.iter().map(OsString::as_os_str))
            .map(|arg| arg.to_string_lossy().into_owned());
        let facts = ProcessFacts { pid: process.pid(), port: port.number(), argv: argv.collect() };
        let record = Recorded::write(instance, job, process.pid());
        tell(job, Report::Spawned(facts)).await;
        let ended = watch(process, port, &command, job, &permit).await;
        drop(record);
        if timeout(FILE_WAIT, written).await.is_err() {
            tracing::debug!(backend.id = %job.spec.id, "A backend's log file lags behind");
        }
        match ended {
            Ended::Failed(failure) | Ended::Hollow(failure) => {
                Ended::Failed(with_log(failure, &job.logs, before))
            }
            other => other,
        }
    }

    /// Where the run's lines go, and the task that writes them down.
    async fn log_file(&self, job: &Job) -> (mpsc::Sender<Vec<RawLine>>, JoinHandle<()>) {
        let path = log_path(&self.data_dir, &job.spec.id);
        let (sender, lines) = LogFile::channel();
        let id = job.spec.id.clone();
        let write = async move {
            match LogFile::open(&path).await {
                Ok(file) => file.write_all(lines).await,
                Err(error) => {
                    tracing::warn!(backend.id = %id, %error, file.path = %path.display(), "A backend's log file cannot be opened; its log is kept in memory only");
                }
            }
        };
        (sender, job.tracker.spawn(write))
    }
}

impl Runner for ProcessRunner {
    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Failure> {
        async move { self.run_job(job).await }.boxed()
    }
}

/// The record of a run, removed with this.
struct Recorded(PathBuf);

impl Recorded {
    fn write(instance: &Instance, job: &Job, pid: u32) -> Recorded {
        let path = instance.record_path();
        // Without a start mark it has ended already, and needs no record.
        if let Some(started) = start_mark(pid) {
            let record = Record { backend: job.spec.id.clone(), pid, pgid: pid, started };
            if let Err(error) = record.write(&path) {
                tracing::warn!(%error, backend.id = %job.spec.id, "A run cannot be written down; after a crash it is found by its mark");
            }
        }
        Recorded(path)
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        Record::remove(&self.0);
    }
}

/// `engine = "url"`: somebody else runs it.
async fn run_elsewhere(job: &Job) -> Failure {
    let Some(upstream) = &job.spec.settings.upstream else {
        return Failure::because("engine = \"url\" needs `url`");
    };
    let target = match &upstream.api_key {
        Some(KeySource::File(path)) => {
            let upstream = upstream.clone();
            offload::run(path, offload::PATIENT_TIME, move || Target::upstream(&upstream)).await
        }
        _ => Ok(Target::upstream(upstream)),
    };
    match target {
        Ok(Ok(target)) => tell(job, Report::Answered(Box::new(target))).await,
        Ok(Err(error)) => return Failure::because(error.to_string()),
        Err(error) => return Failure::because(format!("the key file cannot be read: {error}")),
    }
    job.stop.cancelled().await;
    Failure::because("it was stopped")
}

/// Watches a process from its start to its end; whatever the end, nothing of it is left then.
async fn watch(
    mut process: Process,
    port: &ReservedPort,
    command: &Command,
    job: &Job,
    permit: &Permit,
) -> Ended {
    let limit = job.spec.timeouts.start;
    let ended = tokio::select! {
        biased;
        () = job.stop.cancelled() => Ended::Asked,
        status = process.exited() => {
            process.end().await;
            // Asked only now that no child of it can be the one who listens.
            return match port.is_taken() {
                true => Ended::PortTaken,
                false => failed(format!("{} before it answered", describe(&status))),
            };
        }
        ready = timeout(limit, readiness::answered(port.number(), &command.readiness)) => match ready {
            Ok(()) => {
                permit.ready();
                serve(&mut process, port, command, job).await
            }
            Err(_) => Ended::Failed(Failure {
                timed_out_after: Some(limit),
                ..Failure::because(format!("it did not answer within {} s", limit.as_secs_f64()))
            }),
        },
    };
    if job.kill.is_cancelled() || matches!(ended, Ended::Hollow(_)) {
        process.kill().await;
    } else {
        process.end().await;
    }
    ended
}

async fn serve(process: &mut Process, port: &ReservedPort, command: &Command, job: &Job) -> Ended {
    let workers = Workers::of(process.pid(), command.worker_mark).await;
    match Target::local(port.number()) {
        Ok(target) => tell(job, Report::Answered(Box::new(target))).await,
        Err(error) => return failed(error.to_string()),
    }
    tokio::select! {
        biased;
        () = job.stop.cancelled() => Ended::Asked,
        status = process.exited() => failed(format!("{} while it was in use", describe(&status))),
        worker = workers.one_ended() => Ended::Hollow(Failure::because(format!(
            "its worker process {worker} ended while the server went on"
        ))),
    }
}

async fn tell(job: &Job, report: Report) {
    if job.reports.send(report).await.is_err() {
        tracing::debug!(backend.id = %job.spec.id, "A run goes on without its actor");
    }
}

fn failed(reason: String) -> Ended {
    Ended::Failed(Failure::because(reason))
}

fn with_log(failure: Failure, logs: &LogBuffer, before: u64) -> Failure {
    Failure { log_tail: logs.tail_since(before, FAILURE_LINES), ..failure }
}

#[cfg(test)]
mod tests;
