//! An account of Baileys goes on here: the same device, the same keys, no new QR.
//!
//! With Node 20 and `npm ci` in `tests/baileys` a Baileys of each version in use is paired with the
//! simulated network, chats, and is stopped; without them those tests say so and pass. The same is shown
//! of the fixtures that `tests/files/import/make.mjs` made of such a run, with the network of that run.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use warung::import::baileys::{self, Found, LeftOut};
use warung::sandbox::{NetworkOptions, Sandbox};
use warung::seal::Seal;
use warung::server::Deps;
use warung::store::{Disk, Store, StoreOptions};
use warung::time::Clock;
use warung::wa::account::Account;
use warung::wa::backend::Backend;

use crate::baileys::Baileys;
use crate::support::{Call, Rig, Sink};

const OWN: &str = "6281200000700";
const FIRST: &str = "6281200000701";
const SECOND: &str = "6281200000702";

/// Has a phone write to somebody.
async fn say(rig: &Rig, phone: &str, to: &str, text: &str) {
    let path = format!("/sandbox/phones/{phone}/messages");
    rig.sandbox("POST", &path, &json!({ "to": to, "text": text }))
        .await;
}

/// The texts that a phone has received, in this order.
async fn texts(rig: &Rig, phone: &str) -> Vec<String> {
    let received = rig.received(phone).await;
    let text = |message: &Value| message["text"].as_str().map(str::to_owned);
    received.iter().filter_map(text).collect()
}

/// A network and an account of it, which were packed together.
struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn unpack(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let packed = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/files/import")
            .join(format!("{name}.tar.gz"));
        let unpacked = std::process::Command::new("tar")
            .arg("-xzf")
            .arg(packed)
            .arg("-C")
            .arg(folder.path())
            .status();
        assert!(unpacked.expect("tar runs").success());
        Self { folder }
    }

    fn account(&self) -> PathBuf {
        self.folder.path().join("account")
    }

    /// The path of the file whose name begins so.
    fn file(&self, start: &str) -> PathBuf {
        let mut names = std::fs::read_dir(self.account()).expect("a folder");
        let found = names.find_map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            name.to_string_lossy()
                .starts_with(start)
                .then(|| entry.path())
        });
        found.expect(start)
    }
}

/// Reads a folder that is an account.
fn read(folder: &Path) -> Found {
    baileys::read(folder).unwrap_or_else(|why| panic!("{why:?}"))
}

/// What is left out of a folder, but for what is never taken.
fn left_out(folder: &Path) -> Vec<LeftOut> {
    let left_out = read(folder).left_out.into_iter();
    left_out.filter(|left| !left.file.contains('*')).collect()
}

/// Has the running gateway take in a folder; answers what it says.
async fn import(rig: &Rig, folder: &Path) -> Value {
    import_by(rig, folder, "").await
}

/// The same, with more words in the query.
async fn import_by(rig: &Rig, folder: &Path, more: &str) -> Value {
    let packed = std::process::Command::new("tar")
        .arg("-C")
        .arg(folder)
        .args(["-cf", "-", "."])
        .output()
        .expect("tar runs");
    let path = format!("/admin/import?session=shop{more}");
    let call = Call::new(rig.addr(), "POST", &path);
    let call = call.header("content-type", "application/x-tar").master();
    call.body(packed.stdout).send().await.expect(200)
}

/// A gateway on this network, whose sessions tell this sink what they receive.
async fn rig_on(network: Sandbox, sink: &Sink) -> Rig {
    Rig::on_network(network, Deps::default(), |config| {
        config.webhook_url = Some(sink.url.clone());
    })
    .await
}

