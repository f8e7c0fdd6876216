//! Waits until a server on 127.0.0.1 answers. Knows nothing of the process behind it; whoever waits
//! sees to its end and to the deadline.

use super::launcher::Readiness;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Between two looks whether the port is open. A refused connection on loopback costs microseconds.
const CONNECT_EVERY: Duration = Duration::from_millis(10);
/// Between two questions to a server that listens and is not ready.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long one question may take.
const MAX_ANSWER: Duration = Duration::from_secs(5);

/// How long the first token may take; the start's own deadline ends it sooner.
const MAX_FIRST_TOKEN: Duration = Duration::from_secs(600);

/// Returns once one of the paths is answered with 200, and the first token has come where one is
/// asked for.
pub async fn answered(port: u16, readiness: &Readiness) {
    listening(port, readiness).await;
    let Some(request) = &readiness.first_token else { return };
    loop {
        let post = |body: Bytes| {
            Request::post("/v1/chat/completions")
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(body))
        };
        if let (Ok(stream), Ok(request)) =
            (TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await, post(request.clone().into()))
        {
            let status = timeout(MAX_FIRST_TOKEN, status(port, stream, request)).await;
            if matches!(status, Ok(Some(StatusCode::OK))) {
                return;
            }
        }
        sleep(ASK_EVERY).await;
    }
}

async fn listening(port: u16, readiness: &Readiness) {
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            Err(_) => sleep(CONNECT_EVERY).await,
            Ok(stream) => {
                if any_ok(port, stream, readiness).await {
                    return;
                }
                sleep(ASK_EVERY).await;
            }
        }
    }
}

async fn any_ok(port: u16, first: TcpStream, readiness: &Readiness) -> bool {
    let mut first = Some(first);
    for path in &readiness.paths {
        let stream = match first.take() {
            Some(stream) => Ok(stream),
            None => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await,
        };
        let Ok(stream) = stream else { return false };
        let Ok(request) = Request::get(path).body(Full::default()) else { return false };
        let status = timeout(MAX_ANSWER, status(port, stream, request)).await;
        if matches!(status, Ok(Some(StatusCode::OK))) {
            return true;
        }
    }
    false
}

async fn status(port: u16, stream: TcpStream, mut request: Request<Full<Bytes>>) -> Option<StatusCode> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let host = HeaderValue::try_from(format!("127.0.0.1:{port}")).ok()?;
    request.headers_mut().insert(header::HOST, host);
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    let response = sender.send_request(request);
    tokio::pin!(response, connection);
    tokio::select! {
        biased;
        response = &mut response => response.ok().map(|response| response.status()),
        // The connection may be over in the very step that brought the response.
        _ = &mut connection => response.await.ok().map(|response| response.status()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn readiness() -> Readiness {
        Readiness { paths: vec!["/health".into(), "/v1/models".into()], first_token: None }
    }

    /// Answers the n-th request with what `answer` makes of n and the request line.
    async fn serve(listener: TcpListener, answer: impl Fn(u32, &str) -> &'static str) {
        let asked = AtomicU32::new(0);
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 1024];
            let read = stream.read(&mut bytes).await.unwrap();
            let line = String::from_utf8_lossy(&bytes[..read]).into_owned();
            let status = answer(asked.fetch_add(1, Ordering::Relaxed), &line);
            let text = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    }

    async fn wait_for(answer: impl Fn(u32, &str) -> &'static str) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let readiness = readiness();
        let ready = timeout(Duration::from_secs(10), answered(port, &readiness));
        tokio::select! {
            ready = ready => ready.expect("it never became ready"),
            () = serve(listener, answer) => {}
        }
    }

    #[tokio::test]
    async fn a_server_that_says_not_yet_is_asked_until_it_is_ready() {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        wait_for(move |n, _| {
            counted.store(n, Ordering::Relaxed);
            if n < 6 { "503 Service Unavailable" } else { "200 OK" }
        })
        .await;
        assert_eq!(asked.load(Ordering::Relaxed), 6);
    }

    #[tokio::test]
    async fn a_server_without_a_health_page_is_ready_when_it_lists_its_models() {
        wait_for(|_, line| if line.starts_with("GET /v1/models") { "200 OK" } else { "404 Not Found" })
            .await;
    }

    #[tokio::test]
    async fn a_server_that_is_well_before_it_has_loaded_has_to_give_a_token() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let readiness = Readiness { first_token: Some("{}".into()), ..readiness() };
        let posts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&posts);
        let answer = move |_, line: &str| {
            let is_post = line.starts_with("POST /v1/chat/completions");
            if is_post && counted.fetch_add(1, Ordering::Relaxed) < 2 { "503 Not Yet" } else { "200 OK" }
        };
        tokio::select! {
            ready = timeout(Duration::from_secs(10), answered(port, &readiness)) => ready.expect("it never became ready"),
            () = serve(listener, answer) => {}
        }
        assert_eq!(posts.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_port_that_opens_late_is_found() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let readiness = readiness();
        let ready = answered(port, &readiness);
        tokio::pin!(ready);
        assert!(timeout(Duration::from_millis(30), &mut ready).await.is_err());
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        tokio::select! {
            ready = timeout(Duration::from_secs(10), ready) => ready.expect("never ready"),
            () = serve(listener, |_, _| "200 OK") => {}
        }
    }
}
