//! Misfortunes on demand: cut connections, lost answers, refusals, bans.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::cdn::Pace;
use super::chat::Chat;
use super::connection::{Socket, stream_error};
use super::media::GONE;
use super::network::Network;
use super::number::{DeviceAddress, Number};
use crate::error::{Error, Result};

/// A misfortune as it is ordered. Without `count` it lasts until it is taken back.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fault {
    /// Connections end without a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<Cut>,
    /// Answers to messages come this many milliseconds late, or when faults are taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_acks: Option<u64>,
    /// Messages are delivered, but their answers are lost.
    pub lose_acks: bool,
    /// What companions say of messages they got never arrives: they get them again at the next login.
    pub lose_receipts: bool,
    /// Messages are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse: Option<Refuse>,
    /// Messages are refused with 429 when there are more than this many in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Streams end with this error, at once or at login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_error: Option<StreamError>,
    /// Logins are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_failure: Option<ConnectFailure>,
    /// The account is banned: its connections end and its logins are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ban: Option<Ban>,
    /// Files can neither be left nor fetched.
    pub cut_media: bool,
    /// Files expire, now: whoever asks for them later is told that they are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_media: Option<ExpireMedia>,
    /// Files are gone when they are this many seconds old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_life: Option<u64>,
    /// Files come and go slowly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_media: Option<SlowMedia>,
    /// Files cannot be left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_uploads: Option<FailMedia>,
    /// Files cannot be fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_downloads: Option<FailMedia>,
    /// Connections break while a file is left; what arrived is kept for those who resume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_uploads: Option<CutTransfer>,
    /// Connections break while a file is fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_downloads: Option<CutTransfer>,
    /// The key to the media host is refused: with a count, so often; without, the keys that were
    /// given out are useless from now on, and clients have to ask for another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject_media_auth: Option<FailMedia>,
    /// What phones send arrives garbled, so that companions have to ask for it again.
    pub garble: bool,
    /// Only for the companions of this phone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Only for this companion of the phone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<u16>,
    /// Only for messages to this person or group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How often it happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

/// When a connection ends.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cut {
    /// At once.
    pub now: bool,
    /// After so many further messages; the last one is delivered but not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_messages: Option<u32>,
    /// After so many further stanzas of any kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_frames: Option<u32>,
}

/// How messages are refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refuse {
    /// The code of the refusal: 463, 429, ...
    pub code: u16,
}

/// How many messages are too many.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// The most in a second.
    pub per_second: u32,
}

/// How a stream ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamError {
    /// 401, 403, 409, 440, 503, 515, ...
    pub code: u16,
    /// At the next login rather than at once.
    #[serde(default)]
    pub at_login: bool,
}

/// How a login is refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectFailure {
    /// 401 logged out, 402 banned for a time, 403 banned, 405 outdated, 503 not now.
    pub reason: u16,
    /// Why, for a ban.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// For how many seconds, for a ban.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire: Option<u64>,
}

/// How an account is banned.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ban {
    /// For how many seconds; without it, for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire: Option<u64>,
}

/// Which files expire; all, if none is named.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExpireMedia {
    /// The file with this direct path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_path: Option<String>,
    /// The file of this message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// 410 (if nothing is said) or 404.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// How slow the media host is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SlowMedia {
    /// So many bytes in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u32>,
    /// So many milliseconds before each 64 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<u64>,
}

/// How the media host refuses.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailMedia {
    /// 401, 403, 404, 410, 429, 500, 503, 507, ...
    pub status: u16,
}

/// When a transfer breaks off.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CutTransfer {
    /// After so many bytes of the sealed file.
    pub after_bytes: usize,
}

/// A misfortune that is in force.
#[derive(Debug, Clone, Serialize)]
pub struct ActiveFault {
    /// By which it can be taken back.
    pub id: u64,
    /// How often it has happened.
    pub hits: u32,
    /// What was ordered.
    #[serde(flatten)]
    pub fault: Fault,
}

