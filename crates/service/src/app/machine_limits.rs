//! What of the settings the machine has no room for: connections by open files, waiting messages by memory.

use crate::memory;
use server::http_settings::HttpSettings;
use system::descriptors;

/// Lets as few clients in as leave room for broker and store; further ones wait, as beyond any other number.
pub(super) fn within_descriptors(mut http: HttpSettings) -> HttpSettings {
    let Some(most) = descriptors::raise() else { return http };
    let fit = descriptors::for_clients(most);
    if fit < http.connections_max {
        tracing::warn!(
            "the process may have {most} files open, which is room for {fit} connections of the {} of --connections-max: \
             further ones wait; a higher hard limit (LimitNOFILE, ulimit -Hn) gives it room",
            http.connections_max
        );
        http.connections_max = fit;
    }
    http
}

/// Lets no more wait for decoding than the memory of this process has room for beside everything else.
pub(super) fn within_memory(backlog_max_bytes: usize) -> usize {
    let Some(limit) = memory::limit() else { return backlog_max_bytes };
    let fit = memory::for_backlog(limit);
    if fit < backlog_max_bytes {
        tracing::info!(
            "the control group allows {limit} bytes of memory: {fit} of them instead of the {backlog_max_bytes} of \
             --backlog-max-bytes may wait for decoding"
        );
    }
    fit.min(backlog_max_bytes)
}
