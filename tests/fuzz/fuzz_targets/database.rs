//! Databases of strangers, and the logs beside them: the first two bytes say where the log begins.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warung::import::sqlite::Database;

fuzz_target!(|bytes: &[u8]| {
    let Some((at, bytes)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let at = usize::from(u16::from_be_bytes(*at)).min(bytes.len());
    let (main, log) = bytes.split_at(at);
    let Ok(database) = Database::of_bytes(main.to_vec(), log.to_vec()) else {
        return;
    };
    for table in ["whatsapp_sessions", "webhook_configs"] {
        let _ = database.rows(table, &["id", "token", "url"], &mut |_| true);
    }
});
