//! How much memory the process may use, and how much of it may wait for decoding.
//!
//! A container is killed at its limit, whatever the machine has. The kernel tells the limit of a control group in a file.

use std::path::{Path, PathBuf};

/// Where both versions of control groups are mounted.
const V2: &str = "/sys/fs/cgroup";
const V1: &str = "/sys/fs/cgroup/memory";

/// Version 1 shows a number near the largest one where there is no limit.
const UNLIMITED: u64 = 1 << 60;

/// Of the memory, the part that may wait for decoding. The rest is for the registry, which is what the service is for.
const BACKLOG_PART: u64 = 4;

/// The memory that the control group of this process allows, in bytes; `None`: as much as the machine has.
pub fn limit() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    limit_of(&read(Path::new("/proc/self/cgroup"))?, read)
}

/// How many bytes may wait for decoding, of so much memory.
pub fn for_backlog(limit: u64) -> usize {
    usize::try_from(limit / BACKLOG_PART).unwrap_or(usize::MAX)
}

/// The lowest limit of the groups that the process belongs to: each lies within its parent. A container may see its own group
/// as the root of all, under whatever name it has outside, so groups that are not found are passed over.
fn limit_of(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let files = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_number, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => (V2, "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                (V1, "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let group = Path::new(group.trim_start_matches('/'));
        Some(group.ancestors().map(|part| Path::new(root).join(part).join(file)).collect::<Vec<PathBuf>>())
    });
    let limits = files.flatten().filter_map(|file| read(&file)?.trim().parse().ok());
    limits.filter(|limit| *limit < UNLIMITED).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit that a process in these groups has, where these files are.
    fn limit(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        limit_of(groups, |path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            file.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_lowest_limit_of_a_group_and_its_parents_counts() {
        let groups = "0::/system.slice/devstatus.service\n";
        let own = ("/sys/fs/cgroup/system.slice/devstatus.service/memory.max", "1073741824\n");
        let parent = ("/sys/fs/cgroup/system.slice/memory.max", "536870912\n");
        let none = ("/sys/fs/cgroup/system.slice/memory.max", "max\n");
        assert_eq!(limit(groups, &[own, none]), Some(1 << 30));
        assert_eq!(limit(groups, &[own, parent]), Some(1 << 29));
        assert_eq!(limit(groups, &[none]), None);
        assert_eq!(limit(groups, &[]), None);
        assert_eq!(limit("nonsense\n0::/", &[]), None);
    }

    #[test]
    fn a_container_finds_its_limit_at_the_root_whatever_its_group_is_called() {
        let root = ("/sys/fs/cgroup/memory.max", "268435456\n");
        assert_eq!(limit("0::/", &[root]), Some(1 << 28));
        assert_eq!(limit("0::/../../kubepods/pod7/abc", &[root]), Some(1 << 28));
    }

    #[test]
    fn the_first_version_of_control_groups_is_known_too() {
        let groups = "11:cpu,cpuacct:/a\n9:memory:/docker/abc\n0::/docker/abc\n";
        let own = "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes";
        let root = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit(groups, &[(own, "67108864\n"), root]), Some(1 << 26));
        assert_eq!(limit(groups, &[root]), None);
    }

    #[test]
    fn a_quarter_of_the_memory_may_wait() {
        assert_eq!(for_backlog(1 << 30), 1 << 28);
    }
}
