//! Clients that do not read as fast as the backend writes, or close their side.

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::chaos::SLOW_TOTAL;
use crate::clients::{COMPLETED, CUT_OFF, Dice, end_of};
use crate::support::http::body;
use crate::{Kind, Soak};

/// Beyond `timeouts.total`: the record says whether the answer was ended in time.
pub const SLOW_FOR: Duration = Duration::from_secs(SLOW_TOTAL.as_secs() + 6);
/// What a client does not get to see when it was too slow: the gateway cannot write the end of the answer.
const ENDED: &str = "ended by the gateway";

pub fn kinds() -> Vec<Kind> {
    vec![
        Kind { name: "reads nothing", clients: (2, 6), ask: read_nothing, ends: &[ENDED] },
        Kind { name: "reads bytewise", clients: (2, 6), ask: read_bytewise, ends: &[ENDED] },
        Kind {
            name: "half-closes",
            clients: (1, 3),
            ask: half_close,
            ends: &[COMPLETED, CUT_OFF, UNANSWERED],
        },
    ]
}

/// A half-closed connection is a client that has left, as in nginx.
const UNANSWERED: &str = "unanswered";

/// A stream without end.
fn endless(soak: &Soak, id: &str) -> Option<TcpStream> {
    let body = body("slow", "#endless=10000", true);
    soak.connect(soak.request(id, "/v1/chat/completions", "", &body).as_bytes())
}

fn read_nothing(soak: &Soak, _: &mut Dice, id: &str) -> Option<String> {
    let connection = endless(soak, id)?;
    std::thread::park_timeout(SLOW_FOR);
    Some(ended(connection))
}

fn read_bytewise(soak: &Soak, _: &mut Dice, id: &str) -> Option<String> {
    let mut connection = endless(soak, id)?;
    let until = Instant::now() + SLOW_FOR;
    while Instant::now() < until && connection.read(&mut [0]).is_ok_and(|read| read > 0) {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    Some(ended(connection))
}

/// The end of an answer that cannot end by itself.
fn ended(mut connection: TcpStream) -> String {
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (until, mut piece) = (Instant::now() + Duration::from_secs(30), vec![0; 1 << 16]);
    while Instant::now() < until {
        match connection.read(&mut piece) {
            Ok(read) if read > 0 => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return "stalled".into(),
            _ => return ENDED.into(),
        }
    }
    "went on".into()
}

fn half_close(soak: &Soak, dice: &mut Dice, id: &str) -> Option<String> {
    let body = body("free", "#chunks=20 #interval-us=5000", dice.roll(2) > 0);
    let mut connection = soak.connect(soak.request(id, "/v1/chat/completions", "", &body).as_bytes())?;
    std::thread::park_timeout(Duration::from_millis(dice.roll(60)));
    connection.shutdown(Shutdown::Write).ok()?;
    std::thread::park_timeout(Duration::from_millis(100));
    let end = end_of(&mut connection);
    Some(if end == "status none" || end.starts_with("no answer") { UNANSWERED.into() } else { end })
}
