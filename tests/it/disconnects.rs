//! Clients that close their side of the connection: the request ends, and its record says so, whichever the moment.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::{Value, json};

use crate::support::{Gateway, wait_for};

/// Sends bytes, closes the sending side, and reads what comes.
fn half_close(gateway: &Gateway, bytes: &str) -> TcpStream {
    let mut connection = TcpStream::connect(&gateway.address).unwrap();
    connection.write_all(bytes.as_bytes()).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    connection
}

/// The newest record, when there are so many and none runs but the first `running`.
fn newest(gateway: &Gateway, count: usize, running: usize) -> Value {
    wait_for(&format!("{count} records"), || {
        let all = gateway.get("/api/v1/requests").json()["requests"].as_array().unwrap().clone();
        let runs = all.iter().filter(|record| record["status"] == "running").count();
        (all.len() == count && runs == running).then(|| all[0].clone())
    })
}

#[test]
fn a_client_that_half_closes_is_recorded_as_gone_whichever_the_moment() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let gateway = Gateway::start(&format!(
        "[[profile]]\nname = \"q\"\nmodel = \"./model\"\nmax_concurrent = 1\n\
         [[profile]]\nname = \"slow\"\nmodel = \"./model\"\ncontext_length = 1000\n\
         env = {{ FAKE_READY_FILE = {:?} }}\n",
        ready.display().to_string()
    ));
    let chat = |model: &str, prompt: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": prompt}]});
        gateway.request("/v1/chat/completions", "", &body.to_string())
    };
    let mut count = 0;
    let mut gone = |what: &str, request: &str, running: usize| {
        let mut connection = half_close(&gateway, request);
        count += 1;
        let record = newest(&gateway, count + running, running);
        assert_eq!(record["status"], "cancelled", "{what}: {record}");
        connection.read_to_end(&mut Vec::new()).unwrap();
    };
    let messages = json!({"model": "q", "max_tokens": 9, "messages": [{"role": "user", "content": "#hang"}]});
    let response = json!({"model": "q", "input": "#hang"});
    let others = [("/v1/messages", messages), ("/v1/responses", response)];
    // Right behind the request, and in the middle of its body.
    gone("at once", &chat("q", "#hang"), 0);
    let whole = chat("q", "#hang");
    gone("in the body", &whole[..whole.len() - 5], 0);
    for (path, body) in &others {
        let whole = gateway.request(path, "", &body.to_string());
        gone(path, &whole, 0);
        gone(path, &whole[..whole.len() - 5], 0);
    }
    let form = "--x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nq\r\n";
    gone(
        "in a form",
        &format!(
            "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: {}\r\ncontent-type: multipart/form-data; boundary=x\r\n\
             content-length: 1000\r\n\r\n{form}",
            gateway.address
        ),
        0,
    );
    gone("while the backend starts", &chat("slow", "hi"), 0);
    std::fs::write(&ready, "").unwrap();
    let first = gateway.stream("q", "#chunks=2 #gate-after=1");
    gone("in a queue", &chat("q", "hi"), 1);
    drop(first);
}

#[test]
fn a_client_that_half_closes_while_its_answer_is_made_is_recorded_as_gone() {
    let gateway = Gateway::start("[[profile]]\nname = \"q\"\nmodel = \"./model\"\n");
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
    for (at, (prompt, stream)) in
        [("#hang", false), ("#chunks=2 #hang-after=1", true)].into_iter().enumerate()
    {
        let body = crate::support::http::body("q", prompt, stream);
        let mut connection = TcpStream::connect(&gateway.address).unwrap();
        connection.write_all(gateway.request("/v1/chat/completions", "", &body).as_bytes()).unwrap();
        crate::fake::seen(&gateway.backend_address("q"), &format!("requests={}&wait-ms=5000", at + 2));
        connection.shutdown(Shutdown::Write).unwrap();
        let record = newest(&gateway, at + 2, 0);
        assert_eq!(record["status"], "cancelled", "{prompt}: {record}");
        crate::fake::seen(&gateway.backend_address("q"), &format!("cancelled={}&wait-ms=5000", at + 1));
    }
}