/// All that is in force.
#[derive(Default)]
pub(super) struct Faults {
    /// Whether there is any; most of the time there is none.
    any: AtomicBool,
    active: Mutex<Vec<Active>>,
    /// How many were ordered so far: the id of the last.
    ordered: AtomicU64,
    /// Told when they are taken back: what was only late comes at once then.
    cleared: Arc<Notify>,
}

struct Active {
    shown: ActiveFault,
    phone: Option<Number>,
    to: Option<Chat>,
    /// How much of the way to the next blow has passed.
    progress: u32,
    /// The second for which a rate is counted.
    second: i64,
}

/// What happens to a message.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct MessageFault {
    pub(super) refuse: Option<u16>,
    pub(super) lose_ack: bool,
    pub(super) delay: Option<Duration>,
    pub(super) drop: bool,
}

/// What happens to a file on its way.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct TransferFault {
    pub(super) status: Option<u16>,
    pub(super) cut_after: Option<usize>,
    pub(super) pace: Option<Pace>,
}

impl Fault {
    fn is_of_media(&self) -> bool {
        self.expire_media.is_some()
            || self.media_life.is_some()
            || self.slow_media.is_some()
            || self.fail_uploads.is_some()
            || self.fail_downloads.is_some()
            || self.cut_uploads.is_some()
            || self.cut_downloads.is_some()
            || self.reject_media_auth.is_some()
    }

    /// The statuses that the media host is to answer with.
    fn statuses(&self) -> impl Iterator<Item = u16> {
        let refusals = [
            &self.fail_uploads,
            &self.fail_downloads,
            &self.reject_media_auth,
        ];
        let refusals = refusals.into_iter().flatten().map(|fail| fail.status);
        let expired = self.expire_media.as_ref().and_then(|expire| expire.status);
        refusals.chain(expired)
    }
}

impl Active {
    fn concerns(&self, who: DeviceAddress) -> bool {
        self.phone.is_none_or(|phone| phone == who.number)
            && self
                .shown
                .fault
                .device
                .is_none_or(|device| device == who.device)
    }

    /// Counts one blow; `false` if it has happened often enough.
    fn hit(&mut self) -> bool {
        if self.is_spent() {
            return false;
        }
        self.shown.hits += 1;
        true
    }

    fn is_spent(&self) -> bool {
        self.shown
            .fault
            .count
            .is_some_and(|count| self.shown.hits >= count)
    }

    /// Counts one step of `length`; `true` at the end of the way.
    fn step(&mut self, length: u32) -> bool {
        self.progress += 1;
        if self.progress < length {
            return false;
        }
        self.progress = 0;
        self.hit()
    }

    fn exceeds(&mut self, per_second: u32, second: i64) -> bool {
        if self.second != second {
            (self.second, self.progress) = (second, 0);
        }
        self.progress += 1;
        self.progress > per_second && self.hit()
    }
}

impl Faults {
    /// Waits for a delay, or until the misfortunes are taken back.
    pub(super) fn wait(&self, delay: Duration) -> impl Future<Output = ()> + use<> {
        let cleared = self.cleared.clone().notified_owned();
        async move {
            // The end of the wait is all that matters, not its reason.
            let _ = tokio::time::timeout(delay, cleared).await;
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Vec<Active>) -> T) -> T {
        let mut active = self
            .active
            .lock()
            .expect("Invariant: nothing panics under this lock");
        let result = look(&mut active);
        active.retain(|active| !active.is_spent());
        self.any.store(!active.is_empty(), Ordering::Relaxed);
        result
    }

