//! The one place that writes to the terminal: data on stdout, everything else on stderr. Owns colour,
//! progress that wipes itself away, and what a terminal must not be sent. Knows no command.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, presets};
use serde_json::json;

use super::exit::CliError;

/// Columns a progress line may take; one that wraps could not be wiped away.
const PROGRESS_COLUMNS: usize = 78;
/// To the upper left corner, and nothing below it.
const CLEAR: &str = "\x1b[H\x1b[J";
const WIPE: &str = "\r\x1b[2K";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[1;31m";
const PLAIN: &str = "\x1b[0m";

/// Where a command writes.
pub struct Out {
    stdout: Pipe,
    stderr: Pipe,
    json: bool,
    /// A progress line stands on the terminal and has to be wiped before anything else is written.
    progress: bool,
}

/// One of the two ends, and what is at it.
pub struct Pipe {
    pub to: Box<dyn Write + Send>,
    pub terminal: bool,
    pub colour: bool,
    /// What was written last did not end its line.
    pub mid_line: bool,
}

/// Rows of cells under a heading.
pub struct Table {
    rows: comfy_table::Table,
}

/// A column's heading and the side to which its cells stand.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    Left(&'static str),
    Right(&'static str),
}

impl Out {
    /// This process's own ends.
    pub fn standard(json: bool) -> Out {
        let environment = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = environment("TERM").is_some_and(|term| term == "dumb");
        let colour = !dumb && environment("NO_COLOR").is_none();
        let pipe = |to, terminal: bool| Pipe { to, terminal, colour: colour && terminal, mid_line: false };
        let stdout = pipe(Box::new(io::stdout()), io::stdout().is_terminal());
        let stderr = pipe(Box::new(io::stderr()), io::stderr().is_terminal() && !dumb);
        Out::new(stdout, stderr, json)
    }

    /// Writes to these ends; `json` asks for data as JSON.
    pub fn new(stdout: Pipe, stderr: Pipe, json: bool) -> Out {
        Out { stdout, stderr, json, progress: false }
    }

    /// Whether data is asked for as JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether somebody watches the messages.
    pub fn watched(&self) -> bool {
        self.stderr.terminal
    }

    /// Whether data is drawn on a terminal, so that it can be drawn anew.
    pub fn draws(&self) -> bool {
        self.stdout.terminal
    }

    /// Begins a new drawing, where one can be drawn.
    pub fn clear(&mut self) -> Result<(), CliError> {
        if self.stdout.terminal {
            self.stdout.to.write_all(CLEAR.as_bytes())?;
        }
        Ok(())
    }

    /// A line of data.
    pub fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.text(text)?;
        self.text("\n")
    }

    /// A piece of data, visible at once.
    pub fn text(&mut self, piece: &str) -> Result<(), CliError> {
        self.wipe()?;
        self.stdout.note_end(piece);
        let piece = self.stdout.fit(piece);
        self.stdout.to.write_all(piece.as_bytes())?;
        Ok(self.stdout.to.flush()?)
    }

    /// JSON as the gateway wrote it, on a line of its own.
    pub fn raw_json(&mut self, json: &[u8]) -> Result<(), CliError> {
        self.wipe()?;
        self.stdout.to.write_all(json.trim_ascii_end())?;
        self.stdout.to.write_all(b"\n")?;
        Ok(self.stdout.to.flush()?)
    }

    /// A table in columns, or one JSON object a line.
    pub fn table(&mut self, table: &Table) -> Result<(), CliError> {
        self.line(&table.rows.trim_fmt())
    }

    /// A message beside the data, on a line of its own.
    pub fn note(&mut self, text: &str) -> Result<(), CliError> {
        self.wipe()?;
        let text = format!("{}\n", self.stderr.fit(text));
        Ok(self.stderr.to.write_all(text.as_bytes())?)
    }

    /// A piece of something beside the data that should not draw the eye.
    pub fn aside(&mut self, piece: &str) -> Result<(), CliError> {
        self.wipe()?;
        self.stderr.note_end(piece);
        let piece = self.stderr.styled(DIM, piece);
        self.stderr.to.write_all(piece.as_bytes())?;
        Ok(self.stderr.to.flush()?)
    }

    /// What is being waited for: on a terminal only, and gone with the next thing written.
    pub fn progress(&mut self, text: &str) -> Result<(), CliError> {
        if !self.stderr.terminal {
            return Ok(());
        }
        let text = self.stderr.fit(text);
        let line: String = text.chars().take_while(|c| *c != '\n').take(PROGRESS_COLUMNS).collect();
        let line = self.stderr.styled(DIM, &line);
        self.stderr.to.write_all(format!("{WIPE}{line}").as_bytes())?;
        self.progress = true;
        Ok(self.stderr.to.flush()?)
    }

    /// What went wrong, with the lines that say why.
    pub fn error(&mut self, error: &CliError) -> Result<(), CliError> {
        self.wipe()?;
        if self.json {
            return self.error_json(error);
        }
        let label = self.stderr.styled(RED, "error:").into_owned();
        let message = self.stderr.fit(&error.to_string()).into_owned();
        self.stderr.to.write_all(format!("{label} {message}\n").as_bytes())?;
        if let CliError::Refused { error, .. } = error {
            for line in &error.log_tail {
                self.note(&format!("  | {line}"))?;
            }
        }
        Ok(())
    }

    fn error_json(&mut self, error: &CliError) -> Result<(), CliError> {
        let mut line = json!({"message": error.to_string(), "exit_code": error.exit().code()});
        if let CliError::Refused { status, error } = error {
            line["status"] = (*status).into();
            line["code"] = error.code.clone().unwrap_or_default();
        }
        let line = json!({"error": line});
        Ok(self.stderr.to.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Ends the line in which pieces were written, if one is still open.
    pub fn end_line(&mut self) -> Result<(), CliError> {
        self.wipe()?;
        for pipe in [&mut self.stdout, &mut self.stderr] {
            if std::mem::take(&mut pipe.mid_line) {
                pipe.to.write_all(b"\n")?;
                pipe.to.flush()?;
            }
        }
        Ok(())
    }

    /// Takes away a progress line that still stands.
    pub fn wipe(&mut self) -> Result<(), CliError> {
        if std::mem::take(&mut self.progress) {
            self.stderr.to.write_all(WIPE.as_bytes())?;
            self.stderr.to.flush()?;
        }
        Ok(())
    }

    /// A help text or a complaint of the command line's parser.
    pub fn usage(&mut self, text: &clap::builder::StyledStr, complaint: bool) -> Result<(), CliError> {
        let pipe = if complaint { &mut self.stderr } else { &mut self.stdout };
        let text = if pipe.colour { text.ansi().to_string() } else { text.to_string() };
        pipe.to.write_all(text.as_bytes())?;
        Ok(pipe.to.flush()?)
    }
}

impl Pipe {
    fn note_end(&mut self, piece: &str) {
        if let Some(last) = piece.chars().last() {
            self.mid_line = last != '\n';
        }
    }

    /// `text` without what would let it steer a terminal: models and backends write what they like.
    fn fit<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
        if self.terminal && text.contains(steers) {
            Cow::Owned(text.replace(steers, ""))
        } else {
            Cow::Borrowed(text)
        }
    }

    fn styled<'a>(&self, style: &str, text: &'a str) -> Cow<'a, str> {
        let text = self.fit(text);
        if self.colour { Cow::Owned(format!("{style}{text}{PLAIN}")) } else { text }
    }
}

