use super::*;
use crate::domain::campaign::RecipientStatus;

#[test]
fn a_folder_is_read_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["c", "a", "b", ".hidden"] {
        std::fs::write(folder.path().join(name), "").expect("written");
    }
    let names = |most| {
        let found = entries_that(folder.path(), most, &mut |name| !name.starts_with('.'));
        found.map(|found| found.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
    };
    assert_eq!(names(3).expect("all"), ["a", "b", "c"]);
    assert!(names(2).expect_err("cut").contains("more than 2 files"));
    assert_eq!(entries(&folder.path().join("nothing")), Ok(Vec::new()));
}

/// A folder of the fixtures, copied to where it may be changed.
fn copy(name: &str) -> tempfile::TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files/import/super_light")
        .join(name);
    let folder = tempfile::tempdir().expect("a folder");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(folder.path())
        .status();
    assert!(copied.expect("cp runs").success());
    folder
}

fn read_all(folder: &Path) -> Incoming {
    let reading = Reading {
        is_named: true,
        ..Reading::default()
    };
    read(folder, &reading).unwrap_or_else(|why| panic!("{why:?}"))
}

#[test]
fn an_archive_does_not_name_its_account() {
    let folder = copy("older");
    let account = folder.path().join("auth_info_baileys/kasir");
    let incoming = read_all(&account);
    assert_eq!(incoming.sessions[0].id.as_str(), "kasir");
    let unnamed = Reading::default();
    let why = read(&account, &unnamed).err().expect("no name");
    assert!(
        why.detail().contains("--session NAME, session=NAME"),
        "{why}"
    );
    // What lies around accounts is no name, and theirs are.
    let incoming = read(&folder.path().join("auth_info_baileys"), &unnamed).expect("accounts");
    assert_eq!(incoming.sessions[0].id.as_str(), "kasir");
}

#[test]
fn the_folder_that_guides_give_to_one_account_is_one() {
    let (folder, bot) = (copy("older"), tempfile::tempdir().expect("a folder"));
    let account = bot.path().join("auth_info_baileys");
    let from = folder.path().join("auth_info_baileys/kasir");
    std::fs::rename(from, &account).expect("moved");
    std::fs::write(bot.path().join("index.js"), "").expect("written");
    for place in [bot.path(), &account] {
        let incoming = read_all(place);
        assert_eq!(incoming.sessions.len(), 1, "{place:?}");
        assert_eq!(incoming.sessions[0].id.as_str(), "auth_info_baileys");
    }
    // Without the database and tokens, several in it are still those of Super-Light.
    std::fs::rename(&account, bot.path().join("toko")).expect("moved");
    std::fs::create_dir(&account).expect("made");
    std::fs::rename(bot.path().join("toko"), account.join("toko")).expect("moved");
    let named = Reading {
        session: SessionId::parse("x").ok(),
        ..Reading::default()
    };
    let why = read(bot.path(), &named).err().expect("refused");
    assert!(why.detail().contains("keep their names"), "{why}");
}

#[test]
fn a_campaign_shows_an_upload_only_where_there_is_one() {
    let folder = copy("newer");
    let id = "44444444-4444-4444-8444-444444444444.upload.png";
    let place = folder.path().join("src/services/campaigns");
    for (name, link) in [
        ("a", format!("/media/{id}")),
        ("b", format!("http://toko.example.com:3000/media/{id}")),
        ("c", "https://cdn.example.com/media/promo.jpg".to_owned()),
        ("d", "/media/gone.png".to_owned()),
    ] {
        let campaign = serde_json::json!({
            "id": name, "name": name, "status": "draft", "recipients": [{ "number": "6281200000001" }],
            "message": { "type": "image", "content": "x", "mediaUrl": link },
        });
        let path = place.join(format!("{name}.json"));
        std::fs::write(path, campaign.to_string()).expect("written");
    }
    let incoming = read_all(folder.path());
    let shows = |name: &str| {
        let mut all = incoming.campaigns.iter();
        let found = all.find(|(_, campaign)| campaign.id.to_string() == name);
        let media = found.and_then(|(_, campaign)| campaign.media.clone());
        media.expect("media").source.map(|id| id.to_string())
    };
    assert_eq!(shows("a"), Ok(id.to_owned()));
    assert_eq!(shows("b"), Ok(id.to_owned()));
    let link = "https://cdn.example.com/media/promo.jpg";
    assert_eq!(shows("c"), Err(link.to_owned()));
    assert_eq!(shows("d"), Err("/media/gone.png".to_owned()));
    let said = incoming.report.text();
    let missing = "note      campaign d: the file that it shows is not among the uploaded files";
    assert!(said.contains(missing), "{said}");
    assert!(!said.contains("note      campaign c"), "{said}");
}

#[test]
fn damage_in_what_is_not_taken_holds_nothing_up() {
    let folder = copy("newer");
    let path = folder.path().join("data/whatsapp.db");
    let whole = std::fs::read(&path).expect("readable");
    let (size, mut seen) = (4096, 0);
    // Some of its pages hold nothing but messages of the inbox.
    for page in 1..whole.len() / size {
        let mut damaged = whole.clone();
        damaged[page * size..(page + 1) * size].fill(0xff);
        std::fs::write(&path, damaged).expect("written");
        let database = sqlite::Database::open(&path).expect("a database");
        let uncounted = database.count("chat_messages").is_err();
        let others = ["whatsapp_sessions", "webhook_configs"];
        if !uncounted || !others.iter().all(|table| database.count(table).is_ok()) {
            continue;
        }
        seen += 1;
        let said = read_all(folder.path()).report.text();
        let line = "left out  database: messages of its inbox (not counted: ";
        assert!(said.contains(line), "{said}");
        assert!(!said.contains("problem"), "{said}");
    }
    assert!(seen > 0, "a page was damaged");
}

#[test]
fn numbers_are_read_for_the_country_of_their_program_and_nobody_is_written_to_again() {
    let folder = copy("newer");
    let env = folder.path().join(".env");
    let before = std::fs::read_to_string(&env).expect("readable");
    std::fs::write(&env, format!("{before}\nDEFAULT_COUNTRY_CODE=+62\n")).expect("written");
    let mut rows = vec![serde_json::json!({ "number": "0812-3456-7890", "status": "pending" })];
    let told = ["sent", "delivered", "read", "sending", "Sent", "queued"];
    for (number, status) in told.into_iter().enumerate() {
        let number = format!("628120000000{number}");
        rows.push(serde_json::json!({ "number": number, "status": status, "sentAt": null }));
    }
    rows.push(
        serde_json::json!({ "number": "6281200000009", "sentAt": "2025-07-14T08:00:00.000Z" }),
    );
    let campaign = serde_json::json!({ "id": "a", "name": "a", "status": "sending", "recipients": rows,
        "message": { "type": "text", "content": "x" } });
    let place = folder.path().join("src/services/campaigns/a.json");
    std::fs::write(place, campaign.to_string()).expect("written");
    let incoming = read_all(folder.path());
    let mut all = incoming.campaigns.iter();
    let found = all.find(|(_, campaign)| campaign.id.to_string() == "a");
    let campaign = &found.expect("a campaign").1;
    let sent = campaign.states.iter();
    let sent = sent.filter(|(_, state)| state.status == RecipientStatus::Sent);
    assert_eq!((campaign.people.recipients.len(), sent.count()), (8, 6));
}
