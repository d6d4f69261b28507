//! Which session gets what belonged to people there, and so from whose number they are written to.

use std::collections::{HashMap, HashSet};

use super::arrival::{Arrival, GivesWay};
use super::incoming::{Belongs, IncomingSession};
use super::report::{Outcome, Report};
use super::room::Room;
use crate::ids::{MediaId, SessionId};

/// Which session gets what belonged to people there.
///
/// It follows from the folder alone: also when some of its sessions are here already, so that an import
/// of the rest gives nobody the lists a second time.
pub(super) struct Homes {
    /// Names and owners: those with a linked phone first, in the order of the names.
    sessions: Vec<(SessionId, Option<String>)>,
    /// Whether all sessions belong to the same person, or to nobody.
    pub(super) one_owner: bool,
}

/// A list or a campaign that is to be handed out.
pub(super) struct Thing<'t> {
    /// What it is called in the report.
    pub(super) about: String,
    /// What is told of it.
    pub(super) said: String,
    pub(super) belongs: &'t Belongs,
}

impl Homes {
    pub(super) fn of(sessions: &[IncomingSession]) -> Self {
        let has_phone = |one: &IncomingSession| matches!(one.account, Ok(Some(_)));
        let known = sessions.iter();
        Self::new(known.map(|one| (one.id.clone(), one.owner.clone(), has_phone(one))))
    }

    /// Of names and owners, and whether there is a linked phone.
    fn new(sessions: impl Iterator<Item = (SessionId, Option<String>, bool)>) -> Self {
        let mut sessions: Vec<_> = sessions.collect();
        let owners: HashSet<_> = sessions.iter().map(|(_, owner, _)| owner).collect();
        let one_owner = owners.len() <= 1;
        // One that nobody can write from is a poor home.
        sessions.sort_by_key(|(_, _, has_phone)| !has_phone);
        let sessions = sessions.into_iter();
        Self {
            sessions: sessions.map(|(id, owner, _)| (id, owner)).collect(),
            one_owner,
        }
    }

    /// The session of a campaign or a list: the one that it names, else the first of who made it. The first
    /// of all only where it names nobody: what is another's must not go out from this number.
    fn home_of(&self, belongs: &Belongs) -> Option<&SessionId> {
        let named = |(id, _): &&(SessionId, _)| Some(id) == belongs.session.as_ref();
        let owned =
            |(_, owner): &&(SessionId, Option<String>)| owner.is_some() && *owner == belongs.owner;
        let all = || self.sessions.iter();
        let found = all().find(named).or_else(|| all().find(owned));
        let is_anybodys = belongs.session.is_none() && (belongs.owner.is_none() || self.one_owner);
        found
            .or_else(|| all().next().filter(|_| is_anybodys))
            .map(|(id, _)| id)
    }

    /// The session that gives way to the one of a thing.
    pub(super) fn gives_way<'a>(
        &self,
        belongs: &Belongs,
        arrivals: &'a [Arrival],
    ) -> Option<&'a GivesWay> {
        let home = self.home_of(belongs)?;
        let home = arrivals.iter().find(|arrival| arrival.id() == home)?;
        home.there.as_ref()
    }

    /// Gives a thing to its session, where there is room for it, and says so.
    pub(super) fn give<'a>(
        &self,
        thing: Thing<'_>,
        arrivals: &'a mut [Arrival],
        fits: impl FnOnce(&mut Room) -> Result<(), String>,
        report: &mut Report,
    ) -> Option<&'a mut Arrival> {
        let Thing {
            about,
            said,
            belongs,
        } = thing;
        let Some(home) = self.home_of(belongs) else {
            let said = "there is no session that it could be of";
            report.add(Outcome::LeftOut, about, said);
            return None;
        };
        let Some(arrival) = arrivals.iter_mut().find(|arrival| arrival.id() == home) else {
            let said = format!("it belongs to session {home}, which does not come");
            report.add(Outcome::LeftOut, about, said);
            return None;
        };
        if let Err(why) = fits(&mut arrival.room) {
            let said = format!("it does not fit into session {home}: {why}");
            report.add(Outcome::Problem, about, said);
            return None;
        }
        let moved = match &belongs.session {
            Some(named) if named != home => {
                format!(", and was of session {named}, which is not there")
            }
            _ => String::new(),
        };
        report.add(
            Outcome::Taken,
            about,
            format!("{said}; for session {home}{moved}"),
        );
        Some(arrival)
    }

    /// Which sessions show which uploaded files, by what shows them.
    pub(super) fn showing<'f>(
        &self,
        shown: impl Iterator<Item = (&'f MediaId, &'f Belongs)>,
    ) -> HashMap<&'f MediaId, HashSet<&SessionId>> {
        let mut showing: HashMap<_, HashSet<_>> = HashMap::new();
        for (file, belongs) in shown {
            let sessions = showing.entry(file).or_default();
            sessions.extend(self.home_of(belongs));
        }
        showing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> SessionId {
        SessionId::parse(name).expect("a name")
    }

    fn known(name: &str) -> Option<String> {
        Some(name.to_owned()).filter(|name| name != "-")
    }

    /// Sessions as `name/owner`, with a star where a phone is linked; a dash is nobody.
    fn homes(text: &str) -> Homes {
        let session = |text: &str| {
            let (name, owner) = text.split_once('/').expect("a name and an owner");
            let has_phone = owner.ends_with('*');
            (id(name), known(owner.trim_end_matches('*')), has_phone)
        };
        Homes::new(text.split_whitespace().map(session))
    }

    #[test]
    fn each_thing_has_one_home() {
        let cases = [
            // Nobody said whose it is: the first that has a phone.
            ("a/- b/-*", "-/-", Some("b")),
            ("a/- b/-", "-/-", Some("a")),
            ("", "-/-", None),
            // The one that it names, phone or not.
            ("a/- b/-*", "a/-", Some("a")),
            ("a/ani* b/budi", "b/ani", Some("b")),
            // The named one is gone: the first of who made it, and never another's.
            ("a/ani b/ani*", "gone/ani", Some("b")),
            ("a/ani b/budi*", "gone/ani", Some("a")),
            ("a/ani b/budi*", "gone/cici", None),
            ("a/ani b/ani*", "gone/cici", None),
            ("a/- b/-*", "gone/-", None),
            // It names its maker only.
            ("a/ani* b/budi*", "-/budi", Some("b")),
            ("a/ani* b/budi*", "-/cici", None),
            // All sessions are one person's: whoever made it, it is theirs.
            ("a/ani b/ani*", "-/cici", Some("b")),
            ("a/- b/-*", "-/cici", Some("b")),
            // Of a folder of several people, what names nobody is anybody's.
            ("a/ani b/budi*", "-/-", Some("b")),
        ];
        for (sessions, thing, expected) in cases {
            let (session, owner) = thing.split_once('/').expect("a session and an owner");
            let belongs = Belongs {
                session: known(session).map(|name| id(&name)),
                owner: known(owner),
            };
            let homes = homes(sessions);
            let home = homes.home_of(&belongs).map(SessionId::as_str);
            assert_eq!(home, expected, "{thing} into {sessions:?}");
        }
    }

    #[test]
    fn sessions_without_owners_and_with_one_are_one_persons() {
        for (sessions, expected) in [
            ("", true),
            ("a/-", true),
            ("a/ani b/ani", true),
            ("a/ani b/-", false),
            ("a/ani b/budi", false),
        ] {
            assert_eq!(homes(sessions).one_owner, expected, "{sessions}");
        }
    }
}
