//! Unit files as text: what a section assigns to a key.
//!
//! In: the text of a unit's file and of its drop-ins, in the order in which
//! systemd reads them. Out: values, and the words of a command line. Must not:
//! read files, expand specifiers, or know what a unit is for.

/// Every value of a key in a section, in order. As systemd has it, an empty
/// value takes back those before it.
pub fn values<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    section: &str,
    key: &str,
) -> Vec<String> {
    let mut values = Vec::new();
    for text in texts {
        let mut is_in_section = false;
        for line in logical_lines(text) {
            if let Some(name) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
                is_in_section = name == section;
            } else if let Some((found, value)) = line.split_once('=')
                && is_in_section
                && found.trim_end() == key
            {
                match value.trim() {
                    "" => values.clear(),
                    value => values.push(value.to_owned()),
                }
            }
        }
    }
    values
}

/// Lines without comments, those that end in a backslash joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut begun = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(part) => {
                begun.push_str(part);
                begun.push(' ');
            }
            None => {
                begun.push_str(line);
                lines.push(std::mem::take(&mut begun).trim().to_owned());
            }
        }
    }
    lines.push(begun.trim().to_owned());
    lines.retain(|line| !line.is_empty());
    lines
}

/// The program and the arguments of a command line, without the prefixes that
/// say how it is run (systemd.service(5), "Command lines"). Escapes are kept as
/// they are: no path of ours needs one.
pub fn command_words(line: &str) -> Vec<String> {
    let line = line.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "[Unit]\nExecStart=/no\n[Service]\n# ExecStart=/comment\n\
        ExecStart = /bin/a \\\n  ; in between\n  b\nExecStart=/bin/c\nExecStartPre=/bin/d\n";

    #[test]
    fn values_are_those_of_the_section_with_continued_lines_joined() {
        let values = values([UNIT], "Service", "ExecStart");
        assert_eq!(values, ["/bin/a  b", "/bin/c"]);
    }

    #[test]
    fn an_empty_value_in_a_drop_in_takes_back_what_was_before() {
        let drop_in = "[Service]\nExecStart=\nExecStart=/bin/e\n";
        let values = values([UNIT, drop_in], "Service", "ExecStart");
        assert_eq!(values, ["/bin/e"]);
    }

    #[test]
    fn command_lines_are_words_without_prefixes_and_quotes() {
        for (line, words) in [
            ("/bin/a --b c", &["/bin/a", "--b", "c"][..]),
            ("-@/bin/a  'b c' \"d'e\"", &["/bin/a", "b c", "d'e"]),
            ("/bin/a --b=\"c d\" ''", &["/bin/a", "--b=c d", ""]),
            ("", &[]),
        ] {
            assert_eq!(command_words(line), words, "{line}");
        }
    }
}
