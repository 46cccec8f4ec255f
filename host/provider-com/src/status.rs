//! What this host sees: each array with its LUNs and sets, as the array itself tells it.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lunshadow_array_client::ArrayError;
use lunshadow_control::{HostOverview, LunRole, MappedLun, SetPhase, SetSummary};
use serde::Serialize;

use crate::config::{ArraySettings, Settings};
use crate::configured::connect;
use crate::ids::{PROVIDER_ID, VERSION, version_id};

/// Everything.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The program's version.
    pub version: &'static str,
    /// The version as VSS tells builds apart.
    pub version_id: String,
    /// The provider to VSS.
    pub provider_id: String,
    /// The arrays of the settings.
    pub arrays: Vec<ArrayStatus>,
}

/// One array.
#[derive(Debug, Serialize)]
pub struct ArrayStatus {
    /// The administrator's name for it.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// What it tells, if it does.
    pub overview: Option<HostOverview>,
    /// Why it does not.
    pub problem: Option<String>,
    /// How long it took to answer, in milliseconds.
    pub answered_in_ms: u64,
    /// How far this host's clock is ahead of the array's, in milliseconds.
    pub clock_ahead_ms: Option<i64>,
}

/// Asks all arrays.
#[must_use]
pub fn gather(settings: &Settings) -> Status {
    let timeouts = settings.limits.timeouts();
    let ask = |array: &ArraySettings| {
        let client = connect(array, timeouts).array;
        // The first request makes the connection, the second is what a clock can be compared by.
        let known = client.who_am_i();
        let before = now();
        let overview = known.and_then(|_| client.overview());
        of_array(array, overview, before, now())
    };
    let arrays = settings.arrays.iter().map(ask).collect();
    Status { version: VERSION, version_id: version_id().to_string(), provider_id: PROVIDER_ID.to_string(), arrays }
}

/// The time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn of_array(
    array: &ArraySettings,
    overview: Result<HostOverview, ArrayError>,
    before: Duration,
    after: Duration,
) -> ArrayStatus {
    let took = after.saturating_sub(before);
    let (overview, problem) = match overview {
        Ok(overview) => (Some(overview), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let clock_ahead_ms = overview.as_ref().map(|overview| {
        let asked_at = i128::try_from((before + took / 2).as_millis()).unwrap_or(i128::MAX);
        i64::try_from(asked_at - i128::from(overview.now_unix_ms)).unwrap_or(i64::MAX)
    });
    ArrayStatus {
        name: array.name.clone(),
        address: array.address.clone(),
        overview,
        problem,
        answered_in_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        clock_ahead_ms,
    }
}

impl Status {
    /// Whether every array answered.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.arrays.iter().all(|array| array.problem.is_none())
    }

    /// For people.
    ///
    /// # Errors
    /// What the writer says.
    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Lunshadow provider {} (version id {})", self.version, self.version_id)?;
        if self.arrays.is_empty() {
            writeln!(out, "No array is known. Add one: lunshadow-provider config add --name NAME")?;
        }
        self.arrays.iter().try_for_each(|array| array.print(out))
    }
}

impl ArrayStatus {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\nArray {} at {}", self.name, self.address)?;
        let Some(overview) = &self.overview else {
            return writeln!(out, "  {}", self.problem.as_deref().unwrap_or("it did not answer"));
        };
        let initiators: Vec<&str> = overview.host.initiators.iter().map(|name| name.as_str()).collect();
        writeln!(out, "  knows this host as {}, with {}", overview.host.name, initiators.join(", "))?;
        writeln!(out, "  answered in {} ms", self.answered_in_ms)?;
        writeln!(out, "  {} LUNs are mapped to this host", overview.luns.len())?;
        for lun in &overview.luns {
            writeln!(out, "  {}", lun_line(lun))?;
        }
        writeln!(out, "  {} shadow sets, the youngest first", overview.sets.len())?;
        for set in &overview.sets {
            writeln!(out, "  {}", set_line(set, overview.now_unix_ms))?;
        }
        Ok(())
    }
}

fn lun_line(lun: &MappedLun) -> String {
    let what = match &lun.role {
        LunRole::Source => lun.name.clone().unwrap_or_default(),
        LunRole::Shadow { source, set } => format!("shadow LUN of {source} in set {set}"),
    };
    format!("  {:>3}  {}  {:>9}  {what}", lun.number, lun.lun, size(lun.len_bytes))
}

