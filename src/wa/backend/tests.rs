//! Our backend must answer every sequence of calls as the library's own in-memory one does.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::traits::{
    AppStateSyncKey, AppSyncStore as _, Backend as LibraryBackend, DeviceInfo, DeviceListRecord,
    DeviceStore as _, LidPnMappingEntry, MsgSecretEntry, MsgSecretStore as _, PendingInboundKey,
    PendingInboundRow, ProtocolStore as _, SignalStore as _, TcTokenEntry,
};
use whatsapp_rust::wacore::store::{Device, InMemoryBackend};

use super::rows::{SEALED, VERSION, versioned};
use super::*;
use crate::store::faults::SimulatedDisk;
use crate::store::{Disk, StoreOptions, check_simulated};
use crate::time::Timestamp;

/// Prefixes of each other, separators, and what a stranger might try against our keys.
const NAMES: &[&str] = &[
    "",
    "1",
    "1@s",
    "1:2@s",
    "11@s",
    "1\0",
    "\0",
    "\0\u{1}",
    "1\0\u{1}@s",
    "\u{ff}",
    "long@lid",
];

/// One call: which method, and what to make its arguments of.
type Call = (u8, u8, u8, u8, i64);

/// How many methods [`call`] knows.
const CALLS: u8 = 45;

fn name(n: u8) -> &'static str {
    NAMES[usize::from(n) % NAMES.len()]
}

fn show<T: Debug>(value: T) -> String {
    format!("{value:?}")
}

fn sorted<T: Debug + Ord>(mut values: Vec<T>) -> String {
    values.sort();
    show(values)
}

