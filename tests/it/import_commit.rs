//! What an import decides and how it is written: all of it or nothing, whatever fails on the way, and the
//! same in a dry run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use warung::store::Disk;
use warung::store::faults::SimulatedDisk;

use crate::import::{self, copy, tar};
use crate::support::{Answer, Call, MASTER, Rig, eventually, program};

fn write(root: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, bytes).expect("written");
}

/// A folder of the original with one session that has no phone, and this token.
fn unlinked(token: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = json!({ "toko": token }).to_string();
    write(folder.path(), "session_tokens.json", tokens);
    folder
}

/// Adds an uploaded file whose content nobody else has.
fn add_file(folder: &Path, content: &str) {
    let image = [
        &include_bytes!("../files/alpha.png")[..],
        content.as_bytes(),
    ]
    .concat();
    write(
        folder,
        "media/33333333-3333-4333-8333-333333333333.png",
        image,
    );
}

fn post(rig: &Rig, query: &str, folder: &Path) -> Call {
    import::post(rig, query, tar(folder))
}

/// Runs `warung import` on the data of a rig that is stopped; answers whether it succeeded, and what it said.
async fn run(rig: &Rig, folder: &Path, words: &[&str]) -> (bool, String) {
    let (data, folder) = (rig.config.data.clone(), folder.to_owned());
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let run = move || {
        let import = Command::new(program())
            .arg("import")
            .arg(folder)
            .args(words)
            .arg("--data")
            .arg(data)
            .output();
        let output = import.expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    tokio::task::spawn_blocking(run).await.expect("it ends")
}

/// The sessions by name, with their tokens.
async fn tokens(rig: &Rig) -> Vec<(String, String)> {
    let all = rig
        .get("/api/v1/sessions")
        .master()
        .send()
        .await
        .expect(200);
    let word = |session: &Value, name: &str| session[name].as_str().expect("a text").to_owned();
    let all = all.as_array().expect("an array").iter();
    all.map(|session| (word(session, "sessionId"), word(session, "token")))
        .collect()
}

fn lines<'a>(answer: &'a Value, outcome: &str) -> Vec<(&'a str, &'a str)> {
    let lines = answer["lines"].as_array().expect("lines").iter();
    let of_outcome = lines.filter(|line| line["outcome"] == outcome);
    of_outcome
        .map(|line| {
            (
                line["about"].as_str().expect("a text"),
                line["detail"].as_str().expect("a text"),
            )
        })
        .collect()
}

/// Every file below a folder, with what it holds.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(&path).expect("readable"))),
        }
        found.entry(path).or_default();
    }
    found
}

