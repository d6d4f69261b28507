//! The dialects: APIs of other programs that this one speaks.

use crate::words::stored_words;

stored_words! {
    /// A dialect that has keys and webhooks. Stored by its word.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Dialect {
        /// The v1 API, and its legacy sends.
        V1 = "v1",
        /// OpenWA.
        OpenWa = "openwa",
        /// Kirana.
        Kirana = "kirana",
        /// ServerWA.
        ServerWa = "serverwa",
        /// Wafa.
        Wafa = "wafa",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_and_stored_as_it_is_written() {
        let words = Dialect::ALL.map(Dialect::as_str);
        assert_eq!(words, ["v1", "openwa", "kirana", "serverwa", "wafa"]);
        assert_eq!(words.map(Dialect::parse), Dialect::ALL.map(Some));
        assert_eq!((Dialect::parse("V1"), Dialect::parse("")), (None, None));
        let stored = serde_json::to_string(&Dialect::ALL).expect("JSON");
        assert_eq!(stored, serde_json::to_string(&words).expect("JSON"));
        let read: Vec<Dialect> = serde_json::from_str(&stored).expect("all");
        assert_eq!(read, Dialect::ALL);
        assert!(serde_json::from_str::<Dialect>("\"OpenWa\"").is_err());
    }
}
