//! The texts that were given, by setting, the strongest of each. Their meaning is read in `build`.

use std::collections::BTreeMap;

use super::refusal::{Origin, Refusal};
use super::setting::{Setting, Verb};
use crate::secret::Secret;

/// One text as it was given. Every text is a secret until its meaning is known.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub setting: Setting,
    pub text: Secret,
    pub origin: Origin,
}

/// What applies to the subcommand, by setting.
#[derive(Debug)]
pub(super) struct Values {
    pub verb: Verb,
    given: BTreeMap<Setting, Given>,
}

impl Values {
    pub fn new(verb: Verb) -> Self {
        Self { verb, given: BTreeMap::new() }
    }

    /// Adds the texts of one layer; what stronger layers gave stays. Settings of other subcommands are left out, as a
    /// file or an environment may serve several.
    pub fn add(&mut self, layer: Vec<Given>) {
        for given in layer {
            if given.setting.spec().verbs.contains(&self.verb) {
                self.given.entry(given.setting).or_insert(given);
            }
        }
    }

    pub fn find(&self, setting: Setting) -> Option<&Given> {
        self.given.get(&setting)
    }

    /// The value of `setting`, if it is given and `parse` knows it.
    pub fn parse<T>(
        &self,
        setting: Setting,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(given) = self.find(setting) else { return Ok(None) };
        parse(given.text.expose()).map(Some).ok_or_else(|| given.expected(expected))
    }
}

impl Given {
    /// The refusal of this text.
    pub fn expected(&self, expected: impl Into<String>) -> Refusal {
        Refusal::Invalid { origin: self.origin.clone(), expected: expected.into() }
    }
}
