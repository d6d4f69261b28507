//! What is written in channels: numbered, kept as it came, and read by whoever asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Node, NodeRef};
use whatsapp_rust::{Jid, Server};

use super::base64;
use super::channels::Channel;
use super::connection::Socket;
use super::iq::IqRequest;
use super::journal::JournalKey;
use super::network::Network;
use super::number::{DeviceAddress, Number};
use super::random;
use super::routing::ack;
use super::stanza::{jid, text};
use super::stats::add;

/// The number of the first post in a channel; clients take no lower one for a number.
const FIRST: u64 = 100;
/// For so many seconds somebody is told at once what becomes of posts.
const WATCHING: i64 = 90;
/// So many posts are read at once at most.
const PAGE: usize = 300;
/// How a message says that it changes an older one, or takes it back.
const EDITED: &str = "3";
const REVOKED: &str = "8";

/// One message in a channel.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Post {
    /// The id that its writer gave it.
    id: Box<str>,
    by: Number,
    at: i64,
    content: PostContent,
    /// What has become of it since: `edit` as it was sent.
    edit: Option<Box<str>>,
    reactions: BTreeMap<Number, String>,
}

/// What a message says; nobody encrypts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PostContent {
    kind: String,
    media: Option<String>,
    #[serde(with = "base64::text")]
    words: Vec<u8>,
    /// The attributes of `meta`, as polls have it.
    meta: BTreeMap<String, String>,
}

/// What a companion does in a channel.
enum ChannelAction {
    Publish(PostContent),
    Edit(PostContent),
    Revoke,
    /// Reacts to the post with this number, or takes its reaction back.
    React(u64, Option<String>),
}

/// What a deed has changed.
enum ChannelChange {
    Post(Box<Post>),
    Reactions(Node),
    /// It was done before.
    Nothing,
}

impl PostContent {
    fn read(node: &NodeRef<'_>) -> Option<Self> {
        let plaintext = node.get_optional_child("plaintext")?;
        let meta = node.get_optional_child("meta").into_iter();
        let meta = meta.flat_map(|meta| meta.attrs_iter());
        Some(Self {
            kind: text(node, "type")?.into_owned(),
            media: text(plaintext, "mediatype").map(|kind| kind.into_owned()),
            words: plaintext.content_bytes().unwrap_or_default().to_vec(),
            meta: meta
                .map(|(key, value)| (key.to_string(), value.as_str().into_owned()))
                .collect(),
        })
    }

    fn children(&self) -> Vec<Node> {
        let mut plaintext = NodeBuilder::new("plaintext").bytes(self.words.clone());
        if let Some(kind) = &self.media {
            plaintext = plaintext.attr("mediatype", kind.as_str());
        }
        let mut children = vec![plaintext.build()];
        if !self.meta.is_empty() {
            let mut meta = NodeBuilder::new("meta").build();
            for (key, value) in &self.meta {
                meta.attrs.insert(key.clone(), value.as_str());
            }
            children.push(meta);
        }
        children
    }
}

impl ChannelAction {
    /// Reads a message to a channel; `None` if it makes no sense.
    fn read(node: &NodeRef<'_>) -> Option<Self> {
        if let Some(reaction) = node.get_optional_child("reaction") {
            let number = text(node, "server_id")?.parse().ok()?;
            let code = text(reaction, "code").filter(|code| !code.is_empty());
            return Some(Self::React(number, code.map(|code| code.into_owned())));
        }
        match text(node, "edit").as_deref() {
            None => PostContent::read(node)
                .filter(|content| !content.words.is_empty())
                .map(Self::Publish),
            Some(EDITED) => PostContent::read(node).map(Self::Edit),
            Some(REVOKED) => Some(Self::Revoke),
            Some(_) => None,
        }
    }
}

impl Post {
    /// The post as it is told to somebody.
    fn node(&self, number: u64, reader: Number) -> NodeBuilder {
        let mut message = NodeBuilder::new("message")
            .attr("id", self.id.as_ref())
            .attr("server_id", number)
            .attr("type", self.content.kind.as_str())
            .attr("t", self.at);
        if let Some(edit) = &self.edit {
            message = message.attr("edit", edit.as_ref());
        }
        if self.by == reader {
            message = message.attr("is_sender", "true");
        }
        message
    }

