//! Points in time and the clock that names them. The only file that may read the OS clock.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z. Stored.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// From seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Later by `by`, at most the end of time.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// Earlier by `by`.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// Whether a clock that was set can have shown it: no message is older than WhatsApp, and a board
    /// that does not know the time begins with 1970 or 2000.
    pub fn is_plausible(self) -> bool {
        self >= EARLIEST
    }

    /// How long from `earlier` until this; zero when the clock went back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    /// ISO 8601 with milliseconds and `Z`, as the original program writes times.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        write!(f, "{time:.3}")
    }
}

/// When this version was made: no clock that is right shows an earlier time.
const MADE: Timestamp = Timestamp::from_secs(1_793_491_200);

/// The year in which WhatsApp began.
const EARLIEST: Timestamp = Timestamp::from_secs(1_230_768_000);

/// How far the clock may step without being doubted: daylight saving, a correction, a night without
/// power.
const STEP: Duration = Duration::from_secs(24 * 3600);

/// How long the program must have run at a time that came with a greater step before it is believed.
const TRUST: Duration = Duration::from_secs(6 * 3600);

/// How far a clock may go astray in that time.
const DRIFT: Duration = Duration::from_secs(3600);

/// How long after the machine's start its clock may still wait to be set by the network. A network
/// that never sets it must not hold anything up for ever.
const SYNC_PATIENCE: Duration = Duration::from_secs(600);

/// Where the time comes from: the machine, or a test that moves it by hand. Clones are the same clock.
///
/// Invariant: what is deleted, given up or refused because of its age is judged by [`seen`](Self::seen)
/// or [`age_of`](Self::age_of), never by [`now`](Self::now) alone: clocks are set wrong.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    manual: Option<Arc<Manual>>,
    passage: Arc<Mutex<Passage>>,
}

#[derive(Debug, Default)]
struct Manual {
    ms: AtomicI64,
    ran_ms: AtomicI64,
    doubted: AtomicBool,
}

/// How time passed while the program looked.
#[derive(Debug, Default)]
struct Passage {
    /// What was believed last, and how long the program had run then.
    known: Option<(Timestamp, Duration)>,
    /// A step of the clock that is not believed yet.
    jump: Option<Jump>,
}

#[derive(Debug, Clone, Copy)]
struct Jump {
    /// How long the program had run when the clock stepped.
    since: Duration,
    /// What the clock showed at the start of the program's run, by this step.
    origin_ms: i64,
}

impl Passage {
    /// Takes note of what the clock shows; answers the time that is believed.
    fn look(&mut self, shown: Timestamp, ran: Duration, doubted: bool) -> Timestamp {
        let Some((known, then)) = self.known else {
            if !doubted {
                self.known = Some((shown, ran));
            }
            return shown;
        };
        let expected = known.after(ran.saturating_sub(then));
        if doubted {
            return expected;
        }
        let off = shown.since(expected).max(expected.since(shown));
        let ran_ms = i64::try_from(ran.as_millis()).unwrap_or(i64::MAX);
        let origin_ms = shown.as_ms().saturating_sub(ran_ms);
        let steady = self
            .jump
            .filter(|jump| jump.origin_ms.abs_diff(origin_ms) <= DRIFT.as_millis() as u64);
        let trusted = steady.is_some_and(|jump| ran.saturating_sub(jump.since) >= TRUST);
        if off <= STEP || trusted {
            if self.jump.take().is_some() {
                tracing::info!(clock = %shown, "the clock is believed again");
            }
            self.known = Some((shown, ran));
            return shown;
        }
        if steady.is_none() {
            tracing::warn!(clock = %shown, expected = %expected, hours = TRUST.as_secs() / 3600,
                "the clock has jumped; nothing is removed for its age before the program has run \
                 for some hours at the new time");
            let since = ran;
            self.jump = Some(Jump { since, origin_ms });
        }
        expected
    }
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `start` until it is moved.
    #[cfg(feature = "sandbox")]
    pub fn manual(start: Timestamp) -> Self {
        let manual = Manual {
            ms: AtomicI64::new(start.as_ms()),
            ..Manual::default()
        };
        Self {
            manual: Some(Arc::new(manual)),
            ..Self::default()
        }
    }