    fn quiet(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// What happens to a message from a companion; a channel is no chat.
    pub(super) fn message_fault(
        &self,
        from: DeviceAddress,
        to: Option<&Chat>,
        second: i64,
    ) -> MessageFault {
        let mut fate = MessageFault::default();
        if self.quiet() {
            return fate;
        }
        self.with(|active| {
            for one in active.iter_mut().filter(|one| one.concerns(from)) {
                if one.to.as_ref().is_some_and(|only| Some(only) != to) {
                    continue;
                }
                let fault = one.shown.fault.clone();
                if let Some(refuse) = &fault.refuse
                    && one.hit()
                {
                    fate.refuse = Some(refuse.code);
                }
                if let Some(limit) = &fault.rate_limit
                    && one.exceeds(limit.per_second, second)
                {
                    fate.refuse = Some(429);
                }
                if fault.lose_acks && one.hit() {
                    fate.lose_ack = true;
                }
                if let Some(delay) = fault.delay_acks
                    && one.hit()
                {
                    fate.delay = Some(Duration::from_millis(delay));
                }
                if let Some(length) = fault.drop.and_then(|drop| drop.after_messages)
                    && one.step(length)
                {
                    fate.drop = true;
                }
            }
        });
        fate
    }

    /// Whether a receipt of this companion is lost.
    pub(super) fn loses_receipt(&self, from: DeviceAddress) -> bool {
        !self.quiet()
            && self.with(|active| {
                active
                    .iter_mut()
                    .filter(|one| one.shown.fault.lose_receipts && one.concerns(from))
                    .any(|one| one.hit())
            })
    }

    /// Whether the connection ends with this stanza.
    pub(super) fn ends_with_frame(&self, from: DeviceAddress) -> bool {
        if self.quiet() {
            return false;
        }
        self.with(|active| {
            let mut ends = false;
            for one in active.iter_mut().filter(|one| one.concerns(from)) {
                let length = one
                    .shown
                    .fault
                    .drop
                    .as_ref()
                    .and_then(|drop| drop.after_frames);
                ends |= length.is_some_and(|length| one.step(length));
            }
            ends
        })
    }

    /// Whether files can neither be left nor fetched.
    pub(super) fn media_is_cut(&self) -> bool {
        !self.quiet() && self.with(|active| active.iter().any(|one| one.shown.fault.cut_media))
    }

    /// After how many seconds files are gone.
    pub(super) fn media_life(&self) -> Option<u64> {
        if self.quiet() {
            return None;
        }
        self.with(|active| {
            active
                .iter()
                .filter_map(|one| one.shown.fault.media_life)
                .min()
        })
    }

    /// What happens to a file that is left.
    pub(super) fn on_upload(&self) -> TransferFault {
        self.on_transfer(|fault| (&fault.fail_uploads, &fault.cut_uploads))
    }

    /// What happens to a file that is fetched.
    pub(super) fn on_download(&self) -> TransferFault {
        self.on_transfer(|fault| (&fault.fail_downloads, &fault.cut_downloads))
    }

    fn on_transfer(
        &self,
        of: impl Fn(&Fault) -> (&Option<FailMedia>, &Option<CutTransfer>),
    ) -> TransferFault {
        let mut trouble = TransferFault::default();
        if self.quiet() {
            return trouble;
        }
        self.with(|active| {
            for one in active.iter_mut() {
                let fault = one.shown.fault.clone();
                let (fail, cut) = of(&fault);
                let refusal = fail.as_ref().or(fault.reject_media_auth.as_ref());
                if let Some(refusal) = refusal
                    && one.hit()
                {
                    trouble.status = Some(refusal.status);
                }
                if let Some(cut) = cut
                    && one.hit()
                {
                    trouble.cut_after = Some(cut.after_bytes);
                }
                if let Some(slow) = &fault.slow_media
                    && one.hit()
                {
                    trouble.pace = Some(Pace::new(slow.bytes_per_second, slow.delay));
                }
            }
        });
        trouble
    }

    /// Whether a message to a companion is garbled.
    pub(super) fn garbles(&self, to: DeviceAddress) -> bool {
        !self.quiet()
            && self.with(|active| {
                let mut fitting = active.iter_mut().filter(|one| one.concerns(to));
                fitting.any(|one| one.shown.fault.garble && one.hit())
            })
    }

    /// Whether a login is turned away, and how.
    fn at_login(&self, who: DeviceAddress) -> Option<Turned> {
        if self.quiet() {
            return None;
        }
        self.with(|active| {
            active
                .iter_mut()
                .filter(|one| one.concerns(who))
                .find_map(|one| {
                    let fault = one.shown.fault.clone();
                    let turned = match (&fault.connect_failure, &fault.ban, &fault.stream_error) {
                        (Some(failure), ..) => Turned::Failure(failure.clone()),
                        (_, Some(ban), _) => Turned::Failure(ban.failure()),
                        (.., Some(error)) if error.at_login => Turned::Error(error.code),
                        _ => return None,
                    };
                    one.hit().then_some(turned)
                })
        })
    }
}

enum Turned {
    Failure(ConnectFailure),
    Error(u16),
}

impl Ban {
    fn failure(&self) -> ConnectFailure {
        let reason = if self.expire.is_some() { 402 } else { 403 };
        ConnectFailure {
            reason,
            code: Some(101),
            expire: self.expire,
        }
    }
}

impl Network {
    /// Orders a misfortune; answers the id by which it can be taken back.
    pub fn order_fault(&self, fault: Fault) -> Result<u64> {
        let phone = fault
            .phone
            .as_deref()
            .map(|text| self.number(text))
            .transpose()?;
        let to = fault
            .to
            .as_deref()
            .map(|text| self.chat(text))
            .transpose()?;
        if fault.is_of_media() && (phone.is_some() || fault.device.is_some() || to.is_some()) {
            return Err(Error::invalid("the media host treats everybody alike"));
        }
        if fault.statuses().any(|status| !(400..600).contains(&status)) {
            return Err(Error::invalid("a refusal has a status from 400 to 599"));
        }
        if fault.count == Some(0) {
            return Err(Error::invalid("a fault that never happens is none"));
        }
        let id = self.faults.ordered.fetch_add(1, Ordering::Relaxed) + 1;
        let shown = ActiveFault {
            id,
            hits: 0,
            fault: fault.clone(),
        };
        let active = Active {
            shown,
            phone,
            to,
            progress: 0,
            second: 0,
        };
        let lasts = fault
            .drop
            .as_ref()
            .is_some_and(|drop| drop.after_messages.is_some() || drop.after_frames.is_some())
            || fault.delay_acks.is_some()
            || fault.lose_acks
            || fault.lose_receipts
            || fault.refuse.is_some()
            || fault.rate_limit.is_some()
            || fault.connect_failure.is_some()
            || fault.ban.is_some()
            || fault.cut_media
            || fault.garble
            || fault.media_life.is_some()
            || fault.slow_media.is_some()
            || fault.fail_uploads.is_some()
            || fault.fail_downloads.is_some()
            || fault.cut_uploads.is_some()
            || fault.cut_downloads.is_some()
            || (fault.reject_media_auth.is_some() && fault.count.is_some())
            || fault
                .stream_error
                .as_ref()
                .is_some_and(|error| error.at_login);
        let now = fault.stream_error.is_some()
            || fault.drop.as_ref().is_some_and(|drop| drop.now)
            || fault.expire_media.is_some()
            || fault.reject_media_auth.is_some();
        if !lasts && !now {
            return Err(Error::invalid("the order names no fault"));
        }
        if let Some(which) = &fault.expire_media {
            self.expire_media(which)?;
        }
        if let Some(refusal) = &fault.reject_media_auth
            && fault.count.is_none()
        {
            self.media_key.change(refusal.status);
        }
        let ends = fault.stream_error.is_some() || fault.ban.is_some() || fault.drop.is_some();
        for socket in self.sockets(|address| ends && active.concerns(address)) {
            if let Some(error) = fault.stream_error.as_ref().filter(|error| !error.at_login) {
                end_with(&socket, error.code);
            } else if fault.ban.is_some() || fault.drop.as_ref().is_some_and(|drop| drop.now) {
                socket.sever();
            }
        }
        if lasts {
            self.faults.with(|all| all.push(active));
        }
        Ok(id)
    }

