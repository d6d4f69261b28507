//! A phone number as clients and spreadsheets write it.

use std::borrow::Cow;

use super::addressee::Addressee;
use crate::jid::{Jid, JidServer, PhoneNumber};

/// Reads whom a row is for: a number in any spelling, or the JID of a group.
pub fn addressee(
    text: &str,
    country: Option<&str>,
) -> std::result::Result<Addressee, Cow<'static, str>> {
    match Addressee::group(text.trim()) {
        Some(group) => Ok(group),
        None => number(text, country).map(Addressee::from),
    }
}

/// Reads a recipient's number as clients and spreadsheets write it, or says what is wrong with it.
pub fn number(
    text: &str,
    country: Option<&str>,
) -> std::result::Result<PhoneNumber, Cow<'static, str>> {
    // Contacts apps wrap numbers in marks that nobody sees.
    let invisible = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let visible: Cow<'_, str> = if text.is_ascii() {
        text.into()
    } else {
        let dash = |c: char| {
            if matches!(c, '\u{2010}'..='\u{2015}') {
                '-'
            } else {
                c
            }
        };
        text.chars().filter(|c| !invisible(*c)).map(dash).collect()
    };
    let text = visible.trim();
    if text.is_empty() {
        return Err("no number".into());
    }
    if text.contains('@') {
        return match Jid::parse(text) {
            Some(jid) if jid.server() == JidServer::User => number(jid.user_part(), None),
            Some(jid) if jid.is_group() => Err("a group, not a person".into()),
            Some(jid) if jid.server() == JidServer::Lid => {
                Err("a hidden id, not a phone number".into())
            }
            _ => Err("not a phone number".into()),
        };
    }
    if let Some(reason) = spreadsheet_accident(text) {
        return Err(reason.into());
    }
    if let Some(number) = PhoneNumber::parse(text, country) {
        return Ok(number);
    }
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let strange = |c: char| !matches!(c, '0'..='9' | '+' | ' ' | '-' | '(' | ')' | '.' | '\u{a0}');
    Err(if text.contains(strange) || digits == 0 {
        "not a phone number"
    } else if digits < 8 {
        "too short: a number has 8 to 15 digits"
    } else if digits > 15 {
        "too long: a number has 8 to 15 digits"
    } else if text.trim_start_matches(['+', '(', ' ']).starts_with('0') {
        "begins with 0: write it with its country code, or set default_country_code"
    } else {
        "not a phone number"
    }
    .into())
}

/// What a spreadsheet made of a number that it took for a quantity.
fn spreadsheet_accident(text: &str) -> Option<&'static str> {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if let Some((mantissa, exponent)) = text.split_once(['e', 'E']) {
        let mantissa = mantissa.trim_start_matches(['+', '-']);
        let (whole, part) = mantissa.split_once(['.', ',']).unwrap_or((mantissa, "0"));
        return (digits(whole) && digits(part) && digits(exponent.trim_start_matches(['+', '-'])))
            .then_some(
                "the spreadsheet rounded this number and its last digits are lost: format the \
                 column as text and enter the number again",
            );
    }
    // Without this, the digit after the point would become part of the number.
    let (whole, part) = text.rsplit_once(['.', ','])?;
    (part.len() <= 2
        && part.bytes().all(|b| b == b'0')
        && digits(part)
        && digits(whole)
        && whole.len() >= 8)
        .then_some("written as a decimal number: format the column as text")
}