fn set_line(set: &SetSummary, now_unix_ms: u64) -> String {
    let phase = match set.phase {
        SetPhase::Prepared => "prepared",
        SetPhase::Armed => "armed",
        SetPhase::Committed => "committed",
        SetPhase::Kept => "kept",
        SetPhase::Aborted => "aborted",
    };
    let mut line = format!("  {}  {phase:<9}  {} shadow LUNs", set.set, set.lun_count);
    if let Some(at) = set.committed_at_unix_ms {
        line.push_str(&format!(", committed {} ago", age(now_unix_ms.saturating_sub(at))));
    }
    if let Some(took) = set.commit_took_us {
        line.push_str(&format!(" in {}.{:03} ms", took / 1000, took % 1000));
    }
    if let Some(left) = set.lease_left_ms {
        line.push_str(&format!(", lease ends in {} s", left.div_ceil(1000)));
    }
    line
}

fn age(millis: u64) -> String {
    match millis / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// In the largest unit that leaves no fraction, since LUNs have round sizes.
fn size(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use lunshadow_control::{Fingerprint, HostId, HostRecord, LunId, Secret, ShadowSetId};
    use uuid::Uuid;

    use super::*;

    fn array() -> ArraySettings {
        ArraySettings {
            name: "one".into(),
            address: "array:3261".into(),
            fingerprint: Fingerprint([0; 32]),
            credential: Secret::new("s3cret"),
        }
    }

    fn overview() -> HostOverview {
        let set = ShadowSetId(Uuid::from_u128(5));
        let lun = |number, role, name: Option<&str>| MappedLun {
            number,
            lun: LunId::from_u128(u128::from(number)),
            name: name.map(str::to_owned),
            len_bytes: 3 << 30,
            role,
        };
        HostOverview {
            host: HostRecord {
                host: HostId(Uuid::from_u128(1)),
                name: "sql-1".into(),
                initiators: vec!["iqn.2026-11.org.example:sql-1".parse().expect("a name")],
            },
            now_unix_ms: 1_000_000_000,
            luns: vec![
                lun(0, LunRole::Source, Some("data")),
                lun(1, LunRole::Shadow { source: LunId::from_u128(0), set }, None),
            ],
            sets: vec![SetSummary {
                set,
                phase: SetPhase::Committed,
                lun_count: 1,
                lease_left_ms: Some(59_001),
                committed_at_unix_ms: Some(999_990_000),
                commit_took_us: Some(2_345),
            }],
        }
    }

    fn status(overview: Result<HostOverview, ArrayError>) -> Status {
        let (before, after) = (Duration::from_millis(1_000_002_000), Duration::from_millis(1_000_002_010));
        let array = of_array(&array(), overview, before, after);
        Status { version: "1", version_id: "v".into(), provider_id: "p".into(), arrays: vec![array] }
    }

    fn printed(status: &Status) -> String {
        let mut out = Vec::new();
        status.print(&mut out).expect("memory takes it");
        String::from_utf8(out).expect("a text")
    }

    #[test]
    fn arrays_luns_leases_and_timings_are_shown() {
        let text = printed(&status(Ok(overview())));
        for part in [
            "Array one at array:3261",
            "knows this host as sql-1, with iqn.2026-11.org.example:sql-1",
            "answered in 10 ms",
            "3 GiB  data",
            "shadow LUN of 00000000000000000000000000000000 in set {00000000-0000-0000-0000-000000000005}",
            "committed  1 shadow LUNs, committed 10 s ago in 2.345 ms, lease ends in 60 s",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn an_array_that_does_not_answer_is_shown_with_the_reason() {
        let status = status(Err(ArrayError::Unreachable { detail: "array:3261: refused".into() }));
        assert!(!status.is_whole());
        assert!(printed(&status).contains("  the array cannot be reached: array:3261: refused"));
    }

    #[test]
    fn clocks_are_compared_in_the_middle_of_the_request() {
        assert_eq!(status(Ok(overview())).arrays[0].clock_ahead_ms, Some(2_005));
    }

    #[test]
    fn json_has_all_of_it_and_no_credential() {
        let json = serde_json::to_value(status(Ok(overview()))).expect("a status is JSON");
        assert_eq!(json["arrays"][0]["overview"]["sets"][0]["commit_took_us"], 2_345);
        assert!(!json.to_string().contains("s3cret"));
    }

    #[test]
    fn ages_and_sizes_are_for_people() {
        assert_eq!([age(500), age(180_000), age(7_200_000), age(400_000_000)], ["0 s", "3 min", "2 h", "4 days"]);
        assert_eq!([size(1 << 40), size((1 << 30) + 512), size(5 << 20)], ["1 TiB", "1073742336 B", "5 MiB"]);
    }
}
