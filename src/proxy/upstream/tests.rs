//! The whole stack against servers that are a few lines each.

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::testing::request;
use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

struct Server {
    listener: TcpListener,
    request: UpstreamRequest,
}

async fn server() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let request = UpstreamRequest { target: Arc::new(Target::local(port).unwrap()), ..request() };
    Server { listener, request }
}

/// Reads a request without a body, and says its head.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn answer(upstreams: &Upstreams, request: &UpstreamRequest) -> Result<Bytes, UpstreamError> {
    let response = upstreams.send(request.clone()).await?;
    Ok(response.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn a_connection_is_used_again_and_requests_name_their_host() {
    let Server { listener, request } = server().await;
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..3 {
            let head = read_head(&mut stream).await;
            assert!(head.starts_with("POST /v1/chat/completions"), "{head}");
            assert!(head.contains("host: 127.0.0.1:"), "{head}");
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    };
    let upstreams = Upstreams::default();
    let asking = async {
        for _ in 0..3 {
            assert_eq!(answer(&upstreams, &request).await.unwrap(), "ok");
        }
    };
    tokio::join!(serving, asking);
}

#[tokio::test]
async fn a_connection_that_its_server_closed_meanwhile_does_no_harm() {
    let Server { listener, request } = server().await;
    let serving = async {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    };
    let upstreams = Upstreams::default();
    let asking = async {
        for _ in 0..2 {
            assert_eq!(answer(&upstreams, &request).await.unwrap(), "ok");
        }
    };
    tokio::join!(serving, asking);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_takes_again_is_closed() {
    let Server { listener, request } = server().await;
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "closed by the client");
    };
    let upstreams = Upstreams::default();
    let (answer, ()) = tokio::join!(answer(&upstreams, &request), serving);
    assert_eq!(answer.unwrap(), "ok");
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_read_to_its_end() {
    let Server { listener, request } = server().await;
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nall of it").await.unwrap();
    };
    let upstreams = Upstreams::default();
    let (answer, ()) = tokio::join!(answer(&upstreams, &request), serving);
    assert_eq!(answer.unwrap(), "all of it");
}

#[tokio::test]
async fn whoever_drops_an_answer_closes_its_connection() {
    let Server { listener, request } = server().await;
    let upstreams = Upstreams::default();
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
        let mut rest = Vec::new();
        assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0, "the client has gone");
    };
    let asking = async {
        let mut response = upstreams.send(request).await.unwrap();
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "half");
    };
    tokio::join!(serving, asking);
}

#[tokio::test]
async fn nobody_there_or_nonsense_is_told_apart() {
    let Server { listener, request } = server().await;
    let upstreams = Upstreams::default();
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"what?\r\n\r\n").await.unwrap();
    };
    let (nonsense, ()) = tokio::join!(upstreams.send(request.clone()), serving);
    assert!(matches!(nonsense, Err(UpstreamError::Broken(_))), "{nonsense:?}");
    drop(listener);
    assert!(matches!(upstreams.send(request).await, Err(UpstreamError::Connect { .. })));
}

#[tokio::test]
async fn upstreams_shed_requests_above_their_bound_until_an_answer_ends() {
    let Server { listener, request } = server().await;
    let upstreams = Upstreams::new(1);
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            read_head(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    };
    let asking = async {
        let first = upstreams.send(request.clone()).await.unwrap();
        assert!(matches!(upstreams.send(request.clone()).await, Err(UpstreamError::Shed)));
        first.into_body().collect().await.unwrap();
        assert_eq!(answer(&upstreams, &request).await.unwrap(), "ok");
    };
    tokio::join!(serving, asking);
}

#[tokio::test]
async fn upstreams_give_up_a_backend_that_does_not_answer_in_time() {
    let Server { listener, request } = server().await;
    let request = UpstreamRequest { first_byte: Duration::from_millis(20), ..request };
    let silent = async {
        let (stream, _) = listener.accept().await.unwrap();
        stream
    };
    let upstreams = Upstreams::default();
    let (outcome, _open) = tokio::join!(upstreams.send(request.clone()), silent);
    assert!(matches!(outcome, Err(UpstreamError::Deadline(limit)) if limit == request.first_byte));
}

#[tokio::test]
async fn upstreams_resend_once_and_only_over_a_new_connection() {
    let Server { listener, request } = server().await;
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        read_head(&mut stream).await;
        drop(stream);
        // The new connection is closed too: that is an answer.
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
    };
    let upstreams = Upstreams::default();
    let asking = async {
        assert_eq!(answer(&upstreams, &request).await.unwrap(), "ok");
        assert!(matches!(upstreams.send(request.clone()).await, Err(UpstreamError::Broken(_))));
    };
    tokio::join!(serving, asking);
}
