//! Messages and receipts from companions to phones and to other companions.

use std::collections::HashMap;
use std::sync::Arc;

use whatsapp_rust::Jid;
use whatsapp_rust::wacore::messages::MessageUtils;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{JidExt as _, Node, NodeRef};

use super::chat::Chat;
use super::connection::Socket;
use super::envelope::{Effect, EncryptedPart, Envelope, ReceiptHeading};
use super::faults::MessageFault;
use super::network::Network;
use super::number::{DeviceAddress, Form};
use super::outbox::Class;
use super::stanza::{bytes, id_bytes, jid, text};
use super::stats::add;

/// Children of a message that are for the server alone.
const SERVER_ONLY: [&str; 4] = ["participants", "enc", "tctoken", "cstoken"];

/// One encrypted copy of a message.
struct Copy<'a, 'b> {
    to: Jid,
    part: &'a NodeRef<'b>,
}

impl Network {
    /// Takes a message from a companion.
    pub(super) fn take_message(
        self: &Arc<Self>,
        socket: &Arc<Socket>,
        from: DeviceAddress,
        node: &NodeRef<'_>,
    ) {
        let (Some(id), Some(to)) = (text(node, "id"), jid(node, "to")) else {
            return;
        };
        if to.is_newsletter() {
            return self.take_post(socket, from, &id, &to, node);
        }
        let Some(chat) = Chat::from_jid(&to) else {
            self.counters.unknown(format!("message to {}", to.server));
            add(&self.counters.refused);
            let answer = ack(node, "message", self.now().as_secs());
            socket.send(Arc::new(answer.attr("error", 479).build()));
            return;
        };
        let now = self.now();
        let mut answer = ack(node, "message", now.as_secs());
        let fate = self.faults.message_fault(from, Some(&chat), now.as_secs());
        let refusal = || match &chat {
            Chat::Person(to) if self.is_turned_away(from.number, *to, node) => Some(463),
            chat => self.refusal_of(chat, from.number),
        };
        if let Some(code) = fate.refuse.or_else(refusal) {
            add(&self.counters.refused);
            socket.send(Arc::new(answer.attr("error", code).build()));
            return;
        }
        if let Some(hash) = self.other_devices(from, &to, &chat, node) {
            answer = answer.attr("phash", hash);
        }
        if text(node, "category").as_deref() != Some("peer") {
            self.counters.message(now);
        }
        self.answer_message(socket, answer.build(), fate);
        match &chat {
            Chat::Person(_) => self.route_direct(from, &id, &to, &chat, node),
            Chat::Group(_) | Chat::Status => self.route_to_list(from, &id, &chat, node),
        }
    }

    /// Tells the sender that the server has the message, unless misfortune will have it otherwise.
    pub(super) fn answer_message(&self, socket: &Arc<Socket>, answer: Node, fate: MessageFault) {
        let answer = Arc::new(answer);
        if fate.drop {
            socket.sever();
        } else if fate.lose_ack {
        } else if let Some(delay) = fate.delay {
            let (socket, late) = (socket.clone(), self.faults.wait(delay));
            tokio::spawn(async move {
                late.await;
                socket.send(answer);
            });
        } else {
            socket.send(answer);
        }
    }

    /// The short name of the devices that the message should have been for, if it was for others.
    fn other_devices(
        &self,
        from: DeviceAddress,
        to: &Jid,
        chat: &Chat,
        node: &NodeRef<'_>,
    ) -> Option<String> {
        let form = Form::of(to);
        let jids = |devices: &[DeviceAddress], form| -> Vec<_> {
            devices.iter().map(|device| device.jid(form)).collect()
        };
        match chat {
            Chat::Person(number) => {
                node.get_optional_child("participants")?;
                let own = self
                    .devices_of(from.number)
                    .filter(|device| *device != from);
                let mut meant: Vec<_> = own.chain(self.devices_of(*number)).collect();
                let mut named: Vec<_> = participants(node)
                    .filter_map(|copy| DeviceAddress::from_jid(&copy.to))
                    .collect();
                meant.sort_unstable();
                meant.dedup();
                named.sort_unstable();
                (meant != named)
                    .then(|| MessageUtils::participant_list_hash(&jids(&meant, form)).ok())
                    .flatten()
            }
            Chat::Group(id) => {
                let named = text(node, "phash")?;
                let members: Vec<_> = self
                    .groups
                    .lock()
                    .get(id)?
                    .members
                    .keys()
                    .copied()
                    .collect();
                let meant: Vec<_> = members
                    .into_iter()
                    .flat_map(|member| self.devices_of(member))
                    .collect();
                let form = self.list_form(chat);
                let meant = MessageUtils::participant_list_hash(&jids(&meant, form)).ok()?;
                (meant != named).then_some(meant)
            }
            Chat::Status => None,
        }
    }

