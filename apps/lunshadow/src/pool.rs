//! `lunshadow pool …`: what is done to a pool that nobody serves.

use crate::array::Storage;
use crate::cli::{PoolCommand, PoolCreateArgs};
use crate::console::{bytes, say};

/// Runs the command.
///
/// # Errors
/// If the folder cannot be written, or has a pool already.
pub async fn run(command: &PoolCommand) -> anyhow::Result<()> {
    match command {
        PoolCommand::Create(args) => create(args).await,
    }
}

async fn create(args: &PoolCreateArgs) -> anyhow::Result<()> {
    Storage::create(&args.folder, args.size).await?.close().await?;
    let folder = args.folder.display();
    say(&format!("a pool of {} is made in {folder}", bytes(args.size)));
    say(&format!("serve it with: lunshadow serve --pool {folder} --control 127.0.0.1:3261"));
    Ok(())
}
