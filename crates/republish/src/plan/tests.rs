//! The plan against a broker that is a map, with the loss of the link at every place.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const PARTS: usize = 3;

/// The devices as the registry has them, and what waits for the plan to be read.
#[derive(Default)]
struct Fleet {
    states: BTreeMap<String, u32>,
    held: BTreeMap<String, ()>,
    changed: Vec<String>,
}

impl Fleet {
    fn part(&self, part: usize) -> Vec<DeviceName> {
        let of_part = |id: &&String| usize::from(id.as_bytes()[0]) % PARTS == part;
        self.states.keys().filter(of_part).map(|id| name(id)).collect()
    }

    fn wanted(&self, name: &DeviceName) -> Publication {
        if self.changed.iter().any(|id| **id == *name.id) {
            return Publication::Unread;
        }
        match self.states.get(&*name.id) {
            None => Publication::Nothing,
            Some(_) if self.held.contains_key(&*name.id) => Publication::Held,
            Some(state) => Publication::Content(state.to_string().into_bytes()),
        }
    }

    /// What the broker should retain.
    fn retained(&self, plan: &Plan) -> BTreeMap<String, Vec<u8>> {
        let mut retained = BTreeMap::new();
        for (id, state) in &self.states {
            let messages = plan.update(name(id).device(), state.to_string().into_bytes(), true);
            retained.extend(messages.into_iter().map(|message| (message.topic, message.payload)));
        }
        retained
    }
}

fn name(id: &str) -> DeviceName {
    DeviceName::of(Device { device_type: "t", id })
}

/// A broker, and the messages on the way to it.
#[derive(Default)]
struct Broker {
    retained: BTreeMap<String, Vec<u8>>,
    under_way: VecDeque<(RetainedMessage, u64)>,
}

impl Broker {
    fn take_one(&mut self) {
        let Some((RetainedMessage { topic, payload }, _)) = self.under_way.pop_front() else { return };
        if payload.is_empty() {
            self.retained.remove(&topic);
        } else {
            self.retained.insert(topic, payload);
        }
    }
}

fn new_plan() -> Plan {
    Plan::new(Topics::new("p"), Some(Discovery::new("ha")), PARTS)
}

#[derive(Clone, Debug)]
enum Action {
    Set(String, u32),
    Forget(String),
    /// The device's disconnect is held back, or no longer.
    Hold(String, bool),
    Step,
    Take,
    /// The broker refuses a message.
    Refuse,
    /// The link is lost with what is under way, and there is another one.
    Lose,
    /// Changes were not read in time.
    Overrun,
}

fn action() -> impl Strategy<Value = Action> {
    let id = || "[a-f]";
    prop_oneof![
        4 => (id(), 0..5u32).prop_map(|(id, state)| Action::Set(id, state)),
        2 => id().prop_map(Action::Forget),
        1 => (id(), any::<bool>()).prop_map(|(id, on)| Action::Hold(id, on)),
        8 => Just(Action::Step),
        6 => Just(Action::Take),
        1 => Just(Action::Refuse),
        1 => Just(Action::Lose),
        1 => Just(Action::Overrun),
    ]
}

struct World {
    fleet: Fleet,
    broker: Broker,
    plan: Plan,
    /// How many looks at all devices the last cleanup has followed.
    cleaned: u64,
}

impl World {
    fn apply(&mut self, action: Action) {
        match action {
            Action::Set(id, state) => {
                self.fleet.states.insert(id.clone(), state);
                self.fleet.changed.push(id);
            }
            Action::Forget(id) => {
                self.fleet.states.remove(&id);
                self.fleet.held.remove(&id);
                self.fleet.changed.push(id);
            }
            Action::Hold(id, true) => {
                self.fleet.held.insert(id, ());
            }
            Action::Hold(id, false) => {
                self.fleet.held.remove(&id);
                self.fleet.changed.push(id);
            }
            Action::Step => {
                self.step();
            }
            Action::Take => self.broker.take_one(),
            Action::Refuse => {
                if let Some((_, key)) = self.broker.under_way.pop_front() {
                    self.plan.note_failed(key);
                    self.plan.walk_again();
                }
            }
            Action::Lose => {
                self.broker.under_way.clear();
                (self.plan, self.cleaned) = (new_plan(), 0);
            }
            Action::Overrun => {
                self.fleet.changed.clear();
                self.plan.walk_again();
            }
        }
    }

