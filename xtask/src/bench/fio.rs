//! fio as the generator of loads.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::engine::{Load, Pattern, Rate, Until};
use crate::peers::FIO;

/// What fio reads and writes.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A file or device, with io_uring and without the page cache.
    File(OsString),
    /// An export of a server of network block devices.
    Nbd(String),
    /// A LUN of an iSCSI target, by its URL, and a fio that can reach it.
    Iscsi { fio: PathBuf, url: String },
}

/// Who fio is to iSCSI targets.
pub(super) const INITIATOR: &str = "iqn.2026-11.org.example:fio";

impl Target {
    pub(super) fn file(path: &Path) -> Self {
        Self::File(path.as_os_str().to_owned())
    }
}

/// Runs one load to its end.
pub(super) fn run(target: &Target, lun_bytes: u64, load: &Load) -> anyhow::Result<Rate> {
    rate_of(&report(command(target, lun_bytes, load, 1))?)
}

/// Runs a load by several jobs at once, each as deep as the load says: the sum of their rates.
pub(super) fn run_in_sessions(target: &Target, lun_bytes: u64, load: &Load, sessions: u32) -> anyhow::Result<Rate> {
    rate_of(&report(command(target, lun_bytes, load, sessions))?)
}

/// Starts sessions that send one command in a while, for some seconds.
pub(super) fn idle_sessions(target: &Target, lun_bytes: u64, sessions: u32, seconds: u32) -> anyhow::Result<Child> {
    let (pattern, until) = (Pattern::RandomRead, Until::Seconds(f64::from(seconds)));
    let load = Load { pattern, block_bytes: 4096, depth: 1, flush: false, until };
    let mut fio = command(target, lun_bytes, &load, sessions);
    fio.args(["--thinktime=5s"]).stdout(Stdio::null()).spawn().context("cannot start fio")
}

/// The 50th and 99th percentile of a flush behind a single write, in microseconds, while as many writes are in flight as a load says.
pub(super) fn flushes_under_load(target: &Target, lun_bytes: u64, load: &Load) -> anyhow::Result<(f64, f64)> {
    let mut fio = command(target, lun_bytes, load, 1);
    fio.args(["--name=flush", "--new_group", "--iodepth=1", "--fdatasync=1"]);
    let report = report(fio)?;
    let percentiles = &report["jobs"][1]["sync"]["lat_ns"]["percentile"];
    let of = |key: &str| percentiles[key].as_f64().map(|ns| ns / 1e3).context("fio reports no latencies of flushes");
    Ok((of("50.000000")?, of("99.000000")?))
}

fn command(target: &Target, lun_bytes: u64, load: &Load, sessions: u32) -> Command {
    let mut fio = match target {
        Target::Iscsi { fio, .. } => Command::new(fio),
        Target::File(_) | Target::Nbd(_) => Command::new(FIO),
    };
    fio.args(["--name=global", "--output-format=json", "--group_reporting", "--randrepeat=0", "--fallocate=none"]);
    match target {
        Target::File(path) => {
            let mut filename = OsString::from("--filename=");
            filename.push(path);
            fio.args(["--ioengine=io_uring", "--direct=1"]).arg(filename);
        }
        Target::Nbd(uri) => {
            fio.arg("--ioengine=nbd").arg(format!("--uri={uri}"));
        }
        Target::Iscsi { url, .. } => {
            // fio takes a colon for the end of a name.
            let name = url.replace(':', "\\:");
            fio.args(["--thread", "--ioengine=libiscsi"]).arg(format!("--initiator={INITIATOR}"));
            fio.arg(format!("--filename={name}"));
        }
    }
    let pattern = match load.pattern {
        Pattern::RandomRead => "randread",
        Pattern::RandomWrite => "randwrite",
        Pattern::Read => "read",
        Pattern::Write => "write",
    };
    fio.arg(format!("--rw={pattern}")).arg(format!("--bs={}", load.block_bytes)).arg(format!("--size={lun_bytes}"));
    // A flush holds up the requests of its own job only.
    let (jobs, depth) = if load.flush { (sessions * load.depth, 1) } else { (sessions, load.depth) };
    fio.arg(format!("--numjobs={jobs}")).arg(format!("--iodepth={depth}"));
    if load.flush {
        // fio's engines for networks know only this word for a flush.
        fio.arg(if matches!(target, Target::File(_)) { "--fdatasync=1" } else { "--fsync=1" });
    }
    match load.until {
        Until::Seconds(seconds) => {
            let milliseconds = format!("{:.0}", seconds * 1000.0);
            fio.args(["--time_based", "--norandommap"]).arg(format!("--runtime={milliseconds}ms"));
        }
        Until::Bytes(bytes) => {
            fio.arg(format!("--io_size={bytes}"));
        }
    }
    // What comes before is for all jobs.
    fio.arg("--name=load").stdin(Stdio::null());
    fio
}

