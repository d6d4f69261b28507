//! Texts with placeholders and variants: what one recipient of a campaign reads.
//!
//! The rules, for a client that writes such a text:
//! - `{{Name}}` stands for a field of the recipient. Spaces around the name do not count; which
//!   spellings name the same field is for the caller to say. A name has 1 to 64 characters, none of
//!   them a brace, `|`, `"`, `:` or a control character. A field that is not there is empty text.
//! - `{hi|hello|hey}` stands for one of its variants. A variant may be empty, and may hold
//!   placeholders and further variants, 16 levels deep.
//! - Everything else is itself: braces without a `|` between them (`{}`, `{x}`, JSON), braces that
//!   have no partner, a `|` outside of braces, `&`, `<`, backslashes. There is no escape sign; a
//!   text that must show `{a|b}` takes it from a field, because
//! - the value of a field is never read for placeholders or variants.

use std::collections::BTreeSet;

/// The longest name of a placeholder, in characters.
const MAX_NAME: usize = 64;
/// How deep variants may lie within variants; deeper ones are plain text.
const MAX_DEPTH: usize = 16;

/// A text that was read once and can be written for each recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Node>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Text(String),
    Field(String),
    /// Its number in the order of the text, and what it chooses from.
    Choice(u64, Vec<Vec<Node>>),
}

/// What one recipient reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The placeholders that had no value, as the client spelled them.
    pub missing: BTreeSet<String>,
}

impl Template {
    /// Reads a text. Any text is a template; what means nothing stays as it is.
    pub fn parse(text: &str) -> Self {
        let tokens = tokens(text);
        let roles = roles(&tokens);
        Self::of(tokens, roles)
    }

    /// The same, but `{a|b}` means nothing.
    pub fn without_variants(text: &str) -> Self {
        let tokens = tokens(text);
        let roles = vec![Role::Plain; tokens.len()];
        Self::of(tokens, roles)
    }

    fn of(tokens: Vec<Token<'_>>, roles: Vec<Role>) -> Self {
        let mut nodes = Vec::new();
        // The groups around the current place: number, finished variants, and what lies before it.
        let mut open: Vec<(u64, Vec<Vec<Node>>, Vec<Node>)> = Vec::new();
        let mut too_deep = 0_usize;
        let mut choices = 0;
        for (token, role) in tokens.iter().zip(roles) {
            match role {
                Role::Start if open.len() < MAX_DEPTH => {
                    open.push((choices, Vec::new(), std::mem::take(&mut nodes)));
                    choices += 1;
                    continue;
                }
                Role::Start => too_deep += 1,
                Role::End if too_deep > 0 => too_deep -= 1,
                Role::Separator if too_deep == 0 => {
                    if let Some((_, options, _)) = open.last_mut() {
                        options.push(std::mem::take(&mut nodes));
                    }
                    continue;
                }
                Role::End => {
                    if let Some((number, mut options, before)) = open.pop() {
                        options.push(std::mem::replace(&mut nodes, before));
                        nodes.push(Node::Choice(number, options));
                    }
                    continue;
                }
                Role::Separator | Role::Plain => {}
            }
            match *token {
                Token::Field(name) => nodes.push(Node::Field(name.to_owned())),
                Token::Text(text) => push_text(&mut nodes, text),
                Token::Open => push_text(&mut nodes, "{"),
                Token::Close => push_text(&mut nodes, "}"),
                Token::Bar => push_text(&mut nodes, "|"),
            }
        }
        Self(nodes)
    }

    /// Writes the text for one recipient: `field` answers a placeholder's value, `seed` (from
    /// [`seed`]) picks the variants. The same seed gives the same text, so that a message that is
    /// written again after a crash does not change.
    pub fn render<'a>(&self, field: impl Fn(&str) -> Option<&'a str>, seed: u64) -> Rendered {
        let mut rendered = Rendered::default();
        write(&self.0, &field, seed, &mut rendered);
        rendered
    }
}

/// The seed of one recipient's text.
///
/// Invariant: this and the pick that follows from it never change between versions, or a campaign
/// that is under way would repeat a message with other words.
pub fn seed(campaign: u64, recipient: u64) -> u64 {
    mix(campaign ^ mix(recipient))
}

/// Spreads a number over all 64 bits (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn write<'a>(
    nodes: &[Node],
    field: &impl Fn(&str) -> Option<&'a str>,
    seed: u64,
    out: &mut Rendered,
) {
    for node in nodes {
        match node {
            Node::Text(text) => out.text.push_str(text),
            Node::Field(name) => match field(name).filter(|value| !value.is_empty()) {
                Some(value) => out.text.push_str(value),
                None => {
                    out.missing.insert(name.clone());
                }
            },
            Node::Choice(number, options) => {
                let pick = mix(seed ^ mix(*number)) % options.len() as u64;
                write(&options[pick as usize], field, seed, out);
            }
        }
    }
}

