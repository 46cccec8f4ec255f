//! The array's side, as tests under Wine command it: the real `lunshadow serve` on Linux, which `cargo xtask windows` has started.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use lunshadow_control::api::{AdminLunsAnswer, AdminSet, AdminSetsAnswer, NewLunAnswer};
use lunshadow_control::{LunId, ShadowSetId};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Where `cargo xtask windows` says the address.
pub const ADDRESS: &str = "LUNSHADOW_ARRAY_SIDE";

/// Where it says that of another array, whose pool is so small that it can be filled in a moment.
pub const SMALL_ADDRESS: &str = "LUNSHADOW_SMALL_ARRAY_SIDE";

/// Who takes commands for the array.
#[derive(Debug, Clone)]
pub struct ArraySide {
    address: String,
    /// Where hosts find its control service, if not at its own address.
    control: Option<String>,
}

/// What came of a command.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok(String),
    Error(String),
}

impl From<Answer> for Result<String, String> {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Ok(text) => Ok(text),
            Answer::Error(error) => Err(error),
        }
    }
}

impl Default for ArraySide {
    fn default() -> Self {
        Self::new()
    }
}

impl ArraySide {
    /// The one of this run.
    ///
    /// # Panics
    /// If there is none: these tests are run by `cargo xtask windows`.
    #[must_use]
    pub fn new() -> Self {
        Self::at(ADDRESS)
    }

    /// The one of this run with a small pool.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn small() -> Self {
        Self::at(SMALL_ADDRESS)
    }

    /// That of most tests, whose hosts find its control service behind a relay that can make it slow.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn relayed() -> Self {
        let mut side = Self::new();
        side.control = Some(side.ask(&["relay"]));
        side
    }

    fn at(variable: &str) -> Self {
        let address = std::env::var(variable).expect("`cargo xtask windows` starts the array and says where it is");
        Self { address, control: None }
    }

    /// The iSCSI portal.
    #[must_use]
    pub fn portal(&self) -> SocketAddr {
        let addresses = self.ask(&["where"]);
        let portal = addresses.split(' ').next().and_then(|portal| portal.parse().ok());
        portal.expect("the portal comes first")
    }

    /// The folder of its pool, where whoever administers it finds the control service and the credential.
    #[must_use]
    pub fn pool(&self) -> PathBuf {
        // Under Wine the whole of the Linux machine is drive Z.
        PathBuf::from(format!("Z:{}", self.ask(&["pool"])))
    }

    /// Ends the array at once, in the middle of whatever it does.
    pub fn kill(&self) {
        self.ask(&["kill"]);
    }

    /// Starts it again.
    pub fn start(&self) {
        self.ask(&["start"]);
    }

    /// Has it stand still: requests reach it and are not answered.
    pub fn pause(&self) {
        self.ask(&["pause"]);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.ask(&["resume"]);
    }

    /// Has the relay before its control service let it be in a condition (`testing/relay`).
    pub fn trouble(&self, condition: &[&str]) {
        self.ask(&[&["trouble"], condition].concat());
    }

    /// Makes a host known, with the initiator that [`iqn_of`] names. Answers its enrolment string.
    #[must_use]
    pub fn add_host(&self, name: &str, imports_from: Option<&str>) -> String {
        let iqn = iqn_of(name);
        let mut words = vec!["run", "host", "add", name, "--iqn", &iqn];
        words.extend(imports_from.into_iter().flat_map(|host| ["--imports-from", host]));
        words.extend(self.control.iter().flat_map(|address| ["--address", address]));
        self.ask(&words).trim().to_owned()
    }

    /// Makes a LUN and maps it to a host.
    #[must_use]
    pub fn add_lun(&self, name: &str, mebibytes: u64, host: &str) -> LunId {
        let size = format!("{mebibytes}M");
        let made: NewLunAnswer = self.ask_json(&["run", "lun", "create", name, "--size", &size, "--json"]);
        self.ask(&["run", "lun", "map", name, host]);
        made.lun
    }

    /// Whether there is a LUN of this name.
    #[must_use]
    pub fn has_lun(&self, name: &str) -> bool {
        let luns = self.ask_json::<AdminLunsAnswer>(&["run", "lun", "list", "--json"]).luns;
        luns.iter().any(|it| it.name == *name)
    }

    /// Deletes a LUN, whoever sees it.
    pub fn delete_lun(&self, name: &str) {
        self.ask(&["run", "lun", "delete", name, "--unmap"]);
    }

    /// How much hosts can write before the array refuses it.
    ///
    /// # Panics
    /// If the array does not say.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        let status: serde_json::Value = self.ask_json(&["run", "pool", "status", "--json"]);
        status["available_bytes"].as_u64().expect("the status has the room")
    }

    /// Maps a LUN to another host too.
    pub fn map(&self, lun_name: &str, host: &str) {
        self.ask(&["run", "lun", "map", lun_name, host]);
    }

    /// All shadow sets, the youngest first.
    #[must_use]
    pub fn sets(&self) -> Vec<AdminSet> {
        self.ask_json::<AdminSetsAnswer>(&["run", "shadow", "list", "--json"]).sets
    }

    /// A shadow set.
    #[must_use]
    pub fn set(&self, set: ShadowSetId) -> Option<AdminSet> {
        self.sets().into_iter().find(|it| it.summary.set == set)
    }

    /// How many shadow LUNs a LUN has.
    #[must_use]
    pub fn shadow_count(&self, lun: LunId) -> u32 {
        let luns = self.ask_json::<AdminLunsAnswer>(&["run", "lun", "list", "--json"]).luns;
        luns.iter().find(|it| it.lun == lun).map_or(0, |it| it.shadow_count)
    }

    fn ask_json<T: DeserializeOwned>(&self, words: &[&str]) -> T {
        serde_json::from_str(&self.ask(words)).expect("the array's answer is what its API says")
    }

    fn ask(&self, words: &[&str]) -> String {
        let peer = TcpStream::connect(&self.address).expect("the array's side listens");
        writeln!(&peer, "{}", serde_json::json!(words)).expect("the array's side hears");
        let mut line = String::new();
        BufReader::new(&peer).read_line(&mut line).expect("the array's side answers");
        let answer: Answer = serde_json::from_str(&line).expect("it answers in JSON");
        Result::from(answer).expect("the array's side obeys")
    }
}

/// The initiator of a host.
#[must_use]
pub fn iqn_of(host: &str) -> String {
    format!("iqn.2026-11.org.lunshadow.test:{host}")
}

/// A name that no other test of this run has: they share an array.
#[must_use]
pub fn new_name(what: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("{what}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}
