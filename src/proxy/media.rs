//! Pictures that a request names by URL, put into it before a backend sees it: fetched by the gateway where the
//! operator allows that, for a backend would reach whatever it is told to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::failure::Failure;
use crate::dialect::request::Scanned;
use crate::dialect::rope::Rope;
use crate::outward::{ConnectError, FetchError, Fetched, Fetcher};

/// Pictures of one request that are fetched.
const PICTURES_MAX: usize = 8;
/// Bytes of a body that are looked at for one URL.
const URL_MAX: usize = 8 << 10;
/// What pictures begin with, for servers that do not say what they send.
const MAGIC: [(&[u8], &str); 4] = [
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
];

/// Puts pictures into requests. None: they have to be there.
pub struct Media(pub Option<Fetcher>);

impl Media {
    /// The request with its pictures in it; other media that are elsewhere are left for the checks to refuse.
    /// `limit`: bytes of the whole.
    pub async fn inline(&self, mut asked: Scanned, limit: u64) -> Result<Scanned, Failure> {
        let Some(fetcher) = &self.0 else { return Ok(asked) };
        for count in 0.. {
            let Some((url, at, end)) = next(&asked) else { break };
            if count == PICTURES_MAX {
                return Err(unfetched(
                    &url,
                    &format!("a request has at most {PICTURES_MAX} pictures by URL"),
                ));
            }
            let picture = fetcher.fetch(&url).await.map_err(|error| unfetched(&url, &in_words(&error)))?;
            let data = data_url(&picture).ok_or_else(|| unfetched(&url, "it is no picture"))?;
            let mut body = Rope::default();
            body.push_range(&asked.body, 0..at);
            body.push(Bytes::from(format!("\"{data}\"")));
            body.push_range(&asked.body, end..asked.body.len());
            if body.len() as u64 > limit {
                return Err(Failure::too_large(limit));
            }
            asked = super::body::scanned(body)?;
        }
        Ok(asked)
    }
}

/// The next picture that is elsewhere: its URL, and where that stands.
fn next(asked: &Scanned) -> Option<(String, usize, usize)> {
    let found = asked.scan.foreign_media.as_ref().filter(|found| found.part == "image_url")?;
    let bytes = asked.body.read(found.at..asked.body.len().min(found.at + URL_MAX));
    let mut values = serde_json::Deserializer::from_slice(&bytes).into_iter::<String>();
    let url = values.next()?.ok()?;
    let is_web = ["http://", "https://"]
        .iter()
        .any(|scheme| url.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)));
    is_web.then(|| (url, found.at, found.at + values.byte_offset()))
}

fn data_url(picture: &Fetched) -> Option<String> {
    let told = picture.media_type.as_str();
    let kind = match told {
        // Drawings are programs to some readers.
        "image/svg+xml" => return None,
        _ if told.starts_with("image/") && told.bytes().all(is_of_a_type) => told,
        "" | "application/octet-stream" => {
            MAGIC.iter().find(|(magic, _)| picture.bytes.starts_with(magic)).map(|(_, kind)| *kind)?
        }
        _ => return None,
    };
    Some(format!("data:{kind};base64,{}", STANDARD.encode(&picture.bytes)))
}

fn is_of_a_type(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/+.-".contains(&byte)
}

/// What clients are told of a name's addresses is that they may not be reached.
fn in_words(error: &FetchError) -> String {
    match error {
        FetchError::Connect(ConnectError::Forbidden(_)) => {
            "it leads to a private address; [media] allow_private could allow that".to_owned()
        }
        error => error.to_string(),
    }
}

fn unfetched(url: &str, why: &str) -> Failure {
    let shown: String = url.chars().take(200).collect();
    let mut failure = Failure::invalid(format!("the picture at {shown} could not be fetched: {why}"), None);
    failure.param = Some("messages".into());
    failure.code = "invalid_image_url";
    failure
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked(urls: &[&str]) -> Scanned {
        let parts: Vec<Value> =
            urls.iter().map(|url| json!({"type": "image_url", "image_url": {"url": url}})).collect();
        let body = json!({"model": "m", "messages": [{"role": "user", "content": parts}]}).to_string();
        super::super::body::scanned(Rope::from(Bytes::from(body))).unwrap()
    }

    #[test]
    fn the_next_picture_is_the_first_one_that_is_elsewhere() {
        let asked = asked(&["data:image/png;base64,AA==", "HTTPS://x.example/a\"b", "http://y.example"]);
        let (url, at, end) = next(&asked).unwrap();
        assert_eq!(url, "HTTPS://x.example/a\"b");
        assert_eq!(asked.body.read(at..end), b"\"HTTPS://x.example/a\\\"b\"");
        for other in ["file:///etc/passwd", "data:image/png;base64,AA==", "https"] {
            assert_eq!(next(&self::asked(&[other])), None, "{other}");
        }
    }

    #[test]
    fn only_pictures_become_part_of_a_request() {
        let of = |media_type: &str, bytes: &'static [u8]| {
            data_url(&Fetched { media_type: media_type.into(), bytes: Bytes::from_static(bytes) })
        };
        assert_eq!(of("image/png", b"x").unwrap(), "data:image/png;base64,eA==");
        assert!(of("", b"\x89PNG\r\n\x1a\n1").unwrap().starts_with("data:image/png;"));
        for (media_type, bytes) in
            [("text/html", &b"x"[..]), ("image/svg+xml", b"x"), ("", b"x"), ("image/p\"ng", b"x")]
        {
            assert_eq!(of(media_type, bytes), None, "{media_type}");
        }
    }

    #[tokio::test]
    async fn what_is_not_allowed_is_left_as_it_is() {
        let same = Media(None).inline(asked(&["http://x.example"]), 1000).await.unwrap();
        assert!(same.scan.foreign_media.is_some());
        let fetcher = Fetcher::new(Vec::new(), 10, std::time::Duration::from_secs(10));
        let told = Media(Some(fetcher)).inline(asked(&["http://127.0.0.1:9/a.png"]), 1000).await.unwrap_err();
        assert_eq!((told.status, told.code), (400, "invalid_image_url"));
        assert!(
            told.message.contains("private address") && !told.message.contains("leads to 127"),
            "{told:?}"
        );
    }
}
