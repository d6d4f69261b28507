//! Privacy tokens: by which somebody shows that he may write to an account.
//!
//! An account gives a token to whoever it writes to; with it, or with one that is computed from a
//! secret of the sender's own account, he may write to those who do not take messages of strangers.

use std::sync::Arc;

use whatsapp_rust::wacore::iq::tctoken::compute_cs_token;
use whatsapp_rust::wacore_binary::NodeRef;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::iq::IqRequest;
use super::journal::JournalKey;
use super::network::Network;
use super::number::{DeviceAddress, Number};
use super::outbox::Class;
use super::profile::{Profile, SaltBy, TokenPolicy};
use super::random;
use super::stanza::{child_bytes, text};
use super::usync::person;

/// For how long a token is not given anew, in seconds.
const WEEK: i64 = 7 * 24 * 60 * 60;

impl Network {
    /// A companion gives tokens to people.
    pub(super) fn take_tokens(&self, request: &IqRequest<'_, '_>, tokens: &NodeRef<'_>) {
        for token in tokens.get_children_by_tag("token") {
            let at = text(token, "t").and_then(|text| text.parse().ok());
            if let Some(whom) = person(token, "jid") {
                self.trust(request.from, whom, at.unwrap_or(self.now().as_secs()));
            }
        }
    }

    /// A phone gives a token to whoever it writes to, if he has none of this week.
    pub(super) fn trust_by_phone(&self, by: Number, whom: Number) {
        let now = self.now().as_secs();
        let known = self.directory.known_account(by);
        let fresh = known.is_some_and(|account| {
            let given = account.lock().trusted.get(&whom).copied();
            given.is_some_and(|at| now - at < WEEK)
        });
        if !fresh && by != whom && !self.directory.companions(whom).is_empty() {
            self.trust(DeviceAddress::phone(by), whom, now);
        }
    }

    fn trust(&self, by: DeviceAddress, whom: Number, at: i64) {
        let account = self.directory.account(by.number);
        account.lock().trusted.insert(whom, at);
        self.changes.touch(|| JournalKey::Account(by.number));
        let Some(receiver) = self.directory.known_account(whom) else {
            return;
        };
        if self.blocks(whom, by.number) {
            return;
        }
        let token = NodeBuilder::new("token")
            .attr("type", "trusted_contact")
            .attr("t", at)
            .bytes(self.token(by.number, whom))
            .build();
        let id = random::message_id();
        let phone = DeviceAddress::phone(by.number);
        let notification = NodeBuilder::new("notification")
            .attr("from", phone.jid(self.form))
            .attr("sender_lid", phone.lid())
            .attr("type", "privacy_token")
            .attr("id", id.as_str())
            .attr("t", self.now().as_secs())
            .children([NodeBuilder::new("tokens").children([token]).build()])
            .build();
        receiver.deliver_to_all(None, Class::Notification, &id, &Arc::new(notification));
    }

    /// The token that an account gives, or would give, to somebody.
    fn token(&self, by: Number, whom: Number) -> Vec<u8> {
        let token = self.seed.derive(&format!("token for {whom}"), by, 0);
        token[..16].to_vec()
    }

    /// The token with which `by` may write to `whom`, and when it was given.
    pub(super) fn token_held(&self, by: Number, whom: Number) -> Option<(Vec<u8>, i64)> {
        let given = self.directory.known_account(whom)?;
        let at = given.lock().trusted.get(&by).copied()?;
        Some((self.token(whom, by), at))
    }

    /// Whether a phone tells its companions in this way from what they compute tokens.
    pub(super) fn shares_salt(&self, of: Number, by: SaltBy) -> bool {
        let phone = self.directory.phone(of);
        phone.profile().shares_salt.contains(&by)
    }

    /// The secret from which an account's devices compute tokens for strangers.
    pub(super) fn token_salt(&self, of: Number) -> [u8; 32] {
        self.seed.derive("token salt", of, 0)
    }

    /// Whether a message is one of a stranger, for somebody who takes none of them.
    pub(super) fn is_turned_away(&self, from: Number, to: Number, message: &NodeRef<'_>) -> bool {
        let Some(choosy) = self.choosy(to).filter(|_| from != to) else {
            return false;
        };
        let takes = |token| choosy.takes_tokens.contains(&token);
        let lid = DeviceAddress::phone(to).lid().to_string();
        let computed = compute_cs_token(&self.token_salt(from), &lid);
        let computed = child_bytes(message, "cstoken") == Some(computed.as_slice());
        let trusted = takes(TokenPolicy::Given) && self.shows_token(from, to, message)
            || takes(TokenPolicy::Computed) && computed;
        !trusted
    }

    /// Whether somebody keeps his picture (`profile`) or whether he is there (`online`, `last`) from
    /// the one who asks.
    pub(super) fn keeps_from(
        &self,
        whose: Number,
        what: &str,
        by: Number,
        asked: &NodeRef<'_>,
    ) -> bool {
        if whose == by {
            return false;
        }
        let account = self.directory.known_account(whose);
        let kept = account.is_some_and(|account| {
            let state = account.lock();
            match state.privacy.get(what).map(String::as_str) {
                Some("none") => true,
                // The server sees no address book: a contact is who was given a token.
                Some("contacts") => !state.trusted.contains_key(&by),
                _ => false,
            }
        });
        kept || self.choosy(whose).is_some() && !self.shows_token(by, whose, asked)
    }

    /// How somebody behaves who takes nothing of strangers.
    fn choosy(&self, number: Number) -> Option<Profile> {
        let profile = self.directory.known_phone(number)?.profile();
        profile.trusted_only.then_some(profile)
    }

    /// Whether a stanza carries the token that its sender was given by somebody.
    fn shows_token(&self, sender: Number, by: Number, node: &NodeRef<'_>) -> bool {
        let held = self.token_held(sender, by).map(|(token, _)| token);
        held.is_some_and(|held| child_bytes(node, "tctoken") == Some(held.as_slice()))
    }
}
