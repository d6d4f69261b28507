//! One session's connection to WhatsApp: the library's client behind our words.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use whatsapp_rust::bot::{Bot, BotHandle};
use whatsapp_rust::wacore::store::DevicePropsOverride;
use whatsapp_rust::wacore::types::call::CallAction;
use whatsapp_rust::wacore::types::events::{
    ConnectFailureReason, DecryptFailMode, Event, EventHandler, LoggedOut, UnavailableType,
    UndecryptableMessage,
};
use whatsapp_rust::wacore::types::presence::ReceiptType;
use whatsapp_rust::wacore_binary::Jid as WireJid;
use whatsapp_rust::wacore_binary::{JidExt as _, Node, NodeRef};
use whatsapp_rust::waproto::whatsapp::device_props::PlatformType;
use whatsapp_rust::{
    Client as Library, NodeBuilder, RawNodeLease, RetryRequestOptions, SendOptions,
};

use super::arriving::{ArrivingMessages, IsStored, Missing};
use super::backend::Backend;
use super::convert;
use super::http::LibraryHttp;
use super::inbox::{Hook, Inbox};
use super::media_hosts::MediaHosts;
use super::media_places::DownloadSlots;
use super::message::{
    Attachment, ConnectionEvent, DisappearingTimer, IncomingCall, MessageState, OutgoingContent,
    Receipt, UnreadableMessage, UnreadableReason,
};
use super::transport::{Endpoint, Transports};
use crate::error::{Code, Error, Result};
use crate::ids::MessageId;
use crate::jid::{Jid, PhoneNumber};
use crate::net::client::{Client, Dialer};
use crate::time::{Clock, Timestamp};

/// How many one-time keys a session keeps at WhatsApp's server. The library's own number is 812;
/// 100 costs a third of the memory and is refilled as they are used.
const PRE_KEYS: usize = 100;

/// How long the stored state may take to be read, while the store fails.
const OPENING: std::time::Duration = std::time::Duration::from_secs(10);

/// How long WhatsApp may take to confirm a logout.
const LOGOUT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

/// What a connection needs.
pub struct ConnectionOptions {
    /// The session's keys and device state.
    pub backend: Backend,
    /// Where WhatsApp is.
    pub endpoint: Endpoint,
    /// Makes the connection.
    pub dialer: Dialer,
    /// Fetches and uploads media.
    pub http: Arc<Client>,
    /// The version of WhatsApp Web that we say we are.
    pub version: (u32, u32, u32),
    /// How the phone's list of linked devices calls us.
    pub device_name: String,
    /// Whether the account looks online while it is connected.
    pub show_online: bool,
    /// The account's name, when it is known.
    pub name: String,
    /// Stores what arrives.
    pub inbox: Inbox,
    /// Whether a message that arrives again is stored.
    pub stored: IsStored,
    /// Gets everything else, in order.
    pub events: UnboundedSender<ConnectionEvent>,
    /// The time.
    pub clock: Clock,
}

/// What WhatsApp's server said to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ack {
    /// It took the message.
    Accepted,
    /// It refused the message with this code.
    Refused(String),
}

/// A frame that was written and not yet acknowledged.
pub struct PendingAck {
    verdict: oneshot::Receiver<Ack>,
    id: MessageId,
    acks: Arc<Acks>,
}

impl PendingAck {
    /// Waits for the server's word. It may never come: the caller sets the limit.
    pub async fn ack(&mut self) -> Option<Ack> {
        (&mut self.verdict).await.ok()
    }

    /// The server's word, if it is here already.
    pub fn ack_so_far(&mut self) -> Option<Ack> {
        self.verdict.try_recv().ok()
    }
}

impl Drop for PendingAck {
    fn drop(&mut self) {
        self.verdict.close();
        self.acks.forget(&self.id);
    }
}

/// Messages that wait for the server's acknowledgement.
#[derive(Default)]
struct Acks(Mutex<HashMap<String, Vec<oneshot::Sender<Ack>>>>);

impl Acks {
    fn expect(&self, id: &MessageId) -> oneshot::Receiver<Ack> {
        let (tell, hear) = oneshot::channel();
        self.lock().entry(id.to_string()).or_default().push(tell);
        hear
    }

    fn resolve(&self, id: &str, verdict: Ack) {
        for tell in self.lock().remove(id).unwrap_or_default() {
            let _ = tell.send(verdict.clone());
        }
    }

