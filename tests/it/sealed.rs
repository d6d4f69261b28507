//! What a thief of the store or of a backup gets without `secret.key`.

use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;
use warung::domain::vault::key_bytes;
use warung::seal::Seal;
use warung::store::{Disk, Read, Store, StoreOptions, tables};
use warung::time::Clock;
use warung::wa::backend::Backend;
use whatsapp_rust::wacore::store::traits::DeviceStore as _;

use crate::support::{Call, Rig, eventually, program};

const TEXT: &str = "a word that nobody else would write";

/// Whether the file holds these bytes anywhere.
fn holds(file: &Path, part: &[u8]) -> bool {
    let bytes = std::fs::read(file).expect("a file");
    bytes.windows(part.len()).any(|window| window == part)
}

/// What of the sessions' devices must not be found: field names of the record, and both private keys
/// as bytes and as the JSON that older versions wrote.
async fn secrets_of(data: &Path) -> Vec<Vec<u8>> {
    let key = std::fs::read_to_string(data.join("secret.key")).expect("a key");
    let seal = Seal::new(&key_bytes(&key).expect("a key"));
    let disk = Disk::File(data.join("warung.redb"));
    let store = Store::open(disk, StoreOptions::default()).expect("opened");
    let rows = store.read(|read| read.prefix(tables::WA, b"", None, usize::MAX));
    let mut numbers: Vec<_> = rows
        .expect("read")
        .iter()
        .map(|(key, _)| u32::from_be_bytes(key[..4].try_into().expect("four bytes")))
        .collect();
    numbers.dedup();
    let mut secrets = vec![b"\"noise_key\"".to_vec(), b"\"identity_key\"".to_vec()];
    for number in numbers {
        let backend = Backend::new(store.clone(), number, Clock::system(), seal.clone());
        let device = backend.load().await.expect("read").expect("a device");
        let device = serde_json::to_value(&device).expect("JSON");
        for field in ["noise_key", "identity_key"] {
            let numbers: Vec<u8> = serde_json::from_value(device[field].clone()).expect("bytes");
            assert_eq!(numbers.len(), 64);
            secrets.push(serde_json::to_vec(&numbers[..32]).expect("JSON")[1..60].to_vec());
            secrets.push(numbers[..32].to_vec());
        }
    }
    store.close().await;
    assert!(secrets.len() >= 6, "there are devices");
    secrets
}

