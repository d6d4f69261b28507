//! Files, sealed by whoever sends them and opened by whoever gets them.

use serde_json::json;
use whatsapp_rust::media::ImageOptions;
use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::{Jid, UploadOptions};

use super::rig::Rig;
use crate::sandbox::{Fault, base64, control, random};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_opens_the_picture_that_a_client_sends() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let picture = random::bytes::<5000>().to_vec();
    let left = shop
        .client
        .upload(picture.clone(), MediaType::Image, UploadOptions::new())
        .await
        .expect("left");
    let sum = hex::encode(left.file_sha256);
    let options = ImageOptions {
        caption: Some("Menu".to_owned()),
        ..ImageOptions::default()
    };
    let message = whatsapp_rust::media::image_message(left, options);
    shop.client
        .send_message(Jid::pn(CUSTOMER), message)
        .await
        .expect("sent");
    let seen = rig.received(CUSTOMER, 1).await.remove(0);
    assert_eq!(
        (seen.kind, seen.caption.as_deref()),
        ("image", Some("Menu"))
    );
    assert_eq!((seen.opened, seen.size), (Some(true), Some(5000)));
    assert_eq!(seen.sha256, Some(sum));
    assert_eq!(
        rig.network.attachment(CUSTOMER, &seen.id).expect("opened"),
        picture
    );
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_opens_the_document_that_a_phone_sends() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let file = random::bytes::<3000>();
    let draft = json!({
        "to": SHOP,
        "document": {
            "data": base64::encode(&file),
            "mimetype": "application/pdf",
            "fileName": "nota.pdf",
            "caption": "Nota",
        },
    });
    let path = format!("/sandbox/phones/{CUSTOMER}/messages");
    control::handle(&rig.network, "POST", &path, &draft)
        .await
        .expect("sent");
    let message = shop.message().await;
    let document = message
        .message
        .document_message
        .as_option()
        .expect("a document");
    assert_eq!(document.file_name.as_deref(), Some("nota.pdf"));
    let opened = shop.client.download(document).await.expect("opened");
    assert_eq!(opened, file);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_or_fetched_while_the_media_host_is_cut_off() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let cut = Fault {
        cut_media: true,
        ..Fault::default()
    };
    rig.network.order_fault(cut).expect("ordered");
    let failed = shop
        .client
        .upload(vec![1; 100], MediaType::Image, UploadOptions::new())
        .await;
    assert!(failed.is_err());
    rig.network.clear_faults(None);
    shop.client
        .upload(vec![1; 100], MediaType::Image, UploadOptions::new())
        .await
        .expect("left");
    rig.finish();
}
