//! The names of device types, each in memory once while many devices are read.

use std::collections::HashSet;
use std::sync::Arc;

/// One copy of each type's name.
#[derive(Default)]
pub struct TypeNames(HashSet<Arc<str>>);

impl TypeNames {
    pub fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }
}