impl Table {
    pub fn new<const N: usize>(columns: [Column; N]) -> Table {
        let mut rows = comfy_table::Table::new();
        rows.load_style(presets::NOTHING);
        rows.set_content_arrangement(ContentArrangement::Disabled);
        rows.set_header(columns.map(|column| match column {
            Column::Left(name) | Column::Right(name) => name,
        }));
        for (column, at) in rows.column_iter_mut().zip(columns) {
            column.set_padding((0, 2));
            if let Column::Right(_) = at {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Table { rows }
    }

    /// What a pipe or a terminal would trip over is taken out here, because it would bend the columns.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.add_row(cells.map(|cell| cell.replace(char::is_control, " ")));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::screen::Screen;
    use super::*;

    #[test]
    fn a_terminal_is_never_steered_by_what_is_shown() -> Result<(), CliError> {
        let screen = Screen::default();
        let mut out = screen.out_to_terminal(false);
        out.text("a\x1b]0;title\x07b\r\nc\td\u{9b}2J")?;
        out.note("\x1b[31mred")?;
        assert_eq!(screen.stdout(), "a]0;titleb\nc\td2J");
        assert_eq!(screen.stderr(), "[31mred\n");
        Ok(())
    }

    #[test]
    fn a_pipe_gets_every_byte() -> Result<(), CliError> {
        let screen = Screen::default();
        screen.out(false).text("a\x1b[1mb\r\n")?;
        assert_eq!(screen.stdout(), "a\x1b[1mb\r\n");
        Ok(())
    }

    #[test]
    fn progress_is_for_terminals_and_goes_away() -> Result<(), CliError> {
        let screen = Screen::default();
        let mut out = screen.out(false);
        out.progress("loading")?;
        out.line("done")?;
        assert_eq!(screen.stderr(), "");

        let screen = Screen::default();
        let mut out = screen.out_to_terminal(false);
        out.progress("loading\nsecond line")?;
        out.line("done")?;
        assert_eq!(screen.stderr(), "\r\x1b[2K\x1b[2mloading\x1b[0m\r\x1b[2K");
        Ok(())
    }

    #[test]
    fn columns_stand_under_their_headings() -> Result<(), CliError> {
        let screen = Screen::default();
        let mut table = Table::new([Column::Left("NAME"), Column::Right("N"), Column::Left("LAST")]);
        table.row(["a".into(), "1,000".into(), String::new()]);
        table.row(["länger\n".into(), "1".into(), "x".into()]);
        screen.out(false).table(&table)?;
        insta::assert_snapshot!(screen.stdout(), @r"
        NAME         N  LAST
        a        1,000
        länger       1  x
        ");
        Ok(())
    }

    #[test]
    fn an_error_is_an_object_where_json_is_asked_for() -> Result<(), CliError> {
        let screen = Screen::default();
        screen.out(true).error(&CliError::Unreachable("nobody".into()))?;
        assert_eq!(screen.stderr(), "{\"error\":{\"message\":\"nobody\",\"exit_code\":3}}\n");
        Ok(())
    }
}
