//! The settings file: TOML, a plain value or a list for each name.

use toml::de::{DeTable, DeValue};

use super::{Given, Origin};

/// What the file gives, and what in it is no setting, in sentences.
/// `takes_list` tells of which settings a list is the value.
pub(super) fn read(
    path: &str,
    text: &str,
    takes_list: impl Fn(&str) -> bool,
) -> (Vec<Given>, Vec<String>) {
    let line = |at: usize| {
        1 + text
            .as_bytes()
            .iter()
            .take(at)
            .filter(|b| **b == b'\n')
            .count()
    };
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            // Hazard: the error itself shows the line, and a secret may stand there.
            let at = error.span().map_or(1, |span| line(span.start));
            let problem = format!("{path}:{at}: not valid TOML: {}", error.message());
            return (Vec::new(), vec![problem]);
        }
    };
    let (mut given, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in table {
        let line = line(name.span().start);
        let origin = Origin::File {
            path: path.to_owned(),
            line,
        };
        let name = name.into_inner().into_owned();
        let is_list = matches!(value.get_ref(), DeValue::Array(_));
        match plain(value.get_ref()) {
            Some(_) if is_list && !takes_list(&name) => problems.push(format!(
                "setting {} ({origin}): a plain value is expected, not a list",
                name.escape_debug()
            )),
            Some(value) => given.push(Given {
                name,
                value,
                origin,
            }),
            None => problems.push(format!(
                "setting {name} ({origin}): a plain value or a list of them is expected"
            )),
        }
    }
    (given, problems)
}

/// A value as the text that a variable would hold.
fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Array(items) => {
            let items = items.iter().map(|item| scalar(item.get_ref()));
            items
                .collect::<Option<Vec<_>>>()
                .map(|items| items.join(","))
        }
        scalar_value => scalar(scalar_value),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
            number.map(|number| number.to_string())
        }
        DeValue::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}
