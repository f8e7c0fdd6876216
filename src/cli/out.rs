//! The one place that writes to the terminal: data on stdout, everything else on stderr. Owns colour,
//! progress that wipes itself away, and what a terminal must not be sent. Knows no command.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, presets};
use serde_json::json;

use super::exit::CliError;
use crate::system::terminal;

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

    /// Writes one line of data.
    pub fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.text(&format!("{}\n", terminal::one_line(text)))
    }

    /// Writes several lines of data.
    pub fn block(&mut self, text: &str) -> Result<(), CliError> {
        self.text(&format!("{}\n", text.trim_end_matches('\n')))
    }

    /// Writes a piece of data, visible at once. It may have several lines.
    pub fn text(&mut self, piece: &str) -> Result<(), CliError> {
        self.wipe()?;
        self.stdout.note_end(piece);
        self.stdout.to.write_all(terminal::lines(piece).as_bytes())?;
        Ok(self.stdout.to.flush()?)
    }

    /// Writes the gateway's JSON on a line of its own.
    pub fn raw_json(&mut self, json: &[u8]) -> Result<(), CliError> {
        self.wipe()?;
        let json = String::from_utf8_lossy(json.trim_ascii_end());
        self.stdout.to.write_all(terminal::json(&json).as_bytes())?;
        self.stdout.to.write_all(b"\n")?;
        Ok(self.stdout.to.flush()?)
    }

    /// A table in columns, or one JSON object a line.
    pub fn table(&mut self, table: &Table) -> Result<(), CliError> {
        self.block(&table.rows.trim_fmt())
    }

    /// A message beside the data, on a line of its own.
    pub fn note(&mut self, text: &str) -> Result<(), CliError> {
        self.wipe()?;
        let text = format!("{}\n", terminal::one_line(text));
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
        let text = terminal::one_line(text.lines().next().unwrap_or_default());
        let line: String = text.chars().take(PROGRESS_COLUMNS).collect();
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
        // A message of several lines is indented, so that none of them passes for another error.
        let message = terminal::lines(&error.to_string()).replace('\n', "\n  ");
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
        let line = json!({"error": line}).to_string();
        Ok(self.stderr.to.write_all(format!("{}\n", terminal::json(&line)).as_bytes())?)
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

    fn styled<'a>(&self, style: &str, text: &'a str) -> Cow<'a, str> {
        let text = terminal::lines(text);
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

    /// Escapes the cells here already: control characters have no width, and would bend the columns.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.add_row(cells.map(|cell| terminal::one_line(cell.trim_end()).replace('\t', " ")));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::screen::Screen;
    use super::*;

    #[test]
    fn neither_a_terminal_nor_a_pipe_is_steered_by_values() -> Result<(), CliError> {
        for terminal in [false, true] {
            let screen = Screen::default();
            let mut out = if terminal { screen.out_to_terminal(false) } else { screen.out(false) };
            out.text("a\x1b]0;title\x07b\r\nc\td\u{9b}2J\n")?;
            out.line("one\ntwo\u{202e}")?;
            out.note("\x1b[31mred\nblue")?;
            assert_eq!(
                screen.stdout(),
                "a\\u{1b}]0;title\\u{7}b\nc\td\\u{9b}2J\none\\ntwo\\u{202e}\n",
                "{terminal}"
            );
            assert_eq!(screen.stderr(), "\\u{1b}[31mred\\nblue\n", "{terminal}");
        }
        Ok(())
    }

    #[test]
    fn json_is_escaped_as_json() -> Result<(), CliError> {
        let screen = Screen::default();
        let mut out = screen.out(true);
        out.raw_json("{\"a\":\"\u{9b}2J\u{202e}\\n\"}\n".as_bytes())?;
        out.error(&CliError::Failed("\u{9b}2J".into()))?;
        assert_eq!(screen.stdout(), "{\"a\":\"\\u009b2J\\u202e\\n\"}\n");
        assert!(screen.stderr().contains("\\u009b2J"), "{}", screen.stderr());
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
        NAME        N  LAST
        a       1,000
        länger      1  x
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