/// Imports an account for which two texts wait, and goes on with everybody; answers the network's
/// counters before and after.
async fn goes_on(rig: &Rig, sink: &Sink, folder: &Path) -> (Value, Value) {
    let groups = rig.sandbox("GET", "/sandbox/groups", &Value::Null).await;
    let group = groups[0]["id"].as_str().expect("an id").to_owned();
    let before = rig.stats().await;
    let said = import(rig, folder).await;
    assert_eq!(said["changed"], true, "{said}");
    let row = rig.wait_for_status("shop", "CONNECTED").await;
    assert_eq!(row["number"], OWN, "{row}");
    let token = row["token"].as_str().expect("a token").to_owned();
    // The session has gone on meanwhile: what it was is no longer what it is.
    let said = import(rig, folder).await;
    assert_eq!(said["changed"], false, "{said}");
    for (to, text) in [
        (FIRST, "sepuluh"),
        (SECOND, "sebelas"),
        (group.as_str(), "dua belas"),
    ] {
        let sent = rig.send_text("shop", &token, to, text).await;
        assert_eq!(sent["status"], "success", "{sent}");
    }
    say(rig, FIRST, OWN, "tiga belas").await;
    say(rig, FIRST, &group, "empat belas").await;
    say(rig, SECOND, &group, "lima belas").await;

    let got = sink.wait_for("message.received", 5).await;
    let text = |event: &Value| event["data"]["text"].as_str().map(str::to_owned);
    let mut read: Vec<_> = got.iter().filter_map(text).collect();
    read.sort_unstable();
    let waited = ["delapan", "sembilan"];
    let later = ["empat belas", "lima belas", "tiga belas"];
    let mut expected = [waited.as_slice(), &later].concat();
    expected.sort_unstable();
    assert_eq!(read, expected);
    rig.wait_for_received(FIRST, 7).await;
    rig.wait_for_received(SECOND, 5).await;
    for (phone, expected) in [
        (
            FIRST,
            ["satu", "tiga", "lima", "sepuluh", "dua belas"].as_slice(),
        ),
        (SECOND, &["lima", "sebelas", "dua belas"]),
    ] {
        let texts = texts(rig, phone).await;
        for text in expected {
            let times = texts.iter().filter(|known| known == text).count();
            assert_eq!(times, 1, "{phone}: {text} in {texts:?}");
        }
    }
    (before, rig.stats().await)
}

/// Goes on, and everything could be read at once, by the sessions and sender keys that were taken over.
async fn goes_on_with_all(rig: &Rig, sink: &Sink, folder: &Path) {
    assert_eq!(left_out(folder), []);
    let (before, after) = goes_on(rig, sink, folder).await;
    let got = sink.wait_for("message.received", 5).await;
    for event in &got {
        let data = &event["data"];
        let (number, lid) = (data["senderNumber"].as_str(), data["senderLid"].as_str());
        assert!([FIRST, SECOND].map(Some).contains(&number), "{event}");
        assert!(lid.is_some_and(|lid| lid.ends_with("@lid")), "{event}");
    }
    for count in [
        "undecryptable",
        "askedAgain",
        "duplicates",
        "unknownStanzas",
    ] {
        assert_eq!(after[count], before[count], "{count}: {after}");
    }
}

