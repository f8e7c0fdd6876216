//! Reads a request body: bounded, scanned as it arrives, kept in the pieces it came in.

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;

use super::failure::Failure;
use crate::dialect::request::Scanned;
use crate::dialect::rope::Rope;
use crate::dialect::scan::Scanner;

/// Reads and scans `body`; `limit` in bytes.
pub async fn read<B>(mut body: B, limit: u64) -> Result<Scanned, Failure>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    if body.size_hint().lower() > limit {
        return Err(Failure::too_large(limit));
    }
    let mut scanner = Scanner::default();
    let mut rope = Rope::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::invalid(format!("the body broke off: {error}"), None))?;
        let Ok(piece) = frame.into_data() else { continue };
        if (rope.len() + piece.len()) as u64 > limit {
            return Err(Failure::too_large(limit));
        }
        scanner.feed(&piece)?;
        rope.push(piece);
    }
    let scan = scanner.finish()?;
    Ok(Scanned::new(rope, scan))
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};

    use super::*;

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
        assert_eq!(read(Full::new(Bytes::from("{\"a\":}")), 99).await.unwrap_err().status, 400);
    }
}
