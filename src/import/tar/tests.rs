use std::io::BufReader;

use super::parcel::{head, path_record};
use super::*;
use crate::import::{Reading, entries};

fn unpacked(archive: &[u8], room: u64) -> (tempfile::TempDir, Result<u64>) {
    let folder = tempfile::tempdir().expect("a folder");
    let done = unpack(&mut BufReader::new(archive), folder.path(), room);
    (folder, done)
}

fn why(archive: &[u8]) -> String {
    let (folder, done) = unpacked(archive, 1 << 20);
    let error = done.expect_err("refused");
    assert_eq!(error.code(), Code::ImportUnreadable);
    assert_eq!(entries(folder.path()), Ok(Vec::new()), "nothing is left");
    error.detail().to_owned()
}

/// An archive of one entry.
fn one(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut archive = head(name, kind, content.len() as u64);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    archive.extend([0; 2 * BLOCK]);
    archive
}

fn packed(folder: &Path) -> Vec<u8> {
    let parcel = Parcel::of(folder, &by_name()).expect("known");
    let mut archive = Vec::new();
    let mut take = |piece: Vec<u8>| {
        archive.extend(piece);
        true
    };
    parcel.pack(&mut take).expect("packed");
    assert_eq!(archive.len() as u64, parcel.length());
    archive
}

#[test]
fn a_folder_is_the_same_when_it_was_packed_and_unpacked() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files/import/super_light/newer");
    let archive = packed(&from);
    let (to, done) = unpacked(&archive, 1 << 20);
    done.expect("unpacked");
    for name in [
        ".env",
        "data/whatsapp.db",
        "data/whatsapp.db-wal",
        "auth_info_baileys/toko/creds.json",
        "src/services/campaigns/campaign_1766000000000_dddddddd.json",
        "media/44444444-4444-4444-8444-444444444444.upload.png",
    ] {
        let read = |root: &Path| std::fs::read(root.join(name)).expect(name);
        assert!(read(&from) == read(to.path()), "{name}");
    }
}

#[test]
fn the_folder_of_an_account_is_packed_flat_and_its_name_goes_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    // As the guides of Baileys name it, which is a folder of Super-Light too.
    let account = folder.path().join("auth_info_baileys");
    std::fs::create_dir(&account).expect("made");
    std::fs::write(account.join(CREDS_NAME), b"{}").expect("written");
    std::fs::create_dir(account.join("deeper")).expect("made");
    let (to, done) = unpacked(&packed(&account), 1 << 20);
    done.expect("unpacked");
    assert!(to.path().join(CREDS_NAME).is_file());
    let parcel = Parcel::of(&account, &by_name()).expect("known");
    let session = parcel.session.expect("a name");
    assert_eq!(session.to_string(), "auth_info_baileys");
    let other = folder.path().join("my.bot");
    std::fs::rename(&account, &other).expect("renamed");
    let why = Parcel::of(&other, &by_name()).err().expect("no name");
    assert!(
        why.detail().contains("--session NAME, session=NAME"),
        "{why}"
    );
}

