//! Aliases: names that stand for ids, and are variables of whatever `exec` runs.

use crate::vss::Machine;
use crate::words::Variables;

/// The aliases, in the order in which they were made. Names have no case.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Aliases(Vec<(String, String)>);

impl Aliases {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first alias of a value.
    pub(crate) fn of(&self, value: &str) -> Option<&str> {
        self.0.iter().find(|(_, known)| known == value).map(|(name, _)| name.as_str())
    }

    /// Makes an alias, or lets it stand for something else.
    pub(crate) fn put(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    pub(crate) fn all(&self) -> &[(String, String)] {
        &self.0
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Aliases first, then the environment of the machine.
pub(crate) struct Known<'a> {
    pub(crate) aliases: &'a Aliases,
    pub(crate) machine: &'a dyn Machine,
}

impl Variables for Known<'_> {
    fn value(&self, name: &str) -> Option<String> {
        self.aliases.get(name).map(str::to_owned).or_else(|| self.machine.variable(name))
    }
}
