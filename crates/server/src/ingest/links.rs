//! The formats of several links, each of which names its sources differently from the others.

use std::sync::Arc;

use crate::sync::backlog::LinkId;
use formats::UnixNanos;
use formats::catalog::Formats;
use formats::order::{AliveRule, ParentRule};
use formats::profile::ProfileTimes;

/// The formats by link; at least one.
pub(super) struct LinkFormats(Vec<Arc<Formats>>);

impl LinkFormats {
    /// In the order of the links. Without any the IoT platform's are meant.
    pub fn new(mut formats: Vec<Arc<Formats>>) -> Self {
        if formats.is_empty() {
            formats.push(Arc::default());
        }
        Self(formats)
    }

    pub fn of_link(&self, link: LinkId) -> &Arc<Formats> {
        self.0.get(usize::from(link.0)).unwrap_or(&self.0[0])
    }

    /// Whether a source of this name is in use.
    pub fn has(&self, source: &str) -> bool {
        self.0.iter().any(|formats| formats.has(source))
    }

    /// Those of the source of this name, which no two links have.
    fn of_source(&self, source: &str) -> &Formats {
        if let [only] = &*self.0 {
            return only;
        }
        self.0.iter().find(|formats| formats.has(source)).unwrap_or(&self.0[0])
    }

    pub fn alive_rule(&self, source: &str, time: Option<UnixNanos>) -> AliveRule {
        self.of_source(source).alive_rule(source, time)
    }

    pub fn parent_rule(&self, source: &str) -> ParentRule {
        self.of_source(source).parent_rule(source)
    }

    pub fn timing(&self, source: &str) -> ProfileTimes {
        self.of_source(source).timing(source)
    }

    pub fn is_retained(&self, source: &str) -> bool {
        self.of_source(source).is_retained(source)
    }

    pub fn have_parents(&self) -> bool {
        self.0.iter().any(|formats| formats.have_parents())
    }

    pub fn have_timings(&self) -> bool {
        self.0.iter().any(|formats| formats.have_timings())
    }
}