/// Runs the program on a data folder until it ends.
async fn run(data: &Path, words: &[&str]) -> (bool, String) {
    let mut command = Command::new(program());
    command.args(words).arg("--data").arg(data);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(60), output).await;
    let output = output.expect("in time").expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_store_nor_a_backup_is_an_account_without_the_key() {
    let mut rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000811").await;
    rig.send_text("shop", &token, "6281200000812", TEXT).await;
    let answer = json!({ "to": "6281200000811", "text": format!("{TEXT} too") });
    rig.sandbox("POST", "/sandbox/phones/6281200000812/messages", &answer)
        .await;
    eventually("it is received", || async {
        let path = rig.config.data.join("warung.redb");
        holds(&path, format!("{TEXT} too").as_bytes()).then_some(())
    })
    .await;
    let form = crate::files::form(&[crate::files::upload_field(
        "a.pdf",
        b"%PDF-1.4 of a patient",
    )]);
    let upload = Call::new(rig.addr(), "POST", "/api/v1/media?sessionId=shop");
    let upload = upload
        .bearer(&token)
        .header("content-type", crate::files::FORM)
        .body(form);
    let hash = upload.send().await.expect(201)["sha256"].clone();
    let copied = rig
        .post("/admin/backup", &json!({ "name": "copy.redb" }))
        .master();
    copied.send().await.expect(200);
    // A backup that nobody could open is refused while there is time to put the key back.
    let (key, aside) = ("secret.key", "secret.key.aside");
    let place = |name: &str| rig.config.data.join(name);
    std::fs::rename(place(key), place(aside)).expect("renamed");
    let again = json!({ "name": "second.redb" });
    let refused = rig.post("/admin/backup", &again).master().send().await;
    assert_eq!(refused.status, 503);
    assert!(
        refused.json()["message"]
            .as_str()
            .expect("words")
            .contains("put it back"),
        "{refused:?}"
    );
    std::fs::rename(place(aside), place(key)).expect("renamed");
    let copied = rig.post("/admin/backup", &again).master();
    copied.send().await.expect(200);
    rig.stop().await;

    let data = rig.config.data.clone();
    let store = data.join("warung.redb");
    let backup = data.join("backups/copy.redb");
    let hash = hash.as_str().expect("a hash");
    let file = data.join("backups/copy.redb.media").join(hash);
    let secrets = secrets_of(&data).await;
    for secret in &secrets {
        for path in [&store, &backup] {
            let shown = String::from_utf8_lossy(secret);
            assert!(!holds(path, secret), "{} holds {shown}", path.display());
        }
    }
    for clear in [
        TEXT,
        "6281200000812",
        "6281200000811",
        "redb",
        "shop",
        token.as_str(),
    ] {
        assert!(!holds(&backup, clear.as_bytes()), "{clear} is readable");
    }
    assert!(!holds(&file, b"patient"));
    assert!(!holds(&store, token.as_bytes()));
    assert!(
        holds(&store, TEXT.as_bytes()),
        "texts are not sealed one by one"
    );
    let left = std::fs::read_dir(&data).expect("a folder").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(
        !left.iter().any(|n| n.to_string_lossy().contains("part")),
        "nothing clear is left behind: {left:?}"
    );

    // Elsewhere it is the gateway again once the key is there.
    let elsewhere = rig.folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a folder");
    let name = backup.to_str().expect("a path");
    let (good, said) = run(&elsewhere, &["restore", name]).await;
    assert!(!good && said.contains("secret.key is missing"), "{said}");
    std::fs::write(elsewhere.join("secret.key"), "ab".repeat(32)).expect("written");
    let (good, said) = run(&elsewhere, &["restore", name]).await;
    assert!(!good && said.contains("does not belong"), "{said}");
    assert!(!elsewhere.join("warung.redb").exists());
    std::fs::copy(data.join("secret.key"), elsewhere.join("secret.key")).expect("copied");
    let files = data.join("backups/copy.redb.media");
    let hidden = data.join("backups/hidden");
    std::fs::rename(&files, &hidden).expect("renamed");
    let (good, said) = run(&elsewhere, &["restore", name]).await;
    assert!(good && said.contains("is not there"), "{said}");
    let missing = format!("files of the backup are missing (1): {hash}; everything else");
    assert!(said.contains(&missing), "{said}");
    assert!(said.contains("pauses campaigns"), "{said}");
    std::fs::rename(&hidden, &files).expect("renamed");
    std::fs::remove_file(elsewhere.join("warung.redb")).expect("removed");
    let (good, said) = run(&elsewhere, &["restore", name]).await;
    assert!(good && !said.contains("is not there"), "{said}");
    assert!(!said.contains("missing"), "{said}");
    let (good, said) = run(&elsewhere, &["restore", name]).await;
    assert!(!good && said.contains("exists already"), "{said}");
    let older = elsewhere.join("warung.redb.schema-1");
    std::fs::write(&older, "a store of an older version").expect("written");
    let (good, said) = run(&elsewhere, &["check"]).await;
    assert!(good, "{said}");
    let told = format!("{} is a copy from before an upgrade", older.display());
    assert!(said.contains(&told), "{said}");
    rig.config.data = elsewhere.clone();
    rig.restart().await;
    rig.wait_for_status("shop", "CONNECTED").await;
    let sent = rig
        .send_text("shop", &token, "6281200000812", "restored")
        .await;
    assert_eq!(sent["status"], "success");
    let found = std::fs::read(elsewhere.join("media").join(hash)).expect("the file");
    assert_eq!(found, b"%PDF-1.4 of a patient");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_store_is_refused_and_nothing_is_lost() {
    let mut rig = Rig::new().await;
    rig.pair("shop", "6281200000813").await;
    rig.stop().await;
    let key = rig.config.data.join("secret.key");
    let right = std::fs::read(&key).expect("a key");
    std::fs::write(&key, "ab".repeat(32)).expect("written");
    let url = rig.network.url();
    let words = ["serve", "--listen", "127.0.0.1:0", "--whatsapp-url", &url];
    let (good, said) = run(&rig.config.data, &words).await;
    assert!(
        !good && said.contains("secret.key does not belong to this store"),
        "{said}"
    );
    std::fs::write(&key, right).expect("written");
    rig.restart().await;
    rig.wait_for_status("shop", "CONNECTED").await;
}