    fn route_direct(
        self: &Arc<Self>,
        from: DeviceAddress,
        id: &str,
        to: &Jid,
        chat: &Chat,
        node: &NodeRef<'_>,
    ) {
        let now = self.now().as_secs();
        let form = Form::of(to);
        // A copy that is sent once more to an own device says where the message went at first.
        let recipient = jid(node, "recipient").and_then(|jid| Chat::from_jid(&jid));
        let chat = recipient.as_ref().unwrap_or(chat);
        for copy in copies(node, to) {
            let Some(target) = DeviceAddress::from_jid(&copy.to) else {
                continue;
            };
            let own = target.number == from.number;
            // Whoever is blocked is not told so: the message is taken and goes nowhere.
            if self.blocks(target.number, from.number) {
                continue;
            }
            if !own {
                add(&self.counters.delivered);
            }
            if target.device == 0 {
                let chat = Chat::Person(from.number);
                self.hand_to_phone(target, envelope(id, from, chat, form, now, [copy.part]));
                continue;
            }
            let mut message = self.head(from, form, id, now, node);
            if own {
                message = message.attr("recipient", chat.jid(form));
            }
            let message = message.children(self.body([copy.part], node)).build();
            self.deliver(target, Class::Message, id, message);
        }
    }

    fn route_to_list(
        self: &Arc<Self>,
        from: DeviceAddress,
        id: &str,
        chat: &Chat,
        node: &NodeRef<'_>,
    ) {
        let now = self.now().as_secs();
        let keys: HashMap<_, _> = participants(node)
            .filter_map(|copy| Some((DeviceAddress::from_jid(&copy.to)?, copy.part)))
            .collect();
        let common: Vec<_> = node.get_children_by_tag("enc").collect();
        for target in self.listeners(chat, from, node) {
            let own = keys.get(&target).copied();
            if target.number != from.number {
                add(&self.counters.delivered);
            }
            let parts = own.into_iter().chain(common.iter().copied());
            if target.device == 0 {
                let form = self.list_form(chat);
                self.hand_to_phone(target, envelope(id, from, chat.clone(), form, now, parts));
                continue;
            }
            let message = self.list_head(from, chat, id, now, node);
            let message = message.children(self.body(parts, node)).build();
            self.deliver(target, Class::Message, id, message);
        }
    }

    /// Every device that gets a message to a group or the status list.
    fn listeners(
        &self,
        chat: &Chat,
        from: DeviceAddress,
        node: &NodeRef<'_>,
    ) -> Vec<DeviceAddress> {
        // A copy that is sent once more is for the one who asked for it.
        if let Some(one) = jid(node, "participant").and_then(|jid| DeviceAddress::from_jid(&jid)) {
            return vec![one];
        }
        let people: Vec<_> = match chat {
            Chat::Group(id) => match self.groups.lock().get(id) {
                Some(group) => group.members.keys().copied().collect(),
                None => Vec::new(),
            },
            _ => {
                let list = node.get_optional_child("participants");
                let rows = list
                    .and_then(|list| list.children())
                    .unwrap_or_default()
                    .iter();
                let mut people: Vec<_> = rows
                    .filter_map(|row| jid(row, "jid"))
                    .filter_map(|jid| DeviceAddress::from_jid(&jid))
                    .map(|address| address.number)
                    .collect();
                // Who does not name himself gets nothing: there is no key in it for him.
                people.retain(|reader| !self.blocks(*reader, from.number));
                people.sort_unstable();
                people.dedup();
                people
            }
        };
        let devices = people
            .into_iter()
            .flat_map(|number| self.devices_of(number));
        devices.filter(|device| *device != from).collect()
    }

    /// By which names the members of a group call each other.
    pub(super) fn list_form(&self, chat: &Chat) -> Form {
        let of_group = match chat {
            Chat::Group(id) => self.groups.lock().get(id).map(|group| group.form),
            _ => None,
        };
        of_group.unwrap_or(self.form)
    }

