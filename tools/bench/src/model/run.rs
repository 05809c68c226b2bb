//! The simulation: events in the order of their time. No device is kept: of each class of devices it is known how many are
//! marked as changed, by the law of `chance`, which is exact in the mean for devices that change independently.

use super::chance::{Chance, marked_after};
use super::queue::{Agenda, Cores, Event};
use super::scenario::{BATCH_MAX, Class, PAGE, POLL_INTERVAL, POLL_PAUSE, Scenario, Sharing};

/// Events of the history that wait at most; as the service has it.
const EVENTS_WAITING_MAX: f64 = 100_000.0;

/// What one instance has done.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    pub messages: f64,
    /// Rows of devices written, whether or not they taught the store something.
    pub rows: f64,
    pub events: f64,
    pub batches: f64,
    /// Devices told by the store, those of them that were known included.
    pub peer_updates: f64,
    pub peer_updates_known: f64,
    pub polls: f64,
    pub waiting_max: f64,
}

/// What came out of a scenario, without what the instances hold.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub instances: Vec<Counted>,
    /// Rows that taught the store something.
    pub changes: f64,
    /// Seconds of the store's cores.
    pub store_busy: f64,
    /// Seconds from a message at one instance to the answer at another, one for each batch and reader.
    pub lags: Vec<f64>,
    /// Messages that nobody heard because who should have was away.
    pub unreceived: f64,
    /// Changes heard and not yet written when an instance died, which no other had heard.
    pub lost: f64,
}

struct Batch {
    rows: Vec<f64>,
    news: Vec<f64>,
    events: f64,
    full: bool,
    /// When one of its messages arrived.
    arrived: f64,
}

#[derive(Default)]
struct Instance {
    up: bool,
    share: f64,
    /// Messages up to then are counted.
    drained: f64,
    dirty: Vec<f64>,
    events: f64,
    taken: f64,
    batch: Option<Batch>,
    /// Of each class, the changes of the store that have been read, and those of them that this instance made itself.
    seen: Vec<f64>,
    own: Vec<f64>,
    own_seen: Vec<f64>,
    commits_seen: usize,
    commits_read: usize,
    poll: u64,
    waits: bool,
    polls_from: f64,
    counted: Counted,
}

struct Commit {
    by: usize,
    arrived: f64,
}

struct Run<'a> {
    scenario: &'a Scenario,
    shares: Vec<f64>,
    chance: Chance,
    agenda: Agenda,
    cores: Cores,
    instances: Vec<Instance>,
    changed: Vec<f64>,
    /// Where every instance hears everything: devices with news that the store does not have.
    news: Vec<f64>,
    news_until: f64,
    commits: Vec<Commit>,
    outcome: Outcome,
}

/// Plays a scenario.
pub fn run(scenario: &Scenario) -> Outcome {
    let none = vec![0.0; scenario.classes.len()];
    let shares = scenario.shares();
    let instances = shares.iter().map(|share| Instance {
        up: true,
        share: *share,
        dirty: none.clone(),
        seen: none.clone(),
        own: none.clone(),
        own_seen: none.clone(),
        ..Instance::default()
    });
    let mut run = Run {
        chance: Chance(scenario.seed),
        agenda: Agenda::default(),
        cores: Cores::new(scenario.store.cores, scenario.store.spreads),
        instances: instances.collect(),
        shares,
        changed: none.clone(),
        news: none,
        news_until: 0.0,
        commits: Vec::new(),
        outcome: Outcome::default(),
        scenario,
    };
    for instance in 0..scenario.instances {
        let (flush, poll) = (run.chance.share() * scenario.flush_pause, run.chance.share() * POLL_PAUSE);
        run.agenda.add(flush, instance, Event::Flush);
        run.agenda.add(poll, instance, Event::Poll(0));
    }
    if let Some(death) = scenario.death {
        let victim = scenario.victim();
        run.agenda.add(death.at, victim, Event::Die);
        let load = scenario.devices() / scenario.instance.load_rate;
        run.agenda.add(death.at + death.down + load, victim, Event::Return);
    }
    while let Some((now, instance, event)) = run.agenda.next() {
        if now > scenario.seconds {
            break;
        }
        run.happen(now, instance, event);
    }
    (0..scenario.instances).for_each(|instance| run.receive(scenario.seconds, instance));
    run.outcome.instances = run.instances.into_iter().map(|instance| instance.counted).collect();
    run.outcome.store_busy = run.cores.busy;
    run.outcome
}

