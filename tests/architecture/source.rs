//! Source files as text: which module a file is, what of it is product code, and which paths it
//! names. A tokenizer of a hundred lines instead of a parser crate; knows no rule.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where source lives, and what is somebody else's or made by a program.
const SOURCE_FOLDERS: &[&str] = &["src", "tests", "benches", "plugins", "scripts", "web/src"];
const SOURCE_ENDINGS: &[&str] = &["rs", "py", "sh", "js", "mjs", "ts", "svelte"];
const NOT_SOURCE: &[&str] = &["fixtures", "node_modules", "target", "dist", "generated"];

/// One file of this repository.
pub struct SourceFile {
    /// From the repository's root, with `/`.
    pub path: String,
    pub text: String,
    /// `["backends", "actor"]`; `main.rs` counts as a module of that name.
    pub module: Vec<String>,
    /// Its product code, and the items that were taken out of it.
    parted: OnceLock<(String, Vec<String>)>,
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    /// `::`
    Path,
    Sign(char),
}

impl SourceFile {
    pub fn new(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
            module: module_of(path),
            parted: OnceLock::new(),
        }
    }

    pub fn read(path: &str) -> SourceFile {
        let text = fs::read_to_string(root().join(path));
        SourceFile::new(path, &text.unwrap_or_else(|e| panic!("{path}: {e}")))
    }

    pub fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// Without comments, the insides of literals, and what is built for tests alone.
    pub fn product_code(&self) -> &str {
        &self.parted().0
    }

    /// Every path into this package, from its root: `["auth", "Caller"]`.
    pub fn own_paths(&self) -> Vec<Vec<String>> {
        let tokens = tokens(self.product_code());
        let mut found = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let Token::Word(word) = token else { continue };
            let begins = at == 0 || tokens[at - 1] != Token::Path;
            let start = match *word {
                "crate" | "mlx_gateway" => Vec::new(),
                "self" => self.module.clone(),
                "super" => self.module[..self.module.len().saturating_sub(1)].to_vec(),
                _ => continue,
            };
            if begins && tokens.get(at + 1) == Some(&Token::Path) {
                follow(&tokens, at + 1, start, &mut found);
            }
        }
        found
    }

    /// Every path that goes on from this word, the word included.
    pub fn paths_from(&self, root: &str) -> Vec<Vec<String>> {
        let tokens = tokens(self.product_code());
        let mut found = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let used = at > 0 && matches!(tokens[at - 1], Token::Word("use" | "crate"));
            let goes_on = tokens.get(at + 1) == Some(&Token::Path);
            if *token == Token::Word(root) && (used || goes_on) {
                follow(&tokens, at + 1, vec![root.to_owned()], &mut found);
            }
        }
        found
    }

    pub fn calls_macro(&self, name: &str) -> bool {
        tokens(self.product_code())
            .windows(2)
            .any(|pair| pair[0] == Token::Word(name) && pair[1] == Token::Sign('!'))
    }

    fn parted(&self) -> &(String, Vec<String>) {
        self.parted.get_or_init(|| without_tests(&without_literals(&self.text)))
    }

    /// The modules it declares for tests alone, as full module paths.
    fn test_modules(&self) -> Vec<Vec<String>> {
        let declared = self.parted().1.iter().filter_map(|item| {
            let tokens = tokens(item);
            let at = tokens.iter().position(|t| *t == Token::Word("mod"))?;
            match (tokens.get(at + 1), tokens.get(at + 2)) {
                (Some(Token::Word(name)), Some(Token::Sign(';'))) => Some((*name).to_owned()),
                _ => None,
            }
        });
        declared.map(|name| [self.module.as_slice(), &[name]].concat()).collect()
    }
}

/// All source files of the repository.
pub fn all_files() -> Vec<SourceFile> {
    let mut paths = Vec::new();
    for folder in SOURCE_FOLDERS {
        collect(&root().join(folder), &mut paths);
    }
    let root = root();
    let relative = |path: &PathBuf| {
        let path = path.strip_prefix(&root).unwrap_or(path);
        path.to_string_lossy().replace('\\', "/")
    };
    paths.iter().map(|path| SourceFile::read(&relative(path))).collect()
}

