//! The machine with the provider, which plays one of two hosts at a time: a class has one process, and that speaks for one host.

use parking_lot::Mutex;

use crate::commands::run;
use crate::description::{Description, Importer};

/// Whose provider runs on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// That of the host whose LUNs are copied.
    Creator,
    /// That of the second host.
    Importer,
}

/// The machine.
pub(crate) struct Machine {
    /// What ends the provider's process.
    end: Vec<String>,
    /// What has the next process be the second host's, and the first one's again.
    enter: Vec<String>,
    leave: Vec<String>,
    /// Whose the next process is; `None` if a change between the two went wrong.
    role: Mutex<Option<Role>>,
}

impl Machine {
    pub(crate) fn new(description: &Description) -> Self {
        let commands = |of: fn(&Importer) -> &Vec<String>| description.importer.as_ref().map(of).cloned();
        let enter = commands(|importer| &importer.enter).unwrap_or_default();
        let leave = commands(|importer| &importer.leave).unwrap_or_default();
        Self { end: description.provider.end.clone(), enter, leave, role: Mutex::new(Some(Role::Creator)) }
    }

    /// Has the next process be this host's. Answers whether the one before has been ended for that.
    pub(crate) fn play(&self, role: Role) -> anyhow::Result<bool> {
        let mut current = self.role.lock();
        if *current == Some(role) {
            return Ok(false);
        }
        // Until all of it is done, the next process may be either host's.
        *current = None;
        match role {
            Role::Creator => run(&self.leave, "has the provider be the first host's again")?,
            Role::Importer => run(&self.enter, "has the provider be the second host's")?,
        }
        self.end_process()?;
        *current = Some(role);
        Ok(true)
    }

    /// Ends the provider's process without its knowing, so that COM starts another one.
    pub(crate) fn end_process(&self) -> anyhow::Result<()> {
        run(&self.end, "ends the provider's process")
    }
}
