//! Sessions themselves: discovery, digests, and who may log in.

use std::fs;

use anyhow::{Context, ensure};

use super::file_systems::{CRC32C, NONE};
use super::stage::{FIRST, Stage, expect};

const LUN_SIZE: &str = "64MiB";

const USER: &str = "guest-user";
const SECRET: &str = "guest-secret-of-16";
const ARRAY_USER: &str = "array-user";
const ARRAY_SECRET: &str = "array-secret-of-16";
const WRONG_SECRET: &str = "no-secret-of-anyone";

/// What `iscsiadm` ends with when the target refuses who it takes the initiator for (iscsiadm(8), ISCSI_ERR_LOGIN_AUTH_FAILED).
const REFUSED: u32 = 24;
/// What it ends with when the initiator breaks the login off (ISCSI_ERR_FATAL_LOGIN).
const BROKEN_OFF: u32 = 19;

/// The target is found by a discovery.
pub(super) fn discovered(stage: &mut Stage) -> anyhow::Result<String> {
    let found = stage.guest().run("iscsiadm -m discovery -t sendtargets -p $portal")?;
    let target = stage.guest().run("echo $target")?;
    ensure!(
        found.lines().any(|line| line.split(' ').next_back() == Some(target.as_str())),
        "{target} is not in: {found}"
    );
    Ok(format!("iscsiadm finds {target}"))
}

/// Both digests are what the initiator offers, each by itself, and data goes to and fro with them.
pub(super) fn digested(stage: &mut Stage) -> anyhow::Result<String> {
    let number = stage.mapped_lun(LUN_SIZE)?.number;
    let guest = stage.guest();
    for (header, data) in [(NONE, NONE), (CRC32C, NONE), (NONE, CRC32C), (CRC32C, CRC32C)] {
        guest.run("head -c 8M /dev/urandom >/run/pattern")?;
        guest.run(&format!("log_in {header} {data}"))?;
        let said = guest.run("iscsiadm -m session -P 2 | grep Digest")?;
        let agreed: Vec<&str> = said.lines().map(str::trim).collect();
        expect("the session has", &agreed.join(", "), &format!("HeaderDigest: {header}, DataDigest: {data}"))?;
        let disk = guest.run(&format!("disk_of {number}"))?;
        guest.run(&format!("dd if=/run/pattern of={disk} bs=1M oflag=direct conv=fsync status=none"))?;
        guest.run(&format!("dd if={disk} bs=1M count=8 iflag=direct status=none | cmp - /run/pattern"))?;
        guest.run("log_out")?;
    }
    Ok("header and data digests on and off in all ways; 8 MiB written and read with each".to_owned())
}

/// Both ends prove who they are with CHAP, with each algorithm, and nobody gets in who cannot.
pub(super) fn proved(stage: &mut Stage) -> anyhow::Result<String> {
    let secrets = stage.folder.join("secrets.txt");
    fs::write(&secrets, format!("{SECRET}\n{ARRAY_SECRET}\n"))?;
    let secrets = secrets.to_str().context("the folder's name is no text")?;
    let host = stage.guests[FIRST].name;
    stage.array.ask(&["host", "chap", host, "--user", USER, "--array-user", ARRAY_USER, "--secrets", secrets])?;
    let held = log_in_with_chap(stage);
    stage.array.ask(&["host", "chap", host, "--off"])?;
    held
}

fn log_in_with_chap(stage: &mut Stage) -> anyhow::Result<String> {
    let number = stage.mapped_lun(LUN_SIZE)?.number;
    let guest = stage.guest();
    let settings = |algorithm: &str, secret: &str, array_secret: &str| {
        let auth = [
            ("authmethod", "CHAP"),
            ("chap_algs", algorithm),
            ("username", USER),
            ("password", secret),
            ("username_in", ARRAY_USER),
            ("password_in", array_secret),
        ];
        auth.map(|(name, value)| format!("node.session.auth.{name} {value}")).join(" ")
    };
    let wrong = [
        (String::new(), REFUSED),
        (settings("MD5", WRONG_SECRET, ARRAY_SECRET), REFUSED),
        (settings("MD5", SECRET, WRONG_SECRET), BROKEN_OFF),
    ];
    for (settings, expected) in wrong {
        let answer = guest.ask(&format!("log_in {NONE} {NONE} {settings}"))?;
        ensure!(answer.status == expected, "the login with {settings:?} ended with {answer:?}");
    }
    for algorithm in ["MD5", "SHA256"] {
        guest.run(&format!("log_in {NONE} {NONE} {}", settings(algorithm, SECRET, ARRAY_SECRET)))?;
        let disk = guest.run(&format!("disk_of {number}"))?;
        guest.run(&format!("write_letter {disk} C; letter_at {disk} >&2; log_out"))?;
    }
    Ok("mutual CHAP with MD5 and SHA-256; no login without it, nor with a wrong secret of either end".to_owned())
}
