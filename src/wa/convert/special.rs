//! Reads menus and the answers to them, invitations, orders, appointments.

use serde_json::Value;
use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::waproto::whatsapp::hydrated_template_button::HydratedButton;
use whatsapp_rust::waproto::whatsapp::message::interactive_message::InteractiveMessage as Payload;
use whatsapp_rust::waproto::whatsapp::message::interactive_message::header::Media as HeaderMedia;
use whatsapp_rust::waproto::whatsapp::message::interactive_message::native_flow_message::NativeFlowButton;
use whatsapp_rust::waproto::whatsapp::message::{
    ButtonsMessage, ButtonsResponseMessage, EventMessage, ImageMessage, InteractiveMessage,
    InteractiveResponseMessage, ListMessage, ListResponseMessage, TemplateButtonReplyMessage,
    TemplateMessage, VideoMessage, buttons_message, buttons_response_message,
    interactive_response_message, protocol_message, template_message,
};

use super::kinds::target;
use super::media::{enclosed, words as words_of};
use crate::wa::message::{AttachedFile, Degrees, IncomingContent};
use crate::wa::special::{
    AlbumHead, Appointment, CatalogOrder, Choice, Disappearing, Invite, KeepInChat, LiveLocation,
    Menu, Payment, PinInChat, Product, Selection, Special, StickerPack,
};

/// How many options of a menu are told; WhatsApp shows ten.
const MAX_OPTIONS: usize = 100;

/// A message of a rarer kind, or `None` when it is none, or says too little.
pub(super) fn content_of(body: &wa::Message) -> Option<IncomingContent> {
    menu(body)
        .or_else(|| answer(body))
        .or_else(|| appointment(body))
        .or_else(|| trade(body))
        .or_else(|| about_messages(body))
        .or_else(|| rest(body))
}

fn special(text: Option<String>, what: Special) -> IncomingContent {
    IncomingContent::Special {
        text: text.filter(|text| !text.is_empty()),
        what: Box::new(what),
        file: None,
    }
}

fn menu(body: &wa::Message) -> Option<IncomingContent> {
    let (text, mut menu, file) = if let Some(m) = body.list_message.as_option() {
        list(m)
    } else if let Some(m) = body.buttons_message.as_option() {
        buttons(m)
    } else if let Some(m) = body.template_message.as_option() {
        template(m)?
    } else if let Some(m) = body.interactive_message.as_option() {
        interactive(m)
    } else {
        return None;
    };
    menu.options.truncate(MAX_OPTIONS);
    Some(IncomingContent::Special {
        text: text.filter(|text| !text.is_empty()),
        what: Box::new(Special::Menu(menu)),
        file: file.map(Box::new),
    })
}

type Read = (Option<String>, Menu, Option<AttachedFile>);

fn list(m: &ListMessage) -> Read {
    let rows = m.sections.iter().flat_map(|section| &section.rows);
    let menu = Menu {
        title: m.title.clone(),
        footer: m.footer_text.clone(),
        button: m.button_text.clone(),
        options: rows
            .map(|row| Choice {
                id: row.row_id.clone(),
                title: row.title.clone(),
                description: row.description.clone(),
                ..Choice::default()
            })
            .collect(),
    };
    (m.description.clone(), menu, None)
}

fn buttons(m: &ButtonsMessage) -> Read {
    use buttons_message::Header;
    let (title, file) = match &m.header {
        Some(Header::Text(text)) => (Some(text.clone()), None),
        Some(Header::ImageMessage(image)) => (None, image_of(image)),
        Some(Header::VideoMessage(video)) => (None, video_of(video)),
        Some(Header::DocumentMessage(document)) => (None, document_of(document)),
        _ => (None, None),
    };
    let menu = Menu {
        title,
        footer: m.footer_text.clone(),
        button: None,
        options: m
            .buttons
            .iter()
            .map(|button| {
                let flow = button.native_flow_info.as_option();
                let flow = flow.map(|f| flow_choices(f.name.as_deref(), f.params_json.as_deref()));
                let words = button.button_text.as_option();
                Choice {
                    id: button.button_id.clone(),
                    title: words.and_then(|words| words.display_text.clone()),
                    ..flow
                        .and_then(|all| all.into_iter().next())
                        .unwrap_or_default()
                }
            })
            .collect(),
    };
    (m.content_text.clone(), menu, file)
}