    /// Forgets a message nobody waits for any more, but not a later wait for the same id.
    fn forget(&self, id: &MessageId) {
        let mut waiting = self.lock();
        if let Some(tells) = waiting.get_mut(id.as_str()) {
            tells.retain(|tell| !tell.is_closed());
            if tells.is_empty() {
                waiting.remove(id.as_str());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<oneshot::Sender<Ack>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running connection, which the library makes anew whenever it breaks.
pub struct Connection {
    client: Arc<Library>,
    running: Mutex<Option<BotHandle>>,
    closing: CancellationToken,
    /// Cancelled when nothing more is heard.
    stopped: CancellationToken,
    acks: Arc<Acks>,
    hosts: MediaHosts,
    pub(super) places: DownloadSlots,
    clock: Clock,
    arriving: Arc<ArrivingMessages>,
    /// Shows us each stanza before it is worked on.
    _stanzas: RawNodeLease,
}

impl Connection {
    /// Starts connecting; what comes of it is reported as events.
    pub async fn open(options: ConnectionOptions) -> Result<Self> {
        let acks = Arc::new(Acks::default());
        let client_slot = Arc::new(Mutex::new(Weak::<Library>::new()));
        let closing = CancellationToken::new();
        let (missing, to_ask) = mpsc::unbounded_channel();
        let arriving = Arc::new(ArrivingMessages::new(
            options.stored,
            missing,
            closing.clone(),
        ));
        let backend = options.backend.behind(arriving.clone());
        let listener = Listener {
            events: options.events.clone(),
            acks: acks.clone(),
            client: client_slot.clone(),
            arriving: arriving.clone(),
            backend: backend.clone(),
            show_online: options.show_online,
        };
        let hosts = MediaHosts::default();
        let (a, b, c) = options.version;
        let mut builder = Bot::builder();
        let unnamed = tokio::time::timeout(OPENING, lacks_name(&backend)).await;
        let unnamed = unnamed.map_err(state_unreadable)?;
        if unnamed.map_err(state_unreadable)? && !options.name.is_empty() {
            builder = builder.with_push_name(options.name);
        }
        let hook = Hook {
            inbox: options.inbox,
            arriving: arriving.clone(),
            backend: backend.clone(),
            clock: options.clock.clone(),
        };
        let bot = builder
            .with_backend(backend)
            .with_transport_factory(Transports {
                dialer: options.dialer,
                endpoint: options.endpoint,
                events: options.events,
                closing: closing.clone(),
            })
            .with_http_client(LibraryHttp {
                client: options.http,
                hosts: hosts.clone(),
            })
            .with_version((a, b, c))
            .with_device_props(
                DevicePropsOverride::new()
                    .with_os(options.device_name)
                    .with_platform_type(PlatformType::Desktop),
            )
            .skip_history_sync()
            .with_wanted_pre_key_count(PRE_KEYS)
            .with_inbound_durability_hook(hook)
            .with_event_handler(listener)
            .build();
        // Nobody can end its reads before there is a link: the session is held meanwhile.
        let bot = tokio::time::timeout(OPENING, bot).await;
        let bot = bot.map_err(state_unreadable)?.map_err(state_unreadable)?;
        let client = bot.client();
        // What is received is stored, whether the account looks online or not.
        client.set_force_active_delivery_receipts(true);
        *client_slot.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&client);
        let stanzas = client.acquire_raw_node_forwarding();
        tokio::spawn(ask_again(Arc::downgrade(&client), to_ask));
        let running = bot.spawn();
        Ok(Self {
            client,
            arriving,
            _stanzas: stanzas,
            running: Mutex::new(Some(running)),
            closing,
            stopped: CancellationToken::new(),
            acks,
            hosts,
            places: DownloadSlots::default(),
            clock: options.clock,
        })
    }

    /// Encrypts a message and writes it to the connection. The id may be one that was written
    /// before: WhatsApp's clients show one message per id.
    pub async fn write(
        &self,
        id: &MessageId,
        to: &Jid,
        what: &OutgoingContent,
        file: Option<&Attachment>,
        timer: Option<DisappearingTimer>,
    ) -> Result<PendingAck> {
        let wire_to = convert::to_wire(to)?;
        if to.is_person() && !self.is_registered(&wire_to).await {
            return Err(Code::NumberNotOnWhatsapp.into());
        }
        let own = self.own_jid();
        let chat = convert::OutgoingChat {
            to,
            own: own.as_ref(),
            timer: timer.filter(|timer| timer.seconds > 0),
        };
        let message = convert::message(chat, what, file, self.clock.now())?;
        let verdict = self.acks.expect(id);
        let written = PendingAck {
            verdict,
            id: id.clone(),
            acks: self.acks.clone(),
        };
        let options = SendOptions::default().with_message_id(id.as_str());
        match self
            .client
            .send_message_with_options(wire_to, message, options)
            .await
        {
            Ok(_) => Ok(written),
            Err(error) => Err(send_failure(&error)),
        }
    }

    /// Whether a person is on WhatsApp, as far as it says. Somebody whose devices are known costs no
    /// question; the devices of others are asked for now instead of by the sending itself.
    async fn is_registered(&self, person: &WireJid) -> bool {
        let (signal, contacts) = (self.client.signal(), self.client.contacts());
        let devices = signal.get_user_devices(std::slice::from_ref(person)).await;
        if devices.is_ok_and(|devices| !devices.is_empty()) {
            return true;
        }
        let asked = contacts.is_on_whatsapp(std::slice::from_ref(person)).await;
        // Without an answer the message goes, and has its own answer.
        !asked.is_ok_and(|answer| {
            let mut answer = answer.iter().peekable();
            answer.peek().is_some() && answer.all(|one| !one.is_registered)
        })
    }

    /// When the messages of a group disappear; `None` when they stay.
    pub async fn group_timer(&self, group: &Jid) -> Result<Option<u32>> {
        let wire_group = convert::to_wire(group)?;
        let meta = self.client.groups().get_metadata(&wire_group).await;
        let meta =
            meta.map_err(|e| Error::from(Code::GroupUnavailable).because(format!("{e:?}")))?;
        Ok(meta.ephemeral.and_then(|chosen| chosen.expiration))
    }

    /// Asks WhatsApp for the eight characters that the phone's owner types to pair.
    pub async fn pair_code(&self, phone: &PhoneNumber) -> Result<String> {
        let wait = std::time::Duration::from_secs(20);
        self.client
            .wait_for_socket(wait)
            .await
            .map_err(|e| Error::from(Code::WhatsappUnreachable).because(format!("{e:?}")))?;
        let options = whatsapp_rust::pair_code::PairCodeOptions {
            phone_number: phone.to_string(),
            ..Default::default()
        };
        self.client
            .pair_with_code(options)
            .await
            .map_err(|e| Error::from(Code::PairingCodeRefused).because(format!("{e:?}")))
    }

    /// Which of these people WhatsApp knows; one it does not answer for is left out.
    pub async fn on_whatsapp(&self, people: &[Jid]) -> Result<HashMap<Jid, bool>> {
        let asked: Vec<_> = people.iter().map(convert::to_wire).collect::<Result<_>>()?;
        let answer = self.client.contacts().is_on_whatsapp(&asked).await;
        let answer = answer.map_err(|e| {
            Error::new(
                Code::WhatsappRefused,
                "WhatsApp did not say which numbers it knows",
            )
            .because(format!("{e:?}"))
        })?;
        Ok(answer
            .iter()
            .filter_map(|one| Some((convert::from_wire(&one.jid)?, one.is_registered)))
            .collect())
    }

    /// Shows somebody that we are typing.
    pub async fn typing(&self, to: &Jid) -> Result<()> {
        let to = convert::to_wire(to)?;
        let shown = self.client.chatstate().send_composing(&to).await;
        shown.map_err(|e| {
            Error::new(
                Code::WhatsappRefused,
                "WhatsApp did not take the typing sign",
            )
            .because(format!("{e:?}"))
        })
    }

    /// The members of a group.
    pub async fn group_members(&self, group: &Jid) -> Result<Vec<Jid>> {
        let wire_group = convert::to_wire(group)?;
        let meta = self
            .client
            .groups()
            .get_metadata(&wire_group)
            .await
            .map_err(|e| {
                Error::new(
                    Code::GroupUnavailable,
                    "WhatsApp does not show the members of this group",
                )
                .because(format!("{e:?}"))
            })?;
        Ok(meta
            .participants
            .iter()
            .filter_map(|p| convert::from_wire(&p.jid))
            .collect())
    }

    /// Unlinks the device at WhatsApp and stops.
    pub async fn logout(&self) {
        // WhatsApp may be slow to answer; what is left to do is done on the phone then.
        let told = self.client.logout();
        if tokio::time::timeout(LOGOUT_PATIENCE, told).await.is_err() {
            tracing::warn!("WhatsApp did not confirm a logout in time");
        }
        // Also what the library still wants to read and write ends with it.
        self.close().await;
    }

    /// Closes the connection and stops; the pairing stays.
    pub async fn close(&self) {
        self.closing.cancel();
        self.client.disconnect().await;
        self.wait_until_stopped().await;
    }

    /// How many writes of messages that arrived wait for a store that fails.
    pub fn waiting_for_store(&self) -> usize {
        self.arriving.waiting()
    }

    /// Drops the connection and makes it anew at once.
    pub async fn reconnect(&self) {
        self.client.reconnect_immediately().await;
    }

    /// Cancelled when nothing more is heard. Some tasks of the library outlive it for minutes.
    pub fn stopped(&self) -> CancellationToken {
        self.stopped.clone()
    }

    async fn wait_until_stopped(&self) {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(running) = running {
            let patience = std::time::Duration::from_secs(5);
            if tokio::time::timeout(patience, running).await.is_err() {
                tracing::warn!("a connection did not stop in time and was cut");
            }
        }
        self.stopped.cancel();
    }

    pub(super) fn client(&self) -> &Library {
        &self.client
    }

    /// Asks WhatsApp's server, unless it said so lately, where files are left and fetched.
    pub(super) async fn learn_media_hosts(&self) -> Result<()> {
        let told = self.client.refresh_media_conn(false).await.map_err(|e| {
            Error::new(
                Code::WhatsappRefused,
                "WhatsApp did not say where files are",
            )
            .because(format!("{e:?}"))
        })?;
        told.hosts
            .iter()
            .for_each(|host| self.hosts.learn(&host.hostname));
        Ok(())
    }

    fn own_jid(&self) -> Option<Jid> {
        self.client.pn().as_ref().and_then(convert::from_wire)
    }
}

/// Whether the stored device has no name. The library writes it later than the rest: after a crash in
/// between it would wait 10 s for it at each connection, for what WhatsApp tells only once.
async fn lacks_name(backend: &Backend) -> whatsapp_rust::store::error::Result<bool> {
    use whatsapp_rust::store::traits::DeviceStore as _;
    let device = backend.load().await?;
    Ok(device.is_some_and(|device| device.push_name.is_empty()))
}

fn state_unreadable(error: impl std::fmt::Debug) -> Error {
    let detail = "the session's stored state cannot be read";
    Error::new(Code::StoreUnavailable, detail).because(format!("{error:?}"))
}

/// The error that the sender of a message sees when it could not even be written.
fn send_failure(error: &whatsapp_rust::send::SendError) -> Error {
    use whatsapp_rust::ClientError;
    use whatsapp_rust::send::SendError;
    let failure = match error {
        SendError::NotLoggedIn
        | SendError::Client(
            ClientError::NotConnected
            | ClientError::NotLoggedIn
            | ClientError::Socket(_)
            | ClientError::EncryptSend(_),
        ) => Error::from(Code::SessionNotConnected),
        SendError::InvalidRequest(_) => Error::from(Code::MessageUnsendable),
        SendError::Iq(_) | SendError::Client(ClientError::Iq(_)) => Error::new(
            Code::WhatsappRefused,
            "WhatsApp did not give what is needed to write to this recipient",
        ),
        _ => Error::new(
            Code::WhatsappRefused,
            "the message could not be encrypted for this recipient",
        ),
    };
    failure.because(format!("{error:?}"))
}

/// Asks for the messages that came twice and have no row: their writers' devices, and our phone.
async fn ask_again(client: Weak<Library>, mut missing: UnboundedReceiver<Missing>) {
    while let Some(message) = missing.recv().await {
        let Some(client) = client.upgrade() else {
            return;
        };
        let id = message.id.clone();
        tracing::warn!(%id, "a message that WhatsApp delivered again was never stored; asking for it");
        let stanza = stanza_of(message, &client);
        let asked = client
            .request_message_retry(&stanza.as_node_ref(), RetryRequestOptions::new())
            .await;
        if let Err(error) = asked {
            // It stays unacknowledged, so that the next connection begins anew.
            tracing::warn!(%id, ?error, "the message could not be asked for");
        }
    }
}

/// The head of the stanza that brought a message.
fn stanza_of(message: Missing, client: &Library) -> Node {
    let Missing { chat, sender, id } = message;
    let now = client.persistence_manager().get_device_snapshot();
    let ours = [now.pn.as_ref(), now.lid.as_ref()]
        .into_iter()
        .flatten()
        .any(|own| own.user == sender.user);
    let stanza = NodeBuilder::new("message").attr("id", id.to_string());
    let stanza = if chat.is_group() || chat.is_broadcast_list() || chat.is_status_broadcast() {
        stanza.attr("from", chat).attr("participant", sender)
    } else if ours {
        stanza.attr("from", sender).attr("recipient", chat)
    } else {
        stanza.attr("from", sender)
    };
    stanza.build()
}

/// Hears the library's events and says them in our words.
struct Listener {
    events: UnboundedSender<ConnectionEvent>,
    acks: Arc<Acks>,
    client: Arc<Mutex<Weak<Library>>>,
    arriving: Arc<ArrivingMessages>,
    backend: Backend,
    show_online: bool,
}

/// How long until a pairing that could not be saved is saved again.
const PAIRING_AGAIN: std::time::Duration = std::time::Duration::from_millis(500);

/// How long after a change of the account's name the library has surely said that it is online.
const NAME_SETTLES: std::time::Duration = std::time::Duration::from_secs(2);

impl Listener {
    /// Notes what comes, before anybody works on it.
    fn observe(&self, stanza: &NodeRef<'_>) {
        if self.arriving.observe(stanza, self.backend.fails())
            && let Some(client) = self.client()
        {
            tracing::warn!("the store fails and more messages come than can be held; reconnecting");
            tokio::spawn(async move { client.reconnect_immediately().await });
        }
    }

    fn emit(&self, signal: ConnectionEvent) {
        // A closed channel means that the session is being removed.
        let _ = self.events.send(signal);
    }

    fn client(&self) -> Option<Arc<Library>> {
        self.client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade()
    }

    /// Hazard: the library saves the pairing in the background; it is paired only once it is on disk.
    fn paired(&self) {
        let (Some(client), events) = (self.client(), self.events.clone()) else {
            return;
        };
        let arriving = self.arriving.clone();
        tokio::spawn(async move {
            let mut late = false;
            // The phone has it by now: without this a restart would not know its device any more.
            while let Err(error) = client.persistence_manager().flush().await {
                tracing::error!(%error, "the pairing could not be saved yet");
                if !arriving.pause(PAIRING_AGAIN).await {
                    return;
                }
                late = true;
            }
            let _ = events.send(ConnectionEvent::Paired {
                number: client.pn().map(|jid| jid.user.to_string()),
                lid: client.lid().as_ref().and_then(convert::from_wire),
            });
            if late {
                // What the library began meanwhile may wait for minutes for what it could not store.
                client.reconnect_immediately().await;
            }
        });
    }

    /// Takes back that the account is online, which the library says at each login and when the
    /// account's name changes: a phone whose owner is online elsewhere does not ring.
    fn appear_offline(&self, after: std::time::Duration) {
        let (Some(client), false) = (self.client(), self.show_online) else {
            return;
        };
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if let Err(error) = client.presence().set_unavailable().await {
                tracing::debug!(%error, "the account may look online");
            }
        });
    }

    /// Hazard: the library saves the name in the background and asks for it no more; without it each
    /// later connection waits ten seconds.
    fn save_name(&self) {
        let Some(client) = self.client() else { return };
        tokio::spawn(async move {
            if let Err(error) = client.persistence_manager().flush().await {
                tracing::warn!(%error, "the account's name could not be saved yet");
            }
        });
    }

    fn connected(&self) {
        self.appear_offline(std::time::Duration::ZERO);
        let Some(client) = self.client() else { return };
        self.emit(ConnectionEvent::Connected {
            number: client.pn().map(|jid| jid.user.to_string()),
            lid: client.lid().as_ref().and_then(convert::from_wire),
            name: client.push_name(),
        });
    }
}

impl EventHandler for Listener {
    fn handle_event(&self, event: Arc<Event>) {
        match &*event {
            Event::RawNode(stanza) => self.observe(stanza.get()),
            Event::ServerAck(ack) if ack.class.as_deref() == Some("message") => {
                let verdict = match &ack.error {
                    None => Ack::Accepted,
                    Some(code) => Ack::Refused(code.clone()),
                };
                self.acks.resolve(&ack.id, verdict);
            }
            Event::Receipt(receipt) => {
                if let Some(receipt) = receipt_of(receipt) {
                    self.emit(ConnectionEvent::Receipt(receipt));
                }
            }
            Event::PairingQrCode(qr) => self.emit(ConnectionEvent::Qr {
                code: qr.code.clone(),
                seconds: qr.timeout.as_secs(),
            }),
            // With a pairing code outstanding the library keeps the connection, and the code lives on.
            Event::PairingQrCodesExhausted(e) if e.disconnected => {
                self.emit(ConnectionEvent::QrRanOut)
            }
            Event::PairSuccess(_) => self.paired(),
            Event::PairError(e) => self.emit(ConnectionEvent::PairingFailed(e.error.clone())),
            Event::QrScannedWithoutMultidevice(_) => self.emit(ConnectionEvent::PairingFailed(
                "the phone's WhatsApp is too old for linked devices".into(),
            )),
            Event::PairPasskeyRequest(_) => self.emit(ConnectionEvent::PasskeyAsked),
            Event::Connected(_) => self.connected(),
            Event::SelfPushNameUpdated(update) => {
                self.save_name();
                self.appear_offline(NAME_SETTLES);
                self.emit(ConnectionEvent::Named(update.new_name.clone()));
            }
            Event::UndecryptableMessage(message) => {
                self.arriving.settle(&message.info.id);
                if let Some(unread) = unreadable_of(message) {
                    self.emit(ConnectionEvent::Unreadable(Box::new(unread)));
                }
            }
            Event::Disconnected(d) => {
                self.emit(ConnectionEvent::Disconnected(d.reason.to_string()))
            }
            Event::LoggedOut(out) => self.emit(ConnectionEvent::LoggedOut(logout_reason(out))),
            Event::StreamReplaced(_) => self.emit(ConnectionEvent::Replaced),
            Event::TemporaryBan(ban) => self.emit(ConnectionEvent::Banned {
                seconds: ban.expire.num_seconds().max(0).unsigned_abs(),
                why: format!("{:?}", ban.code),
            }),
            Event::ClientOutdated(_) => self.emit(ConnectionEvent::Outdated),
            Event::ConnectFailure(f) => {
                self.emit(ConnectionEvent::Refused(format!("{:?}", f.reason)))
            }
            Event::IncomingCall(call) => {
                if let Some(call) = call_of(call) {
                    self.emit(ConnectionEvent::Call(call));
                }
            }
            Event::GroupUpdate(update) => {
                if let Some(change) = convert::group_change(update) {
                    self.emit(ConnectionEvent::Group(change));
                }
            }
            _ => {}
        }
    }
}

fn logout_reason(out: &LoggedOut) -> String {
    match out.reason {
        ConnectFailureReason::AccountLocked => "WhatsApp locked the account".into(),
        ConnectFailureReason::LoggedOut => "logged out from the phone".into(),
        ref other => format!("logged out by WhatsApp ({other:?})"),
    }
}

/// A message that could not be read. One that its sender wants to be passed over is none: it is a
/// sign or a change, of which people see nothing either.
fn unreadable_of(message: &UndecryptableMessage) -> Option<UnreadableMessage> {
    if message.decrypt_fail_mode == DecryptFailMode::Hide {
        return None;
    }
    let why = match &message.unavailable_type {
        UnavailableType::ViewOnce => UnreadableReason::ViewOnce,
        other if other.is_unrecoverable_fanout() => UnreadableReason::ElsewhereOnly,
        _ => UnreadableReason::Undecryptable,
    };
    let heading = convert::heading(&message.info)?;
    Some(UnreadableMessage { heading, why })
}

fn receipt_of(receipt: &whatsapp_rust::wacore::types::events::Receipt) -> Option<Receipt> {
    let progress = match receipt.r#type {
        ReceiptType::Delivered => MessageState::Delivered,
        ReceiptType::Read => MessageState::Read,
        ReceiptType::Played => MessageState::Played,
        _ => return None,
    };
    Some(Receipt {
        ids: receipt
            .message_ids
            .iter()
            .filter_map(|id| MessageId::parse(id).ok())
            .collect(),
        chat: convert::chat_of(&receipt.source)?,
        by: convert::from_wire(&receipt.source.sender)?,
        progress,
        at: Timestamp::from_secs(receipt.timestamp.timestamp()),
    })
}

/// A call that rings; what else becomes of calls is not told.
fn call_of(call: &whatsapp_rust::wacore::types::call::IncomingCall) -> Option<IncomingCall> {
    let CallAction::Offer {
        call_id,
        caller_pn,
        is_video,
        ..
    } = &call.action
    else {
        return None;
    };
    Some(IncomingCall {
        id: call_id.clone(),
        from: convert::from_wire(&call.from)?,
        person: convert::person_of(&call.from, caller_pn.as_ref()),
        video: *is_video,
        at: Timestamp::from_secs(call.timestamp.timestamp()),
    })
}
