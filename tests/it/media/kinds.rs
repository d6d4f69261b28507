//! Every kind of message, from every source, to a phone and to a group: what is decrypted is what
//! was sent.

use serde_json::{Value, json};

use crate::files::{Shelf, base64, file, sha256, uploaded};
use crate::support::{Rig, eventually};

/// A rig whose links may go to the shelf of the tests, with a paired session.
async fn shop(account: &str) -> (Rig, String, Shelf) {
    let rig = Rig::with(|config| config.allow_private = vec!["127.0.0.0/8".into()]).await;
    let token = rig.pair("shop", account).await;
    (rig, token, Shelf::new().await)
}

async fn group(rig: &Rig, account: &str, phone: &str) -> String {
    let body = json!({ "subject": "Shop", "participants": [account, phone] });
    let made = rig.sandbox("POST", "/sandbox/groups", &body).await;
    made["id"].as_str().expect("an id").to_owned()
}

/// One file in one kind of message, as the phone must see it.
struct Case {
    kind: &'static str,
    file: &'static str,
    /// What the phone calls it.
    seen: &'static str,
    /// Whether the bytes arrive as they are.
    same: bool,
}

const CASES: &[Case] = &[
    Case {
        kind: "image",
        file: "turned.jpg",
        seen: "image",
        same: false,
    },
    Case {
        kind: "image",
        file: "alpha.png",
        seen: "image",
        same: false,
    },
    Case {
        kind: "image",
        file: "moving.webp",
        seen: "image",
        same: false,
    },
    Case {
        kind: "video",
        file: "film.mp4",
        seen: "video",
        same: true,
    },
    Case {
        kind: "gif",
        file: "film.mp4",
        seen: "video",
        same: true,
    },
    Case {
        kind: "audio",
        file: "song.mp3",
        seen: "audio",
        same: true,
    },
    Case {
        kind: "audio",
        file: "song.m4a",
        seen: "audio",
        same: true,
    },
    Case {
        kind: "voice",
        file: "voice.ogg",
        seen: "audio",
        same: true,
    },
    Case {
        kind: "document",
        file: "prices.pdf",
        seen: "document",
        same: true,
    },
    Case {
        kind: "document",
        file: "prices.doc",
        seen: "document",
        same: true,
    },
    Case {
        kind: "document",
        file: "prices.docx",
        seen: "document",
        same: true,
    },
    Case {
        kind: "document",
        file: "prices.xls",
        seen: "document",
        same: true,
    },
    Case {
        kind: "document",
        file: "prices.xlsx",
        seen: "document",
        same: true,
    },
    Case {
        kind: "sticker",
        file: "alpha.png",
        seen: "sticker",
        same: false,
    },
    Case {
        kind: "sticker",
        file: "moving.gif",
        seen: "sticker",
        same: false,
    },
    Case {
        kind: "sticker",
        file: "moving.webp",
        seen: "sticker",
        same: false,
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_from_each_source_arrives_at_a_phone_and_in_a_group() {
    let account = "6281200001101";
    let (rig, token, shelf) = shop(account).await;
    let phone = "6281299991101";
    let group = group(&rig, account, phone).await;
    let mut wanted: Vec<(String, &Case)> = Vec::new();
    for case in CASES {
        let id = uploaded(&rig, &token, case.file, &file(case.file)).await;
        let sources = [
            json!({ "id": id }),
            json!({ "link": shelf.link(case.file) }),
            json!({ "base64": base64(&file(case.file)) }),
        ];
        let mut batch = Vec::new();
        for source in sources {
            for to in [phone, group.as_str()] {
                let mut body = source.clone();
                if !matches!(case.kind, "audio" | "voice" | "sticker") {
                    body["caption"] = json!("Daftar harga & promo");
                }
                body["filename"] = json!("daftar harga.bin");
                batch.push(json!({ "to": to, "type": case.kind, case.kind: body }));
            }
        }
        let results = rig.send("shop", &token, &Value::Array(batch)).await;
        for result in results.as_array().expect("results") {
            assert_eq!(
                result["status"], "success",
                "{} {}: {result}",
                case.kind, case.file
            );
            let id = result["messageId"].as_str().expect("an id").to_owned();
            wanted.push((id, case));
        }
    }
    let got = rig.wait_for_received(phone, wanted.len()).await;
    assert_eq!(got.len(), wanted.len());
    for (id, case) in &wanted {
        let message = got
            .iter()
            .find(|m| m["id"] == id.as_str())
            .expect("it arrived");
        let what = format!("{} {}: {message}", case.kind, case.file);
        assert_eq!(message["type"], case.seen, "{what}");
        assert_eq!(message["opened"], true, "{what}");
        if case.same {
            assert_eq!(message["sha256"], sha256(&file(case.file)), "{what}");
        }
        if !matches!(case.kind, "audio" | "voice" | "sticker") {
            assert_eq!(message["caption"], "Daftar harga & promo", "{what}");
        }
        match case.kind {
            "image" => {
                assert_eq!(message["mimetype"], "image/jpeg", "{what}");
                assert_eq!(message["decoded"]["format"], "jpeg", "{what}");
                assert!(
                    message["thumbnail"]["width"].as_u64().expect("a thumbnail") > 0,
                    "{what}"
                );
                assert_eq!(message["width"], message["decoded"]["width"], "{what}");
            }
            "video" | "gif" => {
                assert_eq!(message["seconds"], 2, "{what}");
                assert_eq!(
                    (&message["width"], &message["height"]),
                    (&json!(128), &json!(96)),
                    "{what}"
                );
                assert_eq!(message["gifPlayback"] == true, case.kind == "gif", "{what}");
            }
            "audio" | "voice" => {
                assert_eq!(message["seconds"], 2, "{what}");
                assert_eq!(message["voice"] == true, case.kind == "voice", "{what}");
            }
            "document" => assert_eq!(message["fileName"], "daftar harga.bin", "{what}"),
            _ => {
                assert_eq!(message["decoded"]["format"], "webp", "{what}");
                assert_eq!(message["decoded"]["width"], 512, "{what}");
                assert_eq!(message["decoded"]["height"], 512, "{what}");
                let moves = case.file.starts_with("moving");
                assert_eq!(message["decoded"]["animated"], moves, "{what}");
                assert_eq!(message["animated"] == true, moves, "{what}");
            }
        }
    }
    // A turned picture stands upright: 160 x 100 with orientation 6 is 100 x 160.
    let turned = wanted
        .iter()
        .find(|(_, case)| case.file == "turned.jpg")
        .expect("sent");
    let turned = got
        .iter()
        .find(|m| m["id"] == turned.0.as_str())
        .expect("it");
    assert_eq!(
        (&turned["width"], &turned["height"]),
        (&json!(100), &json!(160))
    );
    let stats = rig.stats().await;
    assert_eq!(stats["undecryptable"], 0, "{stats}");
    rig.assert_all_understood().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_for_many_people_is_uploaded_once_also_after_a_restart() {
    let (mut rig, token, shelf) = shop("6281200001102").await;
    let id = uploaded(&rig, &token, "turned.jpg", &file("turned.jpg")).await;
    let to = |n: usize| format!("62812999920{n:02}");
    let batch = |body: Value| {
        let one = |n| json!({ "to": to(n), "type": "image", "image": body });
        Value::Array((0..40).map(one).collect())
    };
    for body in [
        json!({ "id": id }),
        json!({ "link": shelf.link("turned.jpg") }),
    ] {
        let results = rig.send("shop", &token, &batch(body)).await;
        for result in results.as_array().expect("results") {
            assert_eq!(result["status"], "success", "{result}");
        }
    }
    assert_eq!(shelf.asked(), 1, "one request fetches a link once");
    assert_eq!(rig.stats().await["mediaUploads"], 1);
    rig.restart().await;
    rig.wait_for_status("shop", "CONNECTED").await;
    rig.send("shop", &token, &batch(json!({ "id": id }))).await;
    let stats = rig.stats().await;
    assert_eq!(stats["mediaUploads"], 1, "{stats}");
    assert_eq!(stats["mediaUploadsAgain"], 0, "{stats}");
    let got = rig.wait_for_received(&to(7), 3).await;
    assert_eq!(got[0]["sha256"], got[2]["sha256"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_says_what_was_sent_instead() {
    let (rig, token, _) = shop("6281200001103").await;
    let phone = "6281299991103";
    let one = |kind: &str, name: &str| json!({ "to": phone, "type": kind, kind: { "base64": base64(&file(name)) } });
    let results = rig
        .send(
            "shop",
            &token,
            &json!([
                one("voice", "song.mp3"),
                one("gif", "moving.gif"),
                one("voice", "voice.ogg")
            ]),
        )
        .await;
    let note = |i: usize| results[i]["note"].as_str().unwrap_or_default().to_owned();
    assert!(note(0).contains("not as a voice note"), "{results}");
    assert!(note(1).contains("still image"), "{results}");
    assert_eq!(results[2]["note"], Value::Null);
    let got = rig.wait_for_received(phone, 3).await;
    assert_eq!(
        (&got[0]["type"], got[0]["voice"] == true),
        (&json!("audio"), false)
    );
    assert_eq!(got[1]["type"], "image");
    assert_eq!(got[2]["voice"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_original_can_be_kept() {
    let (rig, token, _) = shop("6281200001104").await;
    let phone = "6281299991104";
    let picture = file("turned.jpg");
    let body = json!({ "base64": base64(&picture), "keepOriginal": true, "keepMetadata": true });
    rig.send(
        "shop",
        &token,
        &json!({ "to": phone, "type": "image", "image": body }),
    )
    .await;
    let got = rig.wait_for_received(phone, 1).await;
    assert_eq!(got[0]["sha256"], sha256(&picture));
}

/// Puts a segment with Exif data behind the start of a JPEG: an orientation and a place.
fn taken_at(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x02".to_vec();
    exif.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
    exif.extend([0x88, 0x25, 0, 4, 0, 0, 0, 1, 0, 0, 0, 38, 0, 0, 0, 0]);
    exif.extend(b"\0\x01\0\x01\0\x02\0\0\0\x02S\0\0\0\0\0\0\0");
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

/// The same with nothing but the orientation.
fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01".to_vec();
    exif.extend([
        0x01,
        0x12,
        0,
        3,
        0,
        0,
        0,
        1,
        0,
        orientation,
        0,
        0,
        0,
        0,
        0,
        0,
    ]);
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_picture_was_taken_is_sent_only_when_it_is_asked_for() {
    let (rig, token, _) = shop("6281200001110").await;
    let phone = "6281299991110";
    let mut plain = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8 * 3, y as u8, 90]));
    picture
        .write_to(&mut plain, image::ImageFormat::Jpeg)
        .expect("encodes");
    let plain = plain.into_inner();
    let (upright, lying) = (taken_at(&plain, 1), taken_at(&plain, 6));
    let cases = [
        ("image", &upright, json!({}), plain.clone()),
        (
            "image",
            &lying,
            json!({ "keepOriginal": true }),
            turned(&plain, 6),
        ),
        ("document", &lying, json!({}), turned(&plain, 6)),
        (
            "image",
            &upright,
            json!({ "keepMetadata": true }),
            upright.clone(),
        ),
        (
            "document",
            &lying,
            json!({ "keepMetadata": true }),
            lying.clone(),
        ),
    ];
    for (count, (kind, sent, mut body, wanted)) in cases.into_iter().enumerate() {
        let what = format!("{kind} {body}");
        body["base64"] = json!(base64(sent));
        let message = json!({ "to": phone, "type": kind, kind: body });
        let result = rig.send("shop", &token, &message).await;
        assert_eq!(result[0]["status"], "success", "{what}: {result}");
        let got = rig.wait_for_received(phone, count + 1).await;
        let got = got.last().expect("a message");
        assert_eq!(got["sha256"], sha256(&wanted), "{what}");
        assert_eq!(got["opened"], true, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn places_cards_and_polls_arrive_and_votes_come_back() {
    let account = "6281200001105";
    let (rig, token, _) = shop(account).await;
    let phone = "6281299991105";
    let batch = json!([
        { "to": phone, "type": "location", "location": { "latitude": -6.2, "longitude": "106.816666", "name": "Warung", "address": "Jl. Melati 1" } },
        { "to": phone, "type": "contact", "contact": { "name": "Budi; Toko, \"A\"", "phone": "+62 812-0000-0001" } },
        { "to": phone, "type": "contacts", "contacts": [
            { "name": { "formatted_name": "Ani" }, "phones": [{ "phone": "6281200000002" }] },
            { "name": "Edo", "vcard": "BEGIN:VCARD\nVERSION:3.0\nFN:Edo\nEND:VCARD" } ] },
        { "to": phone, "type": "poll", "poll": { "question": "Kapan?", "options": ["Senin", "Selasa", "Rabu"], "selectableCount": 2 } },
    ]);
    let results = rig.send("shop", &token, &batch).await;
    for result in results.as_array().expect("results") {
        assert_eq!(result["status"], "success", "{results}");
    }
    let got = rig.wait_for_received(phone, 4).await;
    assert_eq!(got[0]["location"]["latitude"], -6.2);
    assert_eq!(got[0]["location"]["longitude"], 106.816666);
    assert_eq!(got[0]["location"]["name"], "Warung");
    let card = got[1]["contacts"][0]["vcard"].as_str().expect("a card");
    assert!(card.contains("waid=6281200000001:+6281200000001"), "{card}");
    assert!(card.contains("FN:Budi\\; Toko\\, \"A\"\n"), "{card}");
    assert_eq!(got[2]["contacts"].as_array().expect("cards").len(), 2);
    assert_eq!(
        got[3]["poll"]["options"],
        json!(["Senin", "Selasa", "Rabu"])
    );
    let poll = results[3]["messageId"].as_str().expect("an id").to_owned();
    let vote = |options: Value| {
        let (rig, poll) = (&rig, &poll);
        async move {
            let path = format!("/sandbox/phones/{phone}/vote");
            rig.sandbox(
                "POST",
                &path,
                &json!({ "messageId": poll, "options": options }),
            )
            .await;
        }
    };
    let path = format!("/api/v1/messages/{poll}?sessionId=shop");
    let voters = |wanted: Value| {
        let (rig, path, token) = (&rig, &path, &token);
        async move {
            eventually("the votes", || async {
                let row = rig.get(path).bearer(token).send().await.expect(200);
                let options = row["poll"]["options"].as_array().expect("options");
                let counts: Vec<&Value> = options.iter().map(|o| &o["votes"]).collect();
                (json!(counts) == wanted).then(|| row.clone())
            })
            .await
        }
    };
    vote(json!(["Senin", "Rabu"])).await;
    let row = voters(json!([1, 0, 1])).await;
    assert_eq!(
        row["poll"]["options"][0]["voters"][0],
        format!("{phone}@s.whatsapp.net")
    );
    // A later vote replaces the earlier one.
    vote(json!(["Selasa"])).await;
    voters(json!([0, 1, 0])).await;
    vote(json!([])).await;
    voters(json!([0, 0, 0])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_files_travel_as_one_album() {
    let (rig, token, _) = shop("6281200001106").await;
    let phone = "6281299991106";
    let one = |kind: &str, name: &str| json!({ "type": kind, "base64": base64(&file(name)), "caption": name });
    let album = json!([{ "to": phone, "type": "album", "album": { "media": [
        one("image", "turned.jpg"), one("image", "alpha.png"), one("video", "film.mp4"), one("document", "prices.pdf"),
    ] } }, { "to": phone, "type": "text", "text": { "body": "after" } }]);
    let results = rig.send("shop", &token, &album).await;
    assert_eq!(results.as_array().expect("results").len(), 2, "{results}");
    assert_eq!(results[0]["messages"].as_array().expect("each").len(), 4);
    assert_eq!(results[0]["status"], "success");
    let got = rig.wait_for_received(phone, 6).await;
    let types: Vec<_> = got
        .iter()
        .map(|m| m["type"].as_str().expect("a type"))
        .collect();
    assert_eq!(
        types,
        ["album", "image", "image", "video", "document", "text"]
    );
    assert_eq!(got[1]["albumId"], got[0]["id"]);
    assert_eq!(got[3]["albumId"], got[0]["id"]);
    assert_eq!(got[4]["albumId"], Value::Null);
    assert_eq!(got[2]["caption"], "alpha.png");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_can_answer_a_message() {
    let account = "6281200001107";
    let (rig, token, _) = shop(account).await;
    let phone = "6281299991107";
    let first = rig.send_text("shop", &token, phone, "the question").await;
    let body = json!({ "to": phone, "type": "document", "quotedMessageId": first["messageId"],
        "document": { "base64": base64(&file("prices.pdf")), "filename": "prices.pdf" } });
    let results = rig.send("shop", &token, &body).await;
    assert_eq!(results[0]["status"], "success", "{results}");
    let got = rig.wait_for_received(phone, 2).await;
    assert_eq!(got[1]["quotedId"], first["messageId"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_says_why_and_sends_nothing() {
    let (rig, token, _) = shop("6281200001108").await;
    let other = rig.create("other").await;
    let foreign = uploaded(&rig, &other, "a.pdf", &file("prices.pdf")).await;
    let phone = "6281299991108";
    let with = |kind: &str, body: Value| json!({ "to": phone, "type": kind, kind: body });
    let inline = |kind: &str, bytes: &[u8]| with(kind, json!({ "base64": base64(bytes) }));
    let pdf = file("prices.pdf");
    let cases = [
        (
            with("image", json!({})),
            400,
            "For \"image\" type, \"image.link\" or \"image.id\" is required.",
        ),
        (
            with("image", json!({ "id": "../warung.redb" })),
            400,
            "Invalid image ID.",
        ),
        (with("image", json!({ "id": 7 })), 400, "Invalid image ID."),
        (
            with("document", json!({ "id": "nothing.pdf" })),
            404,
            "Media not found",
        ),
        (
            with("document", json!({ "id": foreign })),
            404,
            "Media not found",
        ),
        (
            with("image", json!({ "link": "ftp://x/y" })),
            400,
            "Invalid image URL: URL must be a valid http(s) URL",
        ),
        (
            with("image", json!({ "link": "http://u:p@example.com/" })),
            400,
            "credential-free",
        ),
        (
            with("image", json!({ "id": "a.jpg", "link": "http://x" })),
            400,
            "Only one of",
        ),
        (
            with("image", json!({ "base64": "@@@" })),
            400,
            "not valid base64",
        ),
        (with("image", json!({ "base64": "" })), 400, "is required"),
        (
            with(
                "image",
                json!({ "base64": "data:image/png;base64,", "caption": 5 }),
            ),
            400,
            "Invalid image caption.",
        ),
        (
            inline("image", &pdf),
            415,
            "needs an image; this file is application/pdf",
        ),
        (inline("sticker", &pdf), 415, "needs an image"),
        (inline("audio", &pdf), 415, "needs a sound file"),
        (inline("video", &file("song.mp3")), 415, "needs an MP4"),
        (
            with(
                "document",
                json!({ "base64": format!("data:image/png;base64,{}", base64(&pdf)) }),
            ),
            415,
            "says that it is image/png",
        ),
        (
            inline("image", &file("turned.jpg")[..600]),
            422,
            "cannot be read",
        ),
        (inline("image", &bomb(40_000, 40_000)), 413, "40000 x 40000"),
        (
            inline("sticker", &bomb(40_000, 40_000)),
            413,
            "40000 x 40000",
        ),
        (
            with("location", json!({ "latitude": 91, "longitude": 0 })),
            400,
            "location.latitude",
        ),
        (
            with("location", json!({ "latitude": "x", "longitude": 0 })),
            400,
            "location.latitude",
        ),
        (
            with("contact", json!({ "name": "x", "phone": "12" })),
            400,
            "\"contact\" must hold",
        ),
        (with("contacts", json!([])), 400, "\"contacts\" must hold"),
        (
            with("poll", json!({ "question": "?", "options": ["a"] })),
            400,
            "\"poll\" needs",
        ),
        (
            with("poll", json!({ "question": "?", "options": ["a", "a"] })),
            400,
            "\"poll\" needs",
        ),
        (
            with(
                "poll",
                json!({ "question": "?", "options": ["a", "b"], "selectableCount": 3 }),
            ),
            400,
            "\"poll\" needs",
        ),
        (
            with("album", json!({ "media": [{ "type": "image" }] })),
            400,
            "\"album.media\" must be",
        ),
    ];
    let batch: Vec<&Value> = cases.iter().map(|case| &case.0).collect();
    let results = rig.send("shop", &token, &json!(batch)).await;
    for (case, result) in cases.iter().zip(results.as_array().expect("results")) {
        assert_eq!(result["status"], "error", "{result}");
        assert_eq!(result["code"], case.1, "{result} for {}", case.2);
        let why = result["message"].as_str().expect("words");
        assert!(why.contains(case.2), "{why} for {}", case.2);
        assert!(!why.contains("/media/"), "{why}");
    }
    assert!(rig.received(phone).await.is_empty());
    assert_eq!(crate::files::on_disk(&rig).1, 0);
}

/// A PNG that is small on the wire and enormous when it is decoded: a head that promises so many
/// pixels, and the beginning of rows that never end.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut png = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
    let _ = &mut encoder;
    image::ImageEncoder::write_image(encoder, &[0; 64 * 64], 64, 64, image::ExtendedColorType::L8)
        .expect("a picture");
    // The size stands in the first chunk, which ends with its checksum.
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&sum.to_be_bytes());
    png
}

/// The checksum of a PNG chunk (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    })
}
