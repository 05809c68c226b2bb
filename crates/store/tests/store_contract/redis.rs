//! What only the store in Valkey and Redis promises.

use presence::{EventKind, UnixSeconds};
use store::{ForgottenDevice, Store, TOMBSTONES_MAX};

use crate::fixture::{Fixture, device, devices, event, name, wait};
use crate::places::Redis;

/// The devices are spread over so many buckets, each with tombstones of its own.
const BUCKETS: usize = 256;

/// The oldest tombstones of a bucket give way once it has twice as many as it keeps.
pub fn tombstones_are_bounded(place: &Redis) {
    let fixture = Fixture::new(place);
    let forget = |at| {
        let device = ForgottenDevice { name: name("a"), at: UnixSeconds(at) };
        wait(fixture.store().forget(device)).unwrap();
    };
    let ask = |words: &[&str]| place.0.ask::<usize>(words).unwrap();
    forget(1);
    let keys = place.0.ask::<Vec<String>>(&["KEYS", &format!("{}:*:tombstones", fixture.name())]).unwrap();
    let [bucket] = &*keys else { panic!("one bucket: {keys:?}") };
    let at_least = TOMBSTONES_MAX.div_ceil(BUCKETS);
    // Later changes than that of the one tombstone that is there.
    let fill = "for n = 1, tonumber(ARGV[1]) do redis.call('HSET', KEYS[1], 'old-' .. n, (100 + n) .. ' 1') end return 1";
    ask(&["EVAL", fill, "1", bucket, &(2 * at_least - 2).to_string()]);
    assert_eq!(ask(&["HLEN", bucket]), 2 * at_least - 1);
    forget(2);
    assert_eq!(ask(&["HLEN", bucket]), 2 * at_least - 1, "it replaces its own");
    ask(&["EVAL", "return redis.call('HSET', KEYS[1], 'last', '1000000 1')", "1", bucket]);
    forget(3);
    assert_eq!(ask(&["HLEN", bucket]), at_least + 1);
    assert_eq!(ask(&["HEXISTS", bucket, "old-1"]), 0, "the oldest have gone");
    for newest in ["last", &format!("old-{}", 2 * at_least - 2)] {
        assert_eq!(ask(&["HEXISTS", bucket, newest]), 1, "{newest}");
    }
}

/// A writer knows what it has written. Others need it, and the writer what others made of the same device.
pub fn changes_of_ones_own_do_not_come_back(place: &Redis) {
    let fixture = Fixture::new(place);
    let other = fixture.another();
    let start = wait(other.cursor()).unwrap();
    let connect = |id: &str, at| devices(vec![device(id, [event(EventKind::Connect, at, at)], 1)]);
    let put = |store: &dyn Store, id, at| wait(store.upsert(connect(id, at).into())).unwrap();
    let ids = |store: &dyn Store| {
        let changes = wait(store.changes_of_others(start.clone(), 1_000)).unwrap();
        assert!(changes.is_all);
        let mut ids: Vec<String> = changes.devices.into_iter().map(|one| one.name.id.into()).collect();
        ids.sort();
        (ids, changes.forgotten.len())
    };
    put(fixture.store(), "a", 1);
    put(fixture.store(), "b", 1);
    put(&*other, "b", 2);
    put(&*other, "c", 2);
    put(fixture.store(), "c", 3);
    assert_eq!(ids(fixture.store()), (["b", "c"].map(str::to_owned).to_vec(), 0));
    // Webhooks continue from where another instance was, and ask for everything.
    assert_eq!(wait(fixture.store().changes(start.clone(), 1_000)).unwrap().devices.len(), 3);
    assert_eq!(ids(&*other), (["a", "b", "c"].map(str::to_owned).to_vec(), 0));
    // It has come back since.
    wait(fixture.store().forget(ForgottenDevice { name: name("a"), at: UnixSeconds(0) })).unwrap();
    put(fixture.store(), "a", 4);
    assert_eq!(ids(fixture.store()), (["a", "b", "c"].map(str::to_owned).to_vec(), 1));
}