fn template(m: &TemplateMessage) -> Option<Read> {
    use template_message::Format;
    use template_message::hydrated_four_row_template::Title;
    let four = match &m.format {
        Some(Format::InteractiveMessageTemplate(inner)) => return Some(interactive(inner)),
        Some(Format::HydratedFourRowTemplate(four)) => four,
        _ => m.hydrated_template.as_option()?,
    };
    let (title, file) = match &four.title {
        Some(Title::HydratedTitleText(text)) => (Some(text.clone()), None),
        Some(Title::ImageMessage(image)) => (None, image_of(image)),
        Some(Title::VideoMessage(video)) => (None, video_of(video)),
        Some(Title::DocumentMessage(document)) => (None, document_of(document)),
        _ => (None, None),
    };
    let options = four.hydrated_buttons.iter();
    let options = options.filter_map(|button| {
        Some(match button.hydrated_button.as_ref()? {
            HydratedButton::QuickReplyButton(b) => Choice {
                id: b.id.clone(),
                title: b.display_text.clone(),
                ..Choice::default()
            },
            HydratedButton::UrlButton(b) => Choice {
                title: b.display_text.clone(),
                url: b.url.clone(),
                ..Choice::default()
            },
            HydratedButton::CallButton(b) => Choice {
                title: b.display_text.clone(),
                phone: b.phone_number.clone(),
                ..Choice::default()
            },
        })
    });
    let menu = Menu {
        title,
        footer: four.hydrated_footer_text.clone(),
        button: None,
        options: options.collect(),
    };
    Some((four.hydrated_content_text.clone(), menu, file))
}

fn interactive(m: &InteractiveMessage) -> Read {
    let header = m.header.as_option();
    let file = match header.and_then(|header| header.media.as_ref()) {
        Some(HeaderMedia::ImageMessage(image)) => image_of(image),
        Some(HeaderMedia::VideoMessage(video)) => video_of(video),
        Some(HeaderMedia::DocumentMessage(document)) => document_of(document),
        _ => None,
    };
    let flow_buttons = |buttons: &[NativeFlowButton]| -> Vec<Choice> {
        let read =
            |b: &NativeFlowButton| flow_choices(b.name.as_deref(), b.button_params_json.as_deref());
        buttons.iter().flat_map(read).collect()
    };
    let options = match &m.interactive_message {
        Some(Payload::NativeFlowMessage(flow)) => flow_buttons(&flow.buttons),
        Some(Payload::CarouselMessage(carousel)) => carousel
            .cards
            .iter()
            .filter_map(|card| match &card.interactive_message {
                Some(Payload::NativeFlowMessage(flow)) => Some(flow_buttons(&flow.buttons)),
                _ => None,
            })
            .flatten()
            .collect(),
        _ => Vec::new(),
    };
    let menu = Menu {
        title: header.and_then(|header| header.title.clone()),
        footer: m.footer.as_option().and_then(|footer| footer.text.clone()),
        button: None,
        options,
    };
    let text = m.body.as_option().and_then(|body| body.text.clone());
    (text, menu, file)
}

/// What a button of a form offers: itself, or the rows of the list that it opens.
fn flow_choices(name: Option<&str>, params: Option<&str>) -> Vec<Choice> {
    let params: Value = params
        .and_then(|params| serde_json::from_str(params).ok())
        .unwrap_or_default();
    let word = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).map(str::to_owned);
    let inner = |key: &str| params.get(key).and_then(Value::as_array);
    if name == Some("single_select")
        && let Some(sections) = inner("sections")
    {
        let rows = sections
            .iter()
            .filter_map(|section| section.get("rows").and_then(Value::as_array))
            .flatten();
        return rows
            .map(|row| Choice {
                id: word(row, "id"),
                title: word(row, "title"),
                description: word(row, "description"),
                ..Choice::default()
            })
            .collect();
    }
    vec![Choice {
        id: word(&params, "id"),
        title: word(&params, "display_text"),
        description: None,
        url: word(&params, "url"),
        phone: word(&params, "phone_number"),
    }]
}

fn image_of(image: &ImageMessage) -> Option<AttachedFile> {
    enclosed(&wa::Message {
        image_message: MessageField::some(image.clone()),
        ..Default::default()
    })
}

fn video_of(video: &VideoMessage) -> Option<AttachedFile> {
    enclosed(&wa::Message {
        video_message: MessageField::some(video.clone()),
        ..Default::default()
    })
}

