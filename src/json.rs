//! JSON that strangers send, judged while it is read.
//!
//! As a tree, `{"a":0}` takes a hundred times the room of its text. So nothing is read whole: a reader
//! takes the parts that it knows one after the other, each within an [`Allowance`], and what is too
//! much is passed over and said.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// An object, as the dialects read it.
pub type Object = Map<String, Value>;

/// The longest name of a member that is kept whole. Nothing that we know is called so.
const LONGEST_NAME: usize = 1024;

/// How many values may still be read, and how long a text may be.
#[derive(Debug)]
pub struct Allowance {
    left: Cell<usize>,
    longest: usize,
    exceeded: Cell<bool>,
}

impl Allowance {
    /// Room for so many values, their texts whole.
    pub fn new(values: usize) -> Self {
        Self {
            left: Cell::new(values),
            longest: usize::MAX,
            exceeded: Cell::new(false),
        }
    }

    /// Cuts texts to so many bytes.
    #[must_use]
    pub fn with_texts_of(mut self, longest: usize) -> Self {
        self.longest = longest;
        self
    }

    /// Whether there was more than it allows; then what was read is not all.
    pub fn is_exceeded(&self) -> bool {
        self.exceeded.get()
    }

    fn take(&self) -> bool {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => self.exceeded.set(true),
        }
        !self.exceeded.get()
    }
}

/// Reads any value within an allowance.
#[derive(Debug, Clone, Copy)]
pub struct Bounded<'a>(pub &'a Allowance);

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        self.0.take();
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        self.0.take();
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        self.0.take();
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        self.0.take();
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        self.0.take();
        Ok(Value::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(if self.0.take() {
            Value::String(cut(text, self.0.longest).to_owned())
        } else {
            Value::Null
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        self.0.take();
        loop {
            if self.0.is_exceeded() {
                while seq.next_element_seed(Passed)?.is_some() {}
                return Ok(Value::Null);
            }
            match seq.next_element_seed(self)? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        self.0.take();
        loop {
            if self.0.is_exceeded() {
                while map.next_entry_seed(Passed, Passed)?.is_some() {}
                return Ok(Value::Null);
            }
            let Some(name) = map.next_key_seed(Name)? else {
                return Ok(Value::Object(members));
            };
            let value = map.next_value_seed(self)?;
            members.insert(name, value);
        }
    }
}

/// Reads the name of a member.
#[derive(Debug, Clone, Copy)]
pub struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<String, E> {
        Ok(cut(name, LONGEST_NAME).to_owned())
    }
}

/// Reads a value away. Other than serde's `IgnoredAny` it goes no deeper than the reader allows.
#[derive(Debug, Clone, Copy)]
pub struct Passed;

impl<'de> DeserializeSeed<'de> for Passed {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Passed {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry_seed(Self, Self)?.is_some() {}
        Ok(())
    }
}

/// Reads an object whose members are given to somebody one by one.
///
/// `None` when the value is no object; it is passed over then.
pub struct Members<F>(pub F);

/// Reads one member's value, or passes it over.
pub trait Member<'de> {
    /// Reads it: the next value of `map` belongs to `name`.
    fn read<A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error>;
}

impl<'de, F: Member<'de>> DeserializeSeed<'de> for Members<F> {
    type Value = Option<F>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<F>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: Member<'de>> Visitor<'de> for Members<F> {
    type Value = Option<F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<F>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<F>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<F>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<F>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<F>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<F>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Option<F>, A::Error> {
        Passed.visit_seq(seq)?;
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Option<F>, A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            self.0.read(name, &mut map)?;
        }
        Ok(Some(self.0))
    }
}

/// The beginning of a text, at most so many bytes.
fn cut(text: &str, longest: usize) -> &str {
    match text.len() > longest {
        true => &text[..text.floor_char_boundary(longest)],
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &str, allowance: &Allowance) -> serde_json::Result<Value> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let value = Bounded(allowance).deserialize(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    #[test]
    fn what_is_too_much_is_passed_over_and_said() {
        let text = r#"{"a":[1,2,{"b":null}],"c":"text"}"#;
        let enough = Allowance::new(7);
        assert_eq!(
            read(text, &enough).expect("JSON"),
            json!({"a": [1, 2, {"b": null}], "c": "text"})
        );
        assert!(!enough.is_exceeded());
        for values in 0..7 {
            let short = Allowance::new(values);
            read(text, &short).expect("JSON");
            assert!(short.is_exceeded(), "{values}");
        }
        assert!(read(r#"[1,2,3,4}"#, &Allowance::new(1)).is_err());
    }

    #[test]
    fn texts_and_names_are_cut_between_characters() {
        let allowance = Allowance::new(9).with_texts_of(4);
        assert_eq!(
            read("\"abc\u{e9}f\"", &allowance).expect("JSON"),
            json!("abc")
        );
        let name = "n".repeat(LONGEST_NAME + 1);
        let value = read(&format!("{{\"{name}\":1}}"), &allowance).expect("JSON");
        assert_eq!(value, json!({ &name[1..]: 1 }));
    }

    #[test]
    fn nesting_ends_where_the_reader_ends_it_also_when_it_is_passed_over() {
        let deep = "[".repeat(200_000);
        assert!(read(&deep, &Allowance::new(9)).is_err());
        assert!(read(&deep, &Allowance::new(1_000_000)).is_err());
    }

    proptest! {
        #[test]
        fn within_the_allowance_nothing_is_lost(text in "[\\[\\]{}\",:a0-9.ne-]{0,40}") {
            let ours = read(&text, &Allowance::new(1000)).ok();
            prop_assert_eq!(ours, serde_json::from_str::<Value>(&text).ok());
        }
    }
}
