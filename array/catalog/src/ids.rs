//! Where the array's ids come from.

use std::fmt;

use lunshadow_control::LunId;

/// Draws ids. An array's are random; whoever has to see the same thing happen twice brings a source that draws the same ones twice, since what the
/// array does LUN by LUN it does in the order of their ids.
pub trait IdSource: fmt::Debug + Send + Sync {
    /// An id that was never drawn before.
    fn draw(&self) -> u128;
}

/// The operating system's random source: nobody else draws the same id.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl IdSource for RandomIds {
    fn draw(&self) -> u128 {
        LunId::random().as_u128()
    }
}
