//! What only the store in Valkey and Redis promises.

use presence::UnixSeconds;
use store::{ForgottenDevice, TOMBSTONES_MAX};

use crate::fixture::{Fixture, name, wait};
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
