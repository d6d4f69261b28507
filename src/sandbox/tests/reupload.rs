//! Files that have expired, and phones that leave them once more.

use serde_json::json;
use whatsapp_rust::Jid;
use whatsapp_rust::download::DownloadParams;
use whatsapp_rust::features::{MediaRetryResult, MediaReuploadRequest};
use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::waproto::whatsapp::message::ImageMessage;

use super::rig::{Device, Rig};
use crate::sandbox::{NetworkOptions, base64, random};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";

/// The customer sends a picture; answers it, its id and its file.
async fn picture(rig: &Rig, shop: &mut Device) -> (ImageMessage, String, Vec<u8>) {
    let file = random::bytes::<4000>().to_vec();
    let draft = json!({ "to": SHOP, "image": { "data": base64::encode(&file) } });
    let path = format!("/sandbox/phones/{CUSTOMER}/messages");
    rig.ask("POST", &path, draft).await;
    let message = shop.message().await;
    let image = message.message.image_message.as_option().cloned();
    (image.expect("a picture"), message.info.id.to_string(), file)
}

async fn ask_phone(shop: &Device, image: &ImageMessage, id: &str) -> MediaRetryResult {
    let request = MediaReuploadRequest {
        msg_id: id,
        chat_jid: &Jid::pn(CUSTOMER),
        media_key: image.media_key.as_deref().expect("a key"),
        is_from_me: false,
        participant: None,
    };
    let answer = shop.client.media_reupload().request(&request).await;
    answer.expect("an answer")
}

async fn fetch_again(shop: &Device, image: &ImageMessage, path: String) -> Vec<u8> {
    let params = DownloadParams::encrypted(
        path,
        image.media_key.as_deref().expect("a key"),
        image.file_sha256.as_deref().expect("a sum"),
        image.file_enc_sha256.as_deref().expect("a sum"),
        image.file_length.expect("a length"),
        MediaType::Image,
    );
    shop.client.download(&params).await.expect("fetched")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_leaves_an_expired_file_once_more() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let (image, id, file) = picture(&rig, &mut shop).await;
    rig.received(SHOP, 1).await;
    assert_eq!(shop.client.download(&image).await.expect("fetched"), file);
    rig.order(json!({ "expireMedia": { "messageId": id } }))
        .await;
    assert!(shop.client.download(&image).await.is_err());
    let MediaRetryResult::Success { direct_path } = ask_phone(&shop, &image, &id).await else {
        panic!("the phone has the file");
    };
    assert_ne!(Some(&direct_path), image.direct_path.as_ref());
    assert_eq!(fetch_again(&shop, &image, direct_path).await, file);
    let seen = rig.network.messages(SHOP).expect("messages").remove(0);
    assert_eq!(seen.opened, Some(true), "the phone fetched it in time");
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_keeps_nothing_says_so() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let (image, id, _) = picture(&rig, &mut shop).await;
    rig.received(SHOP, 1).await;
    let path = format!("/sandbox/phones/{SHOP}");
    rig.ask("PUT", &path, json!({ "keepsMedia": false })).await;
    let answer = ask_phone(&shop, &image, &id).await;
    assert!(matches!(answer, MediaRetryResult::NotFound), "{answer:?}");
    let answer = ask_phone(&shop, &image, "3A00").await;
    assert!(matches!(answer, MediaRetryResult::NotFound), "{answer:?}");
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_was_off_answers_when_it_is_back_even_on_another_network() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let rig = Rig::with(NetworkOptions::kept_in(&state)).await;
    let mut shop = rig.companion(SHOP).await;
    let (image, id, file) = picture(&rig, &mut shop).await;
    rig.received(SHOP, 1).await;
    rig.order(json!({ "expireMedia": {} })).await;
    let phone = format!("/sandbox/phones/{SHOP}");
    rig.ask("PUT", &phone, json!({ "online": false })).await;
    let asked = ask_phone(&shop, &image, &id);
    let back = async {
        super::rig::eventually("the question", || {
            let phone = rig
                .network
                .directory
                .known_phone(rig.network.number(SHOP).ok()?)?;
            let waits = !phone.lock().wanted.is_empty();
            waits.then_some(())
        })
        .await;
        rig.ask("PUT", &phone, json!({ "online": true })).await;
    };
    let (answer, ()) = tokio::join!(asked, back);
    let MediaRetryResult::Success { direct_path } = answer else {
        panic!("the phone has the file");
    };
    let backend = shop.backend.clone();
    shop.handle.shutdown().await;
    rig.network.save().expect("written");
    let copy = folder.path().join("copy");
    std::fs::copy(&state, &copy).expect("copied");
    std::fs::rename(state.with_extension("media"), copy.with_extension("media")).expect("moved");
    let second = Rig::with(NetworkOptions::kept_in(&copy)).await;
    let mut shop = second.restart(backend).await;
    shop.connected().await;
    assert_eq!(fetch_again(&shop, &image, direct_path.clone()).await, file);
    assert!(shop.client.download(&image).await.is_err(), "still expired");
    // Where the folder was lost, files are gone.
    std::fs::remove_dir_all(copy.with_extension("media")).expect("removed");
    second.network.save().expect("written");
    let third = folder.path().join("third");
    std::fs::copy(&copy, &third).expect("copied");
    let third = Rig::with(NetworkOptions::kept_in(&third)).await;
    let answer = third.network.take_download(&crate::sandbox::CdnDownload {
        path: &direct_path,
        ..Default::default()
    });
    assert_eq!(answer.status, 410);
    second.finish();
}
