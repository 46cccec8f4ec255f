//! What many LUNs and idle sessions take of memory.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::bench::fio;
use crate::bench::report::Figures;
use crate::command::wait_at_most;

use super::Place;
use super::target::{HOST, Kind};

pub(super) const MEMORY: &str = "Memory";

/// One host can have so many LUNs: single-level LUN numbers up to 255, number 0 being the array's controller.
const LUNS_OF_HOST: usize = 255;
const SESSIONS: u32 = 64;
const LOGIN_AT_MOST: Duration = Duration::from_secs(60);
/// How long the sessions stay once they are there: longer than it takes to look.
const SESSIONS_STAY_S: u32 = 30;

/// Looks at our target, in an empty folder. (tgtd has no LUNs of a pool.)
pub(super) fn measure(place: &Place, folder: &Path, figures: &mut Figures) -> anyhow::Result<()> {
    let kind = Kind::Lunshadow;
    let served = kind.start(place, folder, Vec::new())?;
    let daemon = served.daemon().context("it is ours")?;
    let resident_mib = || Ok::<_, anyhow::Error>(resident_kib(served.process()?)? / 1024.0);
    served.fill()?;
    let at_first = resident_mib()?;
    daemon.ask(&["host", "add", "bench-2", "--iqn", "iqn.2026-11.org.example:bench-2"])?;
    for number in 1..=LUNS_OF_HOST {
        // The host has one LUN already, so the last one is another host's.
        let host = if number == LUNS_OF_HOST { "bench-2" } else { HOST };
        daemon.new_lun(&format!("more-{number}"), "64MiB", host)?;
    }
    let with_luns = resident_mib()?;
    let mut idle = fio::idle_sessions(&served.target(), served.lun_bytes(), SESSIONS, SESSIONS_STAY_S)?;
    let logged_in = wait_connected(&mut idle, daemon.portals()[0]);
    let with_sessions = logged_in.and_then(|()| resident_mib());
    idle.kill().context("fio cannot be ended")?;
    wait_at_most(&mut idle, LOGIN_AT_MOST).ok();
    let figures_of = [
        ("resident with one LUN, MiB", at_first),
        ("more with 256 LUNs, MiB", with_luns - at_first),
        ("more with 64 idle sessions, MiB", with_sessions? - with_luns),
    ];
    for (label, mib) in figures_of {
        figures.add(MEMORY, label, kind.name(), mib);
    }
    Ok(())
}

/// Waits until all sessions have their connections.
fn wait_connected(sessions: &mut Child, portal: SocketAddr) -> anyhow::Result<()> {
    let until = Instant::now() + LOGIN_AT_MOST;
    while connections_to(&fs::read_to_string("/proc/net/tcp")?, portal.port()) < SESSIONS as usize {
        if let Some(status) = sessions.try_wait()? {
            bail!("fio ended with {status} before its sessions were there");
        }
        if Instant::now() >= until {
            bail!("the sessions are not there after {} s", LOGIN_AT_MOST.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The established connections of a local port, in the kernel's table.
fn connections_to(table: &str, port: u16) -> usize {
    let (suffix, established) = (format!(":{port:04X}"), "01");
    let of_port = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(&suffix)) && words.nth(1) == Some(established)
    };
    table.lines().filter(of_port).count()
}

fn resident_kib(process: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_a_port_are_counted() {
        let table = "  sl  local_address rem_address   st\n   0: 0100007F:0CBC 00000000:0000 0A 0\n\
                        1: 0100007F:0CBC 0100007F:9C40 01 0\n   2: 0100007F:9C40 0100007F:0CBC 01 0\n";
        assert_eq!(connections_to(table, 3260), 1);
        assert_eq!(connections_to(table, 0x9C40), 1);
        assert_eq!(connections_to(table, 1), 0);
    }
}