impl Run<'_> {
    fn happen(&mut self, now: f64, number: usize, event: Event) {
        match event {
            Event::Flush => self.flush(now, number),
            Event::Written => self.written(now, number),
            Event::Poll(poll) => self.poll(now, number, poll),
            Event::Read => self.read(now, number),
            Event::Die => self.die(now, number),
            Event::Return => self.come_back(now, number),
        }
    }

    /// Counts the messages that an instance has heard until now.
    fn receive(&mut self, now: f64, number: usize) {
        let instance = &mut self.instances[number];
        let lasted = now - std::mem::replace(&mut instance.drained, now);
        for (class, at) in self.scenario.classes.iter().zip(0..) {
            let count = self.chance.count(class.messages * instance.share * lasted);
            if !instance.up {
                self.outcome.unreceived += count;
                continue;
            }
            let size = received_devices(self.scenario.sharing, class, instance.share);
            let marked = marked_after(size, instance.dirty[at], count);
            instance.dirty[at] = self.chance.whole(marked).min(size);
            instance.events = (instance.events + count).min(EVENTS_WAITING_MAX);
            instance.counted.messages += count;
        }
        let waiting: f64 = instance.dirty.iter().sum();
        instance.counted.waiting_max = instance.counted.waiting_max.max(waiting);
    }

    fn flush(&mut self, now: f64, number: usize) {
        if !self.instances[number].up || self.instances[number].batch.is_some() {
            return;
        }
        self.receive(now, number);
        let waiting: f64 = self.instances[number].dirty.iter().sum();
        if waiting == 0.0 && self.instances[number].events == 0.0 {
            self.instances[number].taken = now;
            self.agenda.add(now + self.scenario.flush_pause, number, Event::Flush);
            return;
        }
        let part = (BATCH_MAX / waiting).min(1.0);
        let news = self.news_in(now, number, part);
        let chance = self.chance.share();
        let instance = &mut self.instances[number];
        let rows: Vec<f64> = instance.dirty.iter().map(|dirty| dirty * part).collect();
        instance.dirty.iter_mut().for_each(|dirty| *dirty *= 1.0 - part);
        let events = instance.events.min(BATCH_MAX);
        instance.events -= events;
        let arrived = instance.taken + (now - instance.taken) * chance;
        instance.taken = now;
        let costs = &self.scenario.store;
        let (written, changed) = (rows.iter().sum::<f64>(), news.iter().sum::<f64>());
        let work = costs.batch + changed * costs.row + (written - changed) * costs.known_row;
        let full = part < 1.0 || events >= BATCH_MAX;
        instance.batch = Some(Batch { rows, news, events, full, arrived });
        let done = self.cores.work(now, work);
        self.agenda.add(done, number, Event::Written);
    }

    /// How many rows of this part of what waits will teach the store something.
    fn news_in(&mut self, now: f64, number: usize, part: f64) -> Vec<f64> {
        let instance = &self.instances[number];
        if self.scenario.sharing != Sharing::All {
            return instance.dirty.iter().map(|dirty| dirty * part).collect();
        }
        let lasted = now - std::mem::replace(&mut self.news_until, now);
        for (class, news) in self.scenario.classes.iter().zip(&mut self.news) {
            *news = marked_after(class.devices, *news, self.chance.count(class.messages * lasted));
        }
        let taken = self.news.iter_mut().zip(&instance.dirty).map(|(news, dirty)| {
            let taken = (*news * part).min(dirty * part);
            *news -= taken;
            taken
        });
        taken.collect()
    }

    fn written(&mut self, now: f64, number: usize) {
        let instance = &mut self.instances[number];
        // Who died meanwhile has asked for it, and the store has done it.
        let Some(batch) = instance.batch.take() else { return };
        for (at, news) in batch.news.iter().enumerate() {
            self.changed[at] += news;
            instance.own[at] += news;
            self.outcome.changes += news;
        }
        instance.counted.rows += batch.rows.iter().sum::<f64>();
        instance.counted.events += batch.events;
        instance.counted.batches += 1.0;
        let pause = if batch.full { 0.0 } else { self.scenario.flush_pause };
        self.agenda.add(now + pause, number, Event::Flush);
        self.commits.push(Commit { by: number, arrived: batch.arrived });
        for (number, instance) in self.instances.iter_mut().enumerate() {
            if std::mem::take(&mut instance.waits) {
                instance.poll += 1;
                self.agenda.add(now.max(instance.polls_from), number, Event::Poll(instance.poll));
            }
        }
    }

    fn poll(&mut self, now: f64, number: usize, poll: u64) {
        let instance = &mut self.instances[number];
        if poll != instance.poll || !instance.up {
            return;
        }
        instance.waits = false;
        instance.commits_read = self.commits.len();
        let (mut rows, mut known) = (0.0, 0.0);
        for (at, class) in self.scenario.classes.iter().enumerate() {
            let changes = self.changed[at] - std::mem::replace(&mut instance.seen[at], self.changed[at]);
            let own = instance.own[at] - std::mem::replace(&mut instance.own_seen[at], instance.own[at]);
            if changes > 0.0 {
                let devices = marked_after(class.devices, 0.0, changes).min(changes);
                rows += devices;
                known += devices * own / changes;
            }
        }
        let pages = (rows / PAGE).ceil() + 1.0;
        instance.counted.polls += pages;
        instance.counted.peer_updates += rows;
        instance.counted.peer_updates_known +=
            if self.scenario.sharing == Sharing::All { rows } else { known };
        let costs = &self.scenario.store;
        let done = self.cores.work(now, pages * costs.poll + rows * costs.read_row);
        self.agenda.add(done, number, Event::Read);
    }

    fn read(&mut self, now: f64, number: usize) {
        let instance = &mut self.instances[number];
        if !instance.up {
            return;
        }
        let read = self.commits[instance.commits_seen..instance.commits_read].iter();
        let others = read.filter(|commit| commit.by != number);
        self.outcome.lags.extend(others.map(|commit| now - commit.arrived));
        instance.commits_seen = instance.commits_read;
        instance.poll += 1;
        instance.polls_from = now + POLL_PAUSE;
        instance.waits = self.commits.len() == instance.commits_read;
        let next = if instance.waits { POLL_PAUSE + POLL_INTERVAL } else { POLL_PAUSE };
        self.agenda.add(now + next, number, Event::Poll(instance.poll));
    }

    fn die(&mut self, now: f64, number: usize) {
        (0..self.instances.len()).for_each(|number| self.receive(now, number));
        let sharing = self.scenario.sharing;
        let instance = &mut self.instances[number];
        instance.up = false;
        if sharing != Sharing::All {
            self.outcome.lost += instance.dirty.iter().sum::<f64>();
        }
        instance.dirty.iter_mut().for_each(|dirty| *dirty = 0.0);
        instance.events = 0.0;
        self.share_out();
    }

    fn come_back(&mut self, now: f64, number: usize) {
        (0..self.instances.len()).for_each(|number| self.receive(now, number));
        let commits = self.commits.len();
        let instance = &mut self.instances[number];
        instance.up = true;
        // It has loaded everything that the store had.
        instance.seen.clone_from(&self.changed);
        instance.own_seen.clone_from(&instance.own);
        (instance.commits_seen, instance.commits_read) = (commits, commits);
        (instance.taken, instance.poll, instance.waits) = (now, instance.poll + 1, false);
        let poll = instance.poll;
        self.share_out();
        self.agenda.add(now + self.scenario.flush_pause, number, Event::Flush);
        self.agenda.add(now, number, Event::Poll(poll));
    }

    /// An instance that is there takes what a shared subscription gives; nobody takes a partition or a share of everything.
    fn share_out(&mut self) {
        let up = self.instances.iter().filter(|instance| instance.up).count().max(1);
        for (instance, share) in self.instances.iter_mut().zip(&self.shares) {
            instance.share = match self.scenario.sharing {
                Sharing::All | Sharing::Shared if !instance.up => 0.0,
                Sharing::Shared => 1.0 / up as f64,
                Sharing::All | Sharing::Partition => *share,
            };
        }
    }
}

