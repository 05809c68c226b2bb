//! What a key is good for.

use std::fmt;

/// One kind of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Asking: devices, lists, summary, metrics.
    Read,
    /// Following the changes as they happen.
    Events,
    /// Everything, and what changes the service itself.
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 3] = [Scope::Read, Scope::Events, Scope::Admin];

    /// The word for it in the keys file, in settings and in answers.
    pub fn word(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Events => "events",
            Scope::Admin => "admin",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// What a key is good for unless more is asked.
    pub fn read_only() -> Self {
        Self::default().with(Scope::Read)
    }

    pub fn with(self, scope: Scope) -> Self {
        Self(self.0 | scope.bit())
    }

    /// Whether `scope` is in the set; `admin` stands for all.
    pub fn allow(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that were given; `admin` is not spelled out.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & scope.bit() != 0)
    }

    /// A list separated by commas; `None` unless each is a scope and there is one.
    pub fn parse(list: &str) -> Option<Self> {
        list.split(',').map(|word| Scope::parse(word.trim())).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Self::default(), Self::with)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.iter().map(Scope::word).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_admin_includes_all_scopes() {
        let admin = Scopes::parse("admin").unwrap();
        assert!(Scope::ALL.into_iter().all(|scope| admin.allow(scope)));
        let others = Scopes::parse("read, events").unwrap();
        assert!(others.allow(Scope::Read) && others.allow(Scope::Events) && !others.allow(Scope::Admin));
        assert!(!Scopes::default().allow(Scope::Read));
    }

    #[test]
    fn a_list_is_read_as_it_is_written_and_an_unknown_word_refused() {
        for list in ["read", "events", "admin", "read,events", "read,events,admin"] {
            assert_eq!(Scopes::parse(list).unwrap().to_string(), list);
        }
        for list in ["", "write", "read,", "READ"] {
            assert_eq!(Scopes::parse(list), None, "{list}");
        }
    }
}
