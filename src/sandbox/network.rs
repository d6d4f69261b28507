//! The network as a whole: what all sockets, phones and control calls share.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use whatsapp_rust::OwnedNodeRef;

use super::app_state::AppState;
use super::attachments::FileFindings;
use super::cdn::MediaKey;
use super::certificate::Certificate;
use super::channels::Channels;
use super::connection::{Socket, SocketPeer, serve_stream, stream_error};
use super::directory::Directory;
use super::faults::Faults;
use super::groups::Groups;
use super::journal::{JournalChanges, JournalKey};
use super::keys::Seed;
use super::media::MediaStore;
use super::number::{DeviceAddress, Form, Number};
use super::outbox::Class;
use super::pair_code::Codes;
use super::pairing::Pairings;
use super::presence::Watchers;
use super::profile_pictures::ProfilePictures;
use super::state_rows::Keeper;
use super::stats::{NetworkCounters, NetworkStats};
use super::{base64, random, stanza};
use crate::error::{Error, Result};
use crate::time::{Clock, Timestamp};

/// How a network is set up.
#[derive(Debug, Clone, Default)]
pub struct NetworkOptions {
    /// Where the time comes from.
    pub clock: Clock,
    /// What all keys are derived from; chosen at random if there is none.
    pub seed: Option<[u8; 32]>,
    /// By which name people are called in what the network itself sends.
    pub form: Form,
    /// By which name members are called in groups that are made from now on; if nothing is said, by
    /// hidden id, as WhatsApp does today.
    pub groups: Option<Form>,
    /// The file that keeps the network's state; media are kept in a folder beside it. Without it,
    /// nothing is kept.
    pub state: Option<PathBuf>,
}

impl NetworkOptions {
    /// A network whose state is kept in this file.
    pub fn kept_in(file: &std::path::Path) -> Self {
        Self {
            state: Some(file.to_owned()),
            ..Self::default()
        }
    }
}

/// A simulated WhatsApp network. It outlives the clients that use it.
pub struct Network {
    pub(super) seed: Seed,
    pub(super) form: Form,
    pub(super) form_of_groups: Form,
    pub(super) clock: Clock,
    pub(super) certificate: Certificate,
    pub(super) directory: Directory,
    pub(super) pairings: Pairings,
    pub(super) codes: Codes,
    pub(super) groups: Groups,
    pub(super) channels: Channels,
    pub(super) watchers: Watchers,
    pub(super) media: MediaStore,
    pub(super) media_key: MediaKey,
    pub(super) findings: FileFindings,
    pub(super) pictures: ProfilePictures,
    pub(super) settings: AppState,
    pub(super) faults: Faults,
    /// What has changed since it was last written to the state file.
    pub(super) changes: Arc<JournalChanges>,
    pub(super) keeper: Option<Keeper>,
    pub(super) counters: NetworkCounters,
}

impl Network {
    /// Makes a network on which every number is registered and nobody has a companion; nothing of
    /// it is kept.
    pub fn new(options: NetworkOptions) -> Arc<Self> {
        Arc::new(Self::build(options, None, None, JournalChanges::new(false)))
    }

    /// Opens a network as it was left, if its state is kept.
    pub fn open(mut options: NetworkOptions) -> Result<Arc<Self>> {
        let Some(path) = options.state.take() else {
            return Ok(Self::new(options));
        };
        let (keeper, rows) = Keeper::open(&path)?;
        let media = path.with_extension("media");
        if let Some(seed) = rows.get(&JournalKey::Seed) {
            let seed = seed.as_str().and_then(base64::decode);
            let seed = seed.and_then(|seed| seed.try_into().ok());
            options.seed = Some(seed.ok_or_else(|| Error::internal("the state has no seed"))?);
        }
        let network = Self::build(
            options,
            Some(media),
            Some(keeper),
            JournalChanges::new(true),
        );
        network.restore(rows)?;
        // What was put back is written already, but for files that were left just before a kill.
        let (mut changed, _) = network.changes.take();
        changed.retain(|key| matches!(key, JournalKey::File(_)));
        for key in changed {
            network.changes.touch(|| key);
        }
        network.changes.touch(|| JournalKey::Seed);
        network.save()?;
        let network = Arc::new(network);
        network.keep();
        Ok(network)
    }

    fn build(
        options: NetworkOptions,
        media: Option<PathBuf>,
        keeper: Option<Keeper>,
        changes: JournalChanges,
    ) -> Self {
        let seed = Seed::new(options.seed.unwrap_or_else(random::bytes));
        let changes = Arc::new(changes);
        Self {
            certificate: Certificate::new(&seed, options.clock.now()),
            seed,
            form: options.form,
            form_of_groups: options.groups.unwrap_or(Form::Lid),
            clock: options.clock,
            directory: Directory::new(changes.clone()),
            pairings: Pairings::default(),
            codes: Codes::default(),
            groups: Groups::default(),
            channels: Channels::default(),
            watchers: Watchers::default(),
            media: MediaStore::new(media, changes.clone()),
            media_key: MediaKey::default(),
            findings: FileFindings::default(),
            pictures: ProfilePictures::default(),
            settings: AppState::default(),
            faults: Faults::default(),
            changes,
            keeper,
            counters: NetworkCounters::default(),
        }
    }