fn document_of(document: &wa::message::DocumentMessage) -> Option<AttachedFile> {
    enclosed(&wa::Message {
        document_message: MessageField::some(document.clone()),
        ..Default::default()
    })
}

/// The answer to a menu: its words are those that the person chose.
fn answer(body: &wa::Message) -> Option<IncomingContent> {
    let (text, selection) = if let Some(m) = body.list_response_message.as_option() {
        chosen_row(m)
    } else if let Some(m) = body.buttons_response_message.as_option() {
        chosen_button(m)
    } else if let Some(m) = body.template_button_reply_message.as_option() {
        chosen_reply(m)
    } else {
        filled_form(body.interactive_response_message.as_option()?)
    };
    Some(special(text, Special::Selection(selection)))
}

fn chosen_row(m: &ListResponseMessage) -> (Option<String>, Selection) {
    let reply = m.single_select_reply.as_option();
    let selection = Selection {
        id: reply.and_then(|reply| reply.selected_row_id.clone()),
        title: m.title.clone(),
        description: m.description.clone(),
        params: None,
    };
    (m.title.clone(), selection)
}

fn chosen_button(m: &ButtonsResponseMessage) -> (Option<String>, Selection) {
    use buttons_response_message::Response;
    let title = m.response.as_ref().map(|response| match response {
        Response::SelectedDisplayText(text) => text.clone(),
    });
    let selection = Selection {
        id: m.selected_button_id.clone(),
        title: title.clone(),
        ..Selection::default()
    };
    (title, selection)
}

fn chosen_reply(m: &TemplateButtonReplyMessage) -> (Option<String>, Selection) {
    let selection = Selection {
        id: m.selected_id.clone(),
        title: m.selected_display_text.clone(),
        ..Selection::default()
    };
    (m.selected_display_text.clone(), selection)
}

fn filled_form(m: &InteractiveResponseMessage) -> (Option<String>, Selection) {
    use interactive_response_message::InteractiveResponseMessage::NativeFlowResponseMessage;
    let text = m.body.as_option().and_then(|body| body.text.clone());
    let params = match &m.interactive_response_message {
        Some(NativeFlowResponseMessage(flow)) => flow.params_json.clone(),
        None => None,
    };
    let read: Value = params
        .as_deref()
        .and_then(|params| serde_json::from_str(params).ok())
        .unwrap_or_default();
    let word = |key| read.get(key).and_then(Value::as_str).map(str::to_owned);
    let selection = Selection {
        id: word("id"),
        title: text.clone(),
        description: word("description"),
        params,
    };
    (text, selection)
}

fn appointment(body: &wa::Message) -> Option<IncomingContent> {
    let appointment = if let Some(m) = body.event_message.as_option() {
        event(m)
    } else if let Some(m) = body.event_invite_message.as_option() {
        Appointment {
            title: m.event_title.clone(),
            description: m.caption.clone(),
            starts: m.start_time,
            ends: m.end_time,
            link: m.call_link.clone(),
            canceled: m.is_canceled.unwrap_or_default(),
            ..Appointment::default()
        }
    } else if let Some(m) = body.scheduled_call_creation_message.as_option() {
        Appointment {
            title: m.title.clone(),
            starts: m.scheduled_timestamp_ms.map(|ms| ms / 1000),
            call: true,
            ..Appointment::default()
        }
    } else {
        let m = body.scheduled_call_edit_message.as_option()?;
        Appointment {
            call: true,
            canceled: m.edit_type
                == Some(wa::message::scheduled_call_edit_message::EditType::CANCEL),
            message_id: target(&m.key),
            ..Appointment::default()
        }
    };
    Some(special(
        appointment.title.clone(),
        Special::Appointment(appointment),
    ))
}

fn event(m: &EventMessage) -> Appointment {
    let place = m.location.as_option();
    Appointment {
        title: m.name.clone(),
        description: m.description.clone(),
        starts: m.start_time,
        ends: m.end_time,
        place: place.and_then(|place| place.name.clone().or_else(|| place.address.clone())),
        link: m.join_link.clone(),
        call: m.is_schedule_call.unwrap_or_default(),
        canceled: m.is_canceled.unwrap_or_default(),
        message_id: None,
    }
}

