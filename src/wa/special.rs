//! What the rarer kinds of messages say: menus and the answers to them, invitations, orders,
//! appointments. They are stored with their events; v1 tells them by the same fields.

use serde::{Deserialize, Serialize};

use super::location::Degrees;
use crate::ids::MessageId;

/// A message of a rarer kind. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Special {
    /// The answer to a menu.
    Selection(Selection),
    /// Something to choose from: a list, buttons, a template.
    Menu(Menu),
    /// An invitation to a group.
    Invite(Invite),
    /// Where somebody is, who goes on telling it.
    Location(LiveLocation),
    /// A date: an event, or a call that is planned.
    Appointment(Appointment),
    /// An order from a catalogue.
    Order(CatalogOrder),
    /// A thing that is for sale.
    Product(Product),
    /// Money that is asked for or sent.
    Payment(Payment),
    /// Stickers to be added to one's own.
    StickerPack(StickerPack),
    /// The first of several images and videos.
    Album(AlbumHead),
    /// A message was fastened above the chat, or taken from there.
    Pin(PinInChat),
    /// A message stays although the others of its chat disappear, or no longer.
    Keep(KeepInChat),
    /// After how long the messages of this chat disappear from now on.
    Disappearing(Disappearing),
}

/// What somebody chose. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// The id that the menu gave to it.
    pub id: Option<String>,
    /// The words that stood on it.
    pub title: Option<String>,
    /// The words below them.
    pub description: Option<String>,
    /// The whole answer of a form (native flow), as JSON. It stays text: a stranger may have nested
    /// it so deeply that nobody could read the event back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<String>,
}

/// Something to choose from. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Menu {
    /// Its head.
    pub title: Option<String>,
    /// Small words at its end.
    pub footer: Option<String>,
    /// The words on the button that opens it.
    pub button: Option<String>,
    /// What can be chosen.
    pub options: Vec<Choice>,
}

/// One thing that can be chosen. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// The id that its answer names.
    pub id: Option<String>,
    /// The words on it.
    pub title: Option<String>,
    /// The words below them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The link that it opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The number that it calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
}

/// An invitation to a group. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invite {
    /// The group.
    pub group_id: Option<String>,
    /// Its name.
    pub group_name: Option<String>,
    /// What one joins with.
    pub code: Option<String>,
    /// Until when, in seconds since 1970.
    pub expires: Option<i64>,
}

/// Where somebody is. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveLocation {
    /// Degrees north.
    pub latitude: Degrees,
    /// Degrees east.
    pub longitude: Degrees,
    /// How exact that is, in metres.
    pub accuracy: Option<u32>,
    /// Always true; tells it from a place that stays.
    pub live: bool,
}

/// A date. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Appointment {
    /// What it is called.
    pub title: Option<String>,
    /// More about it.
    pub description: Option<String>,
    /// When it begins, in seconds since 1970.
    pub starts: Option<i64>,
    /// When it ends.
    pub ends: Option<i64>,
    /// The name of the place.
    pub place: Option<String>,
    /// Where one takes part.
    pub link: Option<String>,
    /// Whether it is a call.
    pub call: bool,
    /// Whether it does not take place.
    pub canceled: bool,
    /// The message that planned what is canceled now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
}

/// An order from a catalogue. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogOrder {
    /// Its id.
    pub id: Option<String>,
    /// What it is called.
    pub title: Option<String>,
    /// How many things.
    pub items: Option<i32>,
    /// The sum, in thousandths of the currency.
    pub total1000: Option<i64>,
    /// The currency.
    pub currency: Option<String>,
    /// What asks WhatsApp for its items.
    pub token: Option<String>,
}

/// A thing that is for sale. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Its id.
    pub id: Option<String>,
    /// The seller's own id of it.
    pub retailer_id: Option<String>,
    /// What it is called.
    pub title: Option<String>,
    /// More about it.
    pub description: Option<String>,
    /// The price, in thousandths of the currency.
    pub price1000: Option<i64>,
    /// The currency.
    pub currency: Option<String>,
    /// Where it is shown.
    pub url: Option<String>,
}

/// Money that is asked for or sent. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// The sum, in thousandths of the currency.
    pub amount1000: Option<u64>,
    /// The currency.
    pub currency: Option<String>,
    /// The request that is answered.
    pub message_id: Option<MessageId>,
}

/// Stickers to be added to one's own. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StickerPack {
    /// Its id.
    pub id: Option<String>,
    /// What it is called.
    pub name: Option<String>,
    /// Who made it.
    pub publisher: Option<String>,
    /// How many stickers.
    pub stickers: usize,
}

/// The first of several images and videos. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlbumHead {
    /// How many images follow.
    pub images: u32,
    /// How many videos follow.
    pub videos: u32,
}

/// A message was fastened above the chat, or taken from there. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PinInChat {
    /// The message.
    pub message_id: MessageId,
    /// Whether it is there now.
    pub pinned: bool,
}

/// A message stays although the others of its chat disappear, or no longer. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeepInChat {
    /// The message.
    pub message_id: MessageId,
    /// Whether it stays.
    pub kept: bool,
}

/// After how long the messages of a chat disappear. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disappearing {
    /// Seconds; 0 is never.
    pub seconds: u32,
}