    /// Accepts clients on a listener until it fails; the caller ends it by dropping the task.
    pub async fn listen(self: Arc<Self>, listener: TcpListener) -> Result<()> {
        let address = listener.local_addr().map_err(Error::internal)?;
        self.set_media_host(&address.to_string());
        loop {
            let (stream, _) = listener.accept().await.map_err(Error::internal)?;
            // Small stanzas must not wait for each other.
            stream.set_nodelay(true).map_err(Error::internal)?;
            tokio::spawn(serve_stream(self.clone(), stream));
        }
    }

    /// The key under which the server's certificates are signed, for clients that check them.
    pub fn root_public_key(&self) -> &[u8] {
        self.certificate.root_public()
    }

    /// The counters at this moment.
    pub fn stats(&self) -> NetworkStats {
        self.counters.snapshot(self.now())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The name that others see for a number.
    pub(super) fn name_of(&self, number: Number) -> String {
        let known = self.directory.known_phone(number);
        known
            .and_then(|phone| phone.profile().name)
            .unwrap_or_else(|| format!("User {number}"))
    }

    /// The name that others see on what a device sends: its own, if it has given one.
    pub(super) fn name_of_device(&self, device: DeviceAddress) -> String {
        let given = self
            .directory
            .known_account(device.number)
            .and_then(|account| {
                let state = account.lock();
                state.companions.get(&device.device)?.name.clone()
            });
        given.unwrap_or_else(|| self.name_of(device.number))
    }

    /// Whether an account has blocked somebody.
    pub(super) fn blocks(&self, account: Number, whom: Number) -> bool {
        self.directory
            .known_account(account)
            .is_some_and(|account| account.lock().blocked.contains(&whom))
    }

    /// Reads a number that a caller of the control API wrote.
    pub(super) fn number(&self, text: &str) -> Result<Number> {
        Number::parse(text).ok_or_else(|| Error::invalid("a phone number has 8 to 15 digits"))
    }

    /// A companion has logged in; an older connection of the same companion ends.
    pub(super) fn entered(&self, address: DeviceAddress, socket: &Arc<Socket>) {
        let account = self.directory.account(address.number);
        let mut state = account.lock();
        if let Some(companion) = state.companions.get_mut(&address.device) {
            companion.active = false;
            companion.available = false;
            if let Some(older) = companion.socket.replace(socket.clone()) {
                replaced(&older);
            }
        }
    }

    /// A companion's connection has ended.
    pub(super) fn left(&self, address: DeviceAddress, socket: &Arc<Socket>) {
        let Some(account) = self.directory.known_account(address.number) else {
            return;
        };
        let mut state = account.lock();
        let Some(companion) = state.companions.get_mut(&address.device) else {
            return;
        };
        if companion
            .socket
            .as_ref()
            .is_some_and(|current| current.id == socket.id)
        {
            companion.socket = None;
            companion.active = false;
            let was_there = std::mem::take(&mut companion.available);
            drop(state);
            if was_there {
                self.tell_watchers(address.number);
            }
        }
    }

    /// Takes one stanza from a client.
    pub(super) fn take(
        self: &Arc<Self>,
        socket: &Arc<Socket>,
        peer: &SocketPeer,
        node: &OwnedNodeRef,
    ) {
        let node = node.get();
        match peer {
            SocketPeer::Candidate(candidate) => self.take_from_candidate(socket, candidate, node),
            SocketPeer::Companion(address) => match node.tag.as_ref() {
                "iq" => self.take_iq(socket, *address, node),
                "message" => self.take_message(socket, *address, node),
                "receipt" => self.take_receipt(socket, *address, node),
                "ack" => self.take_ack(*address, node),
                "presence" => self.take_presence(*address, node),
                "chatstate" => self.take_chatstate(*address, node),
                "call" => self.take_call(socket, *address, node),
                // Hints that nobody answers.
                "ib" => {}
                tag => self.counters.unknown(tag.to_owned()),
            },
        }
    }

    fn take_ack(&self, from: DeviceAddress, node: &whatsapp_rust::wacore_binary::NodeRef<'_>) {
        let class = stanza::text(node, "class").and_then(|name| Class::parse(&name));
        if let (Some(class), Some(id)) = (class, stanza::text(node, "id")) {
            self.confirm(from, class, &id);
        }
    }

    /// A companion has what was sent to it.
    pub(super) fn confirm(&self, by: DeviceAddress, class: Class, id: &str) {
        if let Some(account) = self.directory.known_account(by.number) {
            account.confirm(by.device, class, id);
        }
    }
}

fn replaced(older: &Socket) {
    stream_error(older, 440, Some("replaced"));
}
