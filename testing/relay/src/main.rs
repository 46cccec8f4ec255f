//! `lunshadow-relay POOL`: a relay before the array that serves a pool. It prints its address, takes a condition a line from standard input, says
//! `done` or what it did not understand, and ends with its input.
#![expect(clippy::print_stdout, reason = "it is spoken to through pipes")]

use std::path::PathBuf;

use anyhow::Context as _;
use lunshadow_relay::{Condition, Relay};
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let pool = std::env::args_os().nth(1).map(PathBuf::from).context("lunshadow-relay POOL")?;
    let relay = Relay::before_pool(&pool).await?;
    println!("{}", relay.local_addr());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.parse::<Condition>() {
            Ok(condition) => {
                relay.set(condition);
                println!("done");
            }
            Err(unknown) => println!("{unknown}"),
        }
    }
    Ok(())
}
