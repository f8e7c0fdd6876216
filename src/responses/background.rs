//! Responses that are made in the background: what each has come to so far, for whoever asks for it or listens. Holds
//! their events while they are made and for a while longer; knows neither who makes them nor HTTP.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::dialect::failure::UpstreamFailure;
use crate::dialect::responses::{End, Events};

/// Responses that are made at one time, in all and of one owner.
const JOBS_MAX: usize = 1_000;
const OWNER_JOBS_MAX: usize = 250;
/// Bytes of events that are held of one response; the first ones go when there are more.
const EVENTS_MAX: usize = 8 << 20;
/// Bytes of events that are held of all responses, and at most of one owner's. Owners share the former: each may hold as
/// much as every other.
const ALL_EVENTS_MAX: usize = 256 << 20;
const OWNER_EVENTS_MAX: usize = 64 << 20;
/// Bytes of text that one owner's responses may come to while they are made.
const OWNER_TEXT_MAX: usize = 64 << 20;
/// Bytes of events that a listener is told at once.
const TOLD_MAX: usize = 256 << 10;
/// How long the events of one that has ended are held, and how many bytes of those of one owner and of all: the oldest go.
const HELD: Duration = Duration::from_secs(10 * 60);
const OWNER_HELD_MAX: usize = 16 << 20;
const HELD_MAX: usize = 64 << 20;

/// Those that are made, and those that have just been.
pub struct Jobs {
    all: Mutex<HashMap<String, Arc<Job>>>,
    /// [`ALL_EVENTS_MAX`].
    events_max: usize,
    /// Bytes of events that each owner may hold now.
    allowance: Arc<AtomicUsize>,
}

impl Default for Jobs {
    fn default() -> Jobs {
        Jobs { all: Mutex::default(), events_max: ALL_EVENTS_MAX, allowance: Arc::default() }
    }
}

/// Bytes that the jobs of one owner hold.
#[derive(Default)]
struct Share {
    events: AtomicUsize,
    text: AtomicUsize,
}

/// One of them.
pub struct Job {
    owner: String,
    state: Mutex<State>,
    /// Goes up with every change.
    changed: watch::Sender<u64>,
    cancelled: CancellationToken,
}

struct State {
    events: Events,
    /// What was told, an event each.
    told: VecDeque<Bytes>,
    /// The sequence number of the first one that is still held.
    first: u64,
    bytes: usize,
    /// Bytes of its text that are counted in `share`.
    text: usize,
    share: Arc<Share>,
    allowance: Arc<AtomicUsize>,
    ended: Option<Instant>,
}

/// Events that are no longer held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the events up to {first} of this response are no longer held; ask for the response itself")]
pub struct Lost {
    /// The first one that is.
    pub first: u64,
}

impl Jobs {
    /// Begins one that is queued; none: so many are made that it has to wait.
    pub fn begin(&self, owner: &str, id: &str, mut events: Events) -> Option<Arc<Job>> {
        let mut all = self.all();
        forget(&mut all);
        let (mut made, mut theirs) = (0, 0);
        for job in all.values().filter(|job| !job.is_over()) {
            made += 1;
            theirs += usize::from(job.owner == owner);
        }
        if made >= JOBS_MAX || theirs >= OWNER_JOBS_MAX {
            return None;
        }
        let share = all.values().find(|job| job.owner == owner).map(|job| Arc::clone(&job.state().share));
        self.divide(&all, owner);
        let queued = events.queue();
        let state = State {
            events,
            told: VecDeque::new(),
            first: 0,
            bytes: 0,
            text: 0,
            share: share.unwrap_or_default(),
            allowance: Arc::clone(&self.allowance),
            ended: None,
        };
        let job = Arc::new(Job {
            owner: owner.to_owned(),
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            cancelled: CancellationToken::new(),
        });
        job.state().tell(&queued);
        all.insert(id.to_owned(), Arc::clone(&job));
        Some(job)
    }

    /// The owner's of that id, if its events are still held.
    pub fn find(&self, owner: &str, id: &str) -> Option<Arc<Job>> {
        let mut all = self.all();
        forget(&mut all);
        all.get(id).filter(|job| job.owner == owner).cloned()
    }