    /// How many have reacted with what.
    fn reactions(&self) -> Option<Node> {
        let mut counts = BTreeMap::<_, u64>::new();
        for code in self.reactions.values() {
            *counts.entry(code).or_default() += 1;
        }
        let counts = counts.into_iter().map(|(code, count)| {
            NodeBuilder::new("reaction")
                .attr("code", code.as_str())
                .attr("count", count)
                .build()
        });
        let counts: Vec<_> = counts.collect();
        (!counts.is_empty()).then(|| NodeBuilder::new("reactions").children(counts).build())
    }
}

impl Channel {
    /// Does what a companion asks for; answers the number of the post, or the code of the refusal.
    fn take(
        &mut self,
        by: Number,
        id: &str,
        deed: ChannelAction,
        now: i64,
    ) -> Result<(u64, ChannelChange), u16> {
        if let ChannelAction::React(number, code) = deed {
            return self.react(by, number, code);
        }
        if !self.is_owner(by) {
            return Err(401);
        }
        let mine = |(_, post): &(&u64, &mut Post)| post.by == by && post.id.as_ref() == id;
        let known = self.posts.iter_mut().rev().find(mine);
        let (edit, content) = match deed {
            ChannelAction::Publish(content) => {
                // A client that missed the server's word says the same once more.
                if let Some((number, _)) = known {
                    return Ok((*number, ChannelChange::Nothing));
                }
                let number = self.posts.keys().next_back().map_or(FIRST, |last| last + 1);
                let post = Post {
                    id: id.into(),
                    by,
                    at: now,
                    content,
                    edit: None,
                    reactions: BTreeMap::new(),
                };
                self.posts.insert(number, post.clone());
                return Ok((number, ChannelChange::Post(Box::new(post))));
            }
            ChannelAction::Edit(content) => (EDITED, Some(content)),
            ChannelAction::Revoke | ChannelAction::React(..) => (REVOKED, None),
        };
        let standing = known.filter(|(_, post)| post.edit.as_deref() != Some(REVOKED));
        let (number, post) = standing.ok_or(404u16)?;
        post.edit = Some(edit.into());
        post.content = content.unwrap_or_else(|| PostContent {
            kind: "text".to_owned(),
            media: None,
            words: Vec::new(),
            meta: BTreeMap::new(),
        });
        Ok((*number, ChannelChange::Post(Box::new(post.clone()))))
    }

    fn react(
        &mut self,
        by: Number,
        number: u64,
        code: Option<String>,
    ) -> Result<(u64, ChannelChange), u16> {
        if !self.followers.contains_key(&by) {
            return Err(401);
        }
        let post = self.posts.get_mut(&number).ok_or(404u16)?;
        match code {
            Some(code) => post.reactions.insert(by, code),
            None => post.reactions.remove(&by),
        };
        let message = NodeBuilder::new("message").attr("server_id", number);
        let message = message.children(post.reactions());
        Ok((number, ChannelChange::Reactions(message.build())))
    }

    /// The posts that are asked for, the oldest first.
    fn page(&self, asked: &NodeRef<'_>) -> Vec<(&u64, &Post)> {
        let limit = |key| text(asked, key).and_then(|limit| limit.parse::<u64>().ok());
        let before = limit("before").unwrap_or(u64::MAX);
        let count = limit("count").and_then(|count| usize::try_from(count).ok());
        let count = count.unwrap_or(PAGE).min(PAGE);
        if let Some(after) = limit("after") {
            let newer = self.posts.iter().filter(|(number, _)| **number > after);
            return newer
                .take_while(|(number, _)| **number < before)
                .take(count)
                .collect();
        }
        let mut page: Vec<_> = self.posts.range(..before).rev().take(count).collect();
        page.reverse();
        page
    }
}

