//! The world of a history, the network, and the decoder that hears of it.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::{
    DEVICES, Fact, Fate, Happening, History, Kind, MINUTE_MS, Message, MessageFlaw, SECOND_MS, START_MS,
    Speaker, Step,
};
use crate::ingest::rig::Rig;
use presence::Status;

/// Every message has come by then.
const QUIET_MS: i64 = 3 * MINUTE_MS;

/// One device in truth.
#[derive(Clone, Copy, Default)]
struct Truth {
    session: u64,
    is_connected: bool,
    /// When that last changed.
    since_ms: i64,
}

/// The world, and one decoder that hears of it.
struct World<S> {
    speaker: S,
    rig: Rig,
    truth: [Truth; DEVICES],
    now_ms: i64,
    subscribed_ms: i64,
    /// Nothing arrives before; `None`: the link is up.
    link_is_back_ms: Option<i64>,
    /// What the broker retains, by topic.
    retained: BTreeMap<String, Message>,
    /// By the time of arrival, then in the order of sending.
    under_way: BTreeMap<(i64, u64), Message>,
    sent: u64,
    arrived: u64,
    fates: Vec<Fate>,
    /// The newest that was said of each device, and the newest that has arrived.
    said: HashMap<usize, Fact>,
    known: HashMap<usize, Fact>,
    log: Vec<String>,
}

/// Lets a history happen, and compares what is shown in the end with what was said, and with the truth.
pub fn check<S: Speaker>(speaker: S, history: &History) -> Result<(), TestCaseError> {
    let mut world = World {
        rig: Rig::of_source(speaker.source()),
        speaker,
        truth: [Truth { since_ms: START_MS, ..Truth::default() }; DEVICES],
        now_ms: START_MS,
        subscribed_ms: START_MS,
        link_is_back_ms: None,
        retained: BTreeMap::new(),
        under_way: BTreeMap::new(),
        sent: 0,
        arrived: 0,
        fates: history.fates.clone(),
        said: HashMap::new(),
        known: HashMap::new(),
        log: Vec::new(),
    };
    for (wait_ms, step) in &history.steps {
        world.pass(*wait_ms * world.speaker.scale());
        world.step(*step);
    }
    world.pass(QUIET_MS);
    world.rig.settle();
    world.compare()
}

impl<S: Speaker> World<S> {
    fn fate(&self) -> Fate {
        self.fates[usize::try_from(self.sent).expect("few messages") % self.fates.len()]
    }

    /// Lets time pass, second by second.
    fn pass(&mut self, wait_ms: i64) {
        let until_ms = self.now_ms + wait_ms;
        while self.now_ms < until_ms {
            let next_second = (self.now_ms / SECOND_MS + 1) * SECOND_MS;
            self.now_ms = next_second.min(until_ms);
            self.arrive();
            if self.link_is_back_ms.is_some_and(|back_ms| back_ms <= self.now_ms) {
                self.subscribe();
            }
            if self.now_ms == next_second {
                let published = self.speaker.tick(self.now_ms);
                self.send(published);
            }
        }
    }

    fn arrive(&mut self) {
        while let Some(entry) = self.under_way.first_entry()
            && entry.key().0 <= self.now_ms
        {
            let ((at_ms, _), message) = entry.remove_entry();
            self.deliver(&message, at_ms, false);
        }
    }

    fn deliver(&mut self, message: &Message, at_ms: i64, is_replayed: bool) {
        self.log.push(format!(
            "{} ms: {} {} {}",
            at_ms - START_MS,
            if is_replayed { "replayed" } else { "live" },
            message.topic,
            String::from_utf8_lossy(&message.payload)
        ));
        if message.flaw.is_none() {
            self.arrived += 1;
            for fact in &message.facts {
                note(&mut self.known, &Fact { arrived: self.arrived, ..*fact });
            }
        }
        self.rig.hand_over(&message.topic, &message.payload, is_replayed, (self.subscribed_ms, at_ms));
        // Some of what is done between two batches, so that walks and passes meet messages in their middle.
        self.rig.do_a_part();
    }

    fn subscribe(&mut self) {
        self.link_is_back_ms = None;
        self.subscribed_ms = self.now_ms;
        self.log.push(format!("{} ms: subscribed", self.now_ms - START_MS));
        let replay: Vec<Message> = self.retained.values().cloned().collect();
        replay.iter().for_each(|message| self.deliver(message, self.now_ms, true));
    }

    fn send(&mut self, messages: Vec<Message>) {
        let network = self.speaker.network();
        for message in messages {
            let fate = self.fate();
            self.sent += 1;
            message.facts.iter().for_each(|fact| note(&mut self.said, fact));
            if message.flaw == Some(MessageFlaw::NotSent) {
                continue;
            }
            if message.is_retained {
                // An empty one takes the place of what is retained, and is not retained itself.
                if message.payload.is_empty() {
                    self.retained.remove(&message.topic);
                } else {
                    self.retained.insert(message.topic.clone(), message.clone());
                }
            }
            // What is retained is sent again and again, or is read with the next subscription.
            let is_lost = network.loses && fate.is_lost && !message.is_retained;
            if self.link_is_back_ms.is_some() || is_lost {
                continue;
            }
            let delay_ms = network.delay_max_ms * i64::from(fate.delay) / 1_000;
            let at = (self.now_ms + delay_ms, self.sent);
            if network.repeats && fate.is_repeated {
                let again_ms = self.now_ms + network.delay_max_ms - delay_ms / 2;
                self.under_way.insert((again_ms, self.sent + 1), message.clone());
                self.sent += 1;
            }
            self.under_way.insert(at, message);
        }
        self.arrive();
    }

