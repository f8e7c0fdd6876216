//! Command lines as llama-swap reads them: comments, line ends and quotes. No shell is run.

/// The words of a command, lines that begin with `#` left out. None: a quote is not closed.
pub fn words(command: &str) -> Option<Vec<String>> {
    let lines = command.lines().filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.map(|line| line.trim_end().trim_end_matches('\\')).collect::<Vec<_>>().join(" ");
    shell_words::split(&joined).ok()
}

/// The value after one of some flags, `--flag value` or `--flag=value`.
pub fn flag<'a>(words: &'a [String], names: &[&str]) -> Option<&'a str> {
    let after = |name: &str| {
        words.iter().enumerate().find_map(|(at, word)| {
            if word == name {
                return words.get(at + 1).map(String::as_str);
            }
            word.strip_prefix(name)?.strip_prefix('=')
        })
    };
    names.iter().find_map(|name| after(name))
}
