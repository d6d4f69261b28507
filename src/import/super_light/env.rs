//! The settings of the original: the file `.env` in its folder.

/// The value of a variable, as `dotenv` reads it: the last line that sets it counts.
pub(in crate::import) fn variable(file: &str, name: &str) -> Option<String> {
    let mut lines = file.lines().filter_map(|line| {
        let line = line.trim_start_matches('\u{feff}').trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (set, value) = line.split_once(['=', ':'])?;
        (set.trim() == name).then(|| unquoted(value.trim()))
    });
    lines.next_back().filter(|value| !value.is_empty())
}

/// A value without its quotes, or without the comment behind it.
fn unquoted(value: &str) -> String {
    for quote in ['"', '\'', '`'] {
        if let Some((inside, _)) = value
            .strip_prefix(quote)
            .and_then(|rest| rest.split_once(quote))
        {
            return inside.to_owned();
        }
    }
    let value = value.split('#').next().unwrap_or_default();
    value.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::variable;

    #[test]
    fn values_are_read_with_quotes_comments_and_exports() {
        let file = "\u{feff}# A=1\nA = x # y\nexport B='q # r' # s\r\nC=\"\"\nD=1\nD=2\nE=a=b\n";
        let read = |name: &str| variable(file, name);
        assert_eq!(read("A").as_deref(), Some("x"));
        assert_eq!(read("B").as_deref(), Some("q # r"));
        assert_eq!((read("C"), read("F")), (None, None));
        assert_eq!(read("D").as_deref(), Some("2"));
        assert_eq!(read("E").as_deref(), Some("a=b"));
    }
}
