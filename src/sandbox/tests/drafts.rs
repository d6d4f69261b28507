//! Every kind of message: what a phone writes and a client reads, and the other way round.

use image::ImageFormat;
use serde_json::{Value, json};
use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::download::DownloadParams;
use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::{Jid, UploadOptions};

use super::rig::{Device, Rig};
use crate::sandbox::image_info::tests::{picture, video};
use crate::sandbox::{Sandbox, base64};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";

async fn send(rig: &Rig, shop: &mut Device, draft: Value) -> wa::Message {
    let mut draft = draft;
    draft["to"] = json!(SHOP);
    let path = format!("/sandbox/phones/{CUSTOMER}/messages");
    rig.ask("POST", &path, draft).await;
    (*shop.message().await.message).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_reads_whatever_a_phone_writes() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let data = |file: &[u8]| base64::encode(file);
    let red = picture(300, 200, ImageFormat::Png);
    let draft = json!({ "image": { "data": data(&red), "caption": "Menu" } });
    let m = send(&rig, &mut shop, draft).await;
    let image = m.image_message.as_option().expect("a picture");
    assert_eq!((image.width, image.height), (Some(300), Some(200)));
    assert_eq!(image.mimetype.as_deref(), Some("image/png"));
    let small = image.jpeg_thumbnail.as_deref().expect("a small picture");
    let small = image::load_from_memory(small).expect("a picture");
    assert_eq!((small.width(), small.height()), (72, 48));
    assert_eq!(shop.client.download(image).await.expect("fetched"), red);

    let draft = json!({ "image": { "data": data(&red) }, "viewOnce": true });
    let m = send(&rig, &mut shop, draft).await;
    let inner = m.view_once_message_v2.message.as_option();
    let inner = inner.map_or(&m, |inner| inner);
    assert_eq!(inner.image_message.view_once, Some(true));

    let gif = json!({ "data": data(b"film"), "gifPlayback": true, "seconds": 3, "width": 64 });
    let m = send(&rig, &mut shop, json!({ "video": gif })).await;
    let video = m.video_message.as_option().expect("a film");
    assert_eq!((video.gif_playback, video.seconds), (Some(true), Some(3)));
    assert_eq!(video.width, Some(64));

    let note = json!({ "data": data(b"sound"), "ptt": true, "seconds": 7 });
    let m = send(&rig, &mut shop, json!({ "audio": note })).await;
    assert_eq!(m.audio_message.ptt, Some(true));
    assert_eq!(m.audio_message.seconds, Some(7));

    let sticker = json!({ "data": data(&picture(64, 64, ImageFormat::WebP)) });
    let m = send(&rig, &mut shop, json!({ "sticker": sticker })).await;
    assert_eq!(m.sticker_message.width, Some(64));
    assert_eq!(m.sticker_message.is_animated, Some(false));

    let m = send(&rig, &mut shop, json!({ "location": [-6.2, 106.8] })).await;
    assert_eq!(m.location_message.degrees_latitude, Some(-6.2));
    let place = json!({ "latitude": 1.0, "longitude": 2.0, "name": "Toko", "address": "Jl. 1" });
    let m = send(&rig, &mut shop, json!({ "location": place })).await;
    assert_eq!(m.location_message.name.as_deref(), Some("Toko"));

    let budi = json!({ "name": "Budi", "phone": CUSTOMER });
    let m = send(&rig, &mut shop, json!({ "contact": budi })).await;
    let card = m.contact_message.vcard.as_deref().expect("a card");
    assert!(card.contains("waid=6289876543210"), "{card}");
    let m = send(&rig, &mut shop, json!({ "contacts": [budi, budi] })).await;
    assert_eq!(m.contacts_array_message.contacts.len(), 2);

    let draft = json!({ "text": "sebentar", "ephemeral": 86400 });
    let m = send(&rig, &mut shop, draft).await;
    let inner = m.ephemeral_message.message.as_option().unwrap_or(&m);
    let context = &inner.extended_text_message.context_info;
    assert_eq!(context.expiration, Some(86400));

    for wrong in [
        json!({ "to": SHOP, "image": { "data": "?" } }),
        json!({ "to": SHOP, "text": "x", "viewOnce": true }),
        json!({ "to": SHOP, "poll": { "name": "x", "options": ["a", "a"] } }),
        json!({ "to": SHOP, "contact": { "name": "x" } }),
    ] {
        let path = format!("/sandbox/phones/{CUSTOMER}/messages");
        let done = crate::sandbox::control::handle(&rig.network, "POST", &path, &wrong).await;
        assert!(done.is_err(), "{wrong}");
    }
    rig.finish();
}