/// Makes one call and shows its answer; the order of lists is not part of the contract.
#[expect(
    clippy::unit_arg,
    reason = "an answer without content is an answer too"
)]
async fn call(b: &dyn LibraryBackend, (which, x, y, z, n): Call) -> String {
    let (a, c) = (name(x), name(y));
    let bytes = vec![z; usize::from(z % 4)];
    let id = u32::from(x % 4);
    let mac = |n: u8| AppStateMutationMAC {
        index_mac: vec![n % 3; 32],
        value_mac: vec![n; 3],
    };
    let secret = |chat: &str, sender: &str, n: i64| MsgSecretEntry {
        chat: chat.into(),
        sender: sender.into(),
        msg_id: name(z % 3).into(),
        secret: [z; 32],
        expires_at: n,
        message_ts: i64::from(y % 3),
    };
    let lid = |lid: u8, phone: u8| LidPnMappingEntry {
        lid: format!("l{}", lid % 3),
        // No two LIDs share a number: see the test about that.
        phone_number: format!("p{}-{}", lid % 3, phone % 2),
        created_at: n,
        updated_at: n,
        learning_source: a.into(),
    };
    let devices = |user: &str| DeviceListRecord {
        user: user.into(),
        devices: (0..u32::from(z % 3))
            .map(|d| DeviceInfo::new(d, Some(d)))
            .collect(),
        timestamp: n,
        phash: None,
        raw_id: Some(7),
    };
    // Rows are stored at the present time, so an end of time is either before or after it.
    let age = if n % 2 == 0 { 0 } else { i64::MAX / 2 };
    match which % CALLS {
        0 => show(b.put_identity(a, [z; 32]).await.unwrap()),
        1 => {
            let rows = [(a.into(), [z; 32]), (c.into(), [z + 1; 32])];
            show(b.put_identities_batch(&rows).await.unwrap())
        }
        2 => show(b.delete_identity(a).await.unwrap()),
        3 => show(b.put_session(a, &bytes).await.unwrap()),
        4 => {
            let rows = [
                (a.into(), bytes.into()),
                (c.into(), Bytes::from_static(b"s")),
            ];
            show(b.put_sessions_batch(&rows).await.unwrap())
        }
        5 => show(b.delete_session(a).await.unwrap()),
        6 => show((
            b.load_identity(a).await.unwrap(),
            b.get_session(a).await.unwrap(),
            b.has_session(a).await.unwrap(),
            b.has_signal_state_for_user(a).await.unwrap(),
        )),
        7 => show(b.store_prekey(id, &bytes, z % 2 == 0).await.unwrap()),
        8 => {
            let rows = [(id, bytes.into()), (id + 1, Bytes::from_static(b"p"))];
            show(b.store_prekeys_batch(&rows, z % 2 == 0).await.unwrap())
        }
        9 => show(b.mark_prekeys_uploaded(&[id, id + 1]).await.unwrap()),
        10 => show(b.remove_prekey(id).await.unwrap()),
        11 => show((
            b.load_prekey(id).await.unwrap(),
            b.load_prekeys_batch(&[3, id, 77]).await.unwrap(),
            b.get_max_prekey_id().await.unwrap(),
        )),
        12 => show(b.store_signed_prekey(id, &bytes).await.unwrap()),
        13 => show(b.remove_signed_prekey(id).await.unwrap()),
        14 => format!(
            "{:?} {}",
            b.load_signed_prekey(id).await.unwrap(),
            sorted(b.load_all_signed_prekeys().await.unwrap())
        ),
        15 => show(b.put_sender_key(a, &bytes).await.unwrap()),
        16 => {
            let rows = [
                (a.into(), bytes.into()),
                (c.into(), Bytes::from_static(b"k")),
            ];
            show(b.put_sender_keys_batch(&rows).await.unwrap())
        }
        17 => show(b.delete_sender_key(a).await.unwrap()),
        18 => show(b.get_sender_key(a).await.unwrap()),
        19 => {
            let (key_data, fingerprint) = (bytes, vec![x]);
            let key = AppStateSyncKey {
                key_data,
                fingerprint,
                timestamp: n,
            };
            show(b.set_sync_key(c.as_bytes(), key).await.unwrap())
        }
        20 => show((
            b.get_sync_key(c.as_bytes()).await.unwrap(),
            b.get_latest_sync_key_id().await.unwrap(),
        )),
        21 => {
            let index_value_map = [("k".to_owned(), bytes)].into();
            let state = HashState {
                version: n as u64,
                hash: [z; 128],
                index_value_map,
                mac_mismatch_fatal: n % 2 == 0,
            };
            show(b.set_version(a, state).await.unwrap())
        }
        22 => show(b.get_version(a).await.unwrap()),
        23 => show(b.put_mutation_macs(a, 1, &[mac(y), mac(z)]).await.unwrap()),
        24 => show(b.delete_mutation_macs(a, &[vec![y % 3; 32]]).await.unwrap()),
        25 => show(b.clear_mutation_macs(a).await.unwrap()),
        26 => {
            let many = b
                .get_mutation_macs(a, &[[0; 32], [1; 32], [9; 32]])
                .await
                .unwrap();
            let one = b.get_mutation_mac(a, &[y % 3; 32]).await.unwrap();
            format!("{one:?} {}", sorted(many.into_iter().collect()))
        }
        27 => {
            let entries = [(c, z % 2 == 0), (name(z), z % 3 == 0)];
            show(b.set_sender_key_status(a, &entries).await.unwrap())
        }
        28 => show(b.clear_sender_key_devices(a).await.unwrap()),
        29 => show(
            b.delete_sender_key_device_rows(&[c, name(z)])
                .await
                .unwrap(),
        ),
        30 => show(b.clear_all_sender_key_devices().await.unwrap()),
        31 => sorted(b.get_sender_key_devices(a).await.unwrap()),
        32 => show(b.put_lid_mapping(&lid(x, y)).await.unwrap()),
        33 => show(b.put_lid_mappings(&[lid(x, y), lid(y, z)]).await.unwrap()),
        34 => {
            let all = b.get_all_lid_mappings().await.unwrap();
            let entry = lid(x, y);
            format!(
                "{:?} {:?} {}",
                b.get_lid_mapping(&entry.lid).await.unwrap(),
                b.get_pn_mapping(&entry.phone_number).await.unwrap(),
                sorted(all.into_iter().map(show).collect())
            )
        }
        35 => show(match z % 2 {
            0 => b.save_base_key(a, c, &bytes).await.unwrap(),
            _ => b.delete_base_key(a, c).await.unwrap(),
        }),
        36 => show(b.has_same_base_key(a, c, &bytes).await.unwrap()),
        37 => show(match z % 3 {
            0 => b.update_device_list(devices(a)).await.unwrap(),
            1 => b
                .update_device_lists(vec![devices(a), devices(c)])
                .await
                .unwrap(),
            _ => b.delete_devices(a).await.unwrap(),
        }),
        38 => show(match z % 2 {
            0 => b.put_group_metadata(a, &bytes).await.unwrap(),
            _ => b.delete_group_metadata(a).await.unwrap(),
        }),
        39 => show((
            b.get_devices(a).await.unwrap(),
            b.get_group_metadata(a).await.unwrap(),
            b.get_tc_token(a).await.unwrap(),
        )),
        40 => show(match z % 5 {
            0 => {
                let sender_timestamp = (y % 2 == 0).then_some(n);
                let entry = TcTokenEntry {
                    token: bytes,
                    token_timestamp: n,
                    sender_timestamp,
                };
                b.put_tc_token(a, &entry).await.unwrap()
            }
            1 => b.delete_tc_token(a).await.unwrap(),
            2 => b.touch_tc_token_sender_timestamp(a, n).await.unwrap(),
            _ => b.store_received_tc_token(a, &bytes, n).await.unwrap(),
        }),
        41 => format!(
            "{} {}",
            b.delete_expired_tc_tokens(n, i64::from(y % 4))
                .await
                .unwrap(),
            sorted(b.get_all_tc_token_jids().await.unwrap())
        ),
        42 => match z % 4 {
            0 | 1 => show(b.store_sent_message(a, c, &bytes).await.unwrap()),
            2 => show(b.take_sent_message(a, c).await.unwrap()),
            _ => show(b.delete_expired_sent_messages(age).await.unwrap()),
        },
        43 => match z % 6 {
            0 => show(
                b.store_pending_inbound(a, c, name(z), &bytes)
                    .await
                    .unwrap(),
            ),
            1 => {
                let row = |chat| PendingInboundRow {
                    chat,
                    sender: c,
                    id: "i",
                    message: &bytes,
                };
                show(
                    b.store_pending_inbound_batch(&[row(a), row(c)])
                        .await
                        .unwrap(),
                )
            }
            2 => show(b.delete_pending_inbound(a, c, name(z)).await.unwrap()),
            3 => {
                let key = |chat| PendingInboundKey {
                    chat,
                    sender: c,
                    id: "i",
                };
                show(
                    b.delete_pending_inbound_batch(&[key(a), key(c)])
                        .await
                        .unwrap(),
                )
            }
            4 => show((
                b.get_pending_inbound(a, c, name(z)).await.unwrap(),
                b.get_pending_inbound(a, c, "i").await.unwrap(),
            )),
            // Ours never go for their age.
            _ => String::new(),
        },
        _ => match y % 4 {
            0 => show(
                b.put_msg_secrets(vec![secret(a, c, n), secret(c, a, 0)])
                    .await
                    .unwrap(),
            ),
            1 => show(b.put_msg_secret(a, c, name(z % 3), &[z; 32]).await.unwrap()),
            2 => show((
                b.get_msg_secret(a, c, name(z % 3)).await.unwrap(),
                b.get_msg_secret_with_ts(a, c, name(z % 3)).await.unwrap(),
            )),
            _ => show(b.delete_expired_msg_secrets(n).await.unwrap()),
        },
    }
}