    fn head(
        &self,
        from: DeviceAddress,
        form: Form,
        id: &str,
        now: i64,
        node: &NodeRef<'_>,
    ) -> NodeBuilder {
        let message = NodeBuilder::new("message")
            .attr("id", id)
            .attr("t", now)
            .attr("from", from.jid(form))
            .attr("notify", self.name_of_device(from));
        let message = copy_attributes(message, node);
        match form {
            Form::Pn => message.attr("sender_lid", from.lid()),
            Form::Lid => message.attr("sender_pn", DeviceAddress::phone(from.number).pn()),
        }
    }

    /// The head of a message to a group or the status list.
    pub(super) fn list_head(
        &self,
        from: DeviceAddress,
        chat: &Chat,
        id: &str,
        now: i64,
        node: &NodeRef<'_>,
    ) -> NodeBuilder {
        let form = self.list_form(chat);
        let message = NodeBuilder::new("message")
            .attr("id", id)
            .attr("t", now)
            .attr("from", chat.jid(form))
            .attr("notify", self.name_of_device(from));
        in_list(copy_attributes(message, node), from, form)
    }

    fn body<'a, 'b: 'a>(
        &self,
        parts: impl IntoIterator<Item = &'a NodeRef<'b>>,
        node: &NodeRef<'_>,
    ) -> Vec<Node> {
        let rest = node.children().unwrap_or_default().iter();
        let rest = rest.filter(|child| !SERVER_ONLY.contains(&child.tag.as_ref()));
        parts
            .into_iter()
            .map(NodeRef::to_owned)
            .chain(rest.map(NodeRef::to_owned))
            .collect()
    }

    /// Sends a stanza to a companion, to be kept until it is confirmed.
    pub(super) fn deliver(&self, to: DeviceAddress, class: Class, id: &str, node: Node) {
        if let Some(account) = self.directory.known_account(to.number) {
            account.deliver(to.device, class, id, Arc::new(node));
        }
    }

    /// Gives a message to a phone and does what follows from it.
    pub(super) fn hand_to_phone(self: &Arc<Self>, to: DeviceAddress, envelope: Envelope) {
        if !self.directory.is_registered(to.number) {
            return;
        }
        let phone = self.directory.phone(to.number);
        for effect in phone.receive(&self.seed, &self.counters, envelope) {
            match effect {
                Effect::Receipt { envelope, kind } => {
                    self.receipt_from_phone(to, &envelope, kind, Vec::new());
                }
                Effect::Retry { envelope, count } => self.ask_again(to, &envelope, count),
                Effect::Echo { chat, text } => {
                    // An echo that cannot be sent is as lost as a shout in the wind.
                    let _ = self.send_text_from_phone(to.number, &chat, &text);
                }
                Effect::Fetch { chat, id } => self.fetch_for_phone(&phone, &chat, &id),
                Effect::ShareKeys { with } => self.share_keys(with),
                Effect::Recall { with, asked, what } => self.recall(with, &asked, &what),
            }
        }
    }

    /// A phone tells the sender's companions what became of a message.
    pub(super) fn receipt_from_phone(
        &self,
        phone: DeviceAddress,
        about: &ReceiptHeading,
        kind: Option<&'static str>,
        children: Vec<Node>,
    ) {
        let mut receipt = NodeBuilder::new("receipt")
            .attr("id", about.id.as_ref())
            .attr("t", self.now().as_secs());
        if let Some(kind) = kind {
            receipt = receipt.attr("type", kind);
        }
        receipt = match &about.chat {
            Chat::Person(_) => receipt.attr("from", phone.jid(about.form)),
            list => {
                let form = self.list_form(list);
                receipt
                    .attr("from", list.jid(form))
                    .attr("participant", phone.jid(form))
            }
        };
        if !children.is_empty() {
            receipt = receipt.children(children);
        }
        let receipt = Arc::new(receipt.build());
        if kind == Some("read") && about.from.number != phone.number {
            let ids = std::slice::from_ref(&about.id);
            self.tell_siblings(phone, &about.chat, about.form, "read", ids);
        }
        if about.from.device == 0 {
            self.note_receipt(about.from, &about.id, kind);
        }
        let Some(account) = self.directory.known_account(about.from.number) else {
            return;
        };
        if kind == Some("retry") {
            account.deliver(about.from.device, Class::Receipt, &about.id, receipt);
        } else {
            account.deliver_to_all(None, Class::Receipt, &about.id, &receipt);
        }
    }

    /// A phone that could not read a message asks its sender for it once more.
    fn ask_again(&self, phone: DeviceAddress, about: &ReceiptHeading, count: u8) {
        if about.from.device == 0 {
            return;
        }
        let bundle = self.directory.phone(phone.number).bundle(&self.seed);
        let retry = NodeBuilder::new("retry")
            .attr("v", 1)
            .attr("count", u32::from(count))
            .attr("id", about.id.as_ref())
            .attr("t", about.timestamp)
            .build();
        let keys = NodeBuilder::new("keys").children([
            bytes("type", [5]),
            bytes("identity", bundle.identity),
            NodeBuilder::new("key")
                .children([
                    bytes("id", id_bytes(bundle.one_time.0)),
                    bytes("value", bundle.one_time.1),
                ])
                .build(),
            NodeBuilder::new("skey")
                .children([
                    bytes("id", id_bytes(super::keys::SIGNED_PREKEY_ID)),
                    bytes("value", bundle.signed),
                    bytes("signature", bundle.signature),
                ])
                .build(),
        ]);
        let registration = bytes("registration", bundle.registration_id.to_be_bytes());
        let children = vec![retry, registration, keys.build()];
        self.receipt_from_phone(phone, about, Some("retry"), children);
    }

    /// Takes a receipt from a companion.
    pub(super) fn take_receipt(
        self: &Arc<Self>,
        socket: &Arc<Socket>,
        from: DeviceAddress,
        node: &NodeRef<'_>,
    ) {
        let (Some(id), Some(to)) = (text(node, "id"), jid(node, "to")) else {
            return;
        };
        if self.faults.loses_receipt(from) {
            return;
        }
        socket.send(Arc::new(ack(node, "receipt", self.now().as_secs()).build()));
        let kind = text(node, "type");
        let mut ids = vec![id.to_string()];
        if let Some(list) = node.get_optional_child("list") {
            let items = list.get_children_by_tag("item");
            ids.extend(items.filter_map(|item| text(item, "id").map(|id| id.into_owned())));
        }
        for id in &ids {
            self.confirm(from, Class::Message, id);
        }
        if matches!(
            kind.as_deref(),
            Some("sender" | "peer_msg" | "hist_sync" | "inactive")
        ) {
            return;
        }
        let Some(chat) = Chat::from_jid(&to) else {
            return;
        };
        let author = match &chat {
            Chat::Person(_) => DeviceAddress::from_jid(&to),
            _ => jid(node, "participant").and_then(|jid| DeviceAddress::from_jid(&jid)),
        };
        if kind.as_deref() == Some("server-error") {
            self.want_file(from, node);
            return;
        }
        if let Some(kind @ ("read" | "read-self" | "played" | "played-self")) = kind.as_deref() {
            self.tell_siblings(from, &chat, Form::of(&to), kind, &ids);
            if kind.ends_with("-self") {
                return;
            }
        }
        let Some(author) = author.filter(|author| author.number != from.number) else {
            return;
        };
        if kind.as_deref() == Some("retry") {
            add(&self.counters.asked_again);
        }
        if author.device == 0 {
            for id in &ids {
                self.note_receipt(author, id, kind.as_deref());
            }
            if kind.as_deref() == Some("retry") {
                self.send_again(author.number, from, &id, node);
            }
        }
        let mut receipt = NodeBuilder::new("receipt")
            .attr("id", id.as_ref())
            .attr("t", self.now().as_secs());
        if let Some(kind) = &kind {
            receipt = receipt.attr("type", kind.as_ref());
        }
        receipt = match &chat {
            Chat::Person(_) => receipt.attr("from", from.jid(Form::of(&to))),
            list => {
                let form = self.list_form(list);
                receipt
                    .attr("from", list.jid(form))
                    .attr("participant", from.jid(form))
            }
        };
        let children: Vec<_> = node
            .children()
            .unwrap_or_default()
            .iter()
            .map(NodeRef::to_owned)
            .collect();
        if !children.is_empty() {
            receipt = receipt.children(children);
        }
        let receipt = Arc::new(receipt.build());
        let Some(account) = self.directory.known_account(author.number) else {
            return;
        };
        if kind.as_deref() == Some("retry") {
            account.deliver(author.device, Class::Receipt, &id, receipt);
        } else {
            account.deliver_to_all(None, Class::Receipt, &id, &receipt);
        }
    }

    /// The other companions of an account learn what one of its devices has read.
    fn tell_siblings(
        &self,
        by: DeviceAddress,
        chat: &Chat,
        form: Form,
        kind: &str,
        ids: &[impl AsRef<str>],
    ) {
        let Some((first, rest)) = ids.split_first() else {
            return;
        };
        let first = first.as_ref();
        let receipt = NodeBuilder::new("receipt")
            .attr("id", first)
            .attr("t", self.now().as_secs())
            .attr("type", kind.to_owned());
        let me = DeviceAddress::phone(by.number);
        let mut receipt = match chat {
            Chat::Person(_) => receipt
                .attr("from", me.jid(form))
                .attr("recipient", chat.jid(form)),
            list => receipt
                .attr("from", list.jid(form))
                .attr("participant", me.jid(self.list_form(list))),
        };
        if !rest.is_empty() {
            let items = rest
                .iter()
                .map(|id| NodeBuilder::new("item").attr("id", id.as_ref()).build());
            receipt = receipt.children([NodeBuilder::new("list").children(items).build()]);
        }
        if let Some(account) = self.directory.known_account(by.number) {
            let receipt = Arc::new(receipt.build());
            account.deliver_to_all(Some(by.device), Class::Receipt, first, &receipt);
        }
    }

    /// A phone learns what became of one of its own messages.
    fn note_receipt(&self, author: DeviceAddress, id: &str, kind: Option<&str>) {
        if let Some(phone) = self.directory.known_phone(author.number) {
            phone.with_sent(id, |sent| match kind {
                None | Some("delivery" | "inactive") => sent.delivered = true,
                Some("read" | "played") => (sent.delivered, sent.read) = (true, true),
                Some(_) => {}
            });
        }
    }
}

