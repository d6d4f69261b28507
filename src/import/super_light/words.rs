//! The words of a campaign: the original's editor writes simple HTML and escapes the rest.

/// The text that a phone shows: paragraphs and breaks as lines, no tags, no entities.
pub(super) fn plain(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = match rest.starts_with('<') {
            true => tag(rest, &mut text),
            false => entity(rest, &mut text),
        };
    }
    text.push_str(rest);
    while text.contains("\n\n\n") {
        text = text.replace("\n\n\n", "\n\n");
    }
    text.trim().to_owned()
}

/// What follows a tag. A `<` that begins none is a letter like others.
fn tag<'t>(rest: &'t str, text: &mut String) -> &'t str {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '/';
    let inside = rest[1..]
        .split_once('>')
        .filter(|(tag, _)| tag.starts_with(letter));
    let Some((tag, after)) = inside else {
        text.push('<');
        return &rest[1..];
    };
    let name = tag.split([' ', '\t', '\n']).next().unwrap_or_default();
    match name.trim_end_matches('/').to_ascii_lowercase().as_str() {
        "br" | "/div" => text.push('\n'),
        "/p" => text.push_str("\n\n"),
        _ => {}
    }
    after
}

/// What follows an entity. An `&` that begins none is a letter like others.
fn entity<'t>(rest: &'t str, text: &mut String) -> &'t str {
    let known = [
        ("&amp;", '&'),
        ("&lt;", '<'),
        ("&gt;", '>'),
        ("&quot;", '"'),
        ("&#39;", '\''),
        ("&apos;", '\''),
        ("&nbsp;", ' '),
    ];
    for (written, meant) in known {
        if let Some(after) = rest.strip_prefix(written) {
            text.push(meant);
            return after;
        }
    }
    text.push('&');
    &rest[1..]
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn html_becomes_what_a_phone_shows() {
        for (html, text) in [
            (
                "<p>Halo {{Name}}</p><p>Promo &amp; <strong>diskon</strong></p>",
                "Halo {{Name}}\n\nPromo & diskon",
            ),
            ("a<br>b<br />c<BR/>d", "a\nb\nc\nd"),
            (
                "1 &lt; 2 < 3 & 4 &uuml; &amp;lt;",
                "1 < 2 < 3 & 4 &uuml; &lt;",
            ),
            ("<a href=\"https://x.id\">x</a>&nbsp;y", "x y"),
            ("tanpa tag", "tanpa tag"),
            ("<", "<"),
            ("<p", "<p"),
            ("", ""),
        ] {
            assert_eq!(plain(html), text, "{html:?}");
        }
    }
}
