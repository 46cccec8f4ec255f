//! How initiators see a LUN, beside its data.

use std::sync::atomic::{AtomicBool, Ordering};

/// What an administrator has decided about a LUN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Presentation {
    /// Its medium can be ejected and loaded by initiators (RMB). The data stays where it is.
    pub removable: bool,
    /// Initiators cannot change it.
    pub write_protected: bool,
}

/// The present [`Presentation`] of a LUN. Whoever serves the LUN looks here at every command, so that a change holds at once.
#[derive(Debug, Default)]
pub struct PresentationCell {
    removable: AtomicBool,
    write_protected: AtomicBool,
}

impl PresentationCell {
    /// A cell that says so.
    #[must_use]
    pub const fn new(presentation: Presentation) -> Self {
        let Presentation { removable, write_protected } = presentation;
        Self { removable: AtomicBool::new(removable), write_protected: AtomicBool::new(write_protected) }
    }

    /// What it says.
    #[must_use]
    pub fn get(&self) -> Presentation {
        Presentation {
            removable: self.removable.load(Ordering::Acquire),
            write_protected: self.write_protected.load(Ordering::Acquire),
        }
    }

    /// Has it say something else.
    pub fn set(&self, presentation: Presentation) {
        self.removable.store(presentation.removable, Ordering::Release);
        self.write_protected.store(presentation.write_protected, Ordering::Release);
    }
}