/// Adds who in a group says something, under both names.
pub(super) fn in_list(message: NodeBuilder, from: DeviceAddress, form: Form) -> NodeBuilder {
    let message = message
        .attr("participant", from.jid(form))
        .attr("addressing_mode", form.name());
    match form {
        Form::Pn => message.attr("participant_lid", from.lid()),
        Form::Lid => message.attr("participant_pn", DeviceAddress::phone(from.number).pn()),
    }
}

/// The server's answer to a stanza: it has it.
pub(super) fn ack(node: &NodeRef<'_>, class: &'static str, now: i64) -> NodeBuilder {
    let mut ack = NodeBuilder::new("ack").attr("class", class).attr("t", now);
    for (key, as_key) in [("id", "id"), ("to", "from"), ("participant", "participant")] {
        if let Some(value) = node.get_attr(key) {
            ack = ack.attr(as_key, value.to_node_value());
        }
    }
    if class != "message"
        && let Some(kind) = node.get_attr("type")
    {
        ack = ack.attr("type", kind.to_node_value());
    }
    ack
}

/// The copies for single devices.
fn participants<'a, 'b>(node: &'a NodeRef<'b>) -> impl Iterator<Item = Copy<'a, 'b>> {
    let list = node.get_optional_child("participants");
    let rows = list
        .and_then(|list| list.children())
        .unwrap_or_default()
        .iter();
    rows.filter_map(|row| {
        let to = jid(row, "jid")?;
        row.get_optional_child("enc").map(|part| Copy { to, part })
    })
}