    /// Lets files expire.
    fn expire_media(&self, which: &ExpireMedia) -> Result<()> {
        let status = which.status.unwrap_or(GONE);
        let path = match (&which.direct_path, &which.message_id) {
            (Some(path), _) => Some(path.clone()),
            (None, Some(id)) => {
                let path = self.path_of_message(id);
                Some(path.ok_or_else(|| Error::not_found("no message with this id has a file"))?)
            }
            (None, None) => None,
        };
        let count = self.media.expire(path.as_deref(), status);
        if path.is_some() && count == 0 {
            return Err(Error::not_found("there is no such file, or it has expired"));
        }
        Ok(())
    }

    /// What is in force.
    pub fn faults(&self) -> Vec<ActiveFault> {
        self.faults
            .with(|all| all.iter().map(|active| active.shown.clone()).collect())
    }

    /// Takes back one misfortune, or all.
    pub fn clear_faults(&self, id: Option<u64>) {
        self.faults
            .with(|all| all.retain(|active| id.is_some_and(|id| active.shown.id != id)));
        self.faults.cleared.notify_waiters();
    }

    /// The open sockets of certain companions.
    fn sockets(&self, wanted: impl Fn(DeviceAddress) -> bool) -> Vec<std::sync::Arc<Socket>> {
        let mut sockets = Vec::new();
        for account in self.directory.accounts() {
            for (device, companion) in &account.lock().companions {
                if wanted(DeviceAddress::new(account.number, *device)) {
                    sockets.extend(companion.socket.clone());
                }
            }
        }
        sockets
    }

