//! The simulated WhatsApp network: test bed, demo and benchmark rig.
//!
//! It speaks the real protocol (WebSocket frames, Noise, binary stanzas, Signal encryption), so the
//! gateway's real client runs against it unchanged. A [`Network`] lives in the process, outlives any
//! number of clients, and is driven through its methods, which stand for what people do with phones;
//! [`control`] gives them as JSON, and [`Sandbox`] serves everything over HTTP.
//!
//! Where things are:
//! - a socket: `wire` (frames), `noise` (handshake, with `certificate`), `connection` (its life);
//! - who exists: `number`, `directory`, `account` (companions), `phone` (with `profile`, `inbox`);
//! - linking: `pairing` (QR), `pair_code`, `linking` (and unlinking);
//! - requests: `iq` (which file answers what), `mex` (GraphQL), `prekeys`, `usync`, `iq_account`,
//!   `iq_groups`, `settings`, `pictures`, `tokens` (who may write to strangers);
//! - channels: `channels` (who follows them), `posts` (what is written in them);
//! - files: `media` (the store), `cdn` (the media host), `reupload` (files that expired);
//! - messages: `routing` (from companions), `sending` (from phones), `envelope` and `receiving` (at
//!   phones, with `particulars` and `picture`; `history` for their companions), `outbox` (waiting for companions), `signal` and `keys` (encryption), `content`,
//!   `attachments`, `polls`;
//! - what people do: `actions`, `deeds` and `drafts`, `calls`, `presence`, `groups`,
//!   `communities`; `claims` for hostile ones;
//! - misfortune: `faults`; what is kept: `journal` and `restoring`; counters: `stats`.

mod account;
mod app_state;
mod attachments;
mod base64;
mod calls;
mod cdn;
mod certificate;
mod channels;
mod chat;
mod claims;
mod communities;
mod connection;
mod content;
pub mod control;
mod directory;
mod drafts;
mod envelope;
mod faults;
mod groups;
mod history;
mod image_info;
mod inbox;
mod iq;
mod iq_account;
mod iq_groups;
mod journal;
mod keys;
mod media;
mod message_actions;
mod message_details;
mod mex;
mod network;
mod noise;
mod number;
mod outbox;
mod pair_code;
mod pairing;
mod phone;
mod polls;
mod posts;
mod prekeys;
mod presence;
mod profile;
mod profile_pictures;
mod random;
mod receiving;
mod reupload;
mod routing;
mod sending;
mod server;
mod signal;
mod stanza;
mod state_rows;
mod stats;
#[cfg(test)]
mod tests;
mod tokens;
mod unlinking;
mod user_actions;
mod usync;
mod wire;

pub use attachments::PhoneAttachment;
pub use cdn::{CdnDownload, CdnUpload, MediaAnswer};
pub use claims::{Claims, ForeignKey, Hex};
pub use connection::{serve_stream, serve_websocket};
pub use drafts::{DraftContact, NewAlbum, NewPoll, PhoneDraft, Where};
pub use faults::{
    ActiveFault, Ban, ConnectFailure, Cut, CutTransfer, ExpireMedia, FailMedia, Fault, RateLimit,
    Refuse, SlowMedia, StreamError,
};
pub use image_info::ImageInfo;
pub use inbox::{Reaction, ReceivedMessage};
pub use iq_groups::GroupView;
pub use media::StoredMedia;
pub use message_details::{AlbumView, ContactCardView, LocationView, PollView, Thumbnail};
pub use network::{Network, NetworkOptions};
pub use number::Form;
pub use pairing::{ClientInfo, Linked};
pub use phone::{Notice, SentMessage};
pub use profile::{Profile, Receipts, SaltBy, TokenPolicy};
pub use server::Sandbox;
pub use stats::NetworkStats;
pub use user_actions::{AccountView, CompanionView, Overview, Typing};
