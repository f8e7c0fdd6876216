//! Bodies of streaming answers: each is made for a caller and ends when that caller loses its right. The only
//! place that makes a body out of a stream; `tests/architecture.rs` refuses others.

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};

use crate::auth::Caller;
use crate::proxy::BoxError;

/// A body that passes the stream on until its end, or until the caller loses its right.
pub fn body<S, E>(caller: &Caller, pieces: S) -> Body
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    Body::from_stream(pieces.take_until(caller.ended()))
}

/// The same for a file: one that is cut off by the end of the right fails, so that it does not look complete.
pub fn file<S>(caller: &Caller, pieces: S) -> Body
where
    S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
{
    let right = caller.right().clone();
    let cut = move || std::io::Error::other("the caller lost the right to the file");
    let cut =
        stream::once(async move { right.has_ended().then(|| Err(cut())) }).filter_map(std::future::ready);
    Body::from_stream(pieces.take_until(caller.ended()).chain(cut))
}

/// A body that was made elsewhere, until its end or until the caller loses its right.
pub fn limited(caller: &Caller, inner: Body) -> Body {
    body(caller, inner.into_data_stream())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::BodyExt;

    use super::*;

    fn pending<E>() -> impl Stream<Item = Result<Bytes, E>> {
        stream::iter([Ok(Bytes::from_static(b"one"))]).chain(stream::pending())
    }

    #[tokio::test]
    async fn body_ends_and_file_fails_when_the_caller_loses_its_right() {
        let caller = Caller::for_test();
        let mut body = body(&caller, pending::<Infallible>());
        let mut file = file(&caller, pending());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        assert_eq!(file.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        caller.lose_right();
        assert!(body.frame().await.is_none());
        assert!(file.frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn file_ends_whole_while_the_caller_has_its_right() {
        let pieces = stream::iter([Ok(Bytes::from_static(b"one")), Ok(Bytes::from_static(b"two"))]);
        let whole = file(&Caller::for_test(), pieces).collect().await.unwrap();
        assert_eq!(whole.to_bytes(), "onetwo");
    }
}
