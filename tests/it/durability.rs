//! What goes wrong around a gateway: disks, files, clients that are slow on purpose, too many of them. None of it
//! stops a request that need not stop, and no record is lost. (docs/operations.md says what is to be expected.)

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::support::http::body;
use crate::support::{Gateway, PATIENCE, PROFILES, cli_in, run_under, wait_for, write_config};

const ONE: &str = "[[profile]]\nname = \"q\"\nmodel = \"./model\"\nmax_concurrent = 2000\n";

/// A script for [`Gateway::serve_under`]: the gateway in a mount namespace of its own, once `prepare` has run there.
fn in_a_namespace(prepare: &str) -> String {
    format!(
        "user=; unshare -Urm true 2>/dev/null && user=-Ur; \
         exec unshare $user -m sh -c '{prepare} && exec \"$0\" \"$@\"' \"$0\" \"$@\""
    )
}

fn completed(gateway: &Gateway) -> usize {
    let listed = gateway.get("/api/v1/requests?limit=1000&status=completed").json();
    listed["requests"].as_array().map_or(0, Vec::len)
}

fn lost(gateway: &Gateway) -> u64 {
    gateway.get("/api/v1/system").json()["records_lost"].as_u64().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_no_request_and_loses_no_record() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    std::fs::create_dir(folder.path().join("data")).unwrap();
    write_config(folder.path(), PROFILES);
    let script = in_a_namespace("mount -t tmpfs -o size=16m,mode=700 none data");
    let gateway = Gateway::serve_under(Arc::clone(&folder), &[], &script);
    assert_eq!(gateway.chat("qwen", "#chunks=1").status, 200);
    wait_for("the first record", || (completed(&gateway) == 1).then_some(()));

    let filler = format!("/proc/{}/root{}/data/filler", gateway.pid(), folder.path().display());
    let mut file = std::fs::File::create(&filler).unwrap();
    let full = loop {
        match file.write_all(&[1; 4096]) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    for _ in 0..20 {
        assert_eq!(gateway.chat("qwen", "#chunks=2").status, 200);
    }
    wait_for("the store to say so", || gateway.log().contains("The store could not write").then_some(()));
    let key = gateway.post("/api/v1/keys", "{\"name\":\"x\"}");
    assert_eq!(
        (key.status, key.json()["error"]["code"].clone()),
        (503, json!("store_unavailable")),
        "{key:?}"
    );
    assert!(key.body.contains("the disk is full"), "{key:?}");
    assert_eq!(lost(&gateway), 0);

    drop(file);
    std::fs::remove_file(&filler).unwrap();
    wait_for("every record", || (completed(&gateway) == 21).then_some(()));
    assert!(gateway.log().contains("The store can write again"), "{}", gateway.log());
    assert_eq!(lost(&gateway), 0);
}

/// Lets the gateway write no file beyond so many bytes, which is like a full disk.
#[cfg(target_os = "linux")]
fn limit_files(gateway: &Gateway, bytes: &str) {
    let pid = gateway.pid().to_string();
    let set =
        std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status();
    assert!(set.unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
fn revocations_on_a_full_disk_hold_after_a_crash() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (ada, ada_id) = gateway.user(&admin, "ada@example.com");
    let (session, _) = gateway.user(&admin, "ben@example.com");
    let (key, id) = gateway.key(&admin, &json!({"name": "k"}));
    let (late, late_id) = gateway.key(&admin, &json!({"name": "late"}));
    let status = |gateway: &Gateway, token: &str| gateway.as_bearer(token, "GET", "/v1/models", None).status;
    let waiting = |gateway: &Gateway| gateway.cli_json(&["status"])["unwritten_revocations"].clone();
    assert_eq!((status(&gateway, &ada), status(&gateway, &session), status(&gateway, &key)), (200, 200, 200));

    // What is there of the log of changes is longer: the store can write no more, but the file of revocations can.
    limit_files(&gateway, "65536");
    assert_eq!(gateway.as_bearer(&admin, "DELETE", &format!("/api/v1/keys/{id}"), None).status, 204);
    assert_eq!(gateway.as_bearer(&session, "POST", "/api/v1/auth/logout", None).status, 204);
    let disabled = gateway.as_bearer(&admin, "POST", &format!("/api/v1/users/{ada_id}/disable"), None);
    assert_eq!(disabled.status, 200, "{disabled:?}");
    assert_eq!(waiting(&gateway), json!({"waiting": 3, "until_restart": 0}));
    let shown = gateway.cli(&["status"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("3 revocations wait"), "{shown:?}");
    let gateway = Gateway::serve(gateway.crash(), &[]);
    assert_eq!((status(&gateway, &ada), status(&gateway, &session), status(&gateway, &key)), (401, 401, 401));
    assert_eq!(waiting(&gateway), json!({"waiting": 0, "until_restart": 0}));

    limit_files(&gateway, "0");
    let unkept = gateway.as_bearer(&admin, "DELETE", &format!("/api/v1/keys/{late_id}"), None);
    assert_eq!(unkept.error(), (503, "revocation_not_recorded".into()));
    assert!(unkept.body.contains("until the next start of the gateway only"), "{unkept:?}");
    assert_eq!(status(&gateway, &late), 401);
    assert_eq!(waiting(&gateway), json!({"waiting": 1, "until_restart": 1}));
    limit_files(&gateway, "unlimited");
    wait_for("the store to have it", || (waiting(&gateway)["waiting"] == 0).then_some(()));
    let gateway = Gateway::serve(gateway.crash(), &[]);
    assert_eq!((status(&gateway, &late), status(&gateway, &key)), (401, 401));
}

#[cfg(target_os = "linux")]
#[test]
fn a_limit_on_the_size_of_files_is_like_a_full_disk_and_ends_no_gateway() {
    let gateway = Gateway::start(PROFILES);
    assert_eq!(gateway.chat("qwen", "#chunks=1").status, 200);
    wait_for("the first record", || (completed(&gateway) == 1).then_some(()));
    limit_files(&gateway, "4096");
    for _ in 0..5 {
        assert_eq!(gateway.chat("qwen", "#chunks=2").status, 200);
    }
    wait_for("the store to say so", || gateway.log().contains("The store could not write").then_some(()));
    limit_files(&gateway, "unlimited");
    wait_for("every record", || (completed(&gateway) == 6).then_some(()));
    assert_eq!(lost(&gateway), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_disk_is_said_at_the_start_and_nothing_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    write_config(folder.path(), PROFILES);
    let script = in_a_namespace("mount -t tmpfs -o mode=0700 none data && mount -o remount,ro data");
    let ended = run_under(&folder, &script);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("cannot be used: Read-only file system"), "{said}");
}

#[test]
fn an_emptied_store_does_not_open_the_gateway_and_can_be_moved_away() {
    let mut gateway = Gateway::start(PROFILES);
    gateway.admin();
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(gateway.ended(), Some(0));
    let store = gateway.data_dir().join("gateway.db");
    std::fs::write(&store, "").unwrap();
    let ended = run_under(&gateway.folder, "exec \"$0\" \"$@\"");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("gateway.db is damaged") && said.contains("move the file away"), "{said}");
    std::fs::remove_file(&store).unwrap();
    drop(Gateway::serve(Arc::clone(&gateway.folder), &[]));
}

#[test]
fn a_damaged_store_is_named_with_what_to_do_and_a_backup_mends_it() {
    let mut gateway = Gateway::start(PROFILES);
    for _ in 0..3 {
        assert_eq!(gateway.chat("qwen", "#chunks=1").status, 200);
    }
    wait_for("the records", || (completed(&gateway) == 3).then_some(()));
    let backup = gateway.folder.path().join("backup.zip");
    assert!(gateway.cli(&["backup", backup.to_str().unwrap()]).status.success());
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(gateway.ended(), Some(0));
    let store = gateway.data_dir().join("gateway.db");
    // All of it into the one file: the log would mend what is damaged there.
    let folding = rusqlite::Connection::open(&store).unwrap();
    folding.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(folding);
    let mut bytes = std::fs::read(&store).unwrap();
    assert!(bytes.len() > 2 * 4096, "there is more than the first page");
    // That has the header and the schema; everything behind it goes.
    bytes[4096..].fill(0xFF);
    std::fs::write(&store, bytes).unwrap();

    let ended = run_under(&gateway.folder, "exec \"$0\" \"$@\"");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("gateway.db is damaged") && said.contains("mlx-gateway restore FILE"), "{said}");
    let restored = cli_in(&gateway.folder, &["restore", backup.to_str().unwrap()]);
    assert!(restored.status.success(), "{restored:?}");
    let again = Gateway::serve(Arc::clone(&gateway.folder), &[]);
    assert_eq!(completed(&again), 3);
}

#[test]
fn idle_connections_are_closed_before_descriptors_run_out() {
    const FILES: usize = 160;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    write_config(folder.path(), PROFILES);
    let gateway = Gateway::serve_under(folder, &[], &format!("ulimit -n {FILES} && exec \"$0\" \"$@\""));
    let mut streams: Vec<_> = (0..3).map(|_| gateway.stream("qwen", "#chunks=4 #gate-after=2")).collect();
    let mut open = TcpStream::connect(&gateway.address).unwrap();
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut alive = || {
        open.write_all(format!("GET /livez HTTP/1.1\r\nhost: {}\r\n\r\n", gateway.address).as_bytes())
            .unwrap();
        let (mut seen, mut piece) = (Vec::new(), [0; 1024]);
        while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
            let read = open.read(&mut piece).unwrap();
            assert!(read > 0, "the connection was closed");
            seen.extend_from_slice(&piece[..read]);
        }
        String::from_utf8_lossy(&seen).starts_with("HTTP/1.1 200")
    };
    assert!(alive());
    let mut many: Vec<TcpStream> =
        (0..FILES * 2).map(|_| TcpStream::connect(&gateway.address).unwrap()).collect();
    // Backends, the store and a backup need descriptors while all of them stay.
    assert_eq!(gateway.chat("qwen", "#chunks=2").status, 200);
    assert_eq!(gateway.chat("other", "#chunks=2").status, 200, "a backend starts");
    let mut backup = gateway.open(&gateway.wire("GET", "/api/v1/backup", "", None));
    assert!(backup.status == 200 && backup.reaches_its_end());
    assert!(alive(), "a connection that is used outlives those that never were");
    many[0].set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(many[0].read(&mut [0; 9]).unwrap(), 0, "the oldest one was closed");
    assert!(!gateway.log().contains("Connections cannot be accepted"), "{}", gateway.log());
    for stream in &mut streams {
        assert!(stream.next().is_some(), "answers under way go on");
    }
    crate::fake::open_gate(&gateway.backend_address("qwen"));
    for mut stream in streams {
        while stream.next().is_some() {}
    }
    wait_for("all records", || (completed(&gateway) == 5).then_some(()));
    assert_eq!(lost(&gateway), 0);
}

