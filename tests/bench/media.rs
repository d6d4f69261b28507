//! Files: uploads, pictures, memory, one file to many people.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{Bench, Gateway, MASTER, median, pair};

/// A form that uploads these bytes.
fn upload(session: &str, name: &str, mime: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {mime}\r\n\r\n"
    );
    let body = [head.as_bytes(), bytes, b"\r\n--x--\r\n"].concat();
    let head = format!(
        "POST /api/v1/media?sessionId={session} HTTP/1.1\r\nhost: bench\r\nx-master-key: {MASTER}\r\n\
         content-type: multipart/form-data; boundary=x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

/// Bytes that no other run has, so that nothing is deduplicated.
fn document(size: usize, n: u64) -> Vec<u8> {
    let mut bytes = format!("%PDF-1.4\n% {n} {:?}\n", Instant::now()).into_bytes();
    bytes.resize(size, b'x');
    bytes
}

/// A picture of 12 megapixels with some texture.
fn photograph() -> Vec<u8> {
    let picture = image::RgbImage::from_fn(4000, 3000, |x, y| {
        let wave = ((x as f32 / 37.0).sin() * (y as f32 / 53.0).cos() * 100.0) as i32;
        let grain = (x.wrapping_mul(31) ^ y.wrapping_mul(17)) as i32 % 24;
        let c = (128 + wave + grain).clamp(0, 255) as u8;
        image::Rgb([c, 255 - c, (x / 16) as u8])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Jpeg)
        .expect("a picture");
    bytes.into_inner()
}

fn media_id(answer: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(answer).expect("JSON");
    answer["mediaId"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned()
}

/// Uploads, recompression, memory, the same picture to many.
pub(crate) fn media(bench: &Bench) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(bench, folder.path());
    pair(bench, &gateway, "shop", "6281200000003");
    for mib in [5, 25] {
        let times = (0..9).map(|n| {
            let request = upload("shop", "a.pdf", "application/pdf", &document(mib << 20, n));
            let mut connection = gateway.connect();
            let started = Instant::now();
            media_id(&connection.ask_bytes(&request));
            started.elapsed().as_secs_f64() * 1000.0
        });
        println!("upload of {mib} MiB: {:.1} ms", median(times.collect()));
    }
    peak_of_ten(&gateway);
    to_many(bench, &gateway);
}

/// Ten uploads at once: what they take above what the program has at rest.
fn peak_of_ten(gateway: &Gateway) {
    let idle = gateway.resident();
    gateway.forget_peak();
    let size = (25 << 20) - 100;
    let workers: Vec<_> = (0..10)
        .map(|n| {
            let mut connection = gateway.connect();
            let request = upload("shop", "a.pdf", "application/pdf", &document(size, 100 + n));
            std::thread::spawn(move || media_id(&connection.ask_bytes(&request)))
        })
        .collect();
    workers
        .into_iter()
        .for_each(|w| drop(w.join().expect("a worker")));
    println!(
        "ten uploads of 25 MB at once: {:.1} MiB above idle ({:.1} MiB)",
        gateway.peak().saturating_sub(idle) as f64 / 1024.0,
        idle as f64 / 1024.0
    );
}

/// One 12 megapixel picture to 1,000 people.
fn to_many(bench: &Bench, gateway: &Gateway) {
    let stats = || {
        let asked = bench.network.control("GET", "/sandbox/stats", &Value::Null);
        bench.runtime.block_on(asked).expect("stats")
    };
    let picture = photograph();
    let request = upload("shop", "a.jpg", "image/jpeg", &picture);
    let id = media_id(&gateway.connect().ask_bytes(&request));
    let batch = |from: u32, count: u32| {
        let to = |n: u32| format!("62812100{n:05}");
        let one =
            |n| json!({ "to": to(n), "type": "image", "image": { "id": id, "caption": "Promo" } });
        let body = Value::Array((from..from + count).map(one).collect());
        let results = gateway.ask("POST", "/api/v1/messages?sessionId=shop", &body);
        for result in results.as_array().expect("results") {
            assert_eq!(result["status"], "success", "{result}");
        }
    };
    let (idle, uploads) = (
        gateway.resident(),
        stats()["mediaUploads"].as_u64().expect("a count"),
    );
    gateway.forget_peak();
    let started = Instant::now();
    batch(0, 1);
    println!(
        "first message with a 12 MP picture of {:.1} MB (recompressed, sealed, uploaded): {:.0} ms, {:.1} MiB above idle",
        picture.len() as f64 / 1e6,
        started.elapsed().as_secs_f64() * 1000.0,
        gateway.peak().saturating_sub(idle) as f64 / 1024.0
    );
    let started = Instant::now();
    (0..10).for_each(|n| batch(1 + n * 100, 100));
    println!(
        "the same picture to 1,000 more people: {:.0} per second, {} upload in all",
        1000.0 / started.elapsed().as_secs_f64(),
        stats()["mediaUploads"].as_u64().expect("a count") - uploads
    );
}