impl Network {
    /// Takes a message to a channel.
    pub(super) fn take_post(
        &self,
        socket: &Arc<Socket>,
        from: DeviceAddress,
        id: &str,
        to: &Jid,
        node: &NodeRef<'_>,
    ) {
        let now = self.now();
        let fate = self.faults.message_fault(from, None, now.as_secs());
        let taken = match (fate.refuse, ChannelAction::read(node)) {
            (Some(code), _) => Err(code),
            (None, None) => Err(479),
            (None, Some(deed)) => self.apply_action(from.number, id, &to.user, deed, now.as_secs()),
        };
        let answer = ack(node, "message", now.as_secs());
        let (number, news) = match taken {
            Ok(taken) => taken,
            Err(code) => {
                add(&self.counters.refused);
                socket.send(Arc::new(answer.attr("error", code).build()));
                return;
            }
        };
        self.counters.message(now);
        self.answer_message(socket, answer.attr("server_id", number).build(), fate);
        match news {
            ChannelChange::Post(post) => self.show_post(from, to, number, &post),
            ChannelChange::Reactions(message) => self.tell_channel_watchers(to, message),
            ChannelChange::Nothing => {}
        }
    }

    fn apply_action(
        &self,
        by: Number,
        id: &str,
        channel: &str,
        deed: ChannelAction,
        now: i64,
    ) -> Result<(u64, ChannelChange), u16> {
        let mut channels = self.channels.lock();
        let taken = channels.get_mut(channel).ok_or(404u16)?;
        let (number, news) = taken.take(by, id, deed, now)?;
        drop(channels);
        if !matches!(news, ChannelChange::Nothing) {
            self.changes
                .touch(|| JournalKey::Post(channel.into(), number));
        }
        Ok((number, news))
    }

    /// Shows a post to those who follow the channel and are connected; others read it later.
    fn show_post(&self, from: DeviceAddress, channel: &Jid, number: u64, post: &Post) {
        let followers: Vec<_> = match self.channels.lock().get(channel.user.as_str()) {
            Some(channel) => channel.followers.keys().copied().collect(),
            None => return,
        };
        for follower in followers {
            let Some(account) = self.directory.known_account(follower) else {
                continue;
            };
            let message = post.node(number, follower).attr("from", channel.clone());
            let message = Arc::new(message.children(post.content.children()).build());
            for device in account.devices() {
                if DeviceAddress::new(follower, device) != from {
                    account.mention_to(device, &message);
                }
            }
        }
    }

    /// Tells those who watch a channel what has become of a post.
    fn tell_channel_watchers(&self, channel: &Jid, message: Node) {
        let now = self.now().as_secs();
        let watchers: Vec<_> = match self.channels.lock().get_mut(channel.user.as_str()) {
            Some(channel) => {
                channel.watchers.retain(|_, until| *until > now);
                channel.watchers.keys().copied().collect()
            }
            None => return,
        };
        let messages = NodeBuilder::new("messages")
            .attr("jid", channel.clone())
            .attr("t", now)
            .children([message])
            .build();
        let updates = NodeBuilder::new("live_updates")
            .children([messages])
            .build();
        let notification = NodeBuilder::new("notification")
            .attr("from", channel.clone())
            .attr("type", "newsletter")
            .attr("id", random::message_id())
            .attr("t", now)
            .children([updates])
            .build();
        let notification = Arc::new(notification);
        for watcher in watchers {
            if let Some(account) = self.directory.known_account(watcher.number) {
                account.mention_to(watcher.device, &notification);
            }
        }
    }

    /// Answers what is asked of a channel itself.
    pub(super) fn answer_channel(&self, request: &IqRequest<'_, '_>) -> Option<Node> {
        let asked = request.node.children()?.first()?;
        let mut to = jid(request.node, "to")?;
        if to.server != Server::Newsletter {
            to = jid(asked, "jid")?;
        }
        let mut channels = self.channels.lock();
        let Some(channel) = channels.get_mut(to.user.as_str()) else {
            return request.refuse(404, "item-not-found");
        };
        let answer = match (request.set, asked.tag.as_ref()) {
            (false, "messages") => {
                let me = request.from.number;
                let posts = channel.page(asked).into_iter().map(|(number, post)| {
                    let mut children: Vec<_> = post.reactions().into_iter().collect();
                    children.extend(post.content.children());
                    post.node(*number, me).children(children).build()
                });
                let posts: Vec<_> = posts.collect();
                NodeBuilder::new("messages").attr("jid", to).children(posts)
            }
            (true, "live_updates") => {
                let until = self.now().as_secs() + WATCHING;
                channel.watchers.insert(request.from, until);
                NodeBuilder::new("live_updates").attr("duration", WATCHING)
            }
            _ => return None,
        };
        request.answer([answer.build()])
    }
}
