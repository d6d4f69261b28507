//! The due-queues: their numbers in the store, and how long what lies in them waits at most.
//!
//! Hazard: the numbers are in the files of users. Never reuse one.

use std::time::Duration;

/// Webhook deliveries.
pub const DELIVERIES: u8 = 1;

/// The longest wait between two tries of a delivery.
pub const DELIVERY_WAIT: Duration = Duration::from_secs(3600);

/// How many deliveries of a webhook that were set aside are tried at once: the others need the slots.
pub const ASIDE_AT_ONCE: usize = 2;

/// Downloads of received files that a session asked to be made by themselves.
pub const DOWNLOADS: u8 = 2;

/// The longest wait between two tries of a download.
pub const DOWNLOAD_WAIT: Duration = Duration::from_secs(3 * 3600);

/// How many downloads of a session are made at once.
pub const DOWNLOADS_AT_ONCE: usize = 2;

/// Recipients of campaigns that are to be tried again.
pub const RETRIES: u8 = 3;

/// The longest wait before such a try, also when WhatsApp asks to slow down.
pub const RETRY_WAIT: Duration = Duration::from_secs(3600);

/// Messages that could not be read and may still come.
pub const UNREADABLE: u8 = 4;

/// How long such a message may take to come again.
pub const UNREADABLE_WAIT: Duration = Duration::from_secs(60);