/// The files in `src` that go into the product.
pub fn product_files() -> Vec<SourceFile> {
    let mut files = all_files();
    files.retain(|file| file.path.starts_with("src/") && file.path.ends_with(".rs"));
    let tests: Vec<Vec<String>> = files.iter().flat_map(SourceFile::test_modules).collect();
    files.retain(|file| !tests.iter().any(|test| file.module.starts_with(test)));
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !NOT_SOURCE.contains(&name.as_ref()) {
            collect(&path, into);
        } else if SOURCE_ENDINGS.contains(&ending.as_ref()) {
            into.push(path);
        }
    }
}

fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_prefix("src/").unwrap_or(path);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    path.split('/').filter(|segment| !matches!(*segment, "mod" | "lib")).map(str::to_owned).collect()
}

/// Walks a path on from `at` (a `::`, or its end), through braces, and notes every leaf.
fn follow(tokens: &[Token], at: usize, path: Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    if tokens.get(at) != Some(&Token::Path) {
        found.push(path);
        return at;
    }
    match tokens.get(at + 1) {
        Some(Token::Word("super")) => {
            let shorter = path[..path.len().saturating_sub(1)].to_vec();
            follow(tokens, at + 2, shorter, found)
        }
        Some(Token::Word(word)) => {
            let longer = [path.as_slice(), &[(*word).to_owned()]].concat();
            follow(tokens, at + 2, longer, found)
        }
        Some(Token::Sign('{')) => follow_braces(tokens, at + 2, &path, found),
        _ => {
            found.push(path);
            at + 1
        }
    }
}

fn follow_braces(tokens: &[Token], mut at: usize, path: &[String], found: &mut Vec<Vec<String>>) -> usize {
    while let Some(token) = tokens.get(at) {
        at = match token {
            Token::Sign('}') => return at + 1,
            Token::Word("self") => {
                found.push(path.to_vec());
                at + 1
            }
            // The new name of what stands before it.
            Token::Word("as") => at + 2,
            Token::Word(word) => {
                let longer = [path, &[(*word).to_owned()]].concat();
                follow(tokens, at + 1, longer, found)
            }
            _ => at + 1,
        };
    }
    at
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let length = if word > 0 {
            tokens.push(Token::Word(&rest[..word]));
            word
        } else if rest.starts_with("::") {
            tokens.push(Token::Path);
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Sign(first));
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// Comments go, literals become empty ones; line breaks outside literals stay.
fn without_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = (!after_word).then(|| raw_string(rest)).flatten() {
            code.push_str("\"\"");
            length
        } else if first == '"' {
            code.push_str("\"\"");
            quoted(rest, '"')
        } else if let Some(length) = character(rest) {
            code.push_str("''");
            length
        } else {
            code.push(first);
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let step = if text[at..].starts_with("/*") {
            depth += 1;
            2
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            2
        } else {
            text[at..].chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of `r"…"`, `br#"…"#` and their like at the start.
fn raw_string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r"].iter().find(|p| text.starts_with(**p))?;
    let hashes = text[prefix.len()..].chars().take_while(|c| *c == '#').count();
    let start = prefix.len() + hashes;
    if !text[start..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = start + 1;
    Some(text[body..].find(&end).map_or(text.len(), |at| body + at + end.len()))
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal at the start; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut chars = text.chars();
    if chars.next() != Some('\'') {
        return None;
    }
    match (chars.next()?, chars.next()?) {
        ('\\', _) => Some(quoted(text, '\'')),
        (c, '\'') => Some(c.len_utf8() + 2),
        _ => None,
    }
}

/// Takes out every item under `#[cfg(test)]`; gives what is left, and the items.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut left, mut removed) = (String::new(), Vec::new());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        left.push_str(&rest[..at]);
        let item = &rest[at + MARK.len()..];
        let length = item_length(item);
        removed.push(item[..length].to_owned());
        rest = &item[length..];
    }
    left.push_str(rest);
    (left, removed)
}

/// To the `;` or the closing brace of the item at the start.
fn item_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(c, ';' | '}') {
            return at + 1;
        }
    }
    code.len()
}
