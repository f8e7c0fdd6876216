//! Tests of the connector against small servers of this machine.

use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use http_body_util::Empty;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn networks(allowed: &[&str]) -> Vec<Network> {
    allowed.iter().map(|net| Network::parse(net).unwrap()).collect()
}

fn access(granted: &[String], allowed: &[&str]) -> Access {
    let destinations = granted.iter().map(|url| Destination::parse(url).unwrap()).collect();
    Access { destinations, allow_private: networks(allowed), ..Access::none() }
}

/// Answers each connection with these bytes; what was asked comes back through the channel.
async fn server(answer: &'static str) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 4096];
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            drop(tell.send(String::from_utf8_lossy(&buffer[..read]).into_owned()));
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    (url, told)
}

async fn get(connector: &Connector, url: &str) -> Result<(u16, Bytes), Error> {
    let body = Empty::<Bytes>::new().map_err(Error::from).boxed_unsync();
    let request = Request::get(url).header("authorization", "the guest's own").body(body).unwrap();
    let (response, io) = connector.clone().send(request, None).await?;
    let status = response.status().as_u16();
    let driver = tokio::spawn(Pin::from(io));
    let body = response.into_body().collect().await?.to_bytes();
    driver.abort();
    Ok((status, body))
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test]
async fn what_was_granted_is_reached_with_the_secrets_that_belong_there() {
    let (url, mut told) = server(OK).await;
    let mut access = access(std::slice::from_ref(&url), &["127.0.0.1"]);
    access.secrets = vec![SecretHeader {
        destination: Destination::parse(&url).unwrap(),
        header: header::AUTHORIZATION,
        value: HeaderValue::from_static("Bearer s3cret"),
    }];
    let connector = Connector::new(Arc::new(access));
    let (status, body) = get(&connector, &format!("{url}/a?b=c")).await.unwrap();
    assert_eq!((status, &body[..]), (200, &b"hi"[..]));
    let asked = told.recv().await.unwrap();
    assert!(asked.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("Bearer s3cret") && !asked.contains("the guest's own"), "{asked}");
    assert!(asked.contains(&format!("host: {}\r\n", url.trim_start_matches("http://"))), "{asked}");
    assert_eq!(connector.denied(), None);
}

#[tokio::test]
async fn another_host_port_or_scheme_is_refused_before_anything_is_sent() {
    let (url, mut told) = server(OK).await;
    let port = url.rsplit_once(':').unwrap().1;
    let connector = Connector::new(Arc::new(access(&["http://127.0.0.1:1".to_owned()], &["127.0.0.1"])));
    for refused in [url.clone(), format!("https://127.0.0.1:{port}"), "http://example.com".to_owned()] {
        assert!(matches!(get(&connector, &refused).await, Err(Error::HttpRequestDenied)), "{refused}");
        let reason = connector.denied().unwrap();
        assert!(reason.contains("was not granted"), "{reason}");
    }
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_private_address_is_refused_though_its_host_was_granted() {
    let (url, mut told) = server(OK).await;
    let connector = Connector::new(Arc::new(access(std::slice::from_ref(&url), &[])));
    assert!(matches!(get(&connector, &url).await, Err(Error::DestinationIpProhibited)));
    assert!(connector.denied().unwrap().contains("not a public address"));
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_name_is_resolved_once_and_every_address_is_checked() {
    let (url, mut told) = server(OK).await;
    let port = url.rsplit_once(':').unwrap().1;
    let named = format!("http://rebound.test:{port}");
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    // Harmless the first time, this machine ever after, as a rebinding name server answers.
    let rebinding: Resolve = Arc::new(move |_| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        let address: IpAddr = if first { [127, 0, 0, 1].into() } else { [127, 0, 0, 2].into() };
        Box::pin(async move { Ok(vec![address]) })
    });
    let mut rebound = access(std::slice::from_ref(&named), &["127.0.0.1"]);
    rebound.resolve = rebinding;
    let connector = Connector::new(Arc::new(rebound));
    assert_eq!(get(&connector, &named).await.unwrap().0, 200);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    told.recv().await.unwrap();
    assert!(matches!(get(&connector, &named).await, Err(Error::DestinationIpProhibited)));
    let mut mixed = access(std::slice::from_ref(&named), &["127.0.0.1"]);
    mixed.resolve =
        Arc::new(|_| Box::pin(async { Ok(vec![[127, 0, 0, 1].into(), [169, 254, 169, 254].into()]) }));
    let connector = Connector::new(Arc::new(mixed));
    assert!(matches!(get(&connector, &named).await, Err(Error::DestinationIpProhibited)));
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let (elsewhere, mut told) = server(OK).await;
    let answer = format!("HTTP/1.1 302 Found\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
    let (url, _asked) = server(answer.leak()).await;
    let connector = Connector::new(Arc::new(access(std::slice::from_ref(&url), &["127.0.0.1"])));
    assert_eq!(get(&connector, &url).await.unwrap().0, 302);
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_server_that_closes_after_a_short_answer_is_read_to_its_end() {
    for answer in [
        "HTTP/1.0 200 OK\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
    ] {
        let (url, _asked) = server(answer).await;
        let access = Arc::new(access(std::slice::from_ref(&url), &["127.0.0.1"]));
        // Whether the connection or the answer is seen to end first is up to chance.
        for _ in 0..20 {
            let connector = Connector::new(Arc::clone(&access));
            let request = Request::get(&url).body(Empty::new().map_err(Error::from).boxed_unsync()).unwrap();
            let (response, io) = connector.send(request, None).await.unwrap();
            let driver = tokio::spawn(Pin::from(io));
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(body.is_empty() || &body[..] == b"hi");
            driver.await.expect("it was polled after its end").unwrap();
        }
    }
}

#[tokio::test]
async fn requests_and_bytes_of_one_call_are_bounded() {
    let huge = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(BYTES_MAX as usize + 1));
    let (url, _asked) = server(huge.leak()).await;
    let connector = Connector::new(Arc::new(access(std::slice::from_ref(&url), &["127.0.0.1"])));
    assert!(matches!(get(&connector, &url).await, Err(Error::HttpResponseBodySize(_))));
    assert!(connector.is_over());
    let connector = Connector::new(Arc::new(Access::none()));
    for _ in 0..REQUESTS_MAX {
        assert!(matches!(get(&connector, &url).await, Err(Error::HttpRequestDenied)));
    }
    assert!(matches!(get(&connector, &url).await, Err(Error::ConnectionLimitReached)));
    assert!(connector.is_over());
}
