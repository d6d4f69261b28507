//! Which sessions of an import would be second clients of a linked device.

use std::collections::HashMap;

use super::incoming::IncomingSession;
use crate::ids::SessionId;

/// The public identity key of a linked device: no two devices have the same.
pub(super) type Identity = [u8; 32];

/// The sessions that must not come, because their linked device is another session's: that one is here and
/// stays, or comes before them. `here` are the devices of the sessions that are here, of which those of
/// the same names give way if that is asked for.
pub(super) fn second_clients(
    sessions: &[IncomingSession],
    here: &HashMap<SessionId, Identity>,
    replace: bool,
) -> HashMap<SessionId, SessionId> {
    let mut refused = HashMap::new();
    // One that does not come replaces nobody: then whom it would have replaced stays.
    loop {
        let comes = |one: &&IncomingSession| {
            let is_free = replace || !here.contains_key(&one.id);
            is_free && one.account.is_ok() && !refused.contains_key(&one.id)
        };
        let coming = || sessions.iter().filter(comes);
        let replaced = |id: &SessionId| coming().any(|one| one.id == *id);
        let stay = here.iter().filter(|(id, _)| !replaced(id));
        let mut holders: HashMap<Identity, &SessionId> = stay.map(|(id, key)| (*key, id)).collect();
        let mut more = Vec::new();
        for session in coming() {
            let Ok(Some(account)) = &session.account else {
                continue;
            };
            let holder = *holders
                .entry(account.identity.public)
                .or_insert(&session.id);
            if *holder != session.id {
                more.push((session.id.clone(), holder.clone()));
            }
        }
        if more.is_empty() {
            return refused;
        }
        refused.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::baileys;

    fn id(name: &str) -> SessionId {
        SessionId::parse(name).expect("a name")
    }

    /// Sessions by their names, each with a device that a digit stands for; a dot is none, and a bang one
    /// that cannot go on.
    fn sessions(text: &str) -> Vec<IncomingSession> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/files/import/super_light/older/auth_info_baileys/kasir");
        let account = baileys::read(&folder).unwrap_or_else(|why| panic!("{why:?}"));
        let session = |text: &str| {
            let (name, device) = text.split_once(':').expect("a name and a device");
            let device: Option<u8> = device.parse().ok();
            let account = device.map(|device| {
                let mut account = account.account.clone();
                account.identity.public = [device; 32];
                Box::new(account)
            });
            IncomingSession {
                id: id(name),
                token: None,
                owner: None,
                created_at: None,
                webhook: None,
                account: match text.ends_with('!') {
                    true => Err("its keys do not belong together".to_owned()),
                    false => Ok(account),
                },
            }
        };
        text.split_whitespace().map(session).collect()
    }

    /// Who is refused, and for whose sake: `b for a`.
    fn refused(incoming: &str, here: &str, replace: bool) -> Vec<String> {
        let here = here.split_whitespace().map(|text| {
            let (name, device) = text.split_once(':').expect("a name and a device");
            (id(name), [device.parse::<u8>().expect("a digit"); 32])
        });
        let refused = second_clients(&sessions(incoming), &here.collect(), replace);
        let mut refused: Vec<_> = refused
            .iter()
            .map(|(one, other)| format!("{one} for {other}"))
            .collect();
        refused.sort();
        refused
    }

    #[test]
    fn a_device_has_one_session() {
        for (incoming, here, replace, expected) in [
            ("a:1 b:2 c:. d:.", "", false, &[][..]),
            ("a:1 b:1 c:1", "", false, &["b for a", "c for a"]),
            ("a:1", "b:1", false, &["a for b"]),
            ("a:1", "b:1", true, &["a for b"]),
            // What is here stays as it is, and is no second client of itself.
            ("a:1", "a:1", false, &[]),
            ("a:1", "a:1", true, &[]),
            ("a:2 b:1", "a:1", false, &["b for a"]),
            ("a:2 b:1", "a:1", true, &[]),
            // The one that was to make room is refused itself, so it makes none.
            ("b:1 c:2 d:2", "d:1", true, &["b for d", "d for c"]),
            ("a:! b:1", "a:1", true, &["b for a"]),
        ] {
            let said = refused(incoming, here, replace);
            assert_eq!(said, expected, "{incoming} into {here}");
        }
    }
}
