//! Waits until a server on 127.0.0.1 answers. Knows nothing of the process behind it; whoever waits
//! sees to its end and to the deadline.

use super::launcher::Readiness;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
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
/// Between two requests for the first token.
const ASK_AGAIN: Duration = Duration::from_millis(250);
const CHAT: &str = "/v1/chat/completions";
/// How long one question may take.
const MAX_ANSWER: Duration = Duration::from_secs(5);

/// Returns once one of the paths is answered with 200, and the first token has come if one is asked
/// for.
pub async fn answered(port: u16, readiness: &Readiness) {
    until_any_ok(port, &readiness.paths).await;
    let Some(question) = &readiness.first_token else { return };
    // No limit of its own: loading may be all that it waits for, and `timeouts.start` bounds that.
    while ask_for_token(port, question).await != Some(StatusCode::OK) {
        sleep(ASK_AGAIN).await;
    }
}

async fn until_any_ok(port: u16, paths: &[String]) {
    loop {
        let Some(first) = connect(port).await else {
            sleep(CONNECT_EVERY).await;
            continue;
        };
        if any_ok(port, first, paths).await {
            return;
        }
        sleep(ASK_EVERY).await;
    }
}

async fn any_ok(port: u16, first: TcpStream, paths: &[String]) -> bool {
    let mut first = Some(first);
    for path in paths {
        let stream = match first.take() {
            Some(stream) => stream,
            None => match connect(port).await {
                Some(stream) => stream,
                None => return false,
            },
        };
        let question = request(port, path).method(Method::GET).body(Full::default());
        let Ok(question) = question else { continue };
        let status = timeout(MAX_ANSWER, status(stream, question)).await;
        if matches!(status, Ok(Some(StatusCode::OK))) {
            return true;
        }
    }
    false
}

async fn ask_for_token(port: u16, question: &str) -> Option<StatusCode> {
    let stream = connect(port).await?;
    let question = request(port, CHAT)
        .method(Method::POST)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(question.to_owned()))
        .ok()?;
    status(stream, question).await
}

async fn connect(port: u16) -> Option<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()
}

fn request(port: u16, path: &str) -> http::request::Builder {
    Request::builder()
        .uri(path)
        .header(header::HOST, format!("127.0.0.1:{port}"))
        .header(header::CONNECTION, "close")
}

/// The status of the whole answer; one that breaks off is none.
async fn status(stream: TcpStream, question: Request<Full<Bytes>>) -> Option<StatusCode> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let answer = async {
        let response = sender.send_request(question).await.ok()?;
        let status = response.status();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.ok()?;
        }
        Some(status)
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        status = &mut answer => status,
        // The connection may be over in the very step that brought the end of the answer.
        _ = &mut connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn readiness(first_token: Option<&str>) -> Readiness {
        let paths = vec!["/health".into(), "/v1/models".into()];
        Readiness { paths, first_token: first_token.map(ToOwned::to_owned) }
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

    async fn wait_for(first_token: Option<&str>, answer: impl Fn(u32, &str) -> &'static str) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let readiness = readiness(first_token);
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
        wait_for(None, move |n, _| {
            counted.store(n, Ordering::Relaxed);
            if n < 6 { "503 Service Unavailable" } else { "200 OK" }
        })
        .await;
        assert_eq!(asked.load(Ordering::Relaxed), 6);
    }

    #[tokio::test]
    async fn a_server_without_a_health_page_is_ready_when_it_lists_its_models() {
        wait_for(None, |_, line| if line.starts_with("GET /v1/models") { "200 OK" } else { "404 Not Found" })
            .await;
    }

    #[tokio::test]
    async fn an_engine_that_is_well_before_it_has_loaded_has_to_give_a_token() {
        let asked = AtomicU32::new(0);
        wait_for(Some("{\"max_tokens\":1}"), |_, question| {
            if question.starts_with("GET /health") {
                return "200 OK";
            }
            assert!(question.starts_with("POST /v1/chat/completions"), "{question}");
            match asked.fetch_add(1, Ordering::Relaxed) {
                0 => "500 Internal Server Error",
                _ => "200 OK",
            }
        })
        .await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_port_that_opens_late_is_found() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let readiness = readiness(None);
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
