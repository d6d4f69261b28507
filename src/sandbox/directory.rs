//! Who exists: phones made on first touch, accounts with companions, and who logs in with which key.

use std::collections::HashMap;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::account::Account;
use super::journal::JournalChanges;
use super::number::{DeviceAddress, Number};
use super::phone::Phone;

/// The registers.
pub(super) struct Directory {
    changes: Arc<JournalChanges>,
    phones: RwLock<HashMap<Number, Arc<Phone>>>,
    accounts: RwLock<HashMap<Number, Arc<Account>>>,
    logins: RwLock<HashMap<[u8; 32], DeviceAddress>>,
    /// Who has asked for whose devices, and is told when they change.
    acquaintances: RwLock<HashMap<Number, Vec<Number>>>,
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read()
        .expect("Invariant: nothing panics under this lock")
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write()
        .expect("Invariant: nothing panics under this lock")
}

impl Directory {
    pub(super) fn new(changes: Arc<JournalChanges>) -> Self {
        Self {
            changes,
            phones: RwLock::default(),
            accounts: RwLock::default(),
            logins: RwLock::default(),
            acquaintances: RwLock::default(),
        }
    }

    /// The phone with this number, made now if it was never touched.
    pub(super) fn phone(&self, number: Number) -> Arc<Phone> {
        if let Some(phone) = self.known_phone(number) {
            return phone;
        }
        write(&self.phones)
            .entry(number)
            .or_insert_with(|| Arc::new(Phone::new(number, self.changes.clone())))
            .clone()
    }

    /// The phone, if it was ever touched.
    pub(super) fn known_phone(&self, number: Number) -> Option<Arc<Phone>> {
        read(&self.phones).get(&number).cloned()
    }

    /// Whether a number is on the network; every number is, unless it was told otherwise.
    pub(super) fn is_registered(&self, number: Number) -> bool {
        self.known_phone(number)
            .is_none_or(|phone| phone.profile().registered)
    }

    /// Every phone that was ever touched.
    pub(super) fn phones(&self) -> Vec<Arc<Phone>> {
        read(&self.phones).values().cloned().collect()
    }

    pub(super) fn touched_phones(&self) -> usize {
        read(&self.phones).len()
    }

    /// The account, made now if it never had anything to keep.
    pub(super) fn account(&self, number: Number) -> Arc<Account> {
        if let Some(account) = self.known_account(number) {
            return account;
        }
        write(&self.accounts)
            .entry(number)
            .or_insert_with(|| Arc::new(Account::new(number, self.changes.clone())))
            .clone()
    }

    /// The account, if it ever had anything to keep.
    pub(super) fn known_account(&self, number: Number) -> Option<Arc<Account>> {
        read(&self.accounts).get(&number).cloned()
    }

    pub(super) fn accounts(&self) -> Vec<Arc<Account>> {
        let mut accounts: Vec<_> = read(&self.accounts).values().cloned().collect();
        accounts.sort_by_key(|account| account.number);
        accounts
    }

    /// The ids of the linked devices of a number, without the phone.
    pub(super) fn companions(&self, number: Number) -> Vec<u16> {
        self.known_account(number)
            .map(|account| account.devices())
            .unwrap_or_default()
    }

    /// Notes that `asker` has asked for the devices of `about`.
    pub(super) fn acquaint(&self, asker: Number, about: Number) {
        let known = read(&self.acquaintances)
            .get(&about)
            .is_some_and(|askers| askers.contains(&asker));
        if !known && asker != about {
            write(&self.acquaintances)
                .entry(about)
                .or_default()
                .push(asker);
        }
    }

    pub(super) fn acquaintances(&self, about: Number) -> Vec<Number> {
        read(&self.acquaintances)
            .get(&about)
            .cloned()
            .unwrap_or_default()
    }

    pub(super) fn login(&self, noise: &[u8; 32]) -> Option<DeviceAddress> {
        read(&self.logins).get(noise).copied()
    }

    pub(super) fn add_login(&self, noise: [u8; 32], address: DeviceAddress) {
        write(&self.logins).insert(noise, address);
    }

    pub(super) fn remove_login(&self, noise: &[u8; 32]) {
        write(&self.logins).remove(noise);
    }
}