    /// How long this program has run, by a clock that nobody sets.
    fn ran(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        match &self.manual {
            Some(manual) => {
                let ms = manual.ran_ms.load(Ordering::SeqCst);
                Duration::from_millis(u64::try_from(ms).unwrap_or(0))
            }
            None => START.elapsed(),
        }
    }

    fn passage<T>(&self, f: impl FnOnce(&mut Passage, Timestamp, Duration, bool) -> T) -> T {
        let doubted = self.doubt().is_some();
        let mut passage = self.passage.lock().unwrap_or_else(PoisonError::into_inner);
        f(&mut passage, self.now(), self.ran(), doubted)
    }

    /// Goes on from the time that an earlier run believed last.
    pub fn resume(&self, known: Option<Timestamp>) {
        let known = known.filter(|at| at.is_plausible());
        self.passage(|passage, _, ran, _| {
            *passage = Passage {
                known: known.map(|at| (at, ran)),
                jump: None,
            };
        });
    }

    /// The present moment as far as the program itself has seen it come: never later than the clock
    /// shows, and not moved by a clock that jumped until the program has run for hours at the new time.
    pub fn seen(&self) -> Timestamp {
        self.passage(|passage, shown, ran, doubted| passage.look(shown, ran, doubted).min(shown))
    }

    /// What the next run goes on from; `None` while the clock is not believed.
    pub fn believed(&self) -> Option<Timestamp> {
        self.passage(|passage, shown, ran, doubted| {
            passage.look(shown, ran, doubted);
            (!doubted && passage.jump.is_none()).then_some(shown)
        })
    }

    /// How far the clock is from the time that the program has seen pass; zero when it is believed.
    pub fn astray(&self) -> Duration {
        self.passage(|passage, shown, ran, doubted| {
            let seen = passage.look(shown, ran, doubted);
            shown.since(seen).max(seen.since(shown))
        })
    }

    /// How old something is that carries this time, as far as the program has seen time pass.
    pub fn age_of(&self, at: Timestamp) -> Duration {
        if at.is_plausible() {
            self.seen().since(at)
        } else {
            Duration::ZERO
        }
    }

    /// The present moment.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place the rule points to"
    )]
    pub fn now(&self) -> Timestamp {
        match &self.manual {
            Some(manual) => Timestamp(manual.ms.load(Ordering::SeqCst)),
            None => Timestamp(
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
            ),
        }
    }

    /// Why the clock is probably wrong, if it is. A board without a battery starts with the time of
    /// its last shutdown, or with 1970, until the network has set it.
    pub fn doubt(&self) -> Option<&'static str> {
        match &self.manual {
            Some(manual) => manual
                .doubted
                .load(Ordering::SeqCst)
                .then_some("it is said to be wrong"),
            None if self.now() < MADE => Some("it shows a time before this program was made"),
            None if waits_for_network(Path::new("/")) => {
                Some("the network has not set it since the machine started")
            }
            None => None,
        }
    }

    /// Makes a manual clock one that is probably wrong, or right again.
    #[cfg(feature = "sandbox")]
    pub fn set_doubted(&self, doubted: bool) {
        if let Some(manual) = &self.manual {
            manual.doubted.store(doubted, Ordering::SeqCst);
        }
    }

    /// Sets a manual clock without any time passing, backwards too; the machine's clock cannot be set.
    #[cfg(feature = "sandbox")]
    pub fn set(&self, to: Timestamp) {
        if let Some(manual) = &self.manual {
            manual.ms.store(to.as_ms(), Ordering::SeqCst);
        }
    }

    /// Lets time pass on a manual clock; the machine's clock cannot be moved.
    #[cfg(feature = "sandbox")]
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.manual {
            let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            manual.ran_ms.fetch_add(by, Ordering::SeqCst);
            manual.ms.fetch_add(by, Ordering::SeqCst);
        }
    }
}

