//! When a round of the population is read, and what its end is followed by. Pure: events and the time go in, what to do
//! comes out. Who hears of the events, and how a round is read, is known to `population`.
//!
//! ```text
//! waiting -Subscribed, its replay over, due, asked for-> reading -ended or broken off-> waiting until `due_at`
//! ```
//!
//! A round that nobody but the schedule wants is read only while the link is up and this instance leads.

use std::time::Duration;

use tokio::time::Instant;

use super::live::LiveReplay;
use system::backoff::Backoff;

/// What has happened while no round is read.
#[derive(Debug)]
pub enum ScheduleEvent {
    /// The live subscription has ended.
    LinkDown,
    /// There is a live subscription, and its replay comes next.
    ReplayComes,
    /// There is a live subscription that brings nothing retained.
    SubscribedWithoutReplay,
    /// The replay of the live subscription is over: the first pass of a round.
    ReplayOver(LiveReplay),
    /// It is [`RoundSchedule::due_at`].
    Due,
    /// Another instance may have taken messages with it.
    AskedAgain,
    /// This instance leads from now on, or leads no more.
    LeadershipChanged,
    /// A message that was received has been lost.
    MessageLost,
    /// Something has come from a fleet of which nothing was replayed.
    FirstMessage,
}

/// What follows from it.
#[derive(Debug)]
pub enum ScheduleStep {
    Wait,
    /// A round is on its way: its first pass comes with the live subscription.
    ShowRunning,
    /// What is held is incomplete; a round that mends it is due soon.
    ShowIncomplete,
    /// A round begins with a pass of its own.
    Begin,
    /// A round begins with what the live subscription has brought.
    BeginWith(LiveReplay),
}

/// How a round has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundEnd {
    /// Nothing is known to be missing; the next one is due after this time.
    Read { next_after: Duration },
    /// Something is known to be missing.
    Incomplete,
    /// It could not be read to its end.
    BrokenOff,
    /// The link was lost. What was read stands; the next subscription begins another round.
    LinkLost,
    /// Another instance leads.
    LeadershipLost,
}

/// The state between two rounds.
#[derive(Debug)]
pub struct RoundSchedule {
    link_is_up: bool,
    is_leader: bool,
    next: Option<Instant>,
    /// Rounds that were broken off: the link is likely to be back soon.
    broken_off: Backoff,
    /// Rounds that found something missing: reading everything again costs the broker something each time.
    incomplete: Backoff,
    /// Rounds after a first message: whether the broker replays it may prove the population.
    first_message: Backoff,
}

impl RoundSchedule {
    pub fn new(is_leader: bool, longest_wait: Duration) -> Self {
        Self {
            link_is_up: false,
            is_leader,
            next: None,
            broken_off: Backoff::default(),
            incomplete: Backoff::up_to(longest_wait),
            first_message: Backoff::up_to(longest_wait),
        }
    }

    pub fn is_leader(&self) -> bool {
        self.is_leader
    }

    /// Whether this instance may read a round of its own accord.
    pub fn may_read(&self) -> bool {
        self.link_is_up && self.is_leader
    }

    /// When the next round is due; `None`: not before something happens.
    pub fn due_at(&self) -> Option<Instant> {
        self.next.filter(|_| self.may_read())
    }

    pub fn on(&mut self, event: ScheduleEvent, now: Instant) -> ScheduleStep {
        match event {
            ScheduleEvent::LinkDown => {
                self.link_is_up = false;
                self.first_message.reset();
                ScheduleStep::Wait
            }
            ScheduleEvent::ReplayComes => {
                self.link_is_up = true;
                ScheduleStep::ShowRunning
            }
            ScheduleEvent::SubscribedWithoutReplay => {
                self.link_is_up = true;
                self.begin_if_allowed()
            }
            ScheduleEvent::ReplayOver(replay) => ScheduleStep::BeginWith(replay),
            ScheduleEvent::Due | ScheduleEvent::AskedAgain => self.begin_if_allowed(),
            ScheduleEvent::LeadershipChanged => {
                self.is_leader = !self.is_leader;
                // A round begins at once, whatever was planned.
                self.next = self.is_leader.then_some(now);
                ScheduleStep::Wait
            }
            ScheduleEvent::MessageLost => {
                let wait = self.incomplete.wait();
                self.begin_by(now + wait);
                ScheduleStep::ShowIncomplete
            }
            ScheduleEvent::FirstMessage => {
                let wait = self.first_message.wait();
                self.begin_by(now + wait);
                ScheduleStep::Wait
            }
        }
    }

    fn begin_by(&mut self, soon: Instant) {
        self.next = Some(self.next.map_or(soon, |next| next.min(soon)));
    }

    fn begin_if_allowed(&self) -> ScheduleStep {
        if self.may_read() { ScheduleStep::Begin } else { ScheduleStep::Wait }
    }

