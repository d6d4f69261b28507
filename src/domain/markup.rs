//! The simple HTML that editors of campaigns write, as the plain text that WhatsApp shows.
//!
//! Tags that make a paragraph or a line become line breaks, other known tags go, and entities become
//! their letters. A `<` that begins no known tag is itself, as is an `&` that begins no known entity: people
//! write `5 < 6`, `a <-> b` and `Tom & Jerry`. A text with neither is left as it is, to the byte.

/// The longest inside of a tag, in bytes.
const LONGEST_TAG: usize = 2000;

/// Tags that end a paragraph, and those that end a line.
const PARAGRAPHS: &[&str] = &["p"];
const LINES: &[&str] = &[
    "div",
    "li",
    "ul",
    "ol",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "blockquote",
    "pre",
    "tr",
];

/// Tags that leave nothing behind.
const SILENT: &[&str] = &[
    "a", "b", "code", "del", "em", "font", "i", "ins", "mark", "s", "small", "span", "strike",
    "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "u",
];

/// The text that the HTML shows.
pub(super) fn plain(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let (mut rest, mut changed) = (html, false);
    while let Some(at) = rest.find(['<', '&']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let found = if rest.starts_with('<') {
            tag(rest)
        } else {
            entity(rest)
        };
        let (shown, length) = match found {
            Some((shown, length)) => {
                changed = true;
                (shown, length)
            }
            None => (
                Shown::Letter(if rest.starts_with('<') { '<' } else { '&' }),
                1,
            ),
        };
        match shown {
            Shown::Letter(letter) => text.push(letter),
            Shown::Breaks(count) => text.extend(std::iter::repeat_n('\n', count)),
        }
        rest = &rest[length..];
    }
    text.push_str(rest);
    if changed { tidy(&text) } else { text }
}

/// What stands in the place of a tag or an entity.
enum Shown {
    Letter(char),
    Breaks(usize),
}

/// What a text that begins with a known tag shows for it, and how long that is.
fn tag(text: &str) -> Option<(Shown, usize)> {
    let inside = &text[1..];
    let limit = inside.floor_char_boundary(LONGEST_TAG);
    let end = inside[..limit].find(['<', '>'])?;
    if !inside[end..].starts_with('>') {
        return None;
    }
    let (inside, closes) = match inside[..end].strip_prefix('/') {
        Some(inside) => (inside, true),
        None => (&inside[..end], false),
    };
    let name = inside
        .split(|c: char| c.is_ascii_whitespace() || c == '/')
        .next()?;
    // People write `a<b then c>d` too: what stands behind the name must look like attributes.
    let behind = inside[name.len()..].trim_matches(|c: char| c.is_ascii_whitespace() || c == '/');
    if !behind.is_empty() && !behind.contains('=') {
        return None;
    }
    let is_in = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
    let breaks = if is_in(&["br"]) {
        1
    } else if is_in(PARAGRAPHS) {
        2 * usize::from(closes)
    } else if is_in(LINES) {
        usize::from(closes)
    } else if is_in(SILENT) {
        0
    } else {
        return None;
    };
    Some((Shown::Breaks(breaks), end + 2))
}

/// What a text that begins with a known entity shows for it, and how long that is.
fn entity(text: &str) -> Option<(Shown, usize)> {
    let inside = &text[1..];
    let limit = inside.floor_char_boundary(10);
    let end = inside[..limit].find(';')?;
    let letter = match &inside[..end] {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        name => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            match char::from_u32(code)? {
                '\u{a0}' => ' ',
                letter if letter.is_control() && letter != '\n' => return None,
                letter => letter,
            }
        }
    };
    Some((Shown::Letter(letter), end + 2))
}

/// The text without white space around it, and with no more than one empty line in a row.
fn tidy(text: &str) -> String {
    let (mut tidy, mut breaks) = (String::with_capacity(text.len()), 0);
    for letter in text.trim().chars() {
        breaks = if letter == '\n' { breaks + 1 } else { 0 };
        if breaks <= 2 {
            tidy.push(letter);
        }
    }
    tidy
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_editors_write_becomes_what_they_show() {
        for (html, text) in [
            (
                "<p>Halo {{Name}},</p><p>Promo&nbsp;hari ini</p>",
                "Halo {{Name}},\n\nPromo hari ini",
            ),
            ("<p>a</p><p><br></p><p>b</p>", "a\n\nb"),
            ("a<br>b<BR/>c<br />d", "a\nb\nc\nd"),
            ("<div>a</div><div>b</div>", "a\nb"),
            ("<ul><li>satu</li><li>dua</li></ul>", "satu\ndua"),
            (
                "<p class=\"x\"><strong>Rp 5</strong> <em>saja</em></p>",
                "Rp 5 saja",
            ),
            (
                "<a href=\"https://x.example/?a=1&amp;b=2\">di sini</a>",
                "di sini",
            ),
            (
                "Tom &amp; Jerry &lt;3 &quot;x&quot; &#39;y&#39; &#x1F600;",
                "Tom & Jerry <3 \"x\" 'y' \u{1f600}",
            ),
            // Decoded once: what it shows is text.
            ("&amp;lt;b&amp;gt; &lt;b&gt;", "&lt;b&gt; <b>"),
        ] {
            assert_eq!(plain(html), text, "{html}");
        }
    }

    #[test]
    fn what_is_no_html_stays_to_the_byte() {
        for text in [
            "  5 < 6 & 7 > 3\n\n\n\nx ",
            "a <-> b <nama> <3 </ > <",
            "Tom & Jerry &copy &nope; &;",
            "{\"a\":\"<x>\"} https://x.example/?a=1&b=2",
            "&#0; &#xD800; &#99999999;",
            "<p",
            "<b <i",
        ] {
            assert_eq!(plain(text), text);
        }
        let long = format!("<a href=\"{}\">x</a>", "y".repeat(3000));
        assert_eq!(
            plain(&long),
            long[..long.len() - 4],
            "only the end of it is a tag"
        );
    }

    proptest! {
        #[test]
        fn it_never_panics_nor_grows(
            text in "(<|>|&|;|/|p|br|div|amp|lt|nbsp|#|x1F600|[0-9]{1,4}| |\n|\\PC){0,60}",
        ) {
            let shown = plain(&text);
            prop_assert!(shown.len() <= text.len(), "{:?} became {:?}", text, shown);
        }

        #[test]
        fn a_text_without_tags_and_entities_is_unchanged(text in "[^<&]{0,80}") {
            prop_assert_eq!(plain(&text), text);
        }
    }
}