fn report(mut fio: Command) -> anyhow::Result<Value> {
    let output = fio.output().context("cannot start fio")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{fio:?}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    // Warnings may come before the report.
    let start = text.find("\n{").map_or(0, |at| at + 1);
    serde_json::from_str(&text[start..]).with_context(|| format!("fio's report is not as expected: {text}"))
}

fn rate_of(report: &Value) -> anyhow::Result<Rate> {
    let job = &report["jobs"][0];
    let ran = ["read", "write"].map(|direction| &job[direction]);
    let direction = ran.into_iter().find(|direction| direction["total_ios"].as_u64().unwrap_or(0) > 0);
    let direction = direction.context("fio did nothing")?;
    let number = |value: &Value| value.as_f64().context("fio's report lacks a figure");
    Ok(Rate {
        operations_per_s: number(&direction["iops"])?,
        bytes_per_s: number(&direction["bw_bytes"])?,
        p99_us: number(&direction["clat_ns"]["percentile"]["99.000000"])? / 1e3,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_direction_that_ran_is_reported() {
        let idle = json!({"total_ios": 0});
        let busy = json!({
            "total_ios": 7, "iops": 3.5, "bw_bytes": 14336, "clat_ns": {"percentile": {"99.000000": 2500}}
        });
        let report = json!({"jobs": [{"read": idle, "write": busy}]});
        let rate = rate_of(&report).expect("complete");
        assert_eq!(rate, Rate { operations_per_s: 3.5, bytes_per_s: 14336.0, p99_us: 2.5 });
        assert!(rate_of(&json!({"jobs": [{"read": idle, "write": idle}]})).is_err());
    }

    #[test]
    fn flushes_are_made_by_jobs_of_their_own() {
        let load = Load {
            pattern: Pattern::RandomWrite,
            block_bytes: 4096,
            depth: 32,
            flush: true,
            until: Until::Seconds(0.5),
        };
        let command = command(&Target::Nbd("nbd+unix:///lun?socket=s".to_owned()), 1 << 30, &load, 1);
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
        for expected in ["--numjobs=32", "--iodepth=1", "--fsync=1", "--runtime=500ms", "--ioengine=nbd"] {
            assert!(arguments.iter().any(|argument| argument == expected), "{expected} in {arguments:?}");
        }
    }

    #[test]
    fn sessions_are_jobs_and_colons_are_no_ends() {
        let (pattern, until) = (Pattern::RandomRead, Until::Bytes(8192));
        let load = Load { pattern, block_bytes: 4096, depth: 32, flush: false, until };
        let target = Target::Iscsi { fio: "built/fio".into(), url: "iscsi://127.0.0.1:3260/iqn.x:y/1".to_owned() };
        let command = command(&target, 1 << 30, &load, 8);
        assert_eq!(command.get_program(), "built/fio");
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
        for expected in
            ["--numjobs=8", "--iodepth=32", "--io_size=8192", r"--filename=iscsi\://127.0.0.1\:3260/iqn.x\:y/1"]
        {
            assert!(arguments.iter().any(|argument| argument == expected), "{expected} in {arguments:?}");
        }
    }
}
