//! Persistent reservations: two guests on one LUN.

use anyhow::{Context, bail, ensure};

use super::file_systems::NONE;
use super::guest::Guest;
use super::stage::{FIRST, SECOND, Stage, expect};

const LUN_SIZE: &str = "64MiB";

const FIRST_KEY: &str = "0x1111";
const SECOND_KEY: &str = "0x2222";

/// Types of reservations (SPC-6, table of persistent reservation types).
const WRITE_EXCLUSIVE: &str = "1";
const EXCLUSIVE_ACCESS: &str = "3";
const WRITE_EXCLUSIVE_REGISTRANTS_ONLY: &str = "5";

/// What `sg_persist` ends with when it is told of a unit attention (sg3_utils(8)).
const UNIT_ATTENTION: u32 = 6;

/// A guest and its disk, which is the same LUN for both.
struct Client<'a> {
    guest: &'a mut Guest,
    disk: String,
}

impl Client<'_> {
    fn out(&mut self, action: &str) -> anyhow::Result<()> {
        self.guest.run(&format!("persist --out {action} {} >&2", self.disk)).map(drop)
    }

    fn out_refused(&mut self, action: &str) -> anyhow::Result<()> {
        self.guest.refuses(&format!("persist --out {action} {} >&2", self.disk))
    }

    fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        self.guest.run(&format!("persist --in {question} {}", self.disk))
    }

    fn writes(&mut self, letter: char) -> anyhow::Result<()> {
        self.guest.run(&format!("write_letter {} {letter}", self.disk)).map(drop)
    }

    /// A write fails, and for no other reason than the reservation.
    fn writes_in_vain(&mut self, letter: char) -> anyhow::Result<()> {
        self.guest.run("dmesg -c >/dev/null")?;
        self.guest.refuses(&format!("write_letter {} {letter}", self.disk))?;
        self.saw_conflict()
    }

    fn reads(&mut self, letter: char) -> anyhow::Result<()> {
        let found = self.guest.run(&format!("letter_at {}", self.disk))?;
        expect(&format!("{} reads", self.guest.name), &found, &letter.to_string())
    }

    fn reads_in_vain(&mut self) -> anyhow::Result<()> {
        self.guest.run("dmesg -c >/dev/null")?;
        self.guest.refuses(&format!("letter_at {}", self.disk))?;
        self.saw_conflict()
    }

    fn saw_conflict(&mut self) -> anyhow::Result<()> {
        self.guest.run("kernel_said 'reservation conflict'").context("no reservation conflict came")?;
        Ok(())
    }

    /// The next command is answered with a unit attention.
    fn is_told(&mut self, what: &str) -> anyhow::Result<()> {
        let answer = self.guest.ask(&format!("sg_persist --no-inquiry --in --read-keys {} >&2", self.disk))?;
        ensure!(answer.status == UNIT_ATTENTION, "{} is not told that {what}: {answer:?}", self.guest.name);
        Ok(())
    }
}

/// Registering, reserving, conflicts, preempting and clearing.
pub(super) fn conflict(stage: &mut Stage) -> anyhow::Result<String> {
    let disks = log_in(stage)?;
    let (mut first, mut second) = clients(stage, &disks)?;
    first.out(&format!("--register --param-sark={FIRST_KEY}"))?;
    first.out(&format!("--reserve --param-rk={FIRST_KEY} --prout-type={WRITE_EXCLUSIVE}"))?;
    first.writes('A')?;
    second.reads('A')?;
    second.writes_in_vain('B')?;
    second.out_refused(&format!("--reserve --param-rk={SECOND_KEY} --prout-type={WRITE_EXCLUSIVE}"))?;
    second.out(&format!("--register --param-sark={SECOND_KEY}"))?;
    second.writes_in_vain('B')?;
    first.reads('A')?;

    second.out(&format!(
        "--preempt --param-rk={SECOND_KEY} --param-sark={FIRST_KEY} --prout-type={WRITE_EXCLUSIVE_REGISTRANTS_ONLY}"
    ))?;
    first.is_told("its registration was preempted")?;
    second.writes('B')?;
    first.writes_in_vain('C')?;
    first.reads('B')?;
    let keys = first.ask("--read-keys")?;
    ensure!(keys.contains(SECOND_KEY) && !keys.contains(FIRST_KEY), "the preempted key is still there: {keys}");

    first.out(&format!("--register --param-sark={FIRST_KEY}"))?;
    first.writes('D')?;
    second.out(&format!("--release --param-rk={SECOND_KEY} --prout-type={WRITE_EXCLUSIVE_REGISTRANTS_ONLY}"))?;
    first.is_told("the reservation was released")?;
    second.out(&format!("--reserve --param-rk={SECOND_KEY} --prout-type={EXCLUSIVE_ACCESS}"))?;
    first.reads_in_vain()?;
    second.reads('D')?;
    first.out(&format!("--clear --param-rk={FIRST_KEY}"))?;
    second.is_told("the reservations were cleared")?;
    first.writes('E')?;
    second.reads('E')?;
    second.writes('F')?;
    Ok("registered, reserved, refused to the other, preempted, released and cleared, each with its unit attention"
        .to_owned())
}

/// A reservation of a registration that asked for it (APTPL) is there after a restart of the array.
pub(super) fn survive(stage: &mut Stage) -> anyhow::Result<String> {
    let disks = log_in(stage)?;
    let (mut first, _) = clients(stage, &disks)?;
    first.out(&format!("--register --param-sark={FIRST_KEY} --param-aptpl"))?;
    first.out(&format!("--reserve --param-rk={FIRST_KEY} --prout-type={WRITE_EXCLUSIVE}"))?;
    first.writes('A')?;
    stage.array.kill();
    stage.array.start()?;
    let (mut first, mut second) = clients(stage, &disks)?;
    second.reads('A')?;
    second.writes_in_vain('B')?;
    first.writes('C')?;
    let held = first.ask("--read-reservation")?;
    ensure!(held.contains(FIRST_KEY), "the reservation is gone: {held}");
    Ok("the holder writes and the other does not, also after the array was killed and started again".to_owned())
}

/// Makes a LUN and logs both guests in; answers the disk that each has of it.
fn log_in(stage: &mut Stage) -> anyhow::Result<[String; 2]> {
    let name = stage.make_lun(LUN_SIZE)?;
    let mut disk_of = |guest: usize| -> anyhow::Result<String> {
        let number = stage.map(&name, guest)?;
        stage.guests[guest].run(&format!("log_in {NONE} {NONE}"))?;
        stage.guests[guest].run(&format!("disk_of {number}"))
    };
    Ok([disk_of(FIRST)?, disk_of(SECOND)?])
}

fn clients<'a>(stage: &'a mut Stage, disks: &[String; 2]) -> anyhow::Result<(Client<'a>, Client<'a>)> {
    let [first, second] = stage.guests.as_mut_slice() else { bail!("there are two guests") };
    Ok((Client { guest: first, disk: disks[FIRST].clone() }, Client { guest: second, disk: disks[SECOND].clone() }))
}
