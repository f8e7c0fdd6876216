//! Fields of the request that a log line belongs to: every line that is written while the future or the body of a
//! request is polled or dropped has them, at any level. They are no span of `tracing`, since a span is missing where
//! its own level is filtered out, and costs locks of the registry each time it is entered: entering here is one swap.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use uuid::Uuid;

thread_local! {
    static CURRENT: Cell<Option<RequestFields>> = const { Cell::new(None) };
}

/// Fields of one request; a cheap clone.
#[derive(Debug, Clone)]
pub struct RequestFields(Arc<Fields>);

#[derive(Debug)]
struct Fields {
    id: Uuid,
    /// The client's own id, which stands in place of `id` in its answer.
    client_id: Option<Arc<str>>,
    profile: OnceLock<Arc<str>>,
    key: OnceLock<Arc<str>>,
}

impl RequestFields {
    /// Creates the fields of a request whose profile and key are not known.
    pub fn new(id: Uuid, client_id: Option<Arc<str>>) -> RequestFields {
        let (profile, key) = (OnceLock::new(), OnceLock::new());
        RequestFields(Arc::new(Fields { id, client_id, profile, key }))
    }

    /// Returns the fields of the request that the current thread works for.
    pub fn current() -> Option<RequestFields> {
        CURRENT.with(|current| {
            let fields = current.take();
            current.set(fields.clone());
            fields
        })
    }

    /// Sets the profile of the current request, once.
    pub fn set_profile(name: &Arc<str>) {
        with_current(|fields| drop(fields.profile.set(Arc::clone(name))));
    }

    /// Sets the id of the current request's key, once.
    pub fn set_key(id: &Arc<str>) {
        with_current(|fields| drop(fields.key.set(Arc::clone(id))));
    }

    /// Runs `work` for this request.
    pub fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        let mut fields = Some(self.clone());
        let _entered = Entered::new(&mut fields);
        work()
    }

    /// Returns names and values of what is known.
    pub(super) fn known(&self) -> impl Iterator<Item = (&'static str, String)> {
        let Fields { id, client_id, profile, key } = &*self.0;
        let id = client_id.as_ref().map_or_else(|| id.to_string(), ToString::to_string);
        let known = [
            ("request.id", Some(id)),
            ("profile.name", profile.get().map(ToString::to_string)),
            ("key.id", key.get().map(ToString::to_string)),
        ];
        known.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

fn with_current(change: impl FnOnce(&Fields)) {
    CURRENT.with(|current| {
        let fields = current.take();
        if let Some(fields) = &fields {
            change(&fields.0);
        }
        current.set(fields);
    });
}

/// Makes a request the current one until it is dropped.
struct Entered<'a>(&'a mut Option<RequestFields>);

impl Entered<'_> {
    fn new(fields: &mut Option<RequestFields>) -> Entered<'_> {
        swap(fields);
        Entered(fields)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        swap(self.0);
    }
}

fn swap(fields: &mut Option<RequestFields>) {
    CURRENT.with(|current| *fields = current.replace(fields.take()));
}

/// A future or a body that works for a request whenever it is used, and when it is dropped.
#[derive(Debug)]
pub struct InRequest<T> {
    fields: Option<RequestFields>,
    /// None only while it is dropped.
    inner: Option<T>,
}

impl<T> InRequest<T> {
    /// Has `inner` work for the request of these fields.
    pub fn new(fields: &RequestFields, inner: T) -> InRequest<T> {
        InRequest { fields: Some(fields.clone()), inner: Some(inner) }
    }

    /// Returns what works for the request, outside of it.
    pub fn get_ref(&self) -> Option<&T> {
        self.inner.as_ref()
    }

    /// Uses what works for the request within it.
    pub fn with<R>(&mut self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let _entered = Entered::new(&mut self.fields);
        self.inner.as_mut().map(work)
    }
}

impl<F> InRequest<Pin<Box<F>>> {
    /// Has a future work for the current request, if there is one, on whichever thread.
    pub fn current(future: F) -> InRequest<Pin<Box<F>>> {
        InRequest { fields: RequestFields::current(), inner: Some(Box::pin(future)) }
    }
}

impl<F: Future + Unpin> Future for InRequest<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.with(|inner| Pin::new(inner).poll(cx)).unwrap_or(Poll::Pending)
    }
}

impl<T> Drop for InRequest<T> {
    fn drop(&mut self) {
        let _entered = Entered::new(&mut self.fields);
        drop(self.inner.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current_id() -> Option<String> {
        RequestFields::current()?.known().next().map(|(_, id)| id)
    }

    /// Notes the current request when it is dropped.
    struct Dropped<'a>(&'a Cell<Option<String>>);

    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.set(current_id());
        }
    }

    #[test]
    fn in_request_sets_the_current_request_for_each_use_and_the_drop() {
        let fields = ["a", "b"].map(|id| RequestFields::new(Uuid::nil(), Some(id.into())));
        let seen = Cell::new(None);
        let mut one = InRequest::new(&fields[0], Dropped(&seen));
        let mut other = InRequest::new(&fields[1], ());
        assert_eq!(current_id(), None);
        one.with(|_| {
            assert_eq!(current_id().as_deref(), Some("a"));
            other.with(|()| assert_eq!(current_id().as_deref(), Some("b")));
            assert_eq!(current_id().as_deref(), Some("a"));
        });
        drop(one);
        assert_eq!((seen.take().as_deref(), current_id()), (Some("a"), None));
    }

    #[tokio::test]
    async fn in_request_takes_the_current_request_to_another_task() {
        let fields = RequestFields::new(Uuid::nil(), None);
        let task = fields.run(|| {
            tokio::spawn(InRequest::current(async {
                tokio::task::yield_now().await;
                RequestFields::set_key(&"k1".into());
                RequestFields::set_key(&"k2".into());
                current_id()
            }))
        });
        assert_eq!(task.await.unwrap().as_deref(), Some("00000000-0000-0000-0000-000000000000"));
        let known: Vec<_> = fields.known().skip(1).collect();
        assert_eq!(known, [("key.id", "k1".to_owned())], "set once, whichever clone");
        RequestFields::set_profile(&"outside".into());
        assert_eq!((fields.known().count(), current_id()), (2, None));
    }
}