/// How many devices of a class an instance may hear of.
fn received_devices(sharing: Sharing, class: &Class, share: f64) -> f64 {
    match sharing {
        Sharing::All | Sharing::Shared => class.devices,
        Sharing::Partition => class.devices * share,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::scenario::{Death, Engine, InstanceCosts, StoreCosts, falling_types};
    use super::*;

    fn scenario(sharing: Sharing) -> Scenario {
        let free = StoreCosts {
            batch: 0.0,
            row: 0.0,
            known_row: 0.0,
            poll: 0.0,
            read_row: 0.0,
            ..StoreCosts::of(Engine::Postgres)
        };
        Scenario {
            classes: vec![
                Class { devices: 20.0, messages: 400.0 },
                Class { devices: 2_000.0, messages: 1_600.0 },
            ],
            types: falling_types(40),
            instances: 3,
            sharing,
            store: free,
            instance: InstanceCosts::MEASURED,
            flush_pause: 0.1,
            seconds: 60.0,
            death: None,
            seed: 5,
        }
    }

    /// The same with every single message and device: rows written, and rows that taught the store something.
    fn one_by_one(scenario: &Scenario) -> (f64, f64) {
        const STEP: f64 = 0.001;
        let mut chance = Chance(11);
        let mut dirty = vec![HashSet::new(); scenario.instances];
        let mut news: HashSet<(usize, u32)> = HashSet::new();
        let (mut rows, mut changes) = (0, 0);
        let steps_in_a_pause = (scenario.flush_pause / STEP) as usize;
        for step in 0..(scenario.seconds / STEP) as usize {
            for (number, class) in scenario.classes.iter().enumerate() {
                for _ in 0..chance.count(class.messages * STEP) as usize {
                    let device = (number, (chance.share() * class.devices) as u32);
                    news.insert(device);
                    if scenario.sharing == Sharing::All {
                        dirty.iter_mut().for_each(|dirty| dirty.extend([device]));
                    } else {
                        dirty[(chance.share() * scenario.instances as f64) as usize].insert(device);
                    }
                }
            }
            for (number, dirty) in dirty.iter_mut().enumerate() {
                if step % steps_in_a_pause == number * steps_in_a_pause / scenario.instances {
                    rows += dirty.len();
                    changes += dirty.drain().filter(|device| news.remove(device)).count();
                }
            }
        }
        (rows as f64, changes as f64)
    }

    fn rows(outcome: &Outcome) -> f64 {
        outcome.instances.iter().map(|instance| instance.rows).sum()
    }

    #[test]
    fn classes_of_devices_give_what_single_devices_give() {
        for sharing in [Sharing::All, Sharing::Shared] {
            let scenario = scenario(sharing);
            let (counted_rows, counted_changes) = one_by_one(&scenario);
            let outcome = run(&scenario);
            let off = |one: f64, other: f64| (one / other - 1.0).abs();
            assert!(
                off(rows(&outcome), counted_rows) < 0.03,
                "{sharing:?}: {} rows, {counted_rows}",
                rows(&outcome)
            );
            // Where instances share, a row may be older than another's; the model takes each for news.
            let tolerance = if sharing == Sharing::All { 0.05 } else { 0.15 };
            assert!(
                off(outcome.changes, counted_changes) < tolerance,
                "{sharing:?}: {} changes, {counted_changes}",
                outcome.changes
            );
        }
    }

    #[test]
    fn every_message_reaches_each_receiver_once() {
        for (sharing, times) in [(Sharing::All, 3.0), (Sharing::Shared, 1.0), (Sharing::Partition, 1.0)] {
            let outcome = run(&scenario(sharing));
            let received: f64 = outcome.instances.iter().map(|instance| instance.messages).sum();
            assert!((received / (2_000.0 * 60.0 * times) - 1.0).abs() < 0.02, "{sharing:?}: {received}");
            assert!(
                outcome.instances.iter().all(|instance| instance.peer_updates > 0.0),
                "everybody follows the others"
            );
        }
    }

    #[test]
    fn a_death_costs_the_messages_of_a_partition_and_no_others() {
        for (sharing, costs) in [(Sharing::All, false), (Sharing::Shared, false), (Sharing::Partition, true)]
        {
            let death = Some(Death { at: 20.0, down: 20.0 });
            let outcome = run(&Scenario { death, ..scenario(sharing) });
            assert_eq!(outcome.unreceived > 0.0, costs, "{sharing:?}");
            assert_eq!(outcome.lost > 0.0, sharing != Sharing::All, "{sharing:?}");
        }
    }

    #[test]
    fn a_store_that_is_too_slow_makes_the_batches_larger_and_the_answers_later() {
        let fast = run(&scenario(Sharing::Shared));
        let mut slow = scenario(Sharing::Shared);
        slow.store = StoreCosts { row: 1.0 / 1_000.0, cores: 1, ..slow.store };
        let slow = run(&slow);
        assert!(rows(&slow) < rows(&fast) * 0.8, "{} rows against {}", rows(&slow), rows(&fast));
        let latest = |outcome: &Outcome| outcome.lags.iter().copied().fold(0.0, f64::max);
        assert!(latest(&slow) > latest(&fast) * 2.0);
    }

    #[test]
    fn the_same_seed_gives_the_same_and_a_hundred_million_devices_are_a_matter_of_moments() {
        let mut large = scenario(Sharing::Shared);
        large.classes[1] = Class { devices: 1e8, messages: 30_000.0 };
        (large.instances, large.seconds) = (50, 5.0);
        let (one, other) = (run(&large), run(&large));
        assert_eq!(rows(&one).to_bits(), rows(&other).to_bits());
        assert!(rows(&one) > 1e5);
    }
}