fn seal() -> Seal {
    Seal::new(&[7; 32])
}

struct Rig {
    disk: Arc<SimulatedDisk>,
    store: Store,
}

impl Rig {
    fn new() -> Self {
        Self::on(SimulatedDisk::new())
    }

    fn on(disk: Arc<SimulatedDisk>) -> Self {
        Self::with(disk, StoreOptions::default())
    }

    fn with(disk: Arc<SimulatedDisk>, options: StoreOptions) -> Self {
        let store = Store::open(Disk::Simulated(Arc::clone(&disk)), options).unwrap();
        Self { disk, store }
    }

    fn backend(&self, sid: u32) -> Backend {
        Backend::new(self.store.clone(), sid, Clock::system(), seal())
    }

    fn rows_of(&self, sid: u32) -> usize {
        let prefix = Key::new().u32(sid);
        let count = |r: &Reader, table| r.prefix(table, &prefix, None, usize::MAX);
        self.store
            .read(|r| Ok(count(r, WA)?.len() + count(r, WA_EXPIRY)?.len()))
            .unwrap()
    }
}

impl Rig {
    fn count(&self, sid: u32, kind: RowKind) -> usize {
        let prefix = self.backend(sid).key(kind);
        self.store
            .read(|r| r.prefix(WA, &prefix, None, usize::MAX))
            .unwrap()
            .len()
    }
}

async fn closed_and_checked(rig: Rig) {
    rig.store.close().await;
    assert_eq!(check_simulated(&rig.disk).unwrap(), Vec::<String>::new());
}

