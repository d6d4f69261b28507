//! Who is delivered to now: slots that are shared out so that receivers that hang hold up nobody else.
//!
//! A host whose receiver answered lately has slots that no other can take; one that is not known yet
//! shares what is left with those that hung lately, and those have few. No session and no host has
//! more than its part. What has to wait is kept as a claim of a few bytes, thousands of them.

use std::collections::{HashMap, VecDeque};

use crate::ids::SessionNumber;

/// How many deliveries are under way at the same time: each takes some memory.
const ALL: usize = 256;

/// How many of them may go to hosts that did not answer lately, or are not known yet.
const UNPROVEN: usize = 192;

/// How many of them may go to hosts that hung lately.
const HUNG: usize = 32;

/// How many may go out for one session at the same time.
const PER_SESSION: usize = 8;

/// How many may go to a new host at the same time.
const PER_HOST: usize = 8;

/// How many may go to a host at the same time that has answered often.
const PER_GOOD_HOST: usize = 64;

/// How many hosts are remembered.
const REMEMBERED: usize = 20_000;

/// What is known of a host; also in which line its deliveries wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostStanding {
    Good = 0,
    New = 1,
    Hung = 2,
}

const STANDINGS: [HostStanding; 3] = [HostStanding::Good, HostStanding::New, HostStanding::Hung];

/// How a receiver took a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Responsiveness {
    /// It answered, or refused the connection, at once.
    Prompt,
    /// It answered, and took long.
    Slow,
    /// It did not answer in time.
    Silent,
}

/// A slot that is in use; it must be given back.
#[derive(Debug)]
pub(super) struct Slot {
    host: String,
    session: SessionNumber,
    standing: HostStanding,
}

struct HostSlots<T> {
    standing: HostStanding,
    limit: usize,
    running: usize,
    waiting: VecDeque<(SessionNumber, T)>,
    /// Whether it stands in the line of its standing.
    in_line: bool,
}

/// The slots, and who waits for one.
pub(super) struct Slots<T> {
    hosts: HashMap<String, HostSlots<T>>,
    sessions: HashMap<SessionNumber, usize>,
    lines: [VecDeque<String>; 3],
    running: [usize; 3],
    waiting: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            hosts: HashMap::new(),
            sessions: HashMap::new(),
            lines: Default::default(),
            running: [0; 3],
            waiting: 0,
        }
    }
}

impl<T> Slots<T> {
    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Has `job` wait for its turn. `failed` says that it was tried before and did not arrive.
    pub(super) fn add(&mut self, host: String, session: SessionNumber, failed: bool, job: T) {
        if self.hosts.len() >= REMEMBERED {
            self.hosts
                .retain(|_, host| host.running > 0 || !host.waiting.is_empty());
        }
        let known = self.hosts.entry(host.clone()).or_insert_with(|| HostSlots {
            standing: HostStanding::New,
            limit: PER_HOST,
            running: 0,
            waiting: VecDeque::new(),
            in_line: false,
        });
        if failed && known.standing == HostStanding::New && !known.in_line {
            known.standing = HostStanding::Hung;
        }
        known.waiting.push_back((session, job));
        self.waiting += 1;
        self.line_up(host);
    }

    /// Takes the next job that may go, with its slot.
    pub(super) fn next(&mut self) -> Option<(Slot, T)> {
        STANDINGS
            .into_iter()
            .find_map(|standing| self.next_of(standing))
    }

    /// Takes a slot back.
    pub(super) fn give_back(&mut self, slot: Slot, manner: Responsiveness) {
        self.running[slot.standing as usize] -= 1;
        if let Some(count) = self.sessions.get_mut(&slot.session) {
            *count -= 1;
            if *count == 0 {
                self.sessions.remove(&slot.session);
            }
        }
        let Some(host) = self.hosts.get_mut(&slot.host) else {
            return;
        };
        host.running -= 1;
        (host.standing, host.limit) = match manner {
            Responsiveness::Prompt => (HostStanding::Good, (host.limit * 2).min(PER_GOOD_HOST)),
            Responsiveness::Slow => (HostStanding::Hung, host.limit.clamp(1, PER_HOST)),
            Responsiveness::Silent => (HostStanding::Hung, 1),
        };
        self.line_up(slot.host);
    }

    /// Puts a host at the end of its line when it has something to do and may do it.
    fn line_up(&mut self, name: String) {
        if let Some(host) = self.hosts.get_mut(&name)
            && !host.in_line
            && !host.waiting.is_empty()
            && host.running < host.limit
        {
            host.in_line = true;
            self.lines[host.standing as usize].push_back(name);
        }
    }

    fn has_room(&self, standing: HostStanding) -> bool {
        let [good, new, hung] = self.running;
        let all = good + new + hung;
        all < ALL
            && match standing {
                HostStanding::Good => true,
                HostStanding::New => new + hung < UNPROVEN,
                HostStanding::Hung => new + hung < UNPROVEN && hung < HUNG,
            }
    }