fn push_text(nodes: &mut Vec<Node>, text: &str) {
    match nodes.last_mut() {
        Some(Node::Text(last)) => last.push_str(text),
        _ => nodes.push(Node::Text(text.to_owned())),
    }
}

#[derive(Clone, Copy)]
enum Token<'t> {
    Text(&'t str),
    Field(&'t str),
    Open,
    Close,
    Bar,
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '|', '}']) {
        if at > 0 {
            tokens.push(Token::Text(&rest[..at]));
        }
        rest = &rest[at..];
        let (token, len) = match rest.as_bytes()[0] {
            b'{' => placeholder(rest).map_or((Token::Open, 1), |(n, l)| (Token::Field(n), l)),
            b'}' => (Token::Close, 1),
            _ => (Token::Bar, 1),
        };
        tokens.push(token);
        rest = &rest[len..];
    }
    if !rest.is_empty() {
        tokens.push(Token::Text(rest));
    }
    tokens
}

/// The placeholder that a text begins with: its name, and its length with the braces.
fn placeholder(text: &str) -> Option<(&str, usize)> {
    let inner = text.strip_prefix("{{")?;
    let illegal = |c: char| matches!(c, '{' | '}' | '|' | '"' | ':') || c.is_control();
    let end = inner.find(illegal)?;
    let name = inner[..end].trim();
    let legal =
        inner[end..].starts_with("}}") && !name.is_empty() && name.chars().nth(MAX_NAME).is_none();
    legal.then_some((name, end + 4))
}

/// What a token is to the variants around it.
#[derive(Clone, Copy)]
enum Role {
    Plain,
    Start,
    Separator,
    End,
}