#[test]
fn what_nobody_takes_is_not_packed() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files/import/super_light/newer");
    let folder = tempfile::tempdir().expect("a folder");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(folder.path())
        .status();
    assert!(copied.expect("cp runs").success());
    let large = std::fs::File::create(folder.path().join("media/large.mp4")).expect("a file");
    large.set_len((25 << 20) + 1).expect("long");
    let parcel = Parcel::of(folder.path(), &by_name()).expect("known");
    assert!(parcel.length() < 1 << 20, "{}", parcel.length());
    let said = parcel.report.text();
    for word in ["left out  file large.mp4:", "files of its inbox (1)"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

fn by_name() -> Reading {
    Reading {
        is_named: true,
        ..Reading::default()
    }
}

const CREDS_NAME: &str = "creds.json";

#[test]
fn an_archive_of_gzip_is_unpacked_too() {
    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zip.write_all(&one("a/creds.json", b'0', b"{}"))
        .expect("zipped");
    let (folder, done) = unpacked(&zip.finish().expect("zipped"), 100);
    done.expect("unpacked");
    assert_eq!(
        std::fs::read(folder.path().join("a/creds.json")).expect("there"),
        b"{}"
    );
}

#[test]
fn names_that_are_too_long_for_their_field_are_read_in_both_forms() {
    let name = format!("auth_info_baileys/{}/creds.json", "s".repeat(128));
    let gnu = format!("{name}\0");
    for (kind, record) in [(b'L', gnu), (b'x', path_record(&name))] {
        let mut archive = one("long", kind, record.as_bytes());
        archive.truncate(archive.len() - 2 * BLOCK);
        archive.extend(one("short", b'0', b"{}"));
        let (folder, done) = unpacked(&archive, 100);
        done.expect("unpacked");
        assert!(folder.path().join(&name).is_file(), "{kind}");
    }
    // The older form: the beginning of the path in a field of its own.
    let mut archive = one("creds.json", b'0', b"{}");
    archive[345..349].copy_from_slice(b"toko");
    let blank = archive[..148]
        .iter()
        .chain(&[b' '; 8])
        .chain(&archive[156..512]);
    let sum: u64 = blank.map(|byte| u64::from(*byte)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let (folder, done) = unpacked(&archive, 100);
    done.expect("unpacked");
    assert!(folder.path().join("toko/creds.json").is_file());
}

#[test]
fn tricks_are_refused_and_leave_nothing() {
    for name in ["../x", "/etc/x", "a/../../x", "a/\u{202e}/../.."] {
        assert!(why(&one(name, b'0', b"x")).contains("leads out"), "{name}");
    }
    for kind in *b"12346" {
        assert!(
            why(&one("a", kind, b"")).contains("a link or a device"),
            "{kind}"
        );
    }
    let deep = "a/".repeat(20) + "x";
    assert!(why(&one(&deep, b'0', b"x")).contains("leads out"));
    assert!(why(b"no archive").contains("no tar archive"));
    assert!(why(&[b'x'; 2048]).contains("no tar archive"));
}

#[test]
fn an_archive_that_ends_too_early_or_is_too_large_is_refused() {
    let whole = one("a", b'0', &[1; 600]);
    for end in [0, 100, 512, 800, 1024] {
        let (_folder, done) = unpacked(&whole[..end], 1 << 20);
        assert!(done.is_err(), "{end}");
    }
    let (_folder, done) = unpacked(&whole, 599);
    assert!(done.expect_err("refused").detail().contains("room"));
    let (_folder, done) = unpacked(&whole, 600);
    done.expect("it fits");
}

#[test]
fn programs_beside_the_data_are_passed_over() {
    let mut archive = one("app/node_modules/.bin/x", b'2', b"");
    archive.truncate(archive.len() - 2 * BLOCK);
    archive.extend(one("app/.env", b'0', b"PORT=1"));
    let (folder, done) = unpacked(&archive, 100);
    assert_eq!(done.expect("unpacked"), 1);
    let found = entries(&folder.path().join("app")).expect("read");
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn no_name_of_a_session_is_passed_over() {
    for name in ["admin", "logs", "activity_logs"] {
        let path = format!("auth_info_baileys/{name}/creds.json");
        let (folder, done) = unpacked(&one(&path, b'0', b"{}"), 100);
        assert_eq!(done.expect("unpacked"), 0);
        assert!(folder.path().join(&path).is_file(), "{name}");
    }
}

#[test]
fn what_would_be_read_as_another_file_is_refused() {
    let record = |set: &str| {
        let record = format!("{} {set}\n", set.len() + 4);
        let record = one("record", b'x', record.as_bytes());
        let entry = one("media/a.mp4", b'0', b"x");
        [&record[..record.len() - 2 * BLOCK], &entry].concat()
    };
    for (archive, said) in [
        (
            one("media/a.mp4", b'S', b"x"),
            "a sparse file: pack without --sparse",
        ),
        (record("GNU.sparse.major=1"), "a sparse file"),
        (record("size=8589934592"), "a file that is too large"),
    ] {
        assert!(why(&archive).contains(said), "{said}: {}", why(&archive));
    }
    let (_folder, done) = unpacked(&record("mtime=1"), 100);
    done.expect("unpacked");
}

#[test]
fn a_path_that_cannot_be_there_is_the_archives_fault() {
    let entry = |name: &str| {
        let archive = one(name, b'0', b"x");
        archive[..archive.len() - 2 * BLOCK].to_vec()
    };
    let long = path_record(&format!("a/{}", "b".repeat(300)));
    let long = one("path", b'x', long.as_bytes());
    let long = long[..long.len() - 2 * BLOCK].to_vec();
    for (entries, said) in [
        (
            vec![entry("a"), entry("a/b")],
            "a file and a folder of one name: a/b",
        ),
        (
            vec![entry("a"), entry("a/b/c")],
            "a file and a folder of one name: a/b/c",
        ),
        (
            vec![entry("a/b"), entry("a")],
            "a file and a folder of one name: a",
        ),
        (vec![long, entry("file")], "a name that is too long: a/bbb"),
    ] {
        let (_folder, done) = unpacked(&entries.concat(), 1 << 20);
        let error = done.expect_err("refused");
        assert_eq!(error.code(), Code::ImportUnreadable);
        assert!(error.detail().contains(said), "{error}");
    }
}
