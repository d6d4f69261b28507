//! The files of a session: stored once, served back only to it, refused with a reason.

use std::io::Write as _;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::files::{Field, file, form, form_call, on_disk, sha256, upload, upload_field, uploaded};
use crate::support::{Call, Rig, eventually};

const REAL: &[&str] = &[
    "turned.jpg",
    "alpha.png",
    "moving.gif",
    "moving.webp",
    "prices.pdf",
    "prices.doc",
    "prices.docx",
    "prices.xls",
    "prices.xlsx",
    "film.mp4",
    "voice.ogg",
    "song.mp3",
    "song.m4a",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_each_type_is_stored_and_served_back_to_its_session_only() {
    let rig = Rig::new().await;
    let (own, other) = (rig.create("own").await, rig.create("other").await);
    for name in REAL {
        let bytes = file(name);
        let answer = upload(&rig, &own, name, &bytes).await.expect(201);
        assert_eq!(answer["status"], "success");
        assert_eq!(answer["message"], "File uploaded successfully.");
        assert_eq!(answer["mimetype"], crate::files::mime(name), "{name}");
        assert_eq!(answer["sha256"], sha256(&bytes));
        assert_eq!(answer["fileName"], *name);
        let id = answer["mediaId"].as_str().expect("an id");
        let extension = name.rsplit('.').next().expect("an extension");
        assert!(id.ends_with(&format!(".{extension}")), "{id}");
        assert_eq!(answer["url"], format!("/media/{id}"));
        for path in [format!("/media/{id}"), format!("/api/v1/media/{id}")] {
            let got = rig.get(&path).bearer(&own).send().await;
            assert_eq!(got.status, 200);
            assert_eq!(got.body, bytes, "{name}");
            assert_eq!(got.headers["content-type"], crate::files::mime(name));
            assert_eq!(rig.get(&path).send().await.status, 401);
            let foreign = rig.get(&path).bearer(&other).send().await.expect(404);
            assert_eq!(foreign["message"], "Media not found");
            let named = rig
                .get(&format!("{path}?sessionId=own"))
                .master()
                .send()
                .await;
            assert_eq!(named.body, bytes);
        }
    }
    let list = rig
        .get("/api/v1/media")
        .bearer(&own)
        .send()
        .await
        .expect(200);
    assert_eq!(list["usage"]["files"], REAL.len());
    assert_eq!(list["files"].as_array().expect("files").len(), REAL.len());
    let none = rig
        .get("/api/v1/media")
        .bearer(&other)
        .send()
        .await
        .expect(200);
    assert_eq!(none["usage"]["files"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_file_can_be_asked_for() {
    let rig = Rig::new().await;
    let token = rig.create("own").await;
    let bytes = file("film.mp4");
    let id = uploaded(&rig, &token, "film.mp4", &bytes).await;
    let path = format!("/media/{id}");
    let ranged = |range: &'static str| rig.get(&path).bearer(&token).header("range", range).send();
    let part = ranged("bytes=10-19").await;
    assert_eq!((part.status, &part.body[..]), (206, &bytes[10..20]));
    let length = bytes.len();
    assert_eq!(
        part.headers["content-range"],
        format!("bytes 10-19/{length}")
    );
    let tail = ranged("bytes=-5").await;
    assert_eq!((tail.status, &tail.body[..]), (206, &bytes[length - 5..]));
    let beyond = ranged("bytes=99999999-").await;
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.headers["content-range"], format!("bytes */{length}"));
    let whole = rig.get(&path).bearer(&token).send().await;
    let tag = whole.headers["etag"].clone();
    let known = rig.get(&path).bearer(&token).header("if-none-match", &tag);
    assert_eq!(known.send().await.status, 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_lies_on_the_disk_once_and_goes_with_its_last_name() {
    let mut rig = Rig::new().await;
    let (one, two) = (rig.create("one").await, rig.create("two").await);
    let bytes = file("prices.pdf");
    let first = uploaded(&rig, &one, "a.pdf", &bytes).await;
    let second = uploaded(&rig, &one, "b.pdf", &bytes).await;
    let third = uploaded(&rig, &two, "c.pdf", &bytes).await;
    assert_eq!(on_disk(&rig), (vec![sha256(&bytes)], 0));
    for id in [&first, &second] {
        let path = format!("/api/v1/media/{id}");
        let gone = rig.delete(&path).bearer(&one).send().await.expect(200);
        assert_eq!(gone["message"], format!("Media {id} deleted."));
        assert_eq!(rig.delete(&path).bearer(&one).send().await.status, 404);
    }
    let path = format!("/media/{third}");
    assert_eq!(rig.get(&path).bearer(&two).send().await.body, bytes);
    // Nothing that is named is taken for an orphan.
    rig.restart().await;
    assert_eq!(rig.get(&path).bearer(&two).send().await.body, bytes);
    let deleted = rig.delete("/api/v1/sessions/two").bearer(&two).send().await;
    assert_eq!(deleted.status, 200);
    assert_eq!(on_disk(&rig), (vec![], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_what_it_claims_is_refused_and_leaves_nothing() {
    let rig = Rig::new().await;
    let token = rig.create("own").await;
    let refused = |fields: Vec<Field<'static>>| {
        let call = form_call(&rig, "/api/v1/media", &token, form(&fields));
        async move {
            let answer = call.send().await;
            let said = answer.json();
            assert_eq!(said["status"], "error");
            (
                answer.status,
                said["message"].as_str().expect("words").to_owned(),
            )
        }
    };
    let pdf: &'static [u8] = Box::leak(file("prices.pdf").to_vec().into_boxed_slice());
    let named = |name, bytes| vec![upload_field(name, bytes)];
    let (status, why) = refused(named("picture.jpg", pdf)).await;
    assert_eq!(status, 415);
    assert!(
        why.contains("image/jpeg") && why.contains("application/pdf"),
        "{why}"
    );
    let (status, why) = refused(named("page.bin", b"<html><script>alert(1)</script></html>")).await;
    assert_eq!(status, 415);
    assert!(
        why.starts_with("Invalid file type. Only JPEG, PNG, GIF, WebP, PDF, Word, Excel"),
        "{why}"
    );
    let (status, why) = refused(named("empty.jpg", b"")).await;
    assert_eq!((status, why.as_str()), (400, "The file is empty"));
    let two = vec![upload_field("a.pdf", pdf), upload_field("b.pdf", pdf)];
    let (status, why) = refused(two).await;
    assert_eq!(
        (status, why.as_str()),
        (400, "Only one file may be uploaded at a time")
    );
    let mut other = upload_field("a.pdf", pdf);
    other.name = "media";
    let (status, why) = refused(vec![other]).await;
    assert_eq!((status, why.as_str()), (400, "Unexpected file field"));
    let (status, why) = refused(vec![]).await;
    assert_eq!(status, 400);
    assert!(why.starts_with("No file uploaded"), "{why}");
    let foreign = Field {
        name: "sessionId",
        file_name: None,
        mime: None,
        bytes: b"another",
    };
    let (status, _) = refused(vec![foreign, upload_field("a.pdf", pdf)]).await;
    assert_eq!(status, 400);
    let json = rig
        .post("/api/v1/media", &json!({}))
        .bearer(&token)
        .send()
        .await;
    assert!(
        json.expect(400)["message"]
            .as_str()
            .expect("words")
            .starts_with("No file uploaded")
    );
    assert_eq!(on_disk(&rig), (vec![], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_file_is_taken_and_one_byte_more_is_not() {
    let rig = Rig::new().await;
    let token = rig.create("own").await;
    let mut bytes = file("prices.pdf").to_vec();
    bytes.resize(25 << 20, b' ');
    assert_eq!(upload(&rig, &token, "large.pdf", &bytes).await.status, 201);
    bytes.push(b' ');
    let refused = upload(&rig, &token, "large.pdf", &bytes).await.expect(413);
    assert_eq!(refused["message"], "File too large");
    assert_eq!(on_disk(&rig).0.len(), 1);
    assert_eq!(on_disk(&rig).1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let rig = Rig::new().await;
    let token = rig.create("own").await;
    let body = form(&[upload_field("a.pdf", &file("prices.pdf"))]);
    let head = format!(
        "POST /api/v1/media HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\
         Content-Type: multipart/form-data; boundary=a-boundary-of-the-tests\r\n\r\n",
        body.len()
    );
    // The connection ends in the middle of the file.
    let mut stream = tokio::net::TcpStream::connect(rig.addr())
        .await
        .expect("connected");
    stream.write_all(head.as_bytes()).await.expect("written");
    stream
        .write_all(&body[..body.len() / 2])
        .await
        .expect("written");
    eventually("bytes on the disk", || async {
        (on_disk(&rig).1 == 1).then_some(())
    })
    .await;
    drop(stream);
    eventually("the half file is gone", || async {
        (on_disk(&rig).1 == 0).then_some(())
    })
    .await;
    // The form ends in the middle of the file.
    let mut cut = body.clone();
    cut.truncate(body.len() / 2);
    let answer = form_call(&rig, "/api/v1/media", &token, cut).send().await;
    assert_eq!(answer.expect(400)["status"], "error");
    assert_eq!(on_disk(&rig), (vec![], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_no_paths() {
    let rig = Rig::new().await;
    let token = rig.create("own").await;
    for id in [
        "..%2f..%2fwarung.redb",
        "%2e%2e",
        "x.jpg",
        "..%5cx",
        "a%00b.jpg",
    ] {
        let answer = rig.get(&format!("/media/{id}")).bearer(&token).send().await;
        assert_eq!(answer.status, 404, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_a_quota_and_old_files_go() {
    let clock = warung::time::Clock::manual(warung::time::Timestamp::from_secs(1_700_000_000));
    let deps = warung::server::Deps {
        clock: clock.clone(),
        ..Default::default()
    };
    let rig = Rig::made_of(deps, |config| {
        config.media_quota = 1 << 20;
        config.media_days = 10;
    })
    .await;
    let token = rig.create("own").await;
    let large = |fill: u8| {
        let mut bytes = file("prices.pdf").to_vec();
        bytes.resize(600 << 10, fill);
        bytes
    };
    let first = uploaded(&rig, &token, "a.pdf", &large(b'a')).await;
    let full = upload(&rig, &token, "b.pdf", &large(b'b'))
        .await
        .expect(413);
    assert!(
        full["message"].as_str().expect("words").contains("quota"),
        "{full}"
    );
    assert_eq!(on_disk(&rig).0.len(), 1);
    clock.advance(std::time::Duration::from_secs(11 * 24 * 3600));
    let stop = tokio_util::sync::CancellationToken::new();
    let gateway = rig.server.as_ref().expect("running").gateway();
    assert!(gateway.forget_old(&stop).await.expect("swept") >= 1);
    assert_eq!(
        rig.get(&format!("/media/{first}"))
            .bearer(&token)
            .send()
            .await
            .status,
        404
    );
    assert_eq!(on_disk(&rig), (vec![], 0));
    uploaded(&rig, &token, "b.pdf", &large(b'b')).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_in_the_folder_goes_with_the_next_start() {
    let mut rig = Rig::new().await;
    let token = rig.create("own").await;
    let id = uploaded(&rig, &token, "a.pdf", &file("prices.pdf")).await;
    rig.stop().await;
    let folder = rig.config.data.join("media");
    std::fs::write(folder.join(sha256(b"orphan")), b"orphan").expect("written");
    let mut half = std::fs::File::create(folder.join("arriving/half")).expect("made");
    half.write_all(b"half").expect("written");
    rig.restart().await;
    assert_eq!(on_disk(&rig), (vec![sha256(&file("prices.pdf"))], 0));
    let got = rig.get(&format!("/media/{id}")).bearer(&token).send().await;
    assert_eq!(got.body, file("prices.pdf"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_refused_is_refused_before_it_is_sent() {
    let rig = Rig::new().await;
    let head = "POST /api/v1/media HTTP/1.1\r\nHost: x\r\nContent-Length: 26000000\r\nExpect: 100-continue\r\n\
                Content-Type: multipart/form-data; boundary=x\r\n\r\n";
    let mut stream = tokio::net::TcpStream::connect(rig.addr())
        .await
        .expect("connected");
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 401");
    let _ = Call::new(rig.addr(), "GET", "/health")
        .send()
        .await
        .expect(200);
}