/// Whether the machine started a moment ago and systemd-timesyncd has not set its clock yet. The
/// file is that service's own sign, and readable where the kernel's is not.
fn waits_for_network(root: &Path) -> bool {
    let uptime = std::fs::read_to_string(root.join("proc/uptime")).unwrap_or_default();
    let seconds = uptime
        .split_whitespace()
        .next()
        .and_then(|s| s.parse::<f64>().ok());
    let service = root.join("run/systemd/timesync");
    seconds.is_some_and(|s| s < SYNC_PATIENCE.as_secs_f64())
        && service.is_dir()
        && !service.join("synchronized").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_sets_the_clock_of_a_board_that_just_started() {
        let root = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        let waits = || waits_for_network(root.path());
        file("proc/uptime", "20.11 30.00\n");
        assert!(!waits(), "no such service");
        file("run/systemd/timesync/other", "");
        assert!(waits());
        file("proc/uptime", "700.00 30.00\n");
        assert!(!waits(), "not for ever");
        file("proc/uptime", "20.11 30.00\n");
        file("run/systemd/timesync/synchronized", "");
        assert!(!waits());
    }

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn time_that_passes_is_seen_and_a_jump_is_not() {
        let start = Timestamp::from_secs(1_800_000_000);
        let clock = Clock::manual(start);
        assert_eq!(clock.seen(), start);
        clock.advance(400 * DAY);
        assert_eq!(clock.seen(), start.after(400 * DAY), "it passed");
        let right = clock.now();
        clock.set(right.after(27_000 * DAY));
        assert_eq!(clock.seen(), right);
        assert_eq!(clock.believed(), None);
        assert_eq!(clock.age_of(right), Duration::ZERO);
        clock.advance(HOUR);
        assert_eq!(clock.seen(), right.after(HOUR), "time passes all the same");
        clock.set(right.after(HOUR));
        assert_eq!(clock.seen(), right.after(HOUR));
        assert_eq!(clock.believed(), Some(right.after(HOUR)));
    }

    #[test]
    fn a_jump_is_believed_after_hours_at_the_new_time() {
        let start = Timestamp::from_secs(1_800_000_000);
        let clock = Clock::manual(start);
        clock.resume(Some(start));
        clock.set(start.after(9 * DAY));
        assert_eq!(clock.seen(), start);
        clock.advance(5 * HOUR);
        assert_eq!(clock.believed(), None);
        clock.advance(HOUR);
        assert_eq!(clock.believed(), Some(clock.now()));
        assert_eq!(clock.seen(), clock.now());
    }

    #[test]
    fn a_clock_that_lost_the_time_makes_nothing_old() {
        let start = Timestamp::from_secs(1_800_000_000);
        let clock = Clock::manual(Timestamp::from_secs(9));
        clock.resume(Some(start));
        assert_eq!(clock.seen(), Timestamp::from_secs(9));
        assert_eq!(clock.age_of(Timestamp::from_secs(3)), Duration::ZERO);
        clock.set(start.after(HOUR));
        assert_eq!(
            clock.seen(),
            start.after(HOUR),
            "the night without power is over"
        );
        assert_eq!(clock.age_of(Timestamp::from_secs(3)), Duration::ZERO);
    }

    #[test]
    fn a_small_step_is_no_jump() {
        let start = Timestamp::from_secs(1_800_000_000);
        let clock = Clock::manual(start);
        assert_eq!(clock.seen(), start);
        for to in [start.after(3 * HOUR), start.before(3 * HOUR), start] {
            clock.set(to);
            assert_eq!((clock.seen(), clock.believed()), (to, Some(to)));
        }
        clock.set_doubted(true);
        clock.set(start.after(3 * HOUR));
        assert_eq!((clock.seen(), clock.believed()), (start, None));
    }

    #[test]
    fn writes_iso_8601_with_milliseconds() {
        assert_eq!(
            Timestamp::from_ms(1_700_000_000_123).to_string(),
            "2023-11-14T22:13:20.123Z"
        );
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_700_000_000_000, "2023-11-14T22:13:20.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (i64::MAX, "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp::from_ms(ms).to_string(), text);
        }
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_negative_wait() {
        assert_eq!(
            Timestamp::from_ms(5).since(Timestamp::from_ms(9)),
            Duration::ZERO
        );
    }
}