    fn lose_link(&mut self, for_ms: i64) {
        if self.speaker.network().keeps_link {
            return;
        }
        self.under_way.clear();
        self.link_is_back_ms = Some(self.now_ms + for_ms);
        self.log.push(format!("{} ms: the link is lost", self.now_ms - START_MS));
    }

    fn step(&mut self, step: Step) {
        self.log.push(format!("{} ms: {step:?}", self.now_ms - START_MS));
        let choice = self.fate().choice;
        match step {
            Step::Connect(device) => self.connect(device, choice),
            Step::Disconnect(device, ending) if self.truth[device].is_connected => {
                self.last_at_least(device);
                self.truth[device].is_connected = false;
                self.happen(device, Kind::Disconnected(ending), choice);
                self.children_go_with(device);
            }
            Step::Refuse(device) => self.happen(device, Kind::Refused, choice),
            Step::SendData(device) if self.truth[device].is_connected => {
                self.happen(device, Kind::Data, choice);
            }
            Step::Disconnect(..) | Step::SendData(_) => {}
            Step::LoseLink => self.lose_link(2 * SECOND_MS + i64::from(choice % 60_000)),
            Step::RestartBroker => {
                let sessions: Vec<(usize, u64)> = (0..DEVICES)
                    .map(|device| (device, self.truth[device].session))
                    .filter(|(_, session)| *session > 0)
                    .collect();
                self.lose_link(2 * SECOND_MS);
                let published = self.speaker.restart(self.now_ms, &sessions);
                if published.is_empty() {
                    return;
                }
                let connected = (0..DEVICES).filter(|device| self.truth[*device].is_connected);
                connected.collect::<Vec<_>>().into_iter().for_each(|device| self.end_silently(device));
                self.send(published);
            }
            Step::LoseNode(node) => {
                let gone = self.speaker.lose_node(node, self.now_ms);
                gone.into_iter().for_each(|device| self.end_silently(device));
            }
        }
    }

    fn last_at_least(&mut self, device: usize) {
        let lasted_ms = self.now_ms - self.truth[device].since_ms;
        self.pass((self.speaker.least_session_ms() - lasted_ms).max(0));
    }

    fn connect(&mut self, device: usize, choice: u32) {
        if self.speaker.parent(device).is_some_and(|parent| !self.truth[parent].is_connected) {
            return;
        }
        if self.truth[device].is_connected {
            if !self.speaker.takes_over() {
                return;
            }
            self.last_at_least(device);
        }
        let truth = self.truth[device];
        let paused_ms = self.now_ms - truth.since_ms;
        if !truth.is_connected && truth.session > 0 && paused_ms < self.speaker.pause_ms() {
            self.pass(self.speaker.pause_ms() - paused_ms);
        }
        self.truth[device].session += 1;
        self.truth[device].is_connected = true;
        self.happen(device, Kind::Connected { takes_over: truth.is_connected }, choice);
        if truth.is_connected {
            self.children_go_with(device);
        }
    }

    fn happen(&mut self, device: usize, kind: Kind, choice: u32) {
        let truth = &mut self.truth[device];
        if matches!(kind, Kind::Connected { .. } | Kind::Disconnected(_)) {
            truth.since_ms = self.now_ms;
        }
        let happening = Happening { device, kind, at_ms: self.now_ms, session: truth.session, choice };
        let messages = self.speaker.speak(&happening);
        self.send(messages);
    }

    /// The devices that are reached through this one are gone with its session, and nobody says so.
    fn children_go_with(&mut self, parent: usize) {
        for device in 0..DEVICES {
            if self.speaker.parent(device) == Some(parent) {
                self.end_silently(device);
            }
        }
    }

    fn end_silently(&mut self, device: usize) {
        self.truth[device].is_connected = false;
        self.truth[device].since_ms = self.now_ms;
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let is_decided = |device: &usize| self.speaker.is_decided(*device, &self.known);
        for device in (0..DEVICES).filter(is_decided) {
            let (device_type, id) = self.speaker.name(device);
            let shown = self.rig.shown(&device_type, &id);
            let is_connected = shown.map(|(status, _)| status == Status::Connected);
            let expected = self.speaker.expected(device, &self.known);
            let log = || self.log.join("\n");
            prop_assert_eq!(is_connected, expected, "{} by what arrived\n{}", id, log());
            if let (Some((_, is_stale)), Some(expected)) = (shown, self.speaker.is_stale(device, &self.known))
            {
                prop_assert_eq!(is_stale, expected, "{}, out of date\n{}", id, log());
            }
            let rank = |facts: &HashMap<usize, Fact>| facts.get(&device).map(|fact| fact.rank);
            // Also what is said of more than devices, for example that a node was born again.
            let is_all_known = self
                .said
                .iter()
                .all(|(what, said)| self.known.get(what).is_some_and(|known| known.rank == said.rank));
            let is_untold = self.speaker.is_stale(device, &self.known) == Some(true);
            if rank(&self.known).is_some() && is_all_known && !is_untold {
                let own = self.truth.map(|truth| truth.is_connected);
                let truth = self.speaker.is_connected(device, own);
                prop_assert_eq!(is_connected, Some(truth), "{} in truth\n{}", id, log());
            }
        }
        Ok(())
    }
}

/// Takes a fact if it is the newest of its device.
fn note(facts: &mut HashMap<usize, Fact>, fact: &Fact) {
    match facts.get_mut(&fact.device) {
        Some(newest) if newest.rank <= fact.rank => *newest = *fact,
        Some(_) => {}
        None if fact.only_of_known => {}
        None => {
            facts.insert(fact.device, *fact);
        }
    }
}
