use proptest::prelude::*;

use super::*;

const MAIN: &[u8] =
    include_bytes!("../../../tests/files/import/super_light/newer/data/whatsapp.db");
const LOG: &[u8] =
    include_bytes!("../../../tests/files/import/super_light/newer/data/whatsapp.db-wal");

fn open(main: &[u8], log: &[u8]) -> Result<Database> {
    Database::of_bytes(main.to_vec(), log.to_vec())
}

fn tokens(database: &Database) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let there = database.rows("whatsapp_sessions", &["id", "token"], &mut |cells| {
        let words: Vec<_> = cells
            .iter()
            .filter_map(Cell::text)
            .map(str::to_owned)
            .collect();
        found.push((words[0].clone(), words[1].clone()));
        true
    });
    assert_eq!(there, Ok(true));
    found
}

/// Walks through everything that is there, however it ends.
fn read_all(main: Vec<u8>, log: Vec<u8>) {
    let Ok(database) = Database::of_bytes(main, log) else {
        return;
    };
    for table in [
        "whatsapp_sessions",
        "webhook_configs",
        "chat_messages",
        "users",
    ] {
        let _ = database.rows(table, &["id", "token", "body", "size"], &mut |_| true);
        let _ = database.count(table);
    }
}

#[test]
fn the_log_counts_as_far_as_it_was_committed() {
    let both = tokens(&open(MAIN, LOG).expect("a database"));
    let new = "55555555-5555-4555-8555-555555555555";
    assert_eq!(both.len(), 2);
    assert_eq!(both[0], ("toko".to_owned(), new.to_owned()));
    assert_eq!(both[1].0, "gudang");
    let old = tokens(&open(MAIN, b"").expect("a database"));
    assert_eq!(
        old[..],
        [(
            "toko".to_owned(),
            "an old token, replaced in the log".to_owned()
        )]
    );
    // The last transaction was cut off: the one before it counts.
    let cut = tokens(&open(MAIN, &LOG[..LOG.len() - 1]).expect("a database"));
    assert_eq!(cut[..], [("toko".to_owned(), new.to_owned())]);
    // A bit of it fell over: nothing from there on counts.
    let mut damaged = LOG.to_vec();
    damaged[32 + 24 + 100] ^= 1;
    assert_eq!(tokens(&open(MAIN, &damaged).expect("a database")), old);
}

#[test]
fn rows_over_several_pages_come_whole_and_in_order() {
    let database = open(MAIN, LOG).expect("a database");
    assert_eq!(database.count("chat_messages"), Ok(90));
    let (mut longest, mut sum) = (0, 0.0);
    let read = database.rows(
        "chat_messages",
        &["body", "size", "nothing"],
        &mut |cells| {
            longest = longest.max(cells[0].text().map_or(0, str::len));
            match cells[1] {
                Cell::Real(size) => sum += size,
                Cell::Int(size) => sum += size as f64,
                _ => panic!("no number: {:?}", cells[1]),
            }
            assert_eq!(cells[2], Cell::Null);
            true
        },
    );
    assert_eq!(read, Ok(true));
    assert_eq!(longest, "panjang ".len() * 1500);
    assert!((sum - (0..90).map(|n| f64::from(n) / 7.0).sum::<f64>()).abs() < 1e-9);
    let mut first = 0;
    let stopped = database.rows("chat_messages", &["id"], &mut |_| {
        first += 1;
        false
    });
    assert_eq!((stopped, first), (Ok(true), 1));
    assert_eq!(database.rows("none", &["id"], &mut |_| true), Ok(false));
}

#[test]
fn numbers_are_read_in_all_their_sizes() {
    // A head of 8 bytes: null, 1, 2 and 3 bytes, 0, 1, and a blob of 2.
    let row = [
        8, 0, 1, 2, 3, 8, 9, 16, 0xff, 0x80, 0x00, 0x01, 0x02, 0x03, 7, 8,
    ];
    let read = cells(&row, &[0, 1, 2, 3, 4, 5, 6, 7]).expect("cells");
    assert_eq!(
        read,
        [
            Cell::Null,
            Cell::Int(-1),
            Cell::Int(-32768),
            Cell::Int(0x01_02_03),
            Cell::Int(0),
            Cell::Int(1),
            Cell::Blob(vec![7, 8]),
            Cell::Null,
        ]
    );
    assert_eq!(varint(&[0x81, 0x00], 0), Ok((128, 2)));
    assert_eq!(varint(&[0xff; 9], 0), Ok((u64::MAX, 9)));
    assert_eq!(varint(&[0xff; 8], 0), Err(CUT));
}

#[test]
fn names_of_columns_are_found_among_rules() {
    let sql = "CREATE TABLE t (\n id TEXT PRIMARY KEY, \"a b\" INT CHECK(x IN ('a', 'b')), [c] , UNIQUE(id, c))";
    assert_eq!(column_names(sql), ["id", "a", "c"]);
    assert!(column_names("no table").is_empty());
}

#[test]
fn what_is_no_database_is_refused() {
    let why = |main: &[u8]| open(main, b"").map(|_| ()).map_err(|Damaged(why)| why);
    assert_eq!(why(b""), Err(CUT.0));
    assert_eq!(why(&[0; 4096]), Err("it is no SQLite database"));
    let mut other = MAIN.to_vec();
    other[59] = 2;
    assert_eq!(why(&other), Err("its texts are not in UTF-8"));
    let mut other = MAIN.to_vec();
    other[16..18].copy_from_slice(&[0, 3]);
    assert_eq!(why(&other), Err(BROKEN.0));
    // A table whose page names itself as its child.
    let mut circle = MAIN[..4096].to_vec();
    circle[100] = 5;
    circle[103..105].fill(0);
    circle[108..112].copy_from_slice(&1_u32.to_be_bytes());
    let database = open(&circle, b"").expect("a head");
    assert_eq!(database.count("users"), Err(BROKEN));
}

#[test]
fn a_change_that_was_broken_off_is_not_read_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.db");
    std::fs::write(&path, MAIN).expect("written");
    assert!(Database::open(&path).is_ok());
    std::fs::write(folder.path().join("x.db-journal"), b"x").expect("written");
    assert!(Database::open(&path).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_is_said_and_ends(
        places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        in_log in any::<bool>(),
        short in any::<bool>(),
    ) {
        let (mut main, mut log) = (MAIN.to_vec(), LOG.to_vec());
        let hit = if in_log { &mut log } else { &mut main };
        if short {
            hit.truncate(cut.index(hit.len()));
        }
        for (place, value) in places {
            if !hit.is_empty() {
                let at = place.index(hit.len());
                hit[at] = value;
            }
        }
        read_all(main, log);
    }

    #[test]
    fn heads_of_pages_may_say_anything(head in proptest::collection::vec(any::<u8>(), 100..140), page in 1_usize..19) {
        let mut main = MAIN.to_vec();
        let at = page * 4096;
        main[at..at + head.len()].copy_from_slice(&head);
        main[100..108].copy_from_slice(&head[..8]);
        read_all(main, Vec::new());
    }
}

#[test]
fn rows_are_counted_without_what_is_in_them() {
    let size = 4096;
    let damaged = (1..MAIN.len() / size).filter(|page| {
        let mut main = MAIN.to_vec();
        main[page * size..(page + 1) * size].fill(0xff);
        let database = open(&main, LOG).expect("a database");
        let read = database.rows("chat_messages", &["body"], &mut |_| true);
        read.is_err() && database.count("chat_messages") == Ok(90)
    });
    assert!(damaged.count() > 0, "rows lie on pages of their own");
}
