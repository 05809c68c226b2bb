//! Settling against a model that looks at the whole of a device's changes at once.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in what its functions share")]

use std::time::Duration;

use presence::settle::{IfConnected, Settle, StatusChange};
use presence::{DeviceName, Status};
use proptest::prelude::*;

const DEVICES: usize = 3;
const LASTS_S: i64 = 5;

/// A change as it happened: when, in seconds, to which device, and to which status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Happened {
    at_s: i64,
    device: usize,
    status: Status,
}

fn name(device: usize) -> DeviceName {
    DeviceName { device_type: "t".into(), id: device.to_string().into() }
}

/// The changes in their order, some at the same time.
fn changes() -> impl Strategy<Value = Vec<Happened>> {
    let one = (0..4_i64, 0..DEVICES, any::<bool>());
    prop::collection::vec(one, 0..60).prop_map(|all| {
        let mut at_s = 100;
        let happened = all.into_iter().map(|(pause, device, is_connected)| {
            at_s += pause;
            let status = if is_connected { Status::Connected } else { Status::Disconnected };
            Happened { at_s, device, status }
        });
        happened.collect()
    })
}

fn previous(all: &[Happened], number: usize) -> Option<Status> {
    let earlier = all[..number].iter().rev().find(|one| one.device == all[number].device);
    earlier.map(|one| one.status)
}

/// What a settle of that length announces: the numbers of the changes, in the order of announcing.
fn announced(all: &[Happened], lasts: Duration) -> Vec<usize> {
    let mut settle = Settle::new(lasts);
    let mut announced = Vec::new();
    for (number, one) in all.iter().enumerate() {
        let at_ms = one.at_s * 1_000;
        while let Some(due) = settle.take_due(at_ms) {
            announced.push(due);
        }
        let change = StatusChange { status: one.status, previous: previous(all, number), at_ms };
        announced.extend(settle.offer(name(one.device), change, number, number));
        let oldest = settle.oldest_mark().copied();
        assert!(oldest.is_none_or(|oldest| oldest <= number) && settle.is_empty() == oldest.is_none());
    }
    while let Some(due) = settle.take_due(i64::MAX) {
        announced.push(due);
    }
    assert_eq!((settle.len(), settle.next_due_ms(), settle.oldest_mark()), (0, None, None));
    announced
}

/// The model, for one device: each outage is looked at as a whole.
fn expected(all: &[Happened], device: usize) -> Vec<usize> {
    let own: Vec<usize> = (0..all.len()).filter(|number| all[*number].device == device).collect();
    let (mut expected, mut known, mut next) = (Vec::new(), None, 0);
    while next < own.len() {
        let first = &all[own[next]];
        if first.status == Status::Connected {
            expected.push(own[next]);
            (known, next) = (Some(Status::Connected), next + 1);
            continue;
        }
        let due_s = first.at_s + 1 + LASTS_S;
        let before_due = own[next..].iter().take_while(|number| all[**number].at_s < due_s);
        let outage: Vec<usize> =
            before_due.copied().take_while(|number| all[*number].status == Status::Disconnected).collect();
        next += outage.len();
        let is_cancelled = own
            .get(next)
            .is_some_and(|number| all[*number].at_s < due_s && all[*number].status == Status::Connected);
        if !is_cancelled {
            expected.push(*outage.last().unwrap());
            known = Some(Status::Disconnected);
        } else if known == Some(Status::Connected) {
            // The connect that cancels it is known to nobody either.
            next += 1;
        }
    }
    expected
}

proptest! {
    #[test]
    fn a_disconnect_is_announced_once_it_has_lasted(all in changes()) {
        let announced = announced(&all, Duration::from_secs(LASTS_S as u64));
        for device in 0..DEVICES {
            let of_device: Vec<_> =
                announced.iter().copied().filter(|number| all[*number].device == device).collect();
            prop_assert_eq!(of_device, expected(&all, device));
        }
    }

    #[test]
    fn announcements_end_with_the_truth(all in changes()) {
        let announced = announced(&all, Duration::from_secs(LASTS_S as u64));
        for device in 0..DEVICES {
            let known = announced.iter().rfind(|number| all[**number].device == device);
            let is = all.iter().rfind(|one| one.device == device);
            prop_assert_eq!(known.map(|number| all[*number].status), is.map(|one| one.status));
        }
    }

    #[test]
    fn without_a_time_everything_is_announced_at_once(all in changes()) {
        prop_assert_eq!(announced(&all, Duration::ZERO), (0..all.len()).collect::<Vec<_>>());
    }
}

#[test]
fn a_disconnect_that_is_due_with_the_connect_has_lasted() {
    let settle = || {
        let mut settle = Settle::new(Duration::from_secs(5));
        let off = StatusChange { status: Status::Disconnected, previous: Some(Status::Connected), at_ms: 0 };
        assert_eq!(settle.offer(name(0), off, "off", 1), None);
        (settle, StatusChange { status: Status::Connected, previous: Some(Status::Disconnected), at_ms: 0 })
    };
    let (mut lasts, on) = settle();
    assert_eq!(
        (lasts.next_due_ms(), lasts.take_due(5_999), lasts.peek_due(6_000)),
        (Some(6_000), None, Some(&"off"))
    );
    assert_eq!(lasts.take_due(6_000), Some("off"));
    assert_eq!(lasts.offer(name(0), on, "on", 2), Some("on"));
    let (mut is_cancelled, on) = settle();
    assert_eq!(is_cancelled.offer(name(0), on, "on", 2), None);
    assert_eq!(is_cancelled.take_due(i64::MAX), None);
    // A device that was forgotten is announced no more.
    let (mut forgotten, _) = settle();
    forgotten.forget(&name(0));
    assert!(forgotten.is_empty());
}

#[test]
fn what_has_lasted_is_taken_by_the_status_that_the_device_has_now() {
    let off = StatusChange { status: Status::Disconnected, previous: Some(Status::Connected), at_ms: 0 };
    let due = |if_connected, statuses: [Option<Status>; DEVICES]| {
        let mut settle = Settle::new(Duration::from_secs(5));
        for device in 0..DEVICES {
            assert_eq!(settle.offer(name(device), off, device, device), None);
        }
        assert_eq!(settle.due_in(0), Some(Duration::from_secs(6)));
        assert_eq!(settle.due_in(6_000), Some(Duration::from_millis(200)));
        let taken = settle.take_still_disconnected(6_000, if_connected, |device| {
            statuses[device.id.parse::<usize>().unwrap()]
        });
        (taken, settle.len())
    };
    let (off, on) = (Some(Status::Disconnected), Some(Status::Connected));
    assert_eq!(due(IfConnected::Wait, [off, off, off]), (vec![0, 1, 2], 0));
    // The connect is about to be read; what comes behind it waits for it, too.
    assert_eq!(due(IfConnected::Wait, [off, on, off]), (vec![0], 2));
    assert_eq!(due(IfConnected::Drop, [off, on, off]), (vec![0, 2], 0));
    // A device without a status was forgotten.
    assert_eq!(due(IfConnected::Wait, [off, None, off]), (vec![0, 2], 0));
}
