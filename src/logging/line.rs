//! How the fields of a log line are written as text: each on the line it belongs to. Messages and values may hold what a
//! client or a model sent, and a line end in them must not begin a line that the gateway did not write.

use std::fmt::{self, Write};
use std::io;

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::request::RequestFields;
use crate::system::terminal::{self, OneLine};

/// Fields as `name=value`, the message without its name; then those of the request, where the line has none of the
/// same name.
#[derive(Debug, Clone, Copy)]
pub(super) struct OneLineFields;

impl<'w> FormatFields<'w> for OneLineFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let request = RequestFields::current();
        let of_request = request.iter().flat_map(RequestFields::known).map(|field| (field, false)).collect();
        let mut visitor = Visitor { writer, is_first: true, of_request, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result?;
        for ((name, value), is_own) in std::mem::take(&mut visitor.of_request) {
            if !is_own {
                visitor.write(name, format_args!("{value:?}"))?;
            }
        }
        Ok(())
    }
}

struct Visitor<'w> {
    writer: Writer<'w>,
    is_first: bool,
    /// Fields of the request, and whether the line has one of that name.
    of_request: Vec<((&'static str, String), bool)>,
    result: fmt::Result,
}

impl Visitor<'_> {
    fn write(&mut self, name: &str, value: fmt::Arguments<'_>) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        match (name, self.writer.has_ansi_escapes()) {
            ("message", _) => {}
            (name, false) => write!(self.writer, "{name}=")?,
            (name, true) => write!(self.writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?,
        }
        OneLine(&mut self.writer).write_fmt(value)
    }
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.record_debug(field, &format_args!("{value}")),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Where a record of the `log` crate came from; the line says it already.
        if self.result.is_ok() && !field.name().starts_with("log.") {
            let name = field.name().strip_prefix("r#").unwrap_or(field.name());
            for ((other, _), is_own) in &mut self.of_request {
                *is_own |= *other == name;
            }
            self.result = self.write(name, format_args!("{value:?}"));
        }
    }
}

/// Adds the fields of the request to the `fields` of JSON lines, where the line has none of the same name.
pub(super) struct JsonEvents<E>(pub E);

impl<S, N, E> FormatEvent<S, N> for JsonEvents<E>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    E: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        const FIELDS: &str = "\"fields\":{";
        let Some(request) = RequestFields::current() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        // Time and level alone come before it.
        let Some((before, own)) = line.split_once(FIELDS) else { return writer.write_str(&line) };
        let mut own = own.to_owned();
        for (name, value) in request.known() {
            // A quotation mark within a value is escaped, and so does not match.
            if !own.contains(&format!("\"{name}\":")) {
                let comma = if own.starts_with('}') { "" } else { "," };
                own = format!("\"{name}\":{}{comma}{own}", serde_json::Value::from(value));
            }
        }
        write!(writer, "{before}{FIELDS}{own}")
    }
}

/// Escapes in JSON lines what JSON lets pass and a terminal obeys.
pub(super) struct JsonLines<M>(pub M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for JsonLines<M> {
    type Writer = JsonLine<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        JsonLine(self.0.make_writer())
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        JsonLine(self.0.make_writer_for(meta))
    }
}

/// Writes one line.
pub(super) struct JsonLine<W>(W);