/// How many files have their lasting names.
fn kept_files(rig: &Rig) -> usize {
    let kept = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 64);
    contents(&rig.config.data.join("media"))
        .keys()
        .filter(|path| kept(path))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing_on_the_disk() {
    let mut rig = Rig::new().await;
    rig.create("gudang").await;
    rig.stop().await;
    let folder = copy("older");
    let before = contents(rig.folder.path());
    for words in [
        &["--dry-run"][..],
        &["--dry-run", "--replace", "--master-key", MASTER],
    ] {
        let (good, said) = run(&rig, folder.path(), words).await;
        assert!(good && said.contains("this was a dry run"), "{said}");
        // It looked at what is there.
        let line = match words.len() {
            1 => "left out  session gudang: is here already",
            _ => "taken     session gudang: replaces the one that is here",
        };
        assert!(said.contains(line), "{said}");
        let after = contents(rig.folder.path());
        assert!(before.keys().eq(after.keys()), "{:?}", after.keys());
        assert!(before == after, "a file of the data folder is another");
    }
    // Where there is no store yet, none is made.
    let nothing = tempfile::tempdir().expect("a folder");
    rig.config.data = nothing.path().join("data");
    let (good, said) = run(&rig, folder.path(), &["--dry-run"]).await;
    assert!(good && said.contains("this was a dry run"), "{said}");
    assert!(contents(nothing.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_a_problem_before_anything_is_done() {
    let rig = Rig::new().await;
    let folder = unlinked("a-token-of-toko");
    for number in 0..=1000_u64 {
        let id = format!("list_{}_cccccccc", 1_752_390_000_000 + number);
        let list =
            json!({ "id": id, "name": "Langganan", "recipients": [{ "number": "6285777000001" }] });
        write(
            folder.path(),
            &format!("recipient_lists/{id}.json"),
            list.to_string(),
        );
    }
    let dry = post(&rig, "?dryRun=true", folder.path())
        .send()
        .await
        .expect(409);
    let [(about, why)] = lines(&dry, "problem")[..] else {
        panic!("{dry:#}");
    };
    assert!(
        about.starts_with("list list_1752390001000_cccccccc"),
        "{about}"
    );
    assert!(
        why.contains("session toko: it may have 1000 recipient lists"),
        "{why}"
    );
    let real = post(&rig, "", folder.path()).send().await.expect(409);
    assert_eq!(real["lines"], dry["lines"]);
    assert!(tokens(&rig).await.is_empty());
    // What fits comes when it is asked for.
    let answer = post(&rig, "?skipProblems=true", folder.path())
        .send()
        .await
        .expect(200);
    assert_eq!(answer["changed"], true, "{answer:#}");
    let lists = rig
        .get("/api/v1/recipient-lists")
        .bearer("a-token-of-toko")
        .send()
        .await;
    assert_eq!(lists.expect(200).as_array().map(Vec::len), Some(1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_problems_before_anything_is_done() {
    let rig = Rig::with(|config| {
        config.store_quota = 10;
        config.media_quota = 10;
    });
    let rig = rig.await;
    let old = rig.create("kasir").await;
    let folder = copy("older");
    let dry = post(&rig, "?replace=true&dryRun=true", folder.path())
        .send()
        .await
        .expect(409);
    let problems = lines(&dry, "problem");
    for (about, setting) in [
        ("list ", "store_quota"),
        ("campaign ", "store_quota"),
        ("file ", "media_quota"),
    ] {
        let named = |(line, why): &(&str, &str)| line.starts_with(about) && why.contains(setting);
        assert!(problems.iter().any(named), "{about}: {dry:#}");
    }
    let real = post(&rig, "?replace=true", folder.path())
        .send()
        .await
        .expect(409);
    assert_eq!(real["lines"], dry["lines"]);
    assert_eq!(tokens(&rig).await, [("kasir".to_owned(), old)]);
    assert_eq!(kept_files(&rig), 0);
}

/// Makes the device of an account one that WhatsApp would refuse.
fn spoil_signature(creds: &Path) {
    let bytes = std::fs::read(creds).expect("there");
    let mut read: Value = serde_json::from_slice(&bytes).expect("JSON");
    let other = read["signedPreKey"]["keyPair"]["public"]["data"].clone();
    let signature = &mut read["signedPreKey"]["signature"]["data"];
    let text = signature.as_str().expect("a text");
    let first = if text.starts_with('A') { "B" } else { "A" };
    *signature = json!(format!("{first}{}", &text[1..]));
    assert!(other.is_string());
    std::fs::write(creds, read.to_string()).expect("written");
}

fn cut(file: &Path) {
    let bytes = std::fs::read(file).expect("there");
    std::fs::write(file, &bytes[..bytes.len() / 2]).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_go_on_leaves_the_session_that_is_here() {
    type Damage = (fn(&Path), &'static str);
    let damages: [Damage; 2] = [
        (cut, "creds.json cannot be read"),
        (spoil_signature, "not signed by its identity key"),
    ];
    for (damage, why) in damages {
        let rig = Rig::new().await;
        let old = rig.create("kasir").await;
        let folder = copy("older");
        let account = folder.path().join("auth_info_baileys/kasir");
        damage(&account.join("creds.json"));
        let answer = post(&rig, "?replace=true&skipProblems=true", folder.path())
            .send()
            .await;
        let answer = answer.expect(200);
        let problems = lines(&answer, "problem");
        assert!(
            problems.len() == 1 && problems[0].0 == "account of session kasir",
            "{answer:#}"
        );
        assert!(problems[0].1.contains(why), "{answer:#}");
        // One line says what becomes of it.
        let taken = lines(&answer, "taken");
        assert!(
            !taken.iter().any(|(about, _)| about.contains("kasir")),
            "{answer:#}"
        );
        let list = "list list_1752390000000_cccccccc (Langganan)";
        let left_out = (list, "it belongs to session gudang, which does not come");
        assert!(
            !lines(&answer, "left out").contains(&left_out),
            "{answer:#}"
        );
        let now = tokens(&rig).await;
        assert!(
            now.contains(&("kasir".to_owned(), old)) && now.len() == 2,
            "{now:?}"
        );
        // Of nothing but that account nothing comes, and that was no dry run.
        let answer = post(&rig, "?session=lain&skipProblems=true", &account)
            .send()
            .await
            .expect(200);
        assert_eq!(
            answer["message"],
            "nothing was changed: there is nothing to import"
        );
        assert!(lines(&answer, "taken").is_empty(), "{answer:#}");
        assert_eq!(tokens(&rig).await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_come_makes_no_room_for_its_device() {
    let mut rig = Rig::new().await;
    rig.stop().await;
    let accounts = tempfile::tempdir().expect("a folder");
    let (older, newer) = (copy("older"), copy("newer"));
    let put = |from: &Path, account: &str, name: &str| {
        let bytes = std::fs::read(
            from.join("auth_info_baileys")
                .join(account)
                .join("creds.json"),
        );
        write(
            accounts.path(),
            &format!("{name}/creds.json"),
            bytes.expect("there"),
        );
    };
    put(older.path(), "kasir", "pusat");
    let (good, said) = run(&rig, accounts.path(), &["--master-key", MASTER]).await;
    assert!(good, "{said}");
    // Its place would be taken by another device, which cannot go on; so its device stays here.
    put(newer.path(), "toko", "pusat");
    spoil_signature(&accounts.path().join("pusat/creds.json"));
    put(older.path(), "kasir", "cabang");
    let words = ["--master-key", MASTER, "--replace", "--skip-problems"];
    let (good, said) = run(&rig, accounts.path(), &words).await;
    let problem = "problem   session cabang: its linked device is that of session pusat";
    assert!(good && said.contains(problem), "{said}");
    assert!(
        said.contains("nothing was changed: there is nothing to import"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_moved_in_gets_a_secret_with_its_next_registration() {
    let rig = Rig::new().await;
    let folder = copy("newer");
    let answer = post(&rig, "", folder.path()).send().await.expect(200);
    let taken = lines(&answer, "taken");
    let webhook = taken
        .iter()
        .find(|(about, _)| *about == "webhook of session toko");
    let (_, said) = webhook.expect("a line");
    assert!(
        said.contains("not signed until somebody sets the webhook again"),
        "{said}"
    );
    let set = rig
        .hook("toko", "https://hooks.example.org/toko", &[])
        .await;
    let secret = set["secret"].as_str().expect("a secret");
    assert!(secret.len() >= 32, "{set}");
    let again = rig
        .hook("toko", "https://hooks.example.org/toko", &[])
        .await;
    assert_eq!(again["secret"], Value::Null, "it is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_who_moved_in() {
    let mut rig = Rig::new().await;
    rig.stop().await;
    let folder = copy("older");
    let words = ["--master-key", MASTER, "--log", "info"];
    let campaign = folder
        .path()
        .join("campaigns/campaign_1752480000000_aaaaaaaa.json");
    let whole = std::fs::read(&campaign).expect("there");
    std::fs::write(&campaign, "?").expect("written");
    let (good, said) = run(&rig, folder.path(), &words).await;
    assert!(
        !good && said.contains("an import is held up") && said.contains("problems=1"),
        "{said}"
    );
    std::fs::write(&campaign, whole).expect("written");
    let (good, said) = run(&rig, folder.path(), &words).await;
    assert!(good, "{said}");
    let line = said
        .lines()
        .find(|line| line.contains("moved in\"") || line.contains(" moved in "));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    for word in [
        "gudang kasir",
        "replaced=0",
        "lists=1",
        "campaigns=2",
        "files=1",
    ] {
        assert!(line.contains(word), "{word}: {line}");
    }
    assert!(!said.contains("11111111-1111"), "no token: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thing_whose_session_is_gone_says_so() {
    let rig = Rig::new().await;
    let folder = copy("newer");
    for (id, owner) in [
        ("campaign_1766000000005_dddddddd", "admin@localhost"),
        ("campaign_1766000000006_dddddddd", "budi@example.org"),
    ] {
        let campaign = json!({ "id": id, "name": "Promo", "sessionId": "hilang", "createdBy": owner,
            "status": "draft", "message": { "type": "text", "content": "hai" }, "settings": {},
            "recipients": [{ "number": "6285777000001", "name": "Ani" }] });
        write(
            folder.path(),
            &format!("src/services/campaigns/{id}.json"),
            campaign.to_string(),
        );
    }
    let answer = post(&rig, "?dryRun=true", folder.path())
        .send()
        .await
        .expect(200);
    let taken = lines(&answer, "taken");
    let (_, said) = taken
        .iter()
        .find(|(about, _)| about.contains("1766000000005"))
        .expect("taken");
    assert!(
        said.ends_with("for session toko, and was of session hilang, which is not there"),
        "{said}"
    );
    // Nobody else's number is used.
    let left_out = lines(&answer, "left out");
    let (_, said) = left_out
        .iter()
        .find(|(about, _)| about.contains("1766000000006"))
        .expect("left out");
    assert_eq!(*said, "there is no session that it could be of");
}

/// Imports while the disk fails after so many operations; heals it once it has failed. Answers what was said,
/// and whether it failed.
async fn import_failing(
    rig: &Rig,
    disk: &Arc<SimulatedDisk>,
    folder: &Path,
    after: u64,
) -> (Answer, bool) {
    let call = post(rig, "?replace=true", folder);
    disk.fail_after(after);
    let asked = tokio::spawn(call.send());
    eventually("an end or a failure", || async {
        (disk.is_failing() || asked.is_finished()).then_some(())
    })
    .await;
    let failed = disk.is_failing();
    disk.heal();
    let answer = asked.await.expect("an answer");
    rig.wait_until_ready().await;
    (answer, failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_is_undone_or_taken_up() {
    let disk = SimulatedDisk::new();
    let mut rig = Rig::on(Some(Disk::Simulated(disk.clone())), |_| {}).await;
    let mut stands = "token-of-the-first".to_owned();
    let folder = unlinked(&stands);
    add_file(folder.path(), &stands);
    post(&rig, "", folder.path()).send().await.expect(200);
    let (mut refused, mut landed) = (0, 0);
    for after in 0.. {
        let token = format!("token-of-round-{after}");
        let folder = unlinked(&token);
        add_file(folder.path(), &token);
        let (answer, failed) = import_failing(&rig, &disk, folder.path(), after).await;
        match answer.status {
            200 => stands = token,
            503 => refused += 1,
            other => panic!("{other}: {:?}", answer.body),
        }
        let expected = [("toko".to_owned(), stands.clone())];
        assert_eq!(
            tokens(&rig).await,
            expected,
            "round {after}: {}",
            answer.status
        );
        // What the one that gave way had goes by and by.
        eventually(
            &format!("the one file, round {after}, {}", answer.status),
            || async { (kept_files(&rig) == 1).then_some(()) },
        )
        .await;
        let file = rig
            .get("/media/33333333-3333-4333-8333-333333333333.png")
            .bearer(&stands)
            .send()
            .await;
        assert!(
            file.body.ends_with(stands.as_bytes()),
            "round {after}: {}",
            file.status
        );
        if failed && answer.status == 200 {
            landed += 1;
            rig.restart_on(Some(Disk::Simulated(disk.clone()))).await;
            assert_eq!(tokens(&rig).await, expected, "round {after}, after a start");
        }
        if !failed {
            break;
        }
    }
    assert!(
        refused > 0 && landed > 0,
        "refused {refused}, landed {landed}"
    );
    rig.restart_on(Some(Disk::Simulated(disk.clone()))).await;
    assert_eq!(tokens(&rig).await, [("toko".to_owned(), stands)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_naming_and_commit_leaves_nothing() {
    let mut disk = SimulatedDisk::new();
    let mut rig = Rig::on(Some(Disk::Simulated(disk.clone())), |_| {}).await;
    let mut stands = "token-of-the-first".to_owned();
    let folder = unlinked(&stands);
    add_file(folder.path(), &stands);
    post(&rig, "", folder.path()).send().await.expect(200);
    for after in 0.. {
        let token = format!("token-of-round-{after}");
        let folder = unlinked(&token);
        add_file(folder.path(), &token);
        disk.fail_after(after);
        let asked = tokio::spawn(post(&rig, "?replace=true", folder.path()).try_send());
        eventually("an end or a failure", || async {
            (disk.is_failing() || asked.is_finished()).then_some(())
        })
        .await;
        assert!(disk.is_failing(), "no write failed behind the naming");
        if kept_files(&rig) == 1 {
            // Too early: once the disk is well again it may go to its end.
            disk.heal();
            let answer = asked.await.expect("it ends").expect("an answer");
            if answer.status == 200 {
                stands = token;
            }
            rig.wait_until_ready().await;
            eventually("the one file", || async {
                (kept_files(&rig) == 1).then_some(())
            })
            .await;
            continue;
        }
        // What another machine finds.
        disk = disk.crash();
        rig.stop().await;
        let _ = asked.await;
        break;
    }
    rig.restart_on(Some(Disk::Simulated(disk))).await;
    assert_eq!(tokens(&rig).await, [("toko".to_owned(), stands)]);
    assert_eq!(kept_files(&rig), 1);
    let folder = unlinked("token-of-the-last");
    let answer = post(&rig, "?replace=true", folder.path())
        .send()
        .await
        .expect(200);
    assert_eq!(answer["changed"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_too_large_is_refused_in_time() {
    let rig = Rig::new().await;
    let folder = unlinked("a-token-of-toko");
    // Unlike its archive it is small: a person's name of many spaces, as nothing but a bomb has it.
    let mut list = b"{\"id\":\"x\",\"name\":\"Langganan\",\"recipients\":[".to_vec();
    list.resize(100 << 20, b' ');
    list.extend(b"]}");
    for number in 0..3 {
        let name = format!("recipient_lists/list_175239000000{number}_cccccccc.json");
        write(folder.path(), &name, &list);
    }
    let answer = post(&rig, "", folder.path()).send().await.expect(409);
    let problems = lines(&answer, "problem");
    assert!(
        problems.len() == 1 && problems[0].1.contains("256 MiB"),
        "{answer:#}"
    );
    assert!(tokens(&rig).await.is_empty());
}
