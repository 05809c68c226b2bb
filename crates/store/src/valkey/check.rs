//! What each server must be set to so that it holds our data, looked at when the store is opened. Pure: who is asked is not
//! known here.

/// What is wrong with a server, and what to do, by its answer to INFO; `None` if nothing is.
pub fn fault(info: &str, is_cluster: bool) -> Option<String> {
    let value = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
    };
    let policy = value("maxmemory_policy").unwrap_or_default();
    // None of our keys expires, so that the volatile policies evict none of them.
    if policy.starts_with("allkeys") && value("maxmemory") != Some("0") {
        return Some(format!(
            "drops keys when its memory is full (maxmemory-policy {policy}), and with each key the devices in it: set \
             maxmemory-policy noeviction"
        ));
    }
    // Of a cluster the masters are found.
    if !is_cluster && value("role") == Some("slave") {
        return Some("is a replica, which takes no writes: name its master with --store".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn servers_that_may_evict_devices_are_refused() {
        let info = |maxmemory: u64, policy: &str, role: &str| {
            format!(
                "# Memory\r\nmaxmemory:{maxmemory}\r\nmaxmemory_policy:{policy}\r\n# Replication\r\nrole:{role}\r\n"
            )
        };
        for (maxmemory, policy, role, is_cluster, named) in [
            (0, "noeviction", "master", false, None),
            (0, "allkeys-lru", "master", false, None),
            (1, "volatile-lru", "master", false, None),
            (1, "noeviction", "slave", true, None),
            (1, "allkeys-lru", "master", false, Some("maxmemory-policy allkeys-lru")),
            (1, "allkeys-random", "slave", true, Some("maxmemory-policy allkeys-random")),
            (1, "noeviction", "slave", false, Some("replica")),
        ] {
            let found = fault(&info(maxmemory, policy, role), is_cluster);
            let is_as_expected = match (&found, named) {
                (Some(found), Some(named)) => found.contains(named),
                (found, named) => found.is_none() && named.is_none(),
            };
            assert!(is_as_expected, "{maxmemory} {policy} {role} {is_cluster}: {found:?}");
        }
        assert_eq!(fault("", false), None, "a server that tells nothing");
    }
}
