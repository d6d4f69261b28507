//! An urlencoded form whose names say where a value goes, as the JSON that it stands for: `a[b]=1` is
//! `{"a":{"b":"1"}}`, `a[]=1&a[]=2` and `a=1&a=2` are `{"a":["1","2"]}`, as Express' extended parser reads
//! them. All values are texts: whoever reads a field knows what it should be.
//!
//! `a[][b]=1&a[][c]=2` is one element, as Rack reads it, and another begins where its first name is there again:
//! Express makes an element of each value, and people without names. Refused is what Express bends: a name
//! that is both a value and a group, elements whose values are mixed, and what is nested too deep.

use std::collections::BTreeMap;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::query;
use crate::error::{Code, Error, Result};

/// How many values a form may hold: a JSON body holds about as many fields and recipients.
const MAX_PAIRS: usize = 10_000;

/// How deep a value may lie.
const MAX_DEPTH: usize = 32;

/// The JSON of a form.
pub(super) fn to_json(form: &[u8]) -> Result<Vec<u8>> {
    // Counted before anything is made of it.
    if form.iter().filter(|byte| **byte == b'&').count() >= MAX_PAIRS {
        let text = format!("The form holds more than {MAX_PAIRS} values");
        return Err(Error::new(Code::BodyTooLarge, text));
    }
    let mut fields = Group::default();
    for (name, value) in query::pairs(form) {
        fields.put(&path(&name)?, value)?;
    }
    let is_element =
        |(part, node): (&Part, &Node)| matches!((part, node), (Part::Place(_), Node::Group(_)));
    if !fields.members.is_empty() && fields.members.iter().all(is_element) {
        let text = "The names of the form are places in a list (0[to]): send the list as JSON, or a form for each \
                    of its elements";
        return Err(Error::new(Code::MalformedBody, text));
    }
    serde_json::to_vec(&Fields(&fields)).map_err(Error::internal)
}

/// What a name stands for: the parts in brackets, after the one before them. A name whose brackets do not
/// match is one part.
fn path(name: &str) -> Result<Vec<&str>> {
    let whole = || Ok(vec![name]);
    let Some(at) = name.find('[') else {
        return whole();
    };
    let (first, mut rest) = name.split_at(at);
    let mut parts = Vec::new();
    if !first.is_empty() {
        parts.push(first);
    }
    while !rest.is_empty() {
        let inside = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let Some((part, after)) = inside.filter(|(part, _)| !part.contains('[')) else {
            return whole();
        };
        parts.push(part);
        rest = after;
        if parts.len() > MAX_DEPTH {
            let text = format!("A field of the form is nested deeper than {MAX_DEPTH} times");
            return Err(Error::new(Code::MalformedBody, text));
        }
    }
    Ok(parts)
}

/// A part of a name: the place in a list, or a word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Place(u32),
    Word(String),
}

impl Part {
    fn of(text: &str) -> Self {
        let place = text.parse().ok();
        let place = place.filter(|place: &u32| place.to_string() == text);
        place.map_or_else(|| Self::Word(text.to_owned()), Self::Place)
    }
}

/// What lies below a name.
enum Node {
    /// The values of the name itself; more than one are a list.
    Values(Vec<String>),
    Group(Group),
}

#[derive(Default)]
struct Group {
    members: BTreeMap<Part, Node>,
    /// Where the next value of a list goes that has no place of its own.
    next: u32,
    /// The element of the list that is being filled: its place, and the name that it began with.
    open: Option<(u32, Vec<String>)>,
}

impl Group {
    /// Puts a value where its path says.
    fn put(&mut self, path: &[&str], value: String) -> Result<()> {
        let Some((name, rest)) = path.split_first() else {
            return Ok(());
        };
        let part = match *name {
            "" if rest.is_empty() => Part::Place(self.next),
            "" => Part::Place(self.element(rest)?),
            name => Part::of(name),
        };
        if let Part::Place(place) = part {
            self.next = self.next.max(place.saturating_add(1));
        }
        let new = || match rest {
            [] => Node::Values(Vec::new()),
            _ => Node::Group(Group::default()),
        };
        match (self.members.entry(part).or_insert_with(new), rest) {
            (Node::Values(values), []) => {
                values.push(value);
                Ok(())
            }
            (Node::Group(group), [_, ..]) => group.put(rest, value),
            (Node::Values(_), _) | (Node::Group(_), []) => {
                let text = "A field of the form is both a value and a group of values";
                Err(Error::new(Code::MalformedBody, text))
            }
        }
    }

    /// The place of the element that a value belongs to which names none: the one that is being filled, or a new
    /// one where its first name is there again. That of another name says nothing of whose it is.
    fn element(&mut self, path: &[&str]) -> Result<u32> {
        if let Some((place, first)) = &self.open {
            let there = self.members.get(&Part::Place(*place));
            if !matches!(there, Some(Node::Group(group)) if group.holds(path)) {
                return Ok(*place);
            }
            if first != path {
                let text = "The form does not say which values belong together: number the elements of its lists \
                            (a[0][b]=1&a[0][c]=2&a[1][b]=3), or send JSON";
                return Err(Error::new(Code::MalformedBody, text));
            }
        }
        let first = path.iter().map(|part| (*part).to_owned()).collect();
        self.open = Some((self.next, first));
        Ok(self.next)
    }

