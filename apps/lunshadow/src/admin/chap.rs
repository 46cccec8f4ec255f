//! `lunshadow host chap`: initiators that have to prove who they are.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use anyhow::Context as _;
use lunshadow_control::api::OutcomeAnswer;
use lunshadow_control::{ChapAccount, ChapAccounts, Secret};

use super::{Service, told};
use crate::cli::HostChapArgs;

pub(super) fn set(args: &HostChapArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let accounts = args.user.as_deref().map(|user| accounts(user, args)).transpose()?;
    let outcome = service.answered(match &accounts {
        Some(accounts) => service.client.put_chap(&args.name, accounts),
        None => service.client.remove_chap(&args.name),
    })?;
    service.print(&OutcomeAnswer { outcome }, |answer| match &accounts {
        Some(_) => format!(
            "the initiators of host {} {} prove who they are when they log in next",
            args.name,
            told(answer.outcome, "have to", "already had to")
        ),
        None => format!(
            "the initiators of host {} {} nothing to prove",
            args.name,
            told(answer.outcome, "have", "already had")
        ),
    })
}

/// The accounts, with their secrets from a file or from standard input: on a command line everybody could read them.
fn accounts(user: &str, args: &HostChapArgs) -> anyhow::Result<ChapAccounts> {
    let input: Box<dyn BufRead> = match &args.secrets {
        Some(path) => {
            let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            Box::new(BufReader::new(file))
        }
        None => Box::new(io::stdin().lock()),
    };
    let mut lines = input.lines();
    let mut account = |name: &str, which: &str| {
        let line = lines.next().transpose().context("cannot read the secrets")?;
        let secret =
            line.with_context(|| format!("there is no secret for {name}: it is the {which} line of the input"))?;
        anyhow::Ok(ChapAccount { name: name.to_owned(), secret: Secret::new(secret) })
    };
    let initiator = account(user, "first")?;
    let array = args.array_user.as_deref().map(|user| account(user, "second")).transpose()?;
    let accounts = ChapAccounts { initiator, array };
    accounts.check()?;
    Ok(accounts)
}