    /// Says whether there is nothing more to do.
    fn step(&mut self) -> bool {
        match self.plan.next(|name, _| self.fleet.wanted(name)) {
            PlanStep::Publish { messages, key } => {
                self.broker.under_way.extend(messages.into_iter().map(|message| (message, key)));
            }
            PlanStep::Gather(part) => self.plan.add_names(self.fleet.part(part)),
            PlanStep::Yield => {}
            PlanStep::ReadChanges => self.read_changes(),
            PlanStep::Wait => {
                self.read_changes();
                if self.plan.walks_done() == self.cleaned && self.plan.waiting.is_empty() {
                    return true;
                }
                self.clean();
            }
        }
        false
    }

    fn read_changes(&mut self) {
        for id in std::mem::take(&mut self.fleet.changed) {
            if self.fleet.states.contains_key(&id) {
                self.plan.note_change(name(&id));
            } else {
                self.plan.note_retained(name(&id));
            }
        }
    }

    /// As the cleanup does, once everything was taken.
    fn clean(&mut self) {
        while !self.broker.under_way.is_empty() {
            self.broker.take_one();
        }
        self.cleaned = self.plan.walks_done();
        let Plan { topics, discovery, .. } = &self.plan;
        let discovered = |topic: &str| discovery.as_ref().and_then(|it| it.device_of(topics, topic));
        let device_of = |topic: &String| topics.device_of(topic).or_else(|| discovered(topic));
        let devices: Vec<_> = self.broker.retained.keys().filter_map(device_of).collect();
        for device in devices.into_iter().filter(|device| !self.fleet.states.contains_key(&*device.id)) {
            self.plan.note_retained(device);
        }
    }
}

proptest! {
    #[test]
    fn what_is_retained_at_the_end_is_the_state(actions in prop::collection::vec(action(), 0..120)) {
        let plan = new_plan();
        let mut world = World { fleet: Fleet::default(), broker: Broker::default(), plan, cleaned: 0 };
        for action in actions {
            world.apply(action);
        }
        for id in std::mem::take(&mut world.fleet.held).into_keys() {
            world.fleet.changed.push(id);
        }
        for _ in 0..10_000 {
            if world.step() && world.broker.under_way.is_empty() {
                break;
            }
            world.broker.take_one();
        }
        let expected = world.fleet.retained(&world.plan);
        prop_assert!(world.broker.retained == expected, "{:?}", (world.broker.retained.keys(), expected.keys()));
    }
}

#[test]
fn a_device_that_changes_often_is_published_as_it_is_and_once() {
    let mut plan = new_plan();
    for _ in 0..10 {
        plan.note_change(name("a"));
    }
    for part in 0..PARTS {
        plan.add_names(Vec::new());
        assert_eq!(plan.walk.next_part, part + 1);
    }
    let wanted = |_: &DeviceName, _| Publication::Content(b"{}".to_vec());
    let PlanStep::Publish { messages, .. } = plan.next(wanted) else { panic!("it is published") };
    let topics: Vec<_> = messages.iter().map(|message| &*message.topic).collect();
    assert_eq!(topics, ["ha/device/devstatus-p-t-a/config", "p/t/a"]);
    assert_eq!((plan.next(wanted), plan.walks_done()), (PlanStep::Wait, 1));
    // The same again is nothing new, and something else needs no discovery.
    plan.note_change(name("a"));
    assert_eq!(plan.next(wanted), PlanStep::Wait);
    plan.note_change(name("a"));
    let PlanStep::Publish { messages, .. } = plan.next(|_, _| Publication::Content(b"[]".to_vec())) else {
        panic!("it is published")
    };
    assert_eq!(messages.len(), 1);
}

#[test]
fn what_waits_is_bounded_and_then_all_devices_are_looked_at_again() {
    let mut plan = new_plan();
    for n in 0..=WAITING_MAX {
        plan.note_change(name(&n.to_string()));
    }
    assert_eq!((plan.waiting.len(), plan.queued.len(), plan.walk.again), (1, 1, true));
}
