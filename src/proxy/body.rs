//! Reads a request body: bounded, scanned as it arrives, kept in the pieces it came in.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

use super::failure::Failure;
use super::metered::BoxError;
use super::upload::Rest;
use crate::bodies::Held;
use crate::dialect::form::{self, Form};
use crate::dialect::parts::{Part, Parts};
use crate::dialect::request::{Scanned, text_of};
use crate::dialect::rope::Rope;
use crate::dialect::scan::Scanner;

/// Time for a body that nobody reads.
const DISCARDED_FOR: Duration = Duration::from_secs(5);

/// Bytes of a piece that are scanned before the serving thread does something else.
const SLICE: usize = 256 << 10;

/// Bytes of a form that is read whole before a backend hears of it, so that it can be sent again.
const HELD_WHOLE: usize = 1 << 20;

/// Bytes that a body takes of the bound before any of it has arrived.
pub fn expected<B: Body>(body: &B, is_form: bool) -> u64 {
    let declared = body.size_hint().lower();
    if is_form { declared.min(HELD_WHOLE as u64) } else { declared }
}

/// Reads and scans `body`; `limit` in bytes. What is held grows with a body that says no length.
pub async fn read<B>(body: B, limit: u64, held: &Held) -> Result<Scanned, Failure>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let (mut scanner, mut rope) = (Scanner::default(), Rope::default());
    each_piece(body, limit, held, |piece| {
        scanner.feed(&piece)?;
        rope.push(piece);
        Ok(())
    })
    .await?;
    Ok(Scanned::new(rope, scanner.finish()?))
}

/// Reads a body that is to be translated; `limit` in bytes.
pub async fn collect<B>(body: B, limit: u64, held: &Held) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let declared = body.size_hint().lower().min(limit);
    let mut whole = BytesMut::with_capacity(usize::try_from(declared).unwrap_or(0));
    each_piece(body, limit, held, |piece| {
        whole.extend_from_slice(&piece);
        Ok(())
    })
    .await?;
    Ok(whole.freeze())
}

/// Reads a body piece by piece, and lets other requests work between pieces that are large.
async fn each_piece<B>(
    mut body: B,
    limit: u64,
    held: &Held,
    mut take: impl FnMut(Bytes) -> Result<(), Failure>,
) -> Result<(), Failure>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    if body.size_hint().lower() > limit {
        return Err(Failure::too_large(limit));
    }
    let mut arrived = 0;
    while let Some(frame) = body.frame().await {
        let Ok(mut piece) = frame.map_err(Failure::unread)?.into_data() else { continue };
        arrived += piece.len() as u64;
        if arrived > limit {
            return Err(Failure::too_large(limit));
        }
        held.grow(arrived)?;
        while piece.len() > SLICE {
            take(piece.split_to(SLICE))?;
            tokio::task::yield_now().await;
        }
        take(piece)?;
    }
    Ok(())
}

/// Drops what still arrives of a body that nobody reads, up to `limit` bytes and for [`DISCARDED_FOR`]: a client that
/// cannot send it to the end may not come to read the answer.
pub async fn discard<B>(mut body: B, limit: u64)
where
    B: Body<Data = Bytes> + Unpin,
{
    let all = async {
        let mut arrived = 0;
        while let Some(Ok(frame)) = body.frame().await {
            arrived += frame.data_ref().map_or(0, Bytes::len) as u64;
            if arrived > limit {
                break;
            }
        }
    };
    if tokio::time::timeout(DISCARDED_FOR, all).await.is_err() {
        tracing::debug!("A client is slow to send a body that nobody reads");
    }
}

/// Scans a body that was put together here.
pub fn scanned(body: Rope) -> Result<Scanned, Failure> {
    let mut scanner = Scanner::default();
    scanner.feed(&body.to_vec())?;
    Ok(Scanned::new(body, scanner.finish()?))
}

/// Reads a body that is a form; its fields may come in any order. A short one is read whole. Of a longer one no more
/// than it takes to know the model: the rest goes on to the backend while it arrives.
pub async fn read_form<B>(
    mut body: B,
    limit: u64,
    content_type: &str,
    held: &Held,
) -> Result<(Scanned, Option<Rest>), Failure>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    let boundary = form::boundary(content_type)?;
    if body.size_hint().lower() > limit {
        return Err(Failure::too_large(limit));
    }
    let mut whole = BytesMut::new();
    // Of a long form: what cuts it, what has come of it, and how many bytes that was.
    let mut long: Option<(Parts, Vec<Part>, usize)> = None;
    loop {
        let arrived = long.as_ref().map_or(whole.len(), |(.., arrived)| *arrived);
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(Failure::unread)?;
        let Ok(piece) = frame.into_data() else { continue };
        let arrived = arrived + piece.len();
        if arrived as u64 > limit {
            return Err(Failure::too_large(limit));
        }
        held.grow(arrived as u64)?;
        if long.is_none() {
            whole.extend_from_slice(&piece);
            if whole.len() <= HELD_WHOLE {
                continue;
            }
        }
        let fresh = if long.is_none() { std::mem::take(&mut whole).freeze() } else { piece };
        let (parts, come, counted) = long.get_or_insert_with(|| (Parts::new(boundary), Vec::new(), 0));
        *counted = arrived;
        parts.feed(&fresh);
        while let Some(part) = parts.part()? {
            come.push(part);
        }
        if text_of(come, "model")?.is_some() {
            break;
        }
    }
    let Some((parts, come, arrived)) = long else {
        let form = Form::read(&whole, boundary)?;
        return Ok((Scanned::of_form(whole.freeze(), form), None));
    };
    let body = Box::pin(body.map_err(Into::into));
    Ok((Scanned::of_open_form(come), Some(Rest { body, parts, arrived, limit })))
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};

    use super::*;
    use crate::bodies::Bodies;

    async fn read<B>(body: B, limit: u64) -> Result<Scanned, Failure>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let held = Bodies::new(1 << 20).hold(&"ada".into(), 0).unwrap();
        super::read(body, limit, &held).await
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_by_its_length_or_on_the_way() {
        let known = Full::new(Bytes::from("{\"model\":\"x\"}"));
        assert_eq!(read(known, 5).await.unwrap_err().status, 413);
        let frame = |piece| Ok::<_, String>(http_body::Frame::data(Bytes::from_static(piece)));
        let unknown =
            || StreamBody::new(futures_util::stream::iter([&b"{\"a\""[..], b":1", b"}"].map(frame)));
        assert_eq!(read(unknown(), 5).await.unwrap_err().status, 413);
        assert_eq!(read(unknown(), 7).await.unwrap().body.to_vec(), b"{\"a\":1}");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_or_is_no_json_is_the_clients_to_mend() {
        let cut = [Ok(http_body::Frame::data(Bytes::from("{"))), Err("reset")];
        let failure = read(StreamBody::new(futures_util::stream::iter(cut)), 99).await.unwrap_err();
        assert_eq!((failure.status, failure.message.as_str()), (400, "the body broke off: reset"));
        assert_eq!(failure.recorded, crate::usage::Status::Cancelled);
        assert_eq!(read(Full::new(Bytes::from("{\"a\":}")), 99).await.unwrap_err().status, 400);
    }
}