/// Pairs a Baileys, has it chat with two people and in a group, stops it, and goes on.
async fn moves_in(package: &str, addressing: &str) {
    let network = Sandbox::open(NetworkOptions::default()).await;
    let sink = Sink::new().await;
    let rig = rig_on(network.expect("a network"), &sink).await;
    let overview = rig.sandbox("GET", "/sandbox", &Value::Null).await;
    let root = overview["rootKey"].as_str().expect("a key").to_owned();
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("account");
    let Some(mut baileys) = Baileys::start_in(&rig.network.url(), &root, &folder, package) else {
        return;
    };
    for phone in [FIRST, SECOND] {
        let path = format!("/sandbox/phones/{phone}");
        rig.sandbox("PUT", &path, &json!({ "registered": true }))
            .await;
    }
    let qr = baileys.hear("qr").await;
    rig.sandbox("POST", "/sandbox/scan", &json!({ "qr": qr, "phone": OWN }))
        .await;
    baileys.hear("open").await;
    let first = format!("{FIRST}@s.whatsapp.net");
    baileys.send(&first, "satu").await;
    baileys.hear("sent").await;
    say(&rig, FIRST, OWN, "dua").await;
    assert_eq!(baileys.hear("message").await["text"], "dua");
    baileys.send(&first, "tiga").await;
    baileys.hear("sent").await;
    say(&rig, SECOND, OWN, "empat").await;
    assert_eq!(baileys.hear("message").await["text"], "empat");
    let members = [FIRST, SECOND, OWN];
    let group = json!({ "subject": "Arisan", "participants": members, "addressing": addressing });
    let group = rig.sandbox("POST", "/sandbox/groups", &group).await;
    let group = group["id"].as_str().expect("an id").to_owned();
    baileys.send(&group, "lima").await;
    baileys.hear("sent").await;
    say(&rig, FIRST, &group, "enam").await;
    assert_eq!(baileys.hear("message").await["text"], "enam");
    say(&rig, SECOND, &group, "tujuh").await;
    assert_eq!(baileys.hear("message").await["text"], "tujuh");
    rig.wait_for_received(FIRST, 4).await;
    rig.wait_for_received(SECOND, 2).await;
    baileys.stop().await;

    // Nobody is there to read these.
    say(&rig, FIRST, OWN, "delapan").await;
    say(&rig, SECOND, &group, "sembilan").await;
    goes_on_with_all(&rig, &sink, &folder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_baileys_7_goes_on_without_a_new_qr() {
    moves_in("@whiskeysockets/baileys", "lid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_baileys_7_goes_on_in_a_group_of_numbers() {
    moves_in("@whiskeysockets/baileys", "pn").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_baileys_6_goes_on_without_a_new_qr() {
    moves_in("baileys6", "lid").await;
}

impl Fixture {
    /// A gateway on the packed network, where there is no Node.
    async fn rig(&self, sink: &Sink) -> Rig {
        let journal = self.folder.path().join("sandbox.journal");
        let network = Sandbox::open(NetworkOptions::kept_in(&journal)).await;
        rig_on(network.expect("a network"), sink).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_account_of_baileys_7_goes_on() {
    let (fixture, sink) = (Fixture::unpack("baileys-7"), Sink::new().await);
    goes_on_with_all(&fixture.rig(&sink).await, &sink, &fixture.account()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_account_of_baileys_6_goes_on() {
    let (fixture, sink) = (Fixture::unpack("baileys-6"), Sink::new().await);
    goes_on_with_all(&fixture.rig(&sink).await, &sink, &fixture.account()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_device_keeps_the_keys_that_have_gone_on_here() {
    let (fixture, sink) = (Fixture::unpack("baileys-7"), Sink::new().await);
    let rig = fixture.rig(&sink).await;
    goes_on_with_all(&rig, &sink, &fixture.account()).await;
    let before = rig.stats().await;
    let said = import_by(&rig, &fixture.account(), "&replace=true").await;
    assert_eq!(said["changed"], true, "{said}");
    let lines = said["lines"].as_array().expect("lines").iter();
    let of_account: Vec<_> = lines
        .filter(|line| line["about"] == "account of session shop" && line["outcome"] != "note")
        .collect();
    let words =
        "it is the linked device of the session that is here, whose keys have gone on since";
    let line = of_account[0]["detail"].as_str().expect("a text");
    assert!(of_account.len() == 1 && line.starts_with(words), "{said}");
    let row = rig.wait_for_status("shop", "CONNECTED").await;
    assert_eq!(row["number"], OWN, "{row}");
    let token = row["token"].as_str().expect("a token").to_owned();
    let groups = rig.sandbox("GET", "/sandbox/groups", &Value::Null).await;
    let group = groups[0]["id"].as_str().expect("an id").to_owned();
    for (to, text) in [(FIRST, "enam belas"), (group.as_str(), "tujuh belas")] {
        let sent = rig.send_text("shop", &token, to, text).await;
        assert_eq!(sent["status"], "success", "{sent}");
    }
    say(&rig, SECOND, OWN, "delapan belas").await;
    say(&rig, FIRST, &group, "sembilan belas").await;
    sink.wait_for("message.received", 7).await;
    rig.wait_for_received(FIRST, 9).await;
    let after = rig.stats().await;
    for count in ["undecryptable", "askedAgain", "duplicates"] {
        assert_eq!(after[count], before[count], "{count}: {after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_is_agreed_on_anew() {
    let fixture = Fixture::unpack("baileys-7");
    for entry in std::fs::read_dir(fixture.account()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if name.starts_with("session-") || name.starts_with("sender-key-120") {
            std::fs::write(&path, "of another program").expect("written");
        }
    }
    let sink = Sink::new().await;
    let rig = fixture.rig(&sink).await;
    let (before, after) = goes_on(&rig, &sink, &fixture.account()).await;
    let again = |stats: &Value| stats["askedAgain"].as_u64().expect("a count");
    assert!(again(&after) > again(&before), "{after}");
}

#[tokio::test]
async fn keys_that_do_not_belong_together_are_refused_or_left_out() {
    let fixture = Fixture::unpack("baileys-7");
    let whole = read(&fixture.account()).account;
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::File(folder.path().join("store"));
    let store = Store::open(disk, StoreOptions::default()).expect("a store");
    let backend = Backend::new(store, 1, Clock::system(), Seal::new(&[7; 32]));
    let why = |account: &Account| match backend.adopt(account) {
        Ok(_) => panic!("it was taken"),
        Err(why) => why.0,
    };
    let mut account = whole.clone();
    account.identity.private = [9; 32];
    assert!(why(&account).contains("identity key"), "{}", why(&account));
    let mut account = whole.clone();
    account.noise.public = [9; 32];
    assert!(why(&account).contains("connection key"));
    let mut account = whole.clone();
    account.signed_prekey.signature[5] ^= 1;
    assert!(why(&account).contains("not signed"));

    let mut account = whole;
    let session = &mut account.sessions[0];
    let state = session.current.as_mut().expect("an open state");
    state.sending.ratchet.private = [9; 32];
    let session = session.file.clone();
    let own = account.sender_keys.iter_mut();
    let own = own.filter(|key| key.states[0].signing_private.is_some());
    let sender_keys: Vec<_> = own
        .map(|key| {
            key.states[0].signing_private = Some([9; 32]);
            key.file.clone()
        })
        .collect();
    account.prekeys[0].keys.private = [9; 32];
    let prekey = format!("one-time key {}", account.prekeys[0].id);
    let expected = [vec![prekey, session], sender_keys].concat();
    let Ok((_, left_out)) = backend.adopt(&account) else {
        panic!("it is an account");
    };
    let files: Vec<_> = left_out.into_iter().map(|left| left.file).collect();
    assert_eq!(files, expected);
}

#[test]
fn what_is_damaged_or_strange_in_a_folder_is_left_out_and_said() {
    let fixture = Fixture::unpack("baileys-7");
    let account = fixture.account();
    assert_eq!(left_out(&account), []);
    let whole = read(&account);
    let cut = fixture.file("session-1047567871201151");
    let text = std::fs::read_to_string(&cut).expect("readable");
    std::fs::write(&cut, &text[..text.len() / 2]).expect("written");
    let other = fixture.file("session-1434988360913498");
    std::fs::write(&other, r#"{"version":"v2","_sessions":{}}"#).expect("written");
    std::fs::write(fixture.file("sender-key-120"), "[{}]").expect("written");
    std::fs::write(fixture.file("tctoken-1047567871201151"), "").expect("written");
    std::fs::write(account.join("notes.txt"), "call Ani").expect("written");
    std::fs::create_dir(account.join("session-6281200000703.0.json")).expect("a folder");
    std::os::unix::fs::symlink("/etc/passwd", account.join("pre-key-9999.json")).expect("a link");
    let pipe = account.join("lid-mapping-6281200000703.json");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let large = std::fs::File::create(account.join("pre-key-9998.json")).expect("a file");
    large.set_len((16 << 20) + 1).expect("long");

    let told = left_out(&account);
    let why = |start: &str| {
        let found = told.iter().find(|left| left.file.starts_with(start));
        found.map_or("nothing is said of it", |left| left.why.as_str())
    };
    for (start, reason) in [
        ("session-1047567871201151", "it ends in the middle"),
        ("session-1434988360913498", "it is of an unknown form"),
        (
            "sender-key-120",
            "a part of it is missing or of an unknown form",
        ),
        ("tctoken-1047567871201151", "it is empty"),
        ("notes.txt", "it is no file of Baileys"),
        (
            "session-6281200000703",
            "it is a folder, a link or a device",
        ),
        ("pre-key-9999", "it is a folder, a link or a device"),
        (
            "lid-mapping-6281200000703",
            "it is a folder, a link or a device",
        ),
        ("pre-key-9998", "it is larger than 16 MiB"),
    ] {
        assert_eq!(why(start), reason, "{start}");
    }
    assert_eq!(told.len(), 9, "{told:?}");
    let rest = read(&account);
    assert_eq!(
        rest.account.sessions.len() + 2,
        whole.account.sessions.len()
    );
    assert_eq!(rest.account.prekeys.len(), whole.account.prekeys.len());
    assert_eq!(rest.account.lids, whole.account.lids);
}

#[test]
fn a_folder_without_a_whole_device_is_no_account() {
    let why = |fixture: &Fixture| baileys::read(&fixture.account()).err().map(|why| why.0);
    let fixture = Fixture::unpack("baileys-7");
    let path = fixture.file("creds.json");
    let text = std::fs::read_to_string(&path).expect("readable");
    let creds: Value = serde_json::from_str(&text).expect("JSON");
    std::fs::write(&path, &text[..text.len() - 20]).expect("written");
    let told = why(&fixture).expect("refused");
    assert_eq!(told, "creds.json cannot be read: it ends in the middle");
    for key in [
        "noiseKey",
        "signedIdentityKey",
        "signedPreKey",
        "registrationId",
        "advSecretKey",
        "account",
        "me",
    ] {
        let mut creds = creds.clone();
        creds.as_object_mut().expect("an object").remove(key);
        std::fs::write(&path, creds.to_string()).expect("written");
        let told = why(&fixture).expect(key);
        assert!(told.contains(key), "{key}: {told}");
    }
    // A value of another form may be a secret: it is not repeated.
    let mut strange = creds;
    strange["noiseKey"] = json!("a secret of somebody");
    std::fs::write(&path, strange.to_string()).expect("written");
    let told = why(&fixture).expect("refused");
    assert!(!told.contains("secret"), "{told}");
    std::fs::remove_file(&path).expect("removed");
    let told = why(&fixture).expect("refused");
    assert_eq!(told, "there is no creds.json in it");
    let nowhere = fixture.account().join("nowhere");
    assert!(baileys::read(&nowhere).is_err());
}