#[test]
fn client_with_every_connection_in_use_is_refused_another() {
    const FILES: usize = 80;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    write_config(folder.path(), PROFILES);
    let gateway = Gateway::serve_under(folder, &[], &format!("ulimit -n {FILES} && exec \"$0\" \"$@\""));
    let followed = || gateway.open(&gateway.wire("GET", "/api/v1/events", "", None));
    let mut streams = Vec::new();
    let refused = loop {
        let stream = followed();
        if stream.status != 200 {
            break stream;
        }
        streams.push(stream);
    };
    assert_eq!((refused.status, streams.len()), (503, 15));
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    assert_eq!(gateway.status_over_socket(&gateway.wire("GET", "/api/v1/system", "", None)), 200);
    drop(streams);
    wait_for("room", || (followed().status == 200).then_some(()));
}

/// Bytes of the gateway's memory.
#[cfg(target_os = "linux")]
fn resident(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Streams whose answers have begun, and of which nothing is read.
async fn begun(address: &str, request: &str, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let mut waiting = Vec::new();
    for stream in streams {
        tokio::time::timeout(PATIENCE, stream.readable()).await.expect("the answer begins").unwrap();
        waiting.push(stream.into_std().unwrap());
    }
    waiting
}

#[cfg(target_os = "linux")]
#[test]
fn a_thousand_clients_that_do_not_read_cost_bounded_memory_and_keep_nobody_waiting() {
    const READERS: usize = 1000;
    // Some are sent more than any buffer holds, the others a little all the time.
    const FLOODED: usize = 100;
    const FLOOD: &str = "#repeat #token-bytes=10000";
    const TRICKLE: &str = "#repeat #interval-us=1000000";
    // What the scripted server would send to the flooded has no end.
    const MOST: u64 = 512 << 20;
    let files = mlx_gateway::system::limits::raise_open_files().unwrap();
    assert!(files > 2048, "this test opens {READERS} connections: allow more open files (ulimit -n 4096)");
    let gateway = Gateway::start(&format!("{ONE}{}", PROFILES.replace("\"qwen\"", "\"free\"")));
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
    assert_eq!(gateway.chat("other", "#chunks=1").status, 200);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut readers = Vec::new();
    while readers.len() < READERS {
        let prompt = if readers.len() < FLOODED { FLOOD } else { TRICKLE };
        let request = gateway.request("/v1/chat/completions", "", &body("q", prompt, true));
        // As many at a time as the scripted server takes without its own queue running over.
        readers.extend(runtime.block_on(begun(&gateway.address, &request, 50)));
    }
    let running = || gateway.backend("q", "ready")["in_flight"].as_u64().unwrap();
    wait_for("all of them to be served", || (running() == READERS as u64).then_some(()));
    for _ in 0..20 {
        assert_eq!(gateway.chat("other", "#chunks=5").status, 200, "others are served");
    }
    let memory = resident(&gateway);
    assert!(memory < MOST, "{} MiB", memory >> 20);
    assert_eq!(running(), READERS as u64, "none was given up that soon");
    drop(readers);
    wait_for("their places to be free", || (running() == 0).then_some(()));
    let cancelled = || gateway.get("/api/v1/usage").json()["total"]["by_status"]["cancelled"].as_u64();
    wait_for("a record of each", || (cancelled() == Some(READERS as u64)).then_some(()));
    assert_eq!(lost(&gateway), 0);
}

#[test]
fn clients_that_send_byte_by_byte_keep_nobody_waiting_and_are_served_when_they_have_ended() {
    let gateway = Gateway::start(PROFILES);
    let request = gateway.request("/v1/chat/completions", "", &body("qwen", "#chunks=1", false));
    let head = request.find("\r\n\r\n").unwrap() + 4;
    let begun = |bytes: usize| {
        let mut stream = TcpStream::connect(&gateway.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&request.as_bytes()[..bytes]).unwrap();
        stream
    };
    // Half of them are in the midst of their head, half in the midst of their body.
    let mut drips: Vec<(usize, TcpStream)> =
        (0..100).map(|n| if n % 2 == 0 { head - 10 } else { head + 5 }).map(|at| (at, begun(at))).collect();
    for turn in 0..20 {
        for (at, stream) in &mut drips {
            if turn < 5 {
                stream.write_all(&request.as_bytes()[*at..=*at]).unwrap();
                *at += 1;
            }
        }
        assert_eq!(gateway.chat("qwen", "#chunks=2").status, 200, "others are served");
    }
    assert_eq!(completed(&gateway), 20, "none of theirs has ended");
    let (last, rest) = drips.split_last_mut().unwrap();
    for stream in [last, &mut rest[0]] {
        for byte in request.as_bytes()[stream.0..].chunks(1) {
            stream.1.write_all(byte).unwrap();
        }
        let mut answer = String::new();
        stream.1.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    wait_for("the records of the two", || (completed(&gateway) == 22).then_some(()));
}

#[test]
fn a_store_of_an_earlier_version_is_brought_up_to_date_and_a_copy_is_kept() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let store = rusqlite::Connection::open(data.join("gateway.db")).unwrap();
    for sql in [
        include_str!("../../src/store/migrations/0001_requests.sql"),
        include_str!("../../src/store/migrations/0002_profiles.sql"),
        include_str!("../../src/store/migrations/0003_downloads.sql"),
        include_str!("../../src/store/migrations/0004_measured_memory.sql"),
        include_str!("../../src/store/migrations/0005_accounts.sql"),
        include_str!("../../src/store/migrations/0006_plugin_grants.sql"),
    ] {
        store.execute_batch(sql).unwrap();
    }
    store
        .execute_batch(
            "INSERT INTO requests (id, started_at, status, estimated, endpoint, streamed, http_status, completion_tokens)
             VALUES ('019a0000-0000-7000-8000-000000000001', 1760000000000, 'completed', 0, '/v1/chat/completions', 0, 200, 9);
             PRAGMA user_version = 6",
        )
        .unwrap();
    drop(store);
    let gateway = Gateway::start_in(Arc::clone(&folder), PROFILES, &[]);
    assert_eq!(gateway.get("/api/v1/usage").json()["total"]["completion_tokens"], 9);
    assert!(gateway.log().contains("The store is brought up to date"), "{}", gateway.log());
    let copy = rusqlite::Connection::open(data.join("gateway.db.before-6")).unwrap();
    let before: (i64, i64) = copy
        .query_row(
            "SELECT (SELECT user_version FROM pragma_user_version), count(*) FROM requests",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!(before, (6, 1));
    let again = Gateway::serve(gateway.crash(), &[]);
    assert!(!again.log().contains("brought up to date"), "once");
}
