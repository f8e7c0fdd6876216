//! A body that counts: what a call sends and receives is bounded, and so is each silence.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use super::connector::{BYTES_MAX, Spent};

/// See the module.
pub struct Bounded {
    inner: WasiBody,
    spent: Arc<Spent>,
    silence: Duration,
    alarm: Pin<Box<Sleep>>,
}

impl Bounded {
    pub fn new(inner: WasiBody, spent: Arc<Spent>, silence: Duration) -> Bounded {
        Bounded { inner, spent, silence, alarm: Box::pin(tokio::time::sleep(silence)) }
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                let before = this.spent.bytes.fetch_add(len, Ordering::Relaxed);
                if before + len > BYTES_MAX {
                    this.spent.over.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(BYTES_MAX)))));
                }
                let silence = this.silence;
                this.alarm.as_mut().reset(Instant::now() + silence);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending => {
                std::task::ready!(this.alarm.as_mut().poll(cx));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
            other @ Poll::Ready(_) => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
