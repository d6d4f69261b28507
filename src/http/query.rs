//! Name and value pairs as a query or a form writes them.

/// Decodes `a=1&b=2`. Bytes that are no UTF-8 become the replacement character.
pub(super) fn pairs(text: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

/// The first value of a name.
pub(super) fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find_map(|(n, value)| (n == name).then_some(value.as_str()))
}