fn trade(body: &wa::Message) -> Option<IncomingContent> {
    if let Some(m) = body.order_message.as_option() {
        let order = CatalogOrder {
            id: m.order_id.clone(),
            title: m.order_title.clone(),
            items: m.item_count,
            total1000: m.total_amount1000,
            currency: m.total_currency_code.clone(),
            token: m.token.clone(),
        };
        return Some(special(m.message.clone(), Special::Order(order)));
    }
    if let Some(m) = body.product_message.as_option() {
        let product = m.product.as_option().map(|p| Product {
            id: p.product_id.clone(),
            retailer_id: p.retailer_id.clone(),
            title: p.title.clone(),
            description: p.description.clone(),
            price1000: p.price_amount1000,
            currency: p.currency_code.clone(),
            url: p.url.clone(),
        });
        let title = product.as_ref().and_then(|product| product.title.clone());
        let product = Special::Product(product.unwrap_or_default());
        return Some(special(m.body.clone().or(title), product));
    }
    let words = |note: &MessageField<wa::Message>| Some(words_of(note.as_option()?)?.to_owned());
    if let Some(m) = body.request_payment_message.as_option() {
        let payment = Payment {
            amount1000: m.amount1000,
            currency: m.currency_code_iso4217.clone(),
            message_id: None,
        };
        return Some(special(words(&m.note_message), Special::Payment(payment)));
    }
    let (note, key) = if let Some(m) = body.send_payment_message.as_option() {
        (words(&m.note_message), &m.request_message_key)
    } else if let Some(m) = body.decline_payment_request_message.as_option() {
        (None, &m.key)
    } else {
        (None, &body.cancel_payment_request_message.as_option()?.key)
    };
    let payment = Payment {
        message_id: target(key),
        ..Payment::default()
    };
    Some(special(note, Special::Payment(payment)))
}

/// What is done to other messages of the chat.
fn about_messages(body: &wa::Message) -> Option<IncomingContent> {
    if let Some(m) = body.pin_in_chat_message.as_option() {
        use wa::message::pin_in_chat_message::Type;
        let pin = PinInChat {
            message_id: target(&m.key)?,
            pinned: match m.r#type? {
                Type::PIN_FOR_ALL => true,
                Type::UNPIN_FOR_ALL => false,
                Type::UNKNOWN_TYPE => return None,
            },
        };
        return Some(special(None, Special::Pin(pin)));
    }
    if let Some(m) = body.keep_in_chat_message.as_option() {
        let keep = KeepInChat {
            message_id: target(&m.key)?,
            kept: match m.keep_type? {
                wa::KeepType::KEEP_FOR_ALL => true,
                wa::KeepType::UNDO_KEEP_FOR_ALL => false,
                wa::KeepType::UNKNOWN => return None,
            },
        };
        return Some(special(None, Special::Keep(keep)));
    }
    let change = body.protocol_message.as_option()?;
    (change.r#type == Some(protocol_message::Type::EPHEMERAL_SETTING)).then(|| {
        let seconds = change.ephemeral_expiration.unwrap_or_default();
        special(None, Special::Disappearing(Disappearing { seconds }))
    })
}

fn rest(body: &wa::Message) -> Option<IncomingContent> {
    if let Some(m) = body.group_invite_message.as_option() {
        let invite = Invite {
            group_id: m.group_jid.clone(),
            group_name: m.group_name.clone(),
            code: m.invite_code.clone(),
            expires: m.invite_expiration,
        };
        return Some(special(m.caption.clone(), Special::Invite(invite)));
    }
    if let Some(m) = body.live_location_message.as_option() {
        let live = LiveLocation {
            latitude: Degrees::new(m.degrees_latitude?, 90.0)?,
            longitude: Degrees::new(m.degrees_longitude?, 180.0)?,
            accuracy: m.accuracy_in_meters,
            live: true,
        };
        return Some(special(m.caption.clone(), Special::Location(live)));
    }
    if let Some(m) = body.sticker_pack_message.as_option() {
        let pack = StickerPack {
            id: m.sticker_pack_id.clone(),
            name: m.name.clone(),
            publisher: m.publisher.clone(),
            stickers: m.stickers.len(),
        };
        let text = m.caption.clone().or_else(|| m.name.clone());
        return Some(special(text, Special::StickerPack(pack)));
    }
    let m = body.album_message.as_option()?;
    let album = AlbumHead {
        images: m.expected_image_count.unwrap_or_default(),
        videos: m.expected_video_count.unwrap_or_default(),
    };
    Some(special(None, Special::Album(album)))
}