/// Finds the braces that have a partner and a `|` between them.
fn roles(tokens: &[Token<'_>]) -> Vec<Role> {
    let mut roles = vec![Role::Plain; tokens.len()];
    let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Open => open.push((at, Vec::new())),
            Token::Bar => {
                if let Some((_, bars)) = open.last_mut() {
                    bars.push(at);
                }
            }
            Token::Close => {
                if let Some((start, bars)) = open.pop()
                    && !bars.is_empty()
                {
                    roles[start] = Role::Start;
                    roles[at] = Role::End;
                    bars.into_iter()
                        .for_each(|bar| roles[bar] = Role::Separator);
                }
            }
            Token::Text(_) | Token::Field(_) => {}
        }
    }
    roles
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn render(text: &str, seed: u64) -> String {
        let field = |name: &str| match name.to_lowercase().as_str() {
            "name" => Some("Budi & <Ani>"),
            "braces" => Some("{{name}} {a|b}"),
            "empty" => Some(""),
            _ => None,
        };
        Template::parse(text).render(field, seed).text
    }

    /// Everything that a text can become.
    fn variants(text: &str) -> BTreeSet<String> {
        (0..200).map(|seed| render(text, seed)).collect()
    }

    fn set(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(|t| (*t).to_owned()).collect()
    }

    #[test]
    fn placeholders_are_filled_and_nothing_is_escaped() {
        assert_eq!(
            render("Dear {{Name}},\n{{ NAME }}{{name}} & \"co\" \\{", 1),
            "Dear Budi & <Ani>,\nBudi & <Ani>Budi & <Ani> & \"co\" \\{"
        );
        assert_eq!(render("{{{name}}}", 1), "{Budi & <Ani>}");
    }

    #[test]
    fn a_missing_field_is_empty_and_reported_in_the_clients_spelling() {
        let template = Template::parse("a{{ Order ID }}b{{empty}}c{{name}}{{order id}}");
        let rendered = template.render(|name| (name == "name").then_some("N"), 0);
        assert_eq!(rendered.text, "abcN");
        assert_eq!(rendered.missing, set(&["Order ID", "empty", "order id"]));
    }

    #[test]
    fn values_are_inserted_as_they_are() {
        assert_eq!(variants("<{{braces}}>"), set(&["<{{name}} {a|b}>"]));
        assert_eq!(
            variants("{{{braces}}|{{braces}}}"),
            set(&["{{name}} {a|b}"])
        );
    }

    #[test]
    fn each_variant_is_chosen_by_some_seed() {
        assert_eq!(variants("{hi|hello|hey}!"), set(&["hi!", "hello!", "hey!"]));
        assert_eq!(variants("{a|{b|c}}"), set(&["a", "b", "c"]));
        assert_eq!(variants("{{b|c}|a}"), set(&["a", "b", "c"]));
        assert_eq!(variants("x{|, dear}"), set(&["x", "x, dear"]));
        assert_eq!(
            variants("{Hi {{name}}|{Yo|Hey} you}"),
            set(&["Hi Budi & <Ani>", "Yo you", "Hey you"])
        );
        assert_eq!(variants("{{{name}}|you}"), set(&["Budi & <Ani>", "you"]));
        assert_eq!(variants("{a|b}{c|d}"), set(&["ac", "ad", "bc", "bd"]));
    }

    #[test]
    fn braces_that_mean_nothing_stay() {
        for text in [
            "{}",
            "{x}",
            "{{}}",
            "{{ }}",
            "}{",
            "a|b",
            "{a|b",
            "a|b}",
            "{{name}",
            "{name}}",
            ":{ :}",
            r#"{"a": {"b": [1, {}]}}"#,
            r#"{{"a":1}}"#,
            "{{a\nb}}",
            "}}{{",
            "|",
            "{",
            "}",
            "{{",
            "}}",
        ] {
            assert_eq!(variants(text), set(&[text]), "{text}");
        }
        let long = format!("{{{{{}}}}}", "x".repeat(65));
        assert_eq!(render(&long, 0), long);
        assert_eq!(
            variants("{ {a|b} :{ {x} }"),
            set(&["{ a :{ {x} }", "{ b :{ {x} }"])
        );
        assert_eq!(variants("{{a|b}}"), set(&["{a}", "{b}"]));
    }

    #[test]
    fn nesting_has_an_end_and_what_lies_deeper_is_text() {
        let deep = format!("{}x{}", "{a|".repeat(17), "}".repeat(17));
        let all = variants(&deep);
        assert!(all.iter().all(|t| t == "a" || t == "{a|x}"), "{all:?}");
        let bottom = Template::parse(&deep);
        let text = (0..1 << 20)
            .map(|s| bottom.render(|_| None, s).text)
            .find(|t| t != "a");
        assert_eq!(text.as_deref(), Some("{a|x}"));
    }

    #[test]
    fn long_texts_of_braces_take_linear_time() {
        let start = std::time::Instant::now();
        for unit in ["{", "}", "{{", "{|", "{{a", "{a|b}", "{{a}}", "|}", "}{"] {
            let text = unit.repeat(200_000);
            let _ = render(&text, 1);
            let _ = render(&format!("{text}{}", "}".repeat(200_000)), 1);
        }
        // Quadratic work would take hours.
        assert!(start.elapsed().as_secs() < 60);
    }

    #[test]
    fn picks_are_the_same_for_ever_and_spread_over_recipients() {
        assert_eq!(seed(1, 2), 16_171_810_823_986_729_605);
        assert_eq!(
            render("{a|b|c|d|e|f|g|h}{a|b|c|d|e|f|g|h}{a|b|c|d|e|f|g|h}", 5),
            "ehc"
        );
        let template = Template::parse("{a|b|c}{d|e}");
        let mut counts = std::collections::BTreeMap::new();
        for recipient in 0..6000 {
            let text = template.render(|_| None, seed(7, recipient)).text;
            *counts.entry(text).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(
            counts.values().all(|&n| (850..1150).contains(&n)),
            "{counts:?}"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_template(text in "\\PC{0,60}", seed: u64) {
            let _ = render(&text, seed);
        }

        #[test]
        fn texts_of_braces_only_lose_braces_bars_and_variants(text in "[{}|ab ]{0,60}", seed: u64) {
            let out = render(&text, seed);
            let mut rest = text.chars();
            prop_assert!(out.replace("Budi & <Ani>", "").chars().all(|c| rest.any(|r| r == c)));
        }

        #[test]
        fn a_text_without_braces_is_itself(text in "[^{}]{0,80}", seed: u64) {
            prop_assert_eq!(render(&text, seed), text);
        }

        #[test]
        fn values_come_out_literally(
            before in "[^{}|]{0,10}", value in "\\PC{1,40}", after in "[^{}|]{0,10}", seed: u64,
        ) {
            let template = Template::parse(&format!("{before}{{{{x}}}}{after}"));
            let rendered = template.render(|_| Some(&value), seed);
            prop_assert_eq!(rendered.text, format!("{before}{value}{after}"));
            prop_assert!(rendered.missing.is_empty());
        }

        #[test]
        fn a_pick_is_one_of_the_choices(
            options in proptest::collection::vec("[^{}|]{0,6}", 2..6), seed: u64,
        ) {
            let text = render(&format!("<{{{}}}>", options.join("|")), seed);
            prop_assert!(options.iter().any(|o| text == format!("<{o}>")), "{}", text);
        }
    }
}