    /// Whether a value is there. A list can always take another.
    fn holds(&self, path: &[&str]) -> bool {
        let Some((name, rest)) = path.split_first().filter(|(name, _)| !name.is_empty()) else {
            return false;
        };
        match self.members.get(&Part::of(name)) {
            Some(Node::Values(_)) => rest.is_empty(),
            Some(Node::Group(group)) => group.holds(rest),
            None => false,
        }
    }
}

/// The fields of the form itself, which are an object whatever they are called.
struct Fields<'a>(&'a Group);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.members.len()))?;
        for (part, node) in &self.0.members {
            match part {
                Part::Place(place) => map.serialize_entry(&place.to_string(), node)?,
                Part::Word(word) => map.serialize_entry(word, node)?,
            }
        }
        map.end()
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Values(values) => match &values[..] {
                [value] => to.serialize_str(value),
                values => values.serialize(to),
            },
            Self::Group(group) => {
                let is_list = |part| matches!(part, &Part::Place(_));
                match group.members.keys().all(is_list) {
                    true => to.collect_seq(group.members.values()),
                    false => Fields(group).serialize(to),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(form: &str) -> Value {
        let text = to_json(form.as_bytes()).expect("a form");
        serde_json::from_slice(&text).expect("JSON")
    }

    #[test]
    fn names_say_where_values_go() {
        for (form, value) in [
            ("", json!({})),
            ("a=1&b=x+y%26", json!({ "a": "1", "b": "x y&" })),
            ("a=1&a=2", json!({ "a": ["1", "2"] })),
            ("a[]=1&a[]=2", json!({ "a": ["1", "2"] })),
            ("a[2]=z&a[0]=x&a[]=end", json!({ "a": ["x", "z", "end"] })),
            (
                "a%5Bb%5D=1&a[c][d]=2",
                json!({ "a": { "b": "1", "c": { "d": "2" } } }),
            ),
            (
                "r[0][number]=1&r[0][name]=A&r[1][number]=2",
                json!({ "r": [{ "number": "1", "name": "A" }, { "number": "2" }] }),
            ),
            (
                "r[][number]=1&r[][name]=A&r[][f][x]=y&r[][number]=2&r[][name]=B&r[][number]=3",
                json!({ "r": [{ "number": "1", "name": "A", "f": { "x": "y" } },
                    { "number": "2", "name": "B" }, { "number": "3" }] }),
            ),
            (
                "r[][number]=1&r[][tags][]=a&r[][tags][]=b&r[][number]=2&r[][tags][]=c",
                json!({ "r": [{ "number": "1", "tags": ["a", "b"] }, { "number": "2", "tags": ["c"] }] }),
            ),
            (
                "r[][m][][a]=1&r[][m][][a]=2&r[][m][][b]=3",
                json!({ "r": [{ "m": [{ "a": "1" }, { "a": "2", "b": "3" }] }] }),
            ),
            (
                "r[3][number]=1&r[][number]=2&r[][name]=B",
                json!({ "r": [{ "number": "1" }, { "number": "2", "name": "B" }] }),
            ),
            ("a[b]=1&a[]=2", json!({ "a": { "b": "1", "0": "2" } })),
            ("0[to]=1&type=2", json!({ "0": { "to": "1" }, "type": "2" })),
            ("a[007]=1", json!({ "a": { "007": "1" } })),
            ("[a]=1&a", json!({ "a": ["1", ""] })),
            ("0=x&__proto__=y", json!({ "0": "x", "__proto__": "y" })),
            (
                "a[b=1&a]b[=2&a[b]c=3&a[[b]]=4",
                json!({ "a[b": "1", "a]b[": "2", "a[b]c": "3", "a[[b]]": "4" }),
            ),
        ] {
            assert_eq!(read(form), value, "{form}");
        }
    }

    #[test]
    fn what_is_two_things_too_deep_or_too_much_is_refused() {
        let code = |form: String| to_json(form.as_bytes()).map_err(|e| e.code()).err();
        let wrong = Some(Code::MalformedBody);
        assert_eq!(code("a=1&a[b]=2".into()), wrong);
        assert_eq!(code("a[b]=2&a=1".into()), wrong);
        // Column by column: nobody could say whose the names are.
        assert_eq!(
            code("r[][number]=1&r[][number]=2&r[][name]=A&r[][name]=B".into()),
            wrong
        );
        assert_eq!(code("0[to]=1&0[type]=text&1[to]=2".into()), wrong);
        assert_eq!(code("[][to]=1".into()), wrong);
        assert_eq!(code(format!("a{}=1", "[b]".repeat(MAX_DEPTH - 1))), None);
        assert_eq!(code(format!("a{}=1", "[b]".repeat(MAX_DEPTH))), wrong);
        assert_eq!(code("a=1&".repeat(MAX_PAIRS - 1)), None);
        assert_eq!(code("a=1&".repeat(MAX_PAIRS)), Some(Code::BodyTooLarge));
    }

    proptest! {
        #[test]
        fn any_form_is_read_or_refused(form in "(a|b|0|1|\\[|\\]|=|&|%5B|%|\\+|\\PC){0,80}") {
            if let Ok(text) = to_json(form.as_bytes()) {
                let read: Value = serde_json::from_slice(&text).expect("JSON");
                prop_assert!(read.is_object());
            }
        }

        #[test]
        fn plain_names_keep_their_values(
            pairs in proptest::collection::btree_map("[a-z]{1,5}", "\\PC{0,9}", 0..9),
        ) {
            let form = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(&pairs)
                .finish();
            prop_assert_eq!(read(&form), serde_json::to_value(&pairs).expect("JSON"));
        }
    }
}
