//! A client of a provider in another process that shows what really crosses: exact codes, NULLs, and every byte of memory.

mod luns;
mod process;
mod provider;

pub use luns::LunArray;
pub use process::{PlantedServer, private_bytes};
pub use provider::{Operation, RawProvider};
