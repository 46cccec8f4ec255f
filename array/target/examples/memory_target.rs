//! An iSCSI target whose LUNs live in memory, to try initiators on:
//!
//! ```text
//! cargo run -p lunshadow-target --example memory_target -- 127.0.0.1:3260 64 iqn.1993-08.org.debian:01:host …
//! ```
//!
//! Listens on the address, shows a LUN of so many MiB to each of the initiators, and ends with Ctrl-C.

#[path = "../tests/target/memory.rs"]
mod memory;

use std::error::Error;
use std::io::Write;
use std::sync::Arc;

use lunshadow_lun::{InitiatorName, LunHandle};
use lunshadow_target::{Limits, Target, TargetConfig};

use memory::{Map, MemoryLun};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |what: &str| arguments.next().ok_or(format!("{what} is missing"));
    let listen = argument("the address to listen on")?.parse()?;
    let mib: u64 = argument("the size of the LUN in MiB")?.parse()?;
    let initiators = arguments.map(|name| name.parse()).collect::<Result<Vec<InitiatorName>, _>>()?;

    let lun = LunHandle::new(MemoryLun::new(0x6c75_6e73_6861_646f_7700_0000_0000_0001, mib * 2048).at_once(|_| true));
    let map = Arc::new(Map::default());
    for initiator in &initiators {
        map.show(initiator, [(0, lun.clone())]);
    }
    let name = "iqn.2026-11.org.lunshadow:memory".to_owned();
    let target =
        Target::bind(TargetConfig { listen: vec![listen], name, alias: None, limits: Limits::default() }, map).await?;
    writeln!(std::io::stdout(), "iscsi://{}/{}/0", target.local_addr(), target.name())?;
    tokio::signal::ctrl_c().await?;
    target.shutdown().await;
    Ok(())
}