    pub fn ended(&mut self, end: RoundEnd, now: Instant) {
        match end {
            RoundEnd::LinkLost => self.link_is_up = false,
            RoundEnd::LeadershipLost => self.is_leader = false,
            RoundEnd::BrokenOff => self.next = Some(now + self.broken_off.wait()),
            RoundEnd::Incomplete => {
                self.broken_off.reset();
                self.next = Some(now + self.incomplete.wait());
            }
            RoundEnd::Read { next_after } => {
                self.broken_off.reset();
                self.incomplete.reset();
                self.next = Some(now + next_after);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ScheduleEvent::{
        AskedAgain, Due, FirstMessage, LeadershipChanged, LinkDown, MessageLost, ReplayComes,
        SubscribedWithoutReplay,
    };
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn schedule(is_leader: bool, now: Instant) -> RoundSchedule {
        let mut schedule = RoundSchedule::new(is_leader, HOUR);
        assert!(matches!(schedule.on(ReplayComes, now), ScheduleStep::ShowRunning));
        schedule
    }

    fn begins(step: &ScheduleStep) -> bool {
        matches!(step, ScheduleStep::Begin)
    }

    #[test]
    fn nothing_is_due_before_a_round_has_ended_or_while_the_link_is_down() {
        let now = Instant::now();
        let mut schedule = schedule(true, now);
        assert_eq!(schedule.due_at(), None);
        schedule.ended(RoundEnd::Read { next_after: HOUR }, now);
        assert_eq!(schedule.due_at(), Some(now + HOUR));
        assert!(begins(&schedule.on(Due, now + HOUR)));
        schedule.ended(RoundEnd::LinkLost, now);
        assert_eq!((schedule.due_at(), schedule.may_read()), (None, false));
        assert!(!begins(&schedule.on(AskedAgain, now)), "it is asked again when the link is back");
        schedule.on(ReplayComes, now);
        schedule.on(LinkDown, now);
        assert_eq!(schedule.due_at(), None);
    }

    #[test]
    fn only_the_leader_begins_a_round_without_a_replay() {
        let now = Instant::now();
        for is_leader in [true, false] {
            let mut schedule = RoundSchedule::new(is_leader, HOUR);
            assert_eq!(begins(&schedule.on(SubscribedWithoutReplay, now)), is_leader);
            assert_eq!(begins(&schedule.on(AskedAgain, now)), is_leader);
        }
    }

    #[test]
    fn a_new_leader_reads_at_once_and_a_former_one_waits() {
        let now = Instant::now();
        let mut schedule = schedule(false, now);
        assert_eq!(schedule.due_at(), None);
        schedule.on(LeadershipChanged, now);
        assert_eq!((schedule.due_at(), schedule.is_leader()), (Some(now), true));
        schedule.ended(RoundEnd::LeadershipLost, now);
        assert_eq!((schedule.due_at(), schedule.is_leader()), (None, false));
        schedule.on(LeadershipChanged, now);
        schedule.on(LeadershipChanged, now);
        assert_eq!(schedule.due_at(), None);
    }

    #[test]
    fn a_lost_message_brings_the_next_round_forward_and_never_puts_it_off() {
        let now = Instant::now();
        let mut schedule = schedule(true, now);
        schedule.ended(RoundEnd::Read { next_after: HOUR }, now);
        assert!(matches!(schedule.on(MessageLost, now), ScheduleStep::ShowIncomplete));
        let soon = schedule.due_at().unwrap();
        assert!(soon < now + HOUR);
        for _ in 0..20 {
            schedule.on(MessageLost, now);
            assert!(schedule.due_at().unwrap() <= soon);
        }
    }

    #[test]
    fn a_first_message_brings_the_next_round_forward_ever_more_rarely() {
        let now = Instant::now();
        let mut schedule = schedule(true, now);
        let mut wait = || {
            schedule.ended(RoundEnd::Read { next_after: HOUR }, now);
            assert!(matches!(schedule.on(FirstMessage, now), ScheduleStep::Wait));
            schedule.due_at().unwrap() - now
        };
        assert!(wait() < Duration::from_secs(1), "the fleet is new, and the broker may well replay");
        assert!((0..20).map(|_| wait()).last().unwrap() >= HOUR / 2, "the broker replays nothing");
    }

    #[test]
    fn rounds_that_find_something_missing_become_rarer_until_one_finds_nothing() {
        let now = Instant::now();
        let mut schedule = schedule(true, now);
        let wait = |schedule: &RoundSchedule| schedule.due_at().unwrap() - now;
        schedule.ended(RoundEnd::Incomplete, now);
        let first = wait(&schedule);
        for _ in 0..20 {
            schedule.ended(RoundEnd::Incomplete, now);
        }
        assert!(wait(&schedule) >= HOUR / 2 && wait(&schedule) <= HOUR);
        schedule.ended(RoundEnd::BrokenOff, now);
        assert!(wait(&schedule) < HOUR / 2, "a broken link is back sooner");
        schedule.ended(RoundEnd::Read { next_after: HOUR }, now);
        schedule.ended(RoundEnd::Incomplete, now);
        assert!(wait(&schedule) <= first * 2, "it begins with the first wait again");
    }
}