    fn next_of(&mut self, standing: HostStanding) -> Option<(Slot, T)> {
        if !self.has_room(standing) {
            return None;
        }
        for _ in 0..self.lines[standing as usize].len() {
            let name = self.lines[standing as usize].pop_front()?;
            let Some(host) = self.hosts.get_mut(&name) else {
                continue;
            };
            host.in_line = false;
            // It may have got another standing while it stood here.
            if host.standing != standing || host.running >= host.limit {
                self.line_up(name);
                continue;
            }
            let sessions = &self.sessions;
            let may_go = |(session, _): &(SessionNumber, T)| {
                sessions.get(session).copied().unwrap_or(0) < PER_SESSION
            };
            let at = host.waiting.iter().position(may_go);
            let Some((session, job)) = at.and_then(|at| host.waiting.remove(at)) else {
                self.line_up(name);
                continue;
            };
            host.running += 1;
            self.waiting -= 1;
            self.running[standing as usize] += 1;
            *self.sessions.entry(session).or_default() += 1;
            self.line_up(name.clone());
            let slot = Slot {
                host: name,
                session,
                standing,
            };
            return Some((slot, job));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts all that may go.
    fn start(slots: &mut Slots<u32>) -> Vec<(Slot, u32)> {
        std::iter::from_fn(|| slots.next()).collect()
    }

    fn add(slots: &mut Slots<u32>, host: &str, session: u32) {
        slots.add(host.to_owned(), SessionNumber(session), false, session);
    }

    #[test]
    fn ten_thousand_that_hang_hold_up_nobody_who_answers() {
        let mut slots = Slots::default();
        add(&mut slots, "good", 1);
        let (slot, _) = slots.next().expect("a slot");
        slots.give_back(slot, Responsiveness::Prompt);
        for n in 0..10_000 {
            add(&mut slots, &format!("hangs {n}"), n + 10);
        }
        let hanging = start(&mut slots);
        assert_eq!(hanging.len(), UNPROVEN);
        add(&mut slots, "good", 1);
        let (slot, session) = slots.next().expect("a slot of its own");
        assert_eq!(session, 1);
        slots.give_back(slot, Responsiveness::Prompt);
        // When they have hung once they get few slots, and new receivers the others.
        for (slot, n) in hanging {
            let host = slot.host.clone();
            slots.give_back(slot, Responsiveness::Silent);
            add(&mut slots, &host, n);
        }
        let rest: Vec<_> = (0..10_000).map_while(|_| slots.next()).collect();
        assert_eq!(rest.len(), UNPROVEN);
        for (slot, _) in rest {
            slots.give_back(slot, Responsiveness::Silent);
        }
        while slots.waiting() > 192 {
            for (slot, _) in start(&mut slots) {
                slots.give_back(slot, Responsiveness::Silent);
            }
        }
        let hung = start(&mut slots);
        assert_eq!(hung.len(), HUNG);
        add(&mut slots, "new", 2);
        assert_eq!(slots.next().map(|(_, session)| session), Some(2));
    }

    #[test]
    fn no_session_and_no_host_has_more_than_its_part() {
        let mut slots = Slots::default();
        for n in 0..100 {
            add(&mut slots, &format!("host {n}"), 1);
        }
        for n in 0..100 {
            add(&mut slots, "one host", 100 + n);
        }
        let running = start(&mut slots);
        let of_session = |n: u32| running.iter().filter(|(_, s)| *s == n).count();
        assert_eq!(of_session(1), PER_SESSION);
        assert_eq!(running.len(), PER_SESSION + PER_HOST);
        let silent = running
            .into_iter()
            .find(|(slot, _)| slot.host == "one host");
        let (slot, _) = silent.expect("one of it");
        slots.give_back(slot, Responsiveness::Silent);
        assert!(slots.next().is_none(), "it has more than its one");
    }

    #[test]
    fn a_host_that_answers_gets_more_and_everything_goes_in_the_end() {
        let mut slots = Slots::default();
        for n in 0..1000 {
            add(&mut slots, "host", n);
        }
        let (mut gone, mut most) = (0, 0);
        loop {
            let running = start(&mut slots);
            if running.is_empty() {
                break;
            }
            most = most.max(running.len());
            gone += running.len();
            for (slot, _) in running {
                slots.give_back(slot, Responsiveness::Prompt);
            }
        }
        assert_eq!((gone, most), (1000, PER_GOOD_HOST));
        assert_eq!((slots.waiting(), slots.running), (0, [0; 3]));
        assert!(slots.sessions.is_empty());
    }

    #[test]
    fn what_failed_before_a_restart_waits_among_those_that_hang() {
        let mut slots = Slots::default();
        for n in 0..1000 {
            slots.add(format!("failed {n}"), SessionNumber(n), true, n);
        }
        add(&mut slots, "new", 5000);
        assert_eq!(slots.next().map(|(_, session)| session), Some(5000));
        assert_eq!(start(&mut slots).len(), HUNG);
    }
}