/// Leaves a file and sends the message that points to it; answers what the phone reports.
async fn report(
    rig: &Rig,
    shop: &Device,
    kind: MediaType,
    file: &[u8],
    message: impl FnOnce(DownloadParams) -> wa::Message,
) -> Value {
    let before = rig.network.messages(CUSTOMER).expect("messages").len();
    let upload = shop
        .client
        .upload(file.to_vec(), kind, UploadOptions::new());
    let left = upload.await.expect("left");
    let params = DownloadParams::encrypted(
        left.direct_path,
        &left.media_key,
        &left.file_sha256,
        &left.file_enc_sha256,
        left.file_length,
        kind,
    );
    let sent = shop.client.send_message(Jid::pn(CUSTOMER), message(params));
    sent.await.expect("sent");
    let seen = rig.received(CUSTOMER, before + 1).await.remove(before);
    serde_json::to_value(seen).expect("JSON")
}

macro_rules! pointing {
    ($params:ident, $field:ident, $kind:ident { $($extra:tt)* }) => {
        wa::Message {
            $field: MessageField::some(wa::message::$kind {
                direct_path: Some($params.direct_path),
                media_key: $params.media_key,
                file_sha256: Some($params.file_sha256),
                file_enc_sha256: $params.file_enc_sha256,
                file_length: Some($params.file_length),
                $($extra)*
                ..Default::default()
            }),
            ..Default::default()
        }
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_reports_whatever_a_client_sends() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let jpeg = picture(120, 80, ImageFormat::Jpeg);
    let small = picture(40, 30, ImageFormat::Jpeg);
    let size = small.len();
    let seen = report(&rig, &shop, MediaType::Image, &jpeg, |at| {
        pointing!(
            at,
            image_message,
            ImageMessage {
                width: Some(121),
                height: Some(81),
                jpeg_thumbnail: Some(small),
            }
        )
    })
    .await;
    assert_eq!((&seen["width"], &seen["height"]), (&json!(121), &json!(81)));
    let decoded = json!({ "format": "jpeg", "width": 120, "height": 80, "animated": false });
    assert_eq!(seen["decoded"], decoded);
    assert_eq!(
        seen["thumbnail"],
        json!({ "size": size, "width": 40, "height": 30 })
    );
    assert_eq!(seen["opened"], true);

    let seen = report(&rig, &shop, MediaType::Video, b"film", |at| {
        pointing!(
            at,
            video_message,
            VideoMessage {
                seconds: Some(4),
                gif_playback: Some(true),
            }
        )
    })
    .await;
    assert_eq!(
        (&seen["seconds"], &seen["gifPlayback"]),
        (&json!(4), &json!(true))
    );
    assert!(seen.get("decoded").is_none() && seen.get("thumbnail").is_none());

    let seen = report(&rig, &shop, MediaType::Audio, b"sound", |at| {
        pointing!(
            at,
            audio_message,
            AudioMessage {
                seconds: Some(9),
                ptt: Some(true),
            }
        )
    })
    .await;
    assert_eq!(
        (&seen["seconds"], &seen["voice"]),
        (&json!(9), &json!(true))
    );

    let seen = report(&rig, &shop, MediaType::Sticker, &video(3), |at| {
        pointing!(
            at,
            sticker_message,
            StickerMessage {
                is_animated: Some(true),
            }
        )
    })
    .await;
    assert_eq!(
        (&seen["animated"], &seen["decoded"]["animated"]),
        (&json!(true), &json!(true))
    );

    let seen = report(&rig, &shop, MediaType::Document, b"sheet", |mut at| {
        at.file_sha256[0] ^= 1;
        pointing!(at, document_message, DocumentMessage {})
    })
    .await;
    assert_eq!(seen["opened"], false, "the sum is wrong");

    let album = wa::Message {
        album_message: MessageField::some(wa::message::AlbumMessage {
            expected_image_count: Some(2),
            ..Default::default()
        }),
        ..Default::default()
    };
    let album = shop.client.send_message(Jid::pn(CUSTOMER), album).await;
    let album = album.expect("sent").message_id.clone();
    let seen = rig.received(CUSTOMER, 6).await.remove(5);
    let seen = serde_json::to_value(seen).expect("JSON");
    assert_eq!(seen["type"], "album");
    assert_eq!(seen["album"], json!({ "images": 2, "videos": 0 }));
    let tie = wa::MessageAssociation {
        association_type: Some(wa::message_association::AssociationType::MEDIA_ALBUM),
        parent_message_key: MessageField::some(wa::MessageKey {
            id: Some(album.clone()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let seen = report(&rig, &shop, MediaType::Image, &jpeg, |at| {
        let mut message = pointing!(at, image_message, ImageMessage {});
        message.message_context_info = MessageField::some(wa::MessageContextInfo {
            message_association: MessageField::some(tie),
            ..Default::default()
        });
        message
    })
    .await;
    assert_eq!(seen["albumId"], json!(album));

    let card = |name: &str| wa::message::ContactMessage {
        display_name: Some(name.to_owned()),
        vcard: Some("BEGIN:VCARD".to_owned()),
        ..Default::default()
    };
    let cards = wa::Message {
        contacts_array_message: MessageField::some(wa::message::ContactsArrayMessage {
            contacts: vec![card("A"), card("B")],
            ..Default::default()
        }),
        ..Default::default()
    };
    shop.client
        .send_message(Jid::pn(CUSTOMER), cards)
        .await
        .expect("sent");
    let place = wa::Message {
        location_message: MessageField::some(wa::message::LocationMessage {
            degrees_latitude: Some(1.5),
            degrees_longitude: Some(2.5),
            name: Some("Toko".to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    };
    shop.client
        .send_message(Jid::pn(CUSTOMER), place)
        .await
        .expect("sent");
    let seen = serde_json::to_value(rig.received(CUSTOMER, 9).await).expect("JSON");
    assert_eq!(
        seen[7]["contacts"][1],
        json!({ "name": "B", "vcard": "BEGIN:VCARD" })
    );
    assert_eq!(
        seen[8]["location"],
        json!({ "latitude": 1.5, "longitude": 2.5, "name": "Toko", "address": null })
    );
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_album_from_a_phone_and_its_parts() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let path = format!("/sandbox/phones/{CUSTOMER}/messages");
    let draft = json!({ "to": SHOP, "album": { "images": 1 } });
    let id = rig.ask("POST", &path, draft).await["id"].clone();
    let album = shop.message().await;
    assert_eq!(album.message.album_message.expected_image_count, Some(1));
    let data = base64::encode(&picture(9, 9, ImageFormat::Png));
    let draft = json!({ "image": { "data": data }, "albumId": id });
    let part = send(&rig, &mut shop, draft).await;
    let tie = &part.message_context_info.message_association;
    assert_eq!(tie.parent_message_key.id.as_deref(), id.as_str());
    let seen = rig.received(SHOP, 2).await.remove(1);
    assert_eq!(seen.album_id.as_deref(), id.as_str());
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anybody_can_look_at_a_file() {
    let sandbox = Sandbox::open(Default::default()).await.expect("listens");
    let path = format!("/sandbox/phones/{CUSTOMER}/messages");
    let data = base64::encode(b"%PDF-1.7 nota");
    let draft = json!({
        "to": SHOP, "document": { "data": data, "mimetype": "application/pdf" },
    });
    let sent = sandbox.control("POST", &path, &draft).await.expect("sent");
    let id = sent["id"].as_str().expect("an id");
    let path = format!("/sandbox/phones/{SHOP}/messages/{id}/file");
    let file = sandbox
        .control("GET", &path, &Value::Null)
        .await
        .expect("a file");
    assert_eq!(
        file,
        json!({ "mimetype": "application/pdf", "size": 13, "data": data })
    );
    use crate::net::client::{Client, OutgoingRequest, Policy};
    let policy = Policy::new(&[], &[]).expect("legal").with_loopback(true);
    let client = Client::new(policy).expect("a client");
    let host = sandbox
        .url()
        .replace("ws://", "http://")
        .replace("/ws/chat", "");
    let request = OutgoingRequest {
        method: crate::http::Method::GET,
        url: format!("{host}{path}"),
        headers: Vec::new(),
        body: Default::default(),
    };
    let answer = client.send(request).await.expect("an answer");
    assert_eq!(answer.header("content-type"), Some("application/pdf"));
    let body = answer.collect(100).await.expect("a body");
    assert_eq!(body, b"%PDF-1.7 nota"[..]);
    sandbox.stop().await;
}
