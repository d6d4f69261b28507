//! A folder of Baileys (`useMultiFileAuthState`, versions 6 and 7), read into an [`Account`].
//!
//! The folder is a stranger's: files are read only if they are plain, small and not too many, and what
//! is not understood is left out and said. Nothing that a file holds is quoted.

mod creds;
mod files;
mod json;
mod names;
mod sender_keys;
mod sessions;
mod settings;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use self::creds::Creds;
use self::names::{Holds, Named};
use self::sessions::States;
use crate::wa::account::{
    Account, AddressSpace, DeviceAddress, PreKey, PrivacyToken, SenderKey, SyncKey,
};
pub use crate::wa::account::{LeftOut, NotAnAccount};

/// From how many digits on a user without a mark is a LID. No country has numbers of that length.
const DIGITS_OF_LID: usize = 15;

/// An account, and what of its folder is not taken over.
pub struct Found {
    /// The linked device.
    pub account: Account,
    /// For the report: kinds of files that nobody needs, then others in the order of their names.
    pub left_out: Vec<LeftOut>,
}

/// Reads a folder. It blocks: call it where that is allowed. Nothing is written.
///
/// It holds what is on the disk at this moment: a Baileys that runs on afterwards and the account here
/// would knock each other out, and use the same keys twice.
///
/// # Errors
/// There is no `creds.json` with all that a linked device needs, or the folder or a file in it cannot be read.
pub fn read(folder: &Path) -> Result<Found, NotAnAccount> {
    let mut files = files::list(folder)?;
    let creds = files.take("creds.json")?;
    let creds: Creds = json::read(&creds)
        .map_err(|why| NotAnAccount(format!("creds.json cannot be read: {why}")))?;
    let settings_key = creds.settings_key().and_then(json::base64);
    let mut parts = Parts::new(creds.into_account()?);
    while let Some((name, plain)) = files.next() {
        let read = match names::holds(&name) {
            None => Err("it is no file of Baileys"),
            Some(Holds::Needless(files, why)) => {
                parts.needless.insert(files, why);
                continue;
            }
            Some(holds) => {
                let bytes = files.read(&name, plain)?;
                bytes.and_then(|bytes| parts.read(holds, &name, &bytes))
            }
        };
        if let Err(why) = read {
            parts.left_out.push((name, why));
        }
    }
    Ok(parts.put_together(settings_key))
}

/// What the files hold, before it is known which number belongs to which LID.
struct Parts {
    account: Account,
    sessions: Vec<(Named, States)>,
    identities: Vec<(Named, [u8; 32])>,
    sender_keys: Vec<(Named, SenderKey)>,
    /// By LID.
    numbers: BTreeMap<String, String>,
    /// By number.
    lids: BTreeMap<String, String>,
    left_out: Vec<(String, &'static str)>,
    needless: BTreeMap<&'static str, &'static str>,
}

impl Parts {
    fn new(account: Account) -> Self {
        Self {
            account,
            sessions: Vec::new(),
            identities: Vec::new(),
            sender_keys: Vec::new(),
            numbers: BTreeMap::new(),
            lids: BTreeMap::new(),
            left_out: Vec::new(),
            needless: BTreeMap::new(),
        }
    }

    /// Reads one file; says why it cannot be.
    fn read(&mut self, holds: Holds, name: &str, bytes: &[u8]) -> Result<(), &'static str> {
        match holds {
            Holds::PreKey(id) => {
                let keys: json::Pair = json::read(bytes)?;
                let keys = keys.into();
                self.account.prekeys.push(PreKey { id, keys });
            }
            Holds::Session(with) => {
                let states = States::read(bytes, name)?;
                if !states.states.is_empty() {
                    self.sessions.push((with, states));
                }
            }
            Holds::Identity(of) => {
                let key: json::PublicKey = json::read(bytes)?;
                self.identities.push((of, key.0));
            }
            Holds::SenderKey(group, of) => {
                let key = SenderKey {
                    group,
                    // The place in which the number is looked up is not known before all is read.
                    sender: self.account.number.clone(),
                    states: sender_keys::states(bytes)?,
                    file: name.to_owned(),
                };
                self.sender_keys.push((of, key));
            }
            Holds::SyncKey(id) => self.account.sync_keys.push(settings::sync_key(id, bytes)?),
            Holds::Collection(name) => {
                self.account
                    .collections
                    .push(settings::collection(name, bytes)?);
            }
            Holds::LidOf(number) => {
                let lid: String = json::read(bytes)?;
                let lid = names::digits(&lid).ok_or("it holds no LID")?;
                self.lids.insert(number, lid);
            }
            Holds::NumberOf(lid) => {
                let number: String = json::read(bytes)?;
                let number = names::digits(&number).ok_or("it holds no number")?;
                self.numbers.insert(lid, number);
            }
            Holds::PrivacyToken(person) => {
                let (token, timestamp, sent_at) = settings::token(bytes)?;
                let space = match person.server() {
                    crate::jid::JidServer::Lid => AddressSpace::Lid,
                    _ => AddressSpace::Number,
                };
                self.account.privacy_tokens.push(PrivacyToken {
                    address: DeviceAddress {
                        user: person.user_part().to_owned(),
                        space,
                        device: 0,
                    },
                    token,
                    timestamp,
                    sent_at,
                });
            }
            Holds::Creds | Holds::Index | Holds::Needless(..) => {}
        }
        Ok(())
    }