/// The copies for single devices, or the one for the device in `to`.
fn copies<'a, 'b>(node: &'a NodeRef<'b>, to: &Jid) -> Vec<Copy<'a, 'b>> {
    let to_one = node.get_optional_child("enc").map(|part| Copy {
        to: to.clone(),
        part,
    });
    participants(node).chain(to_one).collect()
}

fn envelope<'a, 'b: 'a>(
    id: &str,
    from: DeviceAddress,
    chat: Chat,
    form: Form,
    timestamp: i64,
    parts: impl IntoIterator<Item = &'a NodeRef<'b>>,
) -> Envelope {
    let mut retries = 0;
    let parts = parts
        .into_iter()
        .filter_map(|part| {
            if let Some(count) = text(part, "count") {
                retries = count.parse().unwrap_or(0);
            }
            Some(EncryptedPart {
                kind: text(part, "type")?.as_ref().into(),
                bytes: part.content_bytes()?.into(),
            })
        })
        .collect();
    Envelope {
        id: id.into(),
        from,
        chat,
        form,
        timestamp,
        retries,
        parts,
    }
}

fn copy_attributes(mut message: NodeBuilder, node: &NodeRef<'_>) -> NodeBuilder {
    for key in ["type", "edit", "category"] {
        if let Some(value) = node.get_attr(key) {
            message = message.attr(key, value.to_node_value());
        }
    }
    message
}
