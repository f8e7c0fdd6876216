//! The queue of questions, and the threads that put them to workers. One thread has one worker; both start with the
//! first question that needs them, and end when there are none for a while. A question that is lost with its worker
//! is asked once more, for it may have been another program that killed it.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::process::{Death, Process, Program};
use super::protocol::Reply;
use super::{Answered, QUEUE_BYTES_MAX, QUEUE_MAX, QUEUE_TIME, Unanswered, WORKERS_MAX};
use crate::fair::{Bounds, FairQueue};

/// Questions and workers of one gateway.
pub struct Pool {
    program: Program,
    /// A worker without questions ends after this time.
    idle_time: Duration,
    state: Mutex<State>,
    /// Something in the state has changed.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: FairQueue<Job>,
    workers: [Slot; WORKERS_MAX],
    threads: Vec<JoinHandle<()>>,
    is_closed: bool,
}

/// The thread of one worker.
#[derive(Default)]
enum Slot {
    #[default]
    Absent,
    Idle,
    /// With a handle that interrupts the question.
    Busy(Option<UnixStream>),
}

/// A question that waits.
struct Job {
    frame: Vec<u8>,
    since: Instant,
    reply: oneshot::Sender<Answered>,
}

impl Pool {
    /// A pool whose workers are this program; none is started yet.
    pub fn new(program: Program, idle_time: Duration) -> Pool {
        Pool { program, idle_time, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Puts a question's frame into the queue. Callers (`lane`) take turns; in a full queue the one with the most waiting
    /// questions gives up its last ones for another.
    pub fn ask(
        self: &Arc<Self>,
        lane: &Arc<str>,
        frame: Vec<u8>,
    ) -> Result<oneshot::Receiver<Answered>, Unanswered> {
        let mut state = self.state();
        if state.is_closed {
            return Err(Unanswered::Busy);
        }
        self.start_if_needed(&mut state)?;
        state.queue.take_if(|job| job.reply.is_closed());
        let bounds = Bounds { entries: QUEUE_MAX, bytes: QUEUE_BYTES_MAX };
        let displaced = state.queue.make_room(lane, frame.len(), bounds, |_| true).ok_or(Unanswered::Busy)?;
        let (reply, answer) = oneshot::channel();
        state.queue.push_sized(lane, 0, frame.len(), Job { frame, since: Instant::now(), reply });
        drop(state);
        for job in displaced {
            if job.reply.send(Err(Unanswered::Busy)).is_err() {
                tracing::debug!("A caller left before its question lost its place");
            }
        }
        self.changed.notify_all();
        Ok(answer)
    }

    /// Ends all workers and waits for them. Questions that are in them get no answer.
    pub fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.queue.take_if(|_| true);
        for slot in &state.workers {
            if let Slot::Busy(Some(handle)) = slot
                && let Err(error) = handle.shutdown(Shutdown::Both)
            {
                tracing::debug!(%error, "Could not interrupt worker");
            }
        }
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        self.changed.notify_all();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("A worker's thread panicked");
            }
        }
    }

    fn start_if_needed(self: &Arc<Self>, state: &mut State) -> Result<(), Unanswered> {
        let idle = state.workers.iter().filter(|slot| matches!(slot, Slot::Idle)).count();
        if idle > state.queue.len() {
            return Ok(());
        }
        let absent = state.workers.iter().position(|slot| matches!(slot, Slot::Absent));
        let Some(index) = absent else { return Ok(()) };
        let pool = Arc::clone(self);
        let thread = std::thread::Builder::new().name(format!("worker-{index}"));
        let thread = thread.spawn(move || pool.serve(index));
        let thread = thread.map_err(|error| Unanswered::Unavailable(error.to_string()))?;
        state.threads.retain(|thread| !thread.is_finished());
        state.threads.push(thread);
        if let Some(slot) = state.workers.get_mut(index) {
            *slot = Slot::Idle;
        }
        Ok(())
    }

    /// Puts questions to one worker until there are none.
    fn serve(&self, index: usize) {
        let mut process = None;
        while let Some(job) = self.next(index) {
            if job.reply.is_closed() {
                continue;
            }
            let answered = if job.since.elapsed() > QUEUE_TIME {
                Err(Unanswered::Busy)
            } else {
                self.put(index, &mut process, &job.frame)
            };
            if job.reply.send(answered).is_err() {
                tracing::debug!("A caller left before the worker's reply");
            }
        }
    }

    /// The next question of that worker; none: there was none for a while, or the pool is closed. The second worker
    /// gets one only while the first one is busy, so that what the first one has loaded is used.
    fn next(&self, index: usize) -> Option<Job> {
        let until = Instant::now() + self.idle_time;
        let mut state = self.state();
        state.set(index, Slot::Idle);
        loop {
            let is_first = state.workers.iter().take(index).all(|slot| !matches!(slot, Slot::Idle));
            if is_first && let Some(job) = state.queue.pop() {
                state.set(index, Slot::Busy(None));
                drop(state);
                self.changed.notify_all();
                return Some(job);
            }
            let left = until.saturating_duration_since(Instant::now());
            if state.is_closed || left.is_zero() {
                state.set(index, Slot::Absent);
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Puts one question to a worker that is started for it if there is none.
    fn put(&self, index: usize, process: &mut Option<Process>, frame: &[u8]) -> Answered {
        for is_repeated in [false, true] {
            let worker = match process {
                Some(worker) => worker,
                None => process.insert(self.start(index)?),
            };
            let pid = worker.id();
            let asked = if self.note_handle(index, worker) {
                worker.ask(frame)
            } else {
                return Err(Unanswered::Busy);
            };
            if matches!(asked, Ok(Reply::Panicked) | Err(_)) {
                *process = None;
            }
            match asked {
                Ok(Reply::Panicked) => return Err(Unanswered::Crash),
                Ok(reply) => return Ok(reply),
                Err(_) if self.state().is_closed => return Err(Unanswered::Busy),
                Err(Death::Time) => {
                    tracing::warn!(worker.pid = pid, "Killed worker that exceeded its time");
                    return Err(Unanswered::Time);
                }
                Err(Death::Crash(error)) => {
                    tracing::warn!(worker.pid = pid, error, is_repeated, "Worker died");
                }
            }
        }
        Err(Unanswered::Crash)
    }

    fn start(&self, index: usize) -> Result<Process, Unanswered> {
        let worker = Process::start(&self.program).map_err(|error| {
            tracing::error!(error, "Could not start worker");
            Unanswered::Unavailable(error)
        })?;
        tracing::debug!(worker.pid = worker.id(), worker.index = index, "Started worker");
        Ok(worker)
    }

    /// Keeps a handle by which [`Pool::close`] interrupts the question; false: the pool is closed already.
    fn note_handle(&self, index: usize, worker: &Process) -> bool {
        let handle = worker.handle();
        let handle =
            handle.inspect_err(|error| tracing::debug!(%error, "Could not keep a worker's handle")).ok();
        let mut state = self.state();
        state.set(index, Slot::Busy(handle));
        !state.is_closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set(&mut self, index: usize, slot: Slot) {
        if let Some(old) = self.workers.get_mut(index) {
            *old = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::IDLE_TIME;
    use crate::worker::protocol::Question;

    /// A pool whose workers are busy for ever.
    fn busy() -> Arc<Pool> {
        let pool = Pool::new(Program::Thread, IDLE_TIME);
        pool.state().workers = std::array::from_fn(|_| Slot::Busy(None));
        Arc::new(pool)
    }

    fn lane(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    #[tokio::test]
    async fn ask_bounds_the_queue_in_number_and_takes_from_the_caller_with_the_most() {
        let (pool, a) = (busy(), lane("a"));
        let mut waiting: Vec<_> = (0..QUEUE_MAX).map(|_| pool.ask(&a, vec![0; 10]).unwrap()).collect();
        assert_eq!(pool.ask(&a, Vec::new()).unwrap_err(), Unanswered::Busy);
        assert_eq!((waiting.len(), pool.state().queue.bytes()), (QUEUE_MAX, 10 * QUEUE_MAX));
        let other = pool.ask(&lane("b"), vec![7]).unwrap();
        assert_eq!(waiting.pop().unwrap().await.unwrap(), Err(Unanswered::Busy));
        let order: Vec<u8> = (0..2).map(|_| pool.state().queue.pop().unwrap().frame[0]).collect();
        assert_eq!(order, [0, 7], "callers take turns");
        drop((waiting, other));
        assert!(pool.ask(&a, Vec::new()).is_ok(), "those who left free their places");
        assert_eq!(pool.state().queue.len(), 1);
    }

    #[tokio::test]
    async fn ask_bounds_the_queue_in_bytes() {
        let (pool, a) = (busy(), lane("a"));
        let half = || vec![0; QUEUE_BYTES_MAX / 2];
        let (first, second) = (pool.ask(&a, half()).unwrap(), pool.ask(&a, half()).unwrap());
        assert_eq!(pool.ask(&a, vec![0]).unwrap_err(), Unanswered::Busy);
        let other = pool.ask(&lane("b"), vec![0]).unwrap();
        assert_eq!(second.await.unwrap(), Err(Unanswered::Busy));
        assert_eq!(pool.state().queue.bytes(), QUEUE_BYTES_MAX / 2 + 1);
        // The place is free again once a worker takes the question.
        let job = pool.next(0).unwrap();
        assert_eq!(pool.state().queue.bytes(), 1);
        drop((job, other));
        assert!(first.await.is_err());
    }

    #[test]
    fn a_second_worker_starts_only_while_the_first_one_is_busy() {
        let pool = Arc::new(Pool::new(Program::Path("/there/is/none".into()), IDLE_TIME));
        let count = || pool.state().workers.iter().filter(|slot| !matches!(slot, Slot::Absent)).count();
        let mut state = pool.state();
        pool.start_if_needed(&mut state).unwrap();
        pool.start_if_needed(&mut state).unwrap();
        drop(state);
        assert_eq!(count(), 1);
        let mut state = pool.state();
        state.set(0, Slot::Busy(None));
        pool.start_if_needed(&mut state).unwrap();
        drop(state);
        assert_eq!(count(), 2);
        pool.close();
        assert_eq!(count(), 0);
        assert_eq!(pool.ask(&lane("a"), Vec::new()).unwrap_err(), Unanswered::Busy);
    }

    #[test]
    fn a_worker_without_questions_ends_and_the_next_question_starts_another() {
        let pool = Arc::new(Pool::new(Program::Thread, Duration::ZERO));
        for _ in 0..2 {
            let question = Question::Compile { digest: [0; 32], schema: "true".into() };
            let answer = pool.ask(&lane("a"), question.to_frame().unwrap()).unwrap().blocking_recv().unwrap();
            assert_eq!(answer, Ok(Reply::Compiled { unchecked: Vec::new() }));
            let threads = std::mem::take(&mut pool.state().threads);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert!(pool.state().workers.iter().all(|slot| matches!(slot, Slot::Absent)));
        }
    }
}