    /// Turns a login away if it has to be.
    pub(super) fn turns_away(&self, who: DeviceAddress, socket: &Socket) -> bool {
        match self.faults.at_login(who) {
            None => return false,
            Some(Turned::Error(code)) => end_with(socket, code),
            Some(Turned::Failure(failure)) => {
                let mut node = NodeBuilder::new("failure")
                    .attr("reason", failure.reason)
                    .attr("location", "sandbox");
                let code = failure.code.or((failure.reason == 402).then_some(101));
                if let Some(code) = code {
                    node = node.attr("code", code);
                }
                if let Some(expire) = failure.expire {
                    node = node.attr("expire", expire);
                }
                socket.send(std::sync::Arc::new(node.build()));
                socket.close();
            }
        }
        true
    }
}

fn end_with(socket: &Socket, code: u16) {
    let conflict = match code {
        401 => Some("device_removed"),
        440 => Some("replaced"),
        _ => None,
    };
    stream_error(socket, code, conflict);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(fault: Fault) -> Faults {
        let faults = Faults::default();
        let shown = ActiveFault {
            id: 1,
            hits: 0,
            fault,
        };
        let active = Active {
            shown,
            phone: None,
            to: None,
            progress: 0,
            second: 0,
        };
        faults.with(|all| all.push(active));
        faults
    }

    fn who() -> DeviceAddress {
        DeviceAddress::new(Number::from_value(6_281_234_567_890), 1)
    }

    #[test]
    fn happens_as_often_as_ordered() {
        let refuse = Some(Refuse { code: 463 });
        let faults = faults(Fault {
            refuse,
            count: Some(2),
            ..Fault::default()
        });
        let codes: Vec<_> = (0..3)
            .map(|_| faults.message_fault(who(), Some(&Chat::Status), 0).refuse)
            .collect();
        assert_eq!(codes, [Some(463), Some(463), None]);
        assert!(faults.quiet());
    }

    #[test]
    fn drops_after_so_many_messages() {
        let drop = Some(Cut {
            after_messages: Some(3),
            ..Cut::default()
        });
        let faults = faults(Fault {
            drop,
            count: Some(1),
            ..Fault::default()
        });
        let drops: Vec<_> = (0..7)
            .map(|_| faults.message_fault(who(), Some(&Chat::Status), 0).drop)
            .collect();
        assert_eq!(drops, [false, false, true, false, false, false, false]);
    }

    #[test]
    fn refuses_what_is_too_fast() {
        let rate_limit = Some(RateLimit { per_second: 2 });
        let faults = faults(Fault {
            rate_limit,
            ..Fault::default()
        });
        let codes: Vec<_> = [0, 0, 0, 1]
            .map(|second| {
                faults
                    .message_fault(who(), Some(&Chat::Status), second)
                    .refuse
            })
            .into();
        assert_eq!(codes, [None, None, Some(429), None]);
    }
}