    /// Whether it is being made.
    pub fn is_under_way(&self, owner: &str, id: &str) -> bool {
        self.find(owner, id).is_some_and(|job| !job.is_over())
    }

    /// Holds its events no longer.
    pub fn remove(&self, id: &str) {
        self.all().remove(id);
    }

    /// Holds no more events of those that have ended than there is room for.
    pub fn prune(&self) {
        forget(&mut self.all());
    }

    /// Divides the bytes of events among all owners, one who begins now included, and takes from those with more.
    fn divide(&self, all: &HashMap<String, Arc<Job>>, owner: &str) {
        let mut owners: HashSet<&str> = all.values().map(|job| job.owner.as_str()).collect();
        owners.insert(owner);
        let allowance = OWNER_EVENTS_MAX.min(self.events_max / owners.len());
        if self.allowance.swap(allowance, Ordering::Relaxed) > allowance {
            all.values().for_each(|job| job.state().give_way());
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Job>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    /// Takes bytes of its chat's stream. Comments tell what a connection waits for; nobody holds one here. Fails once
    /// the response would grow too large: the chat has to end.
    pub fn feed(&self, bytes: &[u8]) -> Result<(), UpstreamFailure> {
        if bytes.starts_with(b":") {
            return Ok(());
        }
        let mut reason = None;
        self.change(|state| {
            let events = state.events.feed(bytes);
            state.tell(&events);
            reason = state.events.abort_reason().cloned().or_else(|| state.count_text());
        });
        reason.map_or(Ok(()), Err)
    }

    /// Its chat failed, with this error.
    pub fn fail(&self, error: &Value) {
        self.change(|state| state.events.fail(error));
    }

    /// What came of it; told to nobody before [`close`](Self::close). `at`: seconds since 1970.
    pub fn end(&self, at: i64) -> End {
        let mut state = self.state();
        if self.cancelled.is_cancelled() && !state.events.is_over() {
            state.events.cancel()
        } else {
            state.events.finish(at)
        }
    }

    /// Tells its end.
    pub fn close(&self, end: &End) {
        self.change(|state| {
            state.tell(&end.events);
            state.ended = Some(Instant::now());
        });
    }

    /// The response as far as it has come.
    pub fn response(&self) -> Value {
        self.state().events.so_far()
    }

    /// Asks it to end.
    pub fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Resolves when it was asked to end.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Whether its end was told.
    pub fn is_over(&self) -> bool {
        self.state().ended.is_some()
    }

    /// Resolves when its end was told.
    pub async fn over(&self) {
        let mut changed = self.changed.subscribe();
        while !self.is_over() && changed.changed().await.is_ok() {}
    }

    /// What was told from the event `next` on, and the number of the one after it; waits until there is some.
    /// Nothing: that was the end.
    pub async fn told(&self, next: u64) -> Result<Option<(Bytes, u64)>, Lost> {
        let mut changed = self.changed.subscribe();
        loop {
            {
                let state = self.state();
                if next < state.first {
                    return Err(Lost { first: state.first });
                }
                let known = usize::try_from(next - state.first).unwrap_or(usize::MAX);
                let (mut told, mut next) = (Vec::new(), next);
                for event in state.told.iter().skip(known) {
                    told.extend_from_slice(event);
                    next += 1;
                    if told.len() >= TOLD_MAX {
                        break;
                    }
                }
                if !told.is_empty() {
                    return Ok(Some((told.into(), next)));
                }
                if state.ended.is_some() {
                    return Ok(None);
                }
            }
            if changed.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.send_modify(|version| *version += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Holds events, each of which has the number that follows the last one's.
    fn tell(&mut self, events: &[u8]) {
        let mut rest = events;
        while let Some(end) = memchr::memmem::find(rest, b"\n\n") {
            let (event, after) = rest.split_at(end + 2);
            if event.starts_with(b"event:") {
                self.bytes += event.len();
                self.share.events.fetch_add(event.len(), Ordering::Relaxed);
                self.told.push_back(Bytes::copy_from_slice(event));
            }
            rest = after;
        }
        self.give_way();
    }

    /// Drops its first events while it has too many, or its owner does.
    fn give_way(&mut self) {
        let is_over = |state: &State| {
            let theirs = state.share.events.load(Ordering::Relaxed);
            state.bytes > EVENTS_MAX || theirs > state.allowance.load(Ordering::Relaxed)
        };
        while is_over(self)
            && let Some(gone) = self.told.pop_front()
        {
            self.bytes -= gone.len();
            self.share.events.fetch_sub(gone.len(), Ordering::Relaxed);
            self.first += 1;
        }
    }

    /// Counts the text that the response has come to. A failure: its owner's responses have too much.
    fn count_text(&mut self) -> Option<UpstreamFailure> {
        let text = self.events.kept();
        let grown = text - self.text;
        self.text = text;
        let theirs = self.share.text.fetch_add(grown, Ordering::Relaxed) + grown;
        (theirs > OWNER_TEXT_MAX).then(|| {
            UpstreamFailure::overloaded(format!(
                "the text of your responses that are made in the background takes {} MiB already; try again when some \
                 have ended",
                OWNER_TEXT_MAX >> 20
            ))
        })
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.share.events.fetch_sub(self.bytes, Ordering::Relaxed);
        self.share.text.fetch_sub(self.text, Ordering::Relaxed);
    }
}

/// Drops those that ended long ago, and the oldest of the others when they take too much room.
fn forget(all: &mut HashMap<String, Arc<Job>>) {
    let mut ended: Vec<(Instant, String, Arc<Job>)> =
        all.iter().filter_map(|(id, job)| Some((job.state().ended?, id.clone(), Arc::clone(job)))).collect();
    ended.sort_unstable_by_key(|(at, ..)| std::cmp::Reverse(*at));
    let (mut held, mut by_owner) = (0, HashMap::<&str, usize>::new());
    for (at, id, job) in &ended {
        // Its response, and its events.
        let state = job.state();
        let bytes = state.bytes + state.text;
        drop(state);
        let theirs = by_owner.entry(&job.owner).or_default();
        *theirs += bytes;
        held += bytes;
        if at.elapsed() >= HELD || held > HELD_MAX || *theirs > OWNER_HELD_MAX {
            all.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dialect::responses::Asked;

    fn begun(jobs: &Jobs, id: &str) -> Arc<Job> {
        begun_by(jobs, "ada", id)
    }

    fn begun_by(jobs: &Jobs, owner: &str, id: &str) -> Arc<Job> {
        let asked = Asked::read(&json!({"model": "m", "input": "x", "background": true}), "0").unwrap();
        jobs.begin(owner, id, Events::new(asked.response(id, "m", 1), "0", asked.manner(&[]))).unwrap()
    }

    const CHUNK: &[u8] = b"data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
    const END: &[u8] = b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

    async fn names(job: &Job, next: u64) -> (Vec<String>, u64) {
        let (bytes, next) = job.told(next).await.unwrap().unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (text.lines().filter_map(|line| Some(line.strip_prefix("event: ")?.to_owned())).collect(), next)
    }

    #[tokio::test]
    async fn whoever_listens_hears_every_event_once_from_where_they_left_off() {
        let jobs = Jobs::default();
        let job = begun(&jobs, "a");
        assert_eq!(job.response()["status"], "queued");
        assert_eq!(names(&job, 0).await, (vec!["response.created".into(), "response.queued".into()], 2));
        job.feed(b": loading m 3s\n\n").unwrap();
        assert_eq!(job.response()["status"], "queued");
        job.feed(CHUNK).unwrap();
        assert_eq!(job.response()["status"], "in_progress");
        assert_eq!(job.response()["output"][0]["type"], "message");
        let (heard, next) = names(&job, 2).await;
        assert_eq!((heard[0].as_str(), heard.len() as u64), ("response.in_progress", next - 2));
        let listening = Arc::clone(&job);
        let listening = tokio::task::spawn(async move { names(&listening, next).await });
        job.feed(END).unwrap();
        let end = job.end(2);
        assert!(jobs.is_under_way("ada", "a") && end.response["status"] == "completed");
        job.close(&end);
        let (mut heard, mut at) = listening.await.unwrap();
        while let Some((bytes, next)) = job.told(at).await.unwrap() {
            heard.extend(String::from_utf8_lossy(&bytes).lines().map(str::to_owned));
            at = next;
        }
        assert!(heard.iter().any(|line| line.contains("response.completed")), "{heard:?}");
        job.over().await;
        assert!(!jobs.is_under_way("ada", "a") && jobs.find("bob", "a").is_none());
        assert!(jobs.find("ada", "a").is_some());
    }

    #[tokio::test]
    async fn one_that_is_cancelled_ends_as_that_with_what_there_is() {
        let jobs = Jobs::default();
        let job = begun(&jobs, "a");
        job.feed(CHUNK).unwrap();
        job.cancel();
        job.cancelled().await;
        let end = job.end(2);
        assert_eq!(
            (&end.response["status"], &end.response["output"][0]["status"]),
            (&json!("cancelled"), &json!("incomplete"))
        );
        let failed = begun(&jobs, "b");
        failed.fail(&json!({"message": "m", "type": "api_error"}));
        assert_eq!(failed.end(2).response["status"], "failed");
    }

    fn long(bytes: usize) -> Vec<u8> {
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(bytes))
            .into_bytes()
    }

    fn held_of(jobs: &Jobs, owner: &str) -> usize {
        jobs.all().values().filter(|job| job.owner == owner).map(|job| job.state().bytes).sum()
    }

    #[tokio::test]
    async fn events_are_bounded_by_owner_and_in_all_and_owners_share_them() {
        let events_max = 8 << 20;
        let jobs = Jobs { events_max, ..Jobs::default() };
        let owners: Vec<String> = (0..4).map(|n| format!("owner {n}")).collect();
        for (count, owner) in owners.iter().enumerate() {
            for n in 0..20 {
                begun_by(&jobs, owner, &format!("{owner} {n}")).feed(&long(500_000)).unwrap();
            }
            let held: Vec<usize> = owners.iter().map(|owner| held_of(&jobs, owner)).collect();
            let allowance = events_max / (count + 1);
            assert!(held.iter().all(|held| *held <= allowance), "{held:?}");
            assert!(held[count] > allowance / 2, "others leave room: {held:?}");
        }
        drop(begun_by(&jobs, "one more", "z"));
        assert_eq!(jobs.find("one more", "z").unwrap().state().first, 0, "all of its events are held");
    }

    #[tokio::test]
    async fn text_of_one_owner_is_bounded_and_that_of_others_goes_on() {
        let jobs = Jobs::default();
        let mut refused = None;
        for n in 0..OWNER_TEXT_MAX / (3 << 20) + 1 {
            let job = begun(&jobs, &n.to_string());
            refused = refused.or((0..3).find_map(|_| job.feed(&long(1 << 20)).err()));
        }
        let refused = refused.expect("a refusal");
        assert_eq!((refused.status, refused.code), (429, "queue_full"));
        assert!(refused.message.contains("64 MiB"), "{refused:?}");
        assert!(begun_by(&jobs, "bob", "his").feed(&long(1 << 20)).is_ok());
        jobs.all().clear();
        assert!(begun(&jobs, "again").feed(&long(1 << 20)).is_ok(), "what has gone makes room");
    }

    #[tokio::test]
    async fn ended_responses_of_one_owner_are_held_up_to_a_bound_and_those_of_others_stay() {
        let jobs = Jobs::default();
        let end = |job: &Job| {
            job.feed(&long(1 << 20)).unwrap();
            job.close(&job.end(2));
        };
        end(&begun_by(&jobs, "bob", "his"));
        for n in 0..20 {
            end(&begun(&jobs, &n.to_string()));
            jobs.prune();
        }
        assert!(held_of(&jobs, "ada") <= OWNER_HELD_MAX);
        assert!(jobs.find("ada", "0").is_none() && jobs.find("ada", "19").is_some());
        assert!(jobs.find("bob", "his").is_some());
    }

    #[tokio::test]
    async fn events_beyond_the_bound_are_lost_and_that_is_said() {
        let jobs = Jobs::default();
        let job = begun(&jobs, "a");
        let long =
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(1 << 20));
        // The response itself is bounded too; its end tells its text several times.
        let fed = (0..20).filter(|_| job.feed(long.as_bytes()).is_ok()).count();
        assert!((2..=4).contains(&fed), "{fed}");
        job.close(&job.end(2));
        let lost = job.told(0).await.unwrap_err();
        assert!(lost.first > 2 && job.told(lost.first).await.is_ok(), "{lost:?}");
        assert!(job.state().bytes <= EVENTS_MAX);
    }
}
