//! The encoding of stored values: one version byte, then JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// A value of a table.
///
/// A field that was added with `#[serde(default)]` needs no new version; a change that old JSON does
/// not survive does, together with an [`upgrade`](Record::upgrade) and a greater number in `tables.rs`.
pub trait Record: Serialize + DeserializeOwned {
    /// The version that [`encode`] writes, from 1.
    const VERSION: u8;

    /// Reads a value that an older version wrote.
    fn upgrade(version: u8, json: &[u8]) -> Result<Self> {
        let _ = json;
        Err(Error::internal(format!(
            "value of unknown version {version}"
        )))
    }
}

/// Writes a value.
pub fn encode<T: Record>(value: &T) -> Result<Vec<u8>> {
    const { assert!(T::VERSION > 0) };
    let mut bytes = Vec::with_capacity(128);
    bytes.push(T::VERSION);
    serde_json::to_writer(&mut bytes, value).map_err(Error::internal)?;
    Ok(bytes)
}

/// Reads a value.
pub fn decode<T: Record>(bytes: &[u8]) -> Result<T> {
    match bytes.split_first() {
        Some((version, json)) if *version == T::VERSION => {
            // serde's own text would bring the value into the log.
            serde_json::from_slice(json).map_err(|e| {
                let what = e.classify();
                Error::internal(format!(
                    "damaged value ({what:?} error at byte {})",
                    e.column()
                ))
            })
        }
        Some((version, json)) => T::upgrade(*version, json),
        None => Err(Error::internal("empty value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        name: String,
    }
    impl Record for Old {
        const VERSION: u8 = 1;
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        first: String,
        last: String,
    }
    impl Record for New {
        const VERSION: u8 = 2;
        fn upgrade(version: u8, json: &[u8]) -> Result<Self> {
            if version != 1 {
                return Err(Error::internal("unknown"));
            }
            let old: Old = serde_json::from_slice(json).map_err(Error::internal)?;
            Ok(Self {
                first: old.name,
                last: String::new(),
            })
        }
    }

    #[test]
    fn an_older_value_is_upgraded_and_a_newer_one_refused() {
        let old = encode(&Old { name: "a".into() }).unwrap();
        let new: New = decode(&old).unwrap();
        assert_eq!(
            new,
            New {
                first: "a".into(),
                last: String::new()
            }
        );
        assert!(decode::<Old>(&encode(&new).unwrap()).is_err());
    }

    #[test]
    fn damage_is_an_error() {
        assert!(decode::<Old>(b"").is_err());
        assert!(decode::<Old>(b"\x01{").is_err());
    }
}