    /// The account of all that was read.
    fn put_together(mut self, settings_key: Option<Vec<u8>>) -> Found {
        let lids = self.known_lids();
        let place = Places::new(&lids);
        let mut sessions: BTreeMap<DeviceAddress, States> = BTreeMap::new();
        for (with, states) in self.sessions {
            match sessions.entry(place.lid_of(place.of(&with))) {
                std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(states)),
                std::collections::btree_map::Entry::Occupied(mut known) => {
                    known.get_mut().join(states);
                }
            }
        }
        let mut identities: BTreeMap<_, _> = self
            .identities
            .into_iter()
            .map(|(of, key)| (place.lid_of(place.of(&of)), key))
            .collect();
        for (address, states) in &sessions {
            // What messages are encrypted for is what is trusted.
            identities.extend(states.identity().map(|key| (address.clone(), key)));
        }
        let account = &mut self.account;
        account.identities = identities.into_iter().collect();
        account.sessions = sessions
            .into_iter()
            .map(|(address, states)| states.into_session(address))
            .collect();
        account.sender_keys = self
            .sender_keys
            .into_iter()
            .map(|(of, key)| SenderKey {
                sender: place.of(&of),
                ..key
            })
            .collect();
        drop(place);
        account.prekeys.sort_by_key(|key| key.id);
        let in_use = |key: &SyncKey| settings_key.as_deref() == Some(key.id.as_slice());
        account
            .sync_keys
            .sort_by_key(|key| (in_use(key), key.timestamp));
        account.lids = lids;
        Found {
            left_out: told(self.left_out, self.needless),
            account: self.account,
        }
    }

    /// Whose LID is known: by the files, by what is said of the account itself, and, since version 6 keeps no
    /// such files, where two sessions are with the same identity key, which only one phone has.
    fn known_lids(&self) -> Vec<(String, String)> {
        let own = &self.account;
        let own = own
            .lid
            .as_ref()
            .map(|lid| (lid.user.clone(), own.number.user.clone()));
        let mut known: BTreeMap<String, String> = self.numbers.clone();
        known.extend(
            self.lids
                .iter()
                .map(|(number, lid)| (lid.clone(), number.clone())),
        );
        known.extend(own.clone());
        let mut numbers = HashMap::new();
        let phones = || self.sessions.iter().filter(|(with, _)| with.device == 0);
        let is_lid = |with: &Named| {
            let hidden = with.domain.is_none() && with.user.len() >= DIGITS_OF_LID;
            with.domain == Some(1) || hidden || known.contains_key(&with.user)
        };
        for (with, states) in phones().filter(|(with, _)| with.domain.is_none() && !is_lid(with)) {
            numbers.extend(states.identity().map(|key| (key, &with.user)));
        }
        let mut lids = Vec::new();
        for (with, states) in phones().filter(|(with, _)| is_lid(with)) {
            let number = states.identity().and_then(|key| numbers.get(&key));
            if let Some(number) = number.filter(|_| !known.contains_key(&with.user)) {
                lids.push((with.user.clone(), (*number).clone()));
            }
        }
        // The surest last.
        lids.extend(self.numbers.clone());
        lids.extend(
            self.lids
                .iter()
                .map(|(number, lid)| (lid.clone(), number.clone())),
        );
        lids.extend(own);
        let mut seen = BTreeSet::new();
        lids.reverse();
        lids.retain(|pair| seen.insert(pair.clone()));
        lids.reverse();
        lids
    }
}

/// What the digits in Baileys' addresses are.
struct Places<'a> {
    lids: BTreeSet<&'a str>,
    by_number: HashMap<&'a str, &'a str>,
}

impl<'a> Places<'a> {
    fn new(lids: &'a [(String, String)]) -> Self {
        Self {
            lids: lids.iter().map(|(lid, _)| lid.as_str()).collect(),
            by_number: lids
                .iter()
                .map(|(lid, number)| (number.as_str(), lid.as_str()))
                .collect(),
        }
    }

    /// The address that a name stands for.
    fn of(&self, named: &Named) -> DeviceAddress {
        let hidden = self.lids.contains(named.user.as_str()) || named.user.len() >= DIGITS_OF_LID;
        let space = match named.domain {
            Some(1) => AddressSpace::Lid,
            Some(128) => AddressSpace::Hosted,
            Some(129) => AddressSpace::HostedLid,
            _ if hidden => AddressSpace::Lid,
            _ => AddressSpace::Number,
        };
        DeviceAddress {
            user: named.user.clone(),
            space,
            device: named.device,
        }
    }

    /// The same device under its LID, where that is known: there all clients keep sessions.
    fn lid_of(&self, address: DeviceAddress) -> DeviceAddress {
        let space = match address.space {
            AddressSpace::Number => AddressSpace::Lid,
            AddressSpace::Hosted => AddressSpace::HostedLid,
            AddressSpace::Lid | AddressSpace::HostedLid => return address,
        };
        match self.by_number.get(address.user.as_str()) {
            Some(lid) => DeviceAddress {
                user: (*lid).to_owned(),
                space,
                device: address.device,
            },
            None => address,
        }
    }
}

/// What is told of files that are not taken over.
fn told(
    left_out: Vec<(String, &'static str)>,
    needless: BTreeMap<&'static str, &'static str>,
) -> Vec<LeftOut> {
    let files = left_out.into_iter().map(|(file, why)| LeftOut {
        file: shown(&file),
        why: why.to_owned(),
    });
    let needless = needless.into_iter().map(|(file, why)| LeftOut {
        file: file.to_owned(),
        why: why.to_owned(),
    });
    // What is always there is not lost behind what is damaged.
    needless.chain(files).collect()
}

/// The name of a file for the report: it may hold what a terminal obeys.
fn shown(name: &str) -> String {
    name.escape_debug().to_string()
}

#[cfg(test)]
mod tests;