impl<W: io::Write> io::Write for JsonLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(terminal::json(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(ansi: bool, log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(ansi)
            .without_time()
            .fmt_fields(OneLineFields)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    /// Line ends, an escape sequence, separators and a bidirectional override.
    const HOSTILE: &str =
        "x\r\n2026-01-01T00:00:00Z  INFO forged\x1b[2J\u{9b}m\u{2028}\u{2029}\u{202e}\u{2066}\0";

    #[test]
    fn no_value_begins_a_line_or_steers_a_terminal() {
        #[derive(Debug)]
        struct Nested(#[expect(dead_code, reason = "printed by Debug")] &'static str);
        struct Raw;
        impl fmt::Debug for Raw {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(HOSTILE)
            }
        }
        let error = io::Error::other(HOSTILE);
        let all = || {
            let span =
                tracing::info_span!("request", id = HOSTILE, raw = %HOSTILE, later = tracing::field::Empty);
            let _in = span.enter();
            span.record("later", tracing::field::display(HOSTILE));
            tracing::info!("{HOSTILE}");
            tracing::info!(plain = HOSTILE, shown = %HOSTILE, nested = ?Nested(HOSTILE), raw = ?Raw, "m");
            tracing::info!(error = &error as &dyn std::error::Error, %error, "failed");
            tracing::info!(message = HOSTILE);
        };
        let text = logged(false, all);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(!text.contains(|c| terminal::steers(c) && c != '\n'), "{text:?}");
        assert_eq!(text.matches("\\r\\n2026-01-01").count(), 4 * 3 + 8, "{text}");
        let coloured = logged(true, all);
        assert_eq!(coloured.lines().count(), 4);
        assert!(
            !coloured.contains("\x1b[2J") && !coloured.contains(['\u{9b}', '\u{202e}', '\r']),
            "{coloured:?}"
        );
    }

    #[test]
    fn json_lines_mean_the_same_and_steer_no_terminal() {
        let sink = Sink::default();
        let writer = sink.clone();
        let builder = tracing_subscriber::fmt().json().with_writer(JsonLines(move || writer.clone()));
        tracing::subscriber::with_default(builder.finish(), || tracing::info!(shown = %HOSTILE, "{HOSTILE}"));
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains(|c| terminal::steers(c) && c != '\n'), "{text:?}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["fields"]["message"], &line["fields"]["shown"]),
            (&HOSTILE.into(), &HOSTILE.into())
        );
    }

    #[test]
    fn a_line_reads_as_before() {
        let text =
            logged(false, || tracing::warn!(backend.id = "qwen", count = 3, path = %"/a b", "Backend ready"));
        let rest = text.split_once(": ").unwrap().1;
        assert_eq!(rest, "Backend ready backend.id=\"qwen\" count=3 path=/a b\n");
    }

    #[test]
    fn lines_of_a_request_have_its_fields_in_both_forms() {
        let fields = RequestFields::new(uuid::Uuid::nil(), Some("r-1".into()));
        let log = || {
            tracing::info!("before");
            fields.run(|| {
                tracing::info!(count = 3, "within");
                RequestFields::set_profile(&"qwen".into());
                RequestFields::set_key(&"k1".into());
                tracing::info!(key.id = "k2", said = "\"request.id\":", "Key revoked");
            });
            tracing::info!("after");
        };
        let text = logged(false, log);
        let lines: Vec<&str> = text.lines().map(|line| line.split_once("tests: ").unwrap().1).collect();
        assert_eq!(
            lines,
            [
                "before",
                "within count=3 request.id=\"r-1\"",
                "Key revoked key.id=\"k2\" said=\"\\\"request.id\\\":\" request.id=\"r-1\" profile.name=\"qwen\"",
                "after",
            ]
        );

        let fields = RequestFields::new(uuid::Uuid::nil(), Some("r-1".into()));
        let sink = Sink::default();
        let writer = sink.clone();
        let builder = tracing_subscriber::fmt().json().map_event_format(JsonEvents);
        let builder = builder.with_writer(JsonLines(move || writer.clone()));
        tracing::subscriber::with_default(builder.finish(), || {
            fields.run(|| {
                tracing::info!("within");
                RequestFields::set_key(&"k1".into());
                tracing::info!(key.id = "k2", said = "\"request.id\":", "Key revoked");
            });
            tracing::info!("after");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["fields"].take())
            .collect();
        let expected = serde_json::json!([
            {"message": "within", "request.id": "r-1"},
            {"message": "Key revoked", "said": "\"request.id\":", "key.id": "k2", "request.id": "r-1"},
            {"message": "after"},
        ]);
        assert_eq!(serde_json::Value::from(lines), expected);
        assert_eq!(text.matches("\"key.id\":").count(), 1, "no name comes twice");
    }
}