fn calls() -> impl Strategy<Value = Vec<(bool, Call)>> {
    let one = (0..CALLS, 0..12u8, 0..12u8, 0..12u8, -1..5i64);
    proptest::collection::vec((any::<bool>(), one), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn two_sessions_answer_as_two_separate_memories_do(calls in calls()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new();
            let ours = [rig.backend(1), rig.backend(2)];
            let memory = [InMemoryBackend::new(), InMemoryBackend::new()];
            for (second, made) in &calls {
                let at = usize::from(*second);
                let expected = call(&memory[at], *made).await;
                let answer = call(&ours[at], *made).await;
                prop_assert_eq!(answer, expected, "session {} call {:?}", at + 1, made);
            }
            let indexed = rig.count(2, RowKind::SenderKeyGroup);
            prop_assert_eq!(rig.count(2, RowKind::SenderKeyDevice), indexed);
            delete_all(&rig.store, 1).await.unwrap();
            prop_assert_eq!(rig.rows_of(1), 0);
            for which in 0..CALLS {
                // Every reading call, on everything there may be.
                if [6, 11, 14, 18, 20, 22, 26, 31, 34, 36, 39].contains(&which) {
                    for x in 0..12 {
                        let made = (which, x, x, 1, 1);
                        prop_assert_eq!(call(&ours[1], made).await, call(&memory[1], made).await);
                        let nothing = call(&InMemoryBackend::new(), made).await;
                        prop_assert_eq!(call(&ours[0], made).await, nothing);
                    }
                }
            }
            closed_and_checked(rig).await;
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn what_a_ratchet_depends_on_survives_a_power_cut() {
    let rig = Rig::new();
    let b = rig.backend(1);
    macro_rules! survives {
        ($write:expr, $read:ident($($arg:expr),*) => $expected:expr) => {
            $write.await.unwrap();
            let after = Rig::on(rig.disk.crash());
            let found = after.backend(1).$read($($arg),*).await.unwrap();
            assert_eq!(show(found), show($expected), stringify!($write));
        };
    }
    let some = Some(Bytes::from_static(b"x"));
    let batch = [(Arc::<str>::from("b"), Bytes::from_static(b"x"))];
    survives!(b.put_session("a", b"x"), get_session("a") => &some);
    survives!(b.put_sessions_batch(&batch), get_session("b") => &some);
    survives!(b.delete_session("a"), get_session("a") => None::<()>);
    survives!(b.put_identity("a", [1; 32]), load_identity("a") => Some([1; 32]));
    survives!(b.put_identities_batch(&[("b".into(), [1; 32])]), load_identity("b") => Some([1; 32]));
    survives!(b.delete_identity("a"), load_identity("a") => None::<()>);
    survives!(b.put_sender_key("a", b"x"), get_sender_key("a") => Some(b"x"));
    survives!(b.put_sender_keys_batch(&batch), get_sender_key("b") => Some(b"x"));
    survives!(b.store_prekey(1, b"x", false), load_prekey(1) => &some);
    survives!(b.store_prekeys_batch(&[(2, "x".into())], true), load_prekey(2) => &some);
    survives!(b.remove_prekey(1), load_prekey(1) => None::<()>);
    survives!(b.store_signed_prekey(1, b"x"), load_signed_prekey(1) => Some(b"x"));
    survives!(b.store_pending_inbound("c", "s", "i", b"x"), get_pending_inbound("c", "s", "i") => Some(b"x"));
    survives!(b.set_sync_key(b"k", AppStateSyncKey::default()), get_latest_sync_key_id() => Some(b"k"));
    survives!(b.set_sender_key_status("g", &[("d", false)]), get_sender_key_devices("g") => [("d", false)]);
    survives!(b.create(), exists() => true);
    let state = HashState {
        version: 9,
        ..HashState::default()
    };
    b.set_version("n", state).await.unwrap();
    let after = Rig::on(rig.disk.crash());
    assert_eq!(after.backend(1).get_version("n").await.unwrap().version, 9);
}

#[tokio::test]
async fn a_batch_is_one_operation_and_a_send_costs_no_fsync() {
    let rig = Rig::new();
    let b = rig.backend(1);
    let (ops, syncs) = (rig.store.stats().ops, rig.disk.syncs());
    let rows: Vec<_> = (0..500)
        .map(|n| (Arc::from(format!("{n}@s")), Bytes::from("x")))
        .collect();
    b.put_sessions_batch(&rows).await.unwrap();
    assert_eq!(
        (rig.store.stats().ops - ops, rig.disk.syncs() - syncs),
        (1, 1)
    );
    b.store_sent_message("c", "m", b"x").await.unwrap();
    assert_eq!(
        b.take_sent_message("c", "m").await.unwrap().as_deref(),
        Some(&b"x"[..])
    );
    assert_eq!(rig.disk.syncs() - syncs, 1);
}

#[tokio::test]
async fn a_device_is_kept_with_all_that_it_needs_to_log_in_again() {
    let rig = Rig::new();
    let b = rig.backend(7);
    assert!(!b.exists().await.unwrap() && b.load().await.unwrap().is_none());
    let mut device = Device::new();
    device.push_name = "Warung".into();
    device.pn = Some("628123:5@s.whatsapp.net".parse().unwrap());
    device.next_pre_key_id = 813;
    b.save(&device).await.unwrap();
    assert_eq!(
        b.create().await.unwrap(),
        7,
        "an existing device is left alone"
    );
    let after = Rig::on(rig.disk.crash());
    let found = after.backend(7).load().await.unwrap().unwrap();
    let json = |d: &Device| serde_json::to_value(d).unwrap();
    assert_eq!(json(&found), json(&device));
    assert!(!after.backend(8).exists().await.unwrap());
}

#[tokio::test]
async fn a_secret_lies_sealed_and_opens_in_its_own_row_only() {
    let rig = Rig::new();
    let b = rig.backend(1);
    let secret = b"a ratchet of somebody";
    b.put_session("a@s", secret).await.unwrap();
    b.store_pending_inbound("c", "s", "i", secret)
        .await
        .unwrap();
    b.store_prekey(7, secret, true).await.unwrap();
    let rows = rig.store.read(|r| r.prefix(WA, b"", None, usize::MAX));
    for (key, value) in rows.unwrap() {
        assert_eq!(value[0], SEALED, "{key:?}");
        assert!(!value.windows(secret.len()).any(|part| part == secret));
    }
    let (from, to) = (
        b.key(RowKind::Session).tail("a@s"),
        b.key(RowKind::Session).tail("b@s"),
    );
    let moved = move |tx: &mut Tx| {
        let value = tx.get(WA, &from)?.expect("a row");
        tx.put(WA, to, value);
        Ok(())
    };
    rig.store.write(Durability::Sync, moved).await.unwrap();
    assert_eq!(&b.get_session("a@s").await.unwrap().unwrap()[..], secret);
    assert!(b.get_session("b@s").await.is_err());
    let stranger = Backend {
        seal: Seal::new(&[8; 32]),
        ..rig.backend(1)
    };
    assert!(stranger.get_session("a@s").await.is_err());
    assert!(stranger.load_prekey(7).await.is_err());
}

#[tokio::test]
async fn rows_of_an_older_version_are_sealed_as_they_are() {
    let rig = Rig::new();
    let b = rig.backend(1);
    let (device, count) = (Device::new(), 1200_u32);
    let mut rows = vec![(b.key(RowKind::Device), encode(&device).unwrap())];
    rows.push((b.key(RowKind::GroupMetadata).tail("g"), versioned(b"names")));
    for id in 0..count {
        let value = Key::new().u8(VERSION).u8(1).tail("a key in clear");
        rows.push((b.key(RowKind::PreKey).u32(id), value.into()));
    }
    b.put_all(Durability::Sync, rows).await.unwrap();
    assert!(b.load().await.is_err(), "what is not sealed is not taken");
    let sealed = u64::from(count) + 1;
    assert_eq!(seal_rows(&rig.store, &seal()).await.unwrap(), sealed);
    assert_eq!(seal_rows(&rig.store, &seal()).await.unwrap(), 0);
    let json = |d: &Device| serde_json::to_value(d).unwrap();
    assert_eq!(json(&b.load().await.unwrap().unwrap()), json(&device));
    for id in [0, 499, 500, count - 1] {
        let found = b.load_prekey(id).await.unwrap().unwrap();
        assert_eq!(&found[..], b"a key in clear");
    }
    let names = b.get_group_metadata("g").await.unwrap();
    assert_eq!(names.as_deref(), Some(&b"names"[..]));
    closed_and_checked(rig).await;
}

#[tokio::test]
async fn a_number_that_moved_to_another_lid_stays_there() {
    let rig = Rig::new();
    let b = rig.backend(1);
    let entry = |lid: &str, phone: &str| LidPnMappingEntry {
        lid: lid.into(),
        phone_number: phone.into(),
        created_at: 1,
        updated_at: 1,
        learning_source: "test".into(),
    };
    for (lid, phone) in [("old", "62"), ("new", "62"), ("old", "63")] {
        b.put_lid_mapping(&entry(lid, phone)).await.unwrap();
    }
    assert_eq!(b.get_pn_mapping("62").await.unwrap().unwrap().lid, "new");
    assert_eq!(b.get_pn_mapping("63").await.unwrap().unwrap().lid, "old");
}

#[tokio::test]
async fn a_sweep_takes_what_is_old_and_leaves_the_rest() {
    let rig = Rig::new();
    let clock = Clock::manual(Timestamp::from_secs(1000));
    let b = Backend::new(rig.store.clone(), 1, clock.clone(), seal());
    let other = Backend::new(rig.store.clone(), 2, clock.clone(), seal());
    other.store_sent_message("c", "m", b"x").await.unwrap();
    let count = SWEEP + 10;
    for n in 0..count {
        b.store_sent_message("c", &format!("old {n}"), b"x")
            .await
            .unwrap();
    }
    b.store_pending_inbound("c", "s", "old", b"x")
        .await
        .unwrap();
    clock.advance(Duration::from_secs(100));
    // Stored again: its time begins anew.
    b.store_sent_message("c", "old 0", b"y").await.unwrap();
    b.store_sent_message("c", "young", b"x").await.unwrap();
    assert_eq!(b.delete_expired_sent_messages(1000).await.unwrap(), 0);
    assert_eq!(
        b.delete_expired_sent_messages(1001).await.unwrap() as usize,
        count - 1
    );
    // It is nowhere else, and never too old.
    assert_eq!(b.delete_expired_pending_inbound(1001).await.unwrap(), 0);
    let pending = b.get_pending_inbound("c", "s", "old").await.unwrap();
    assert!(pending.is_some());
    b.delete_pending_inbound("c", "s", "old").await.unwrap();
    assert_eq!(
        b.take_sent_message("c", "old 0").await.unwrap().as_deref(),
        Some(&b"y"[..])
    );
    assert!(b.take_sent_message("c", "young").await.unwrap().is_some());
    assert_eq!(rig.rows_of(1), 0);
    assert!(other.take_sent_message("c", "m").await.unwrap().is_some());
    closed_and_checked(rig).await;
}

#[tokio::test]
async fn nothing_ends_by_a_clock_that_jumped() {
    let rig = Rig::new();
    let right = Timestamp::from_secs(1_800_000_000);
    let clock = Clock::manual(right);
    let b = Backend::new(rig.store.clone(), 1, clock.clone(), seal());
    b.store_sent_message("c", "m", b"x").await.unwrap();
    b.put_msg_secret("c", "s", "m", &[7; 32]).await.unwrap();
    b.store_received_tc_token("c", b"token", right.as_secs())
        .await
        .unwrap();
    assert_eq!(clock.seen(), right);
    clock.set(Timestamp::from_secs(4_000_000_000));
    let now = clock.now().as_secs();
    assert_eq!(b.delete_expired_sent_messages(now).await.unwrap(), 0);
    assert_eq!(b.delete_expired_msg_secrets(now).await.unwrap(), 0);
    assert_eq!(b.delete_expired_tc_tokens(now, now).await.unwrap(), 0);
    clock.set(right);
    let sent = b.take_sent_message("c", "m").await.unwrap();
    assert!(sent.is_some());
}

#[tokio::test]
async fn a_disk_that_fails_is_an_error_of_every_call() {
    let rig = Rig::new();
    let b = rig.backend(1);
    b.put_session("a", b"x").await.unwrap();
    rig.disk.fail_after(0);
    assert!(b.put_session("a", b"y").await.is_err());
    while !rig.store.is_degraded() {
        tokio::task::yield_now().await;
    }
    assert!(b.store_sent_message("c", "m", b"x").await.is_err());
    assert!(
        b.put_tc_token(
            "a",
            &TcTokenEntry {
                token: vec![],
                token_timestamp: 0,
                sender_timestamp: None
            }
        )
        .await
        .is_err()
    );
}

/// A backend whose ratchets wait for messages; what is asked for again comes out of the channel.
struct Watched {
    rig: Rig,
    backend: Backend,
    arriving: Arc<ArrivingMessages>,
    closing: tokio_util::sync::CancellationToken,
    missing: tokio::sync::mpsc::UnboundedReceiver<crate::wa::arriving::Missing>,
}

impl Watched {
    fn new(stored: bool) -> Self {
        // No page is read from memory, so that reads fail as well as writes.
        let options = StoreOptions {
            cache_bytes: 0,
            ..StoreOptions::default()
        };
        let rig = Rig::with(SimulatedDisk::new(), options);
        let (tell, missing) = tokio::sync::mpsc::unbounded_channel();
        let closing = tokio_util::sync::CancellationToken::new();
        let arriving = Arc::new(ArrivingMessages::new(
            Arc::new(move |_, _| Ok(stored)),
            tell,
            closing.clone(),
        ));
        let backend = rig.backend(1).behind(Arc::clone(&arriving));
        Self {
            rig,
            backend,
            arriving,
            closing,
            missing,
        }
    }
}

const WRITER: &str = "6281200000009@s.whatsapp.net";

fn stanza(id: &str) -> whatsapp_rust::wacore_binary::Node {
    whatsapp_rust::NodeBuilder::new("message")
        .attr("id", id.to_owned())
        .attr("from", WRITER)
        .build()
}

#[tokio::test]
async fn a_ratchet_waits_for_the_row_of_the_message_that_moved_it() {
    let watched = Watched::new(true);
    let node = stanza("A1");
    assert!(!watched.arriving.observe(&node.as_node_ref(), false));
    let storing = watched.arriving.storing(vec!["A1".into()]);
    // A clean stop flushes too, and may lose no more.
    watched.closing.cancel();
    let backend = watched.backend.clone();
    let ratchet = tokio::spawn(async move { backend.put_session("a", b"moved").await });
    let other = watched.rig.backend(1);
    // Whatever else is written meanwhile, the ratchet is not.
    for _ in 0..20 {
        other.put_identity("x", [0; 32]).await.unwrap();
        assert!(!other.has_session("a").await.unwrap());
    }
    other
        .store_pending_inbound("c", WRITER, "A1", b"words")
        .await
        .unwrap();
    drop(storing);
    ratchet.await.unwrap().unwrap();
    assert!(other.has_session("a").await.unwrap());
}

#[tokio::test]
async fn a_message_that_is_never_stored_does_not_hold_ratchets_for_ever() {
    let watched = Watched::new(true);
    let node = stanza("A1");
    watched.arriving.observe(&node.as_node_ref(), false);
    watched.backend.put_session("a", b"moved").await.unwrap();
    let waited_at_whatsapp = whatsapp_rust::NodeBuilder::new("message")
        .attr("id", "A2")
        .attr("offline", "1")
        .build();
    assert!(
        !watched
            .arriving
            .observe(&waited_at_whatsapp.as_node_ref(), true)
    );
}

#[tokio::test]
async fn a_duplicate_is_acknowledged_only_when_its_message_is_stored() {
    let mut lost = Watched::new(false);
    let answer = lost.backend.get_pending_inbound(WRITER, WRITER, "A1").await;
    assert!(answer.is_err(), "the library acknowledges what is no error");
    let asked = lost.missing.try_recv().expect("it is asked for");
    assert_eq!(asked.id.as_str(), "A1");
    assert_eq!(asked.sender.to_string(), WRITER);
    let mut kept = Watched::new(true);
    let answer = kept.backend.get_pending_inbound(WRITER, WRITER, "A1").await;
    assert_eq!(answer.unwrap(), None);
    assert!(kept.missing.try_recv().is_err());
}

#[tokio::test]
async fn a_message_that_arrives_waits_for_a_disk_that_fails() {
    let watched = Watched::new(true);
    watched.rig.disk.fail_after(0);
    let backend = watched.backend.clone();
    let storing = tokio::spawn(async move {
        backend
            .store_pending_inbound("c", WRITER, "A1", b"words")
            .await
    });
    while watched.arriving.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    watched.rig.disk.heal();
    storing.await.unwrap().unwrap();
    assert_eq!(watched.arriving.waiting(), 0);
    let row = watched.backend.get_pending_inbound("c", WRITER, "A1").await;
    assert_eq!(row.unwrap().as_deref(), Some(&b"words"[..]));
}

/// Everything that the library reads while it decrypts.
async fn read_keys(backend: &Backend) -> Result<()> {
    let reads: [futures_util::future::BoxFuture<Result<()>>; 8] = [
        Box::pin(async { backend.get_session("a").await.map(drop) }),
        Box::pin(async { backend.load_identity("a").await.map(drop) }),
        Box::pin(async { backend.load_prekey(1).await.map(drop) }),
        Box::pin(async { backend.load_signed_prekey(1).await.map(drop) }),
        Box::pin(async { backend.get_sender_key("a").await.map(drop) }),
        Box::pin(async { backend.has_session("a").await.map(drop) }),
        Box::pin(async { backend.load_all_signed_prekeys().await.map(drop) }),
        Box::pin(async { backend.get_pn_mapping("1").await.map(drop) }),
    ];
    let results = futures_util::future::join_all(reads).await;
    results.into_iter().collect()
}

/// A backend whose disk has just failed, for reads too.
async fn unreadable() -> Watched {
    let watched = Watched::new(true);
    watched.backend.put_session("a", b"x").await.unwrap();
    watched.rig.disk.fail_after(0);
    let key = watched.backend.key(RowKind::Session).tail("a");
    let read = watched.rig.store.read(|r| r.exists(WA, &key));
    assert!(read.is_err(), "{read:?}");
    watched
}

#[tokio::test]
async fn a_read_waits_for_a_store_that_is_opened_anew() {
    let watched = unreadable().await;
    let backend = watched.backend.clone();
    let reading = tokio::spawn(async move { read_keys(&backend).await });
    // One thread: by now each read has been tried once.
    tokio::task::yield_now().await;
    watched.rig.disk.heal();
    reading.await.unwrap().expect("no read is refused");
}

#[tokio::test]
async fn a_secret_that_the_library_offers_once_waits_for_a_disk_that_fails() {
    let watched = unreadable().await;
    let backend = watched.backend.clone();
    let putting = tokio::spawn(async move {
        let secret = MsgSecretEntry {
            chat: "c".into(),
            sender: WRITER.into(),
            msg_id: "A1".into(),
            secret: [7; 32],
            expires_at: 0,
            message_ts: 0,
        };
        backend.put_msg_secrets(vec![secret]).await
    });
    tokio::task::yield_now().await;
    watched.rig.disk.heal();
    assert_eq!(putting.await.unwrap().unwrap(), 1);
    let kept = watched.backend.get_msg_secret("c", WRITER, "A1").await;
    assert_eq!(kept.unwrap().as_deref(), Some(&[7; 32][..]));
}

#[tokio::test]
async fn a_read_ends_when_its_session_is_closed() {
    let watched = unreadable().await;
    let reading = tokio::spawn({
        let backend = watched.backend.clone();
        async move { read_keys(&backend).await }
    });
    tokio::task::yield_now().await;
    watched.closing.cancel();
    assert!(reading.await.unwrap().is_err());
}

#[test]
fn too_many_that_cannot_be_stored_ask_for_a_new_connection() {
    let watched = Watched::new(true);
    let heard = (0..3000)
        .map(|n| {
            watched
                .arriving
                .observe(&stanza(&format!("A{n}")).as_node_ref(), true)
        })
        .filter(|too_many| *too_many)
        .count();
    assert_eq!(heard, 3);
}

#[tokio::test]
async fn people_with_signal_state_are_told_page_by_page() {
    let store = Store::open(
        Disk::Simulated(SimulatedDisk::new()),
        StoreOptions::default(),
    )
    .expect("opened");
    let of = |sid| Backend::new(store.clone(), sid, Clock::system(), seal());
    let (ours, others) = (of(7), of(8));
    for (address, identity) in [
        ("628120000001@c.us.0", true),
        ("628120000001:3@c.us.0", true),
        ("100000000000001.1:75@lid.0", true),
        ("628120000002@c.us.0", false),
        ("120363000000000001@g.us.0", false),
        ("no address", false),
    ] {
        match identity {
            true => ours.put_identity(address, [3; 32]).await.expect("written"),
            false => ours.put_session(address, b"x").await.expect("written"),
        }
    }
    others
        .put_session("628120000009@c.us.0", b"x")
        .await
        .expect("written");
    ours.put_sender_key("628120000008@c.us.0", b"x")
        .await
        .expect("written");
    for most in [1, 2, 100] {
        let (mut people, mut after) = (Vec::new(), None);
        loop {
            let page = |read: &Reader| people_with_signal_state(read, 7, after.take(), most);
            let Some((more, last)) = store.read(page).expect("read") else {
                break;
            };
            assert!(more.len() <= most);
            people.extend(more.iter().map(ToString::to_string));
            after = Some(last);
        }
        people.sort();
        people.dedup();
        let expected = [
            "100000000000001.1@lid",
            "628120000001@s.whatsapp.net",
            "628120000002@s.whatsapp.net",
        ];
        assert_eq!(people, expected, "{most}");
    }
}
