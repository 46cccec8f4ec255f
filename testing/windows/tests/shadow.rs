//! `lunshadow-shadow.exe` over the product: scripts of DiskShadow through COM, over the real array.
#![cfg(windows)]

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use lunshadow_control::{LunId, SetPhase};
use lunshadow_provider_com::ids;
use lunshadow_windows::rig::{
    Activation, ArraySide, Host, Identity, Product, SAMPLE_MEBIBYTES, built, iqn_of, new_name,
};
use lunshadow_windows::start;

/// The product, installed for a host with two LUNs, and the folder with its scripts.
struct Bed {
    array: ArraySide,
    _product: Product,
    _identity: Identity,
    host: String,
    luns: Vec<LunId>,
    folder: tempfile::TempDir,
}

/// What came of a run.
#[derive(Debug)]
struct Run {
    status: Option<i32>,
    said: String,
    complaints: String,
}

impl Run {
    /// What an alias stands for.
    fn alias(&self, name: &str) -> &str {
        let start = format!("alias %{name}% = ");
        let value = self.said.lines().find_map(|line| line.strip_prefix(&start));
        value.expect("the run tells the alias")
    }

    fn assert_ended(self) -> Self {
        assert!(self.status == Some(0) && self.complaints.is_empty(), "{self:#?}");
        self
    }
}

impl Bed {
    fn new() -> Self {
        let array = ArraySide::new();
        let identity = Identity::enrol(&array, &new_name("shadow"), None);
        let host = identity.host.clone();
        let luns = add_luns(&array, &host);
        let product = Product::install(Activation::LocalServer, &identity);
        let folder = tempfile::tempdir().expect("a folder for the test");
        let bed = Self { array, _product: product, _identity: identity, host, luns, folder };
        bed.describe(&bed.host, &bed.luns);
        bed
    }

    /// Writes the file of a host with these LUNs.
    fn describe(&self, host: &str, luns: &[LunId]) {
        let (initiator, portal) = (iqn_of(host), self.array.portal());
        let volume =
            |(mount, lun): (&str, &LunId)| format!("[[host.volume]]\nmount = \"{mount}\"\nserial = \"{lun}\"\n");
        let volumes: String = ["E:", "F:"].into_iter().zip(luns).map(volume).collect();
        let hosts = format!(
            "[[host]]\nname = \"{host}\"\ninitiator = \"{initiator}\"\nportal = \"{portal}\"\nfolders = {{ \"C:\" = \"nowhere\" }}\n\
             {volumes}[[host.writer]]\nname = \"SqlServerWriter\"\ncomponents = [\"accounts\"]\n"
        );
        self.file("hosts.toml", &hosts);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path as a script has it: with its drive.
    fn text(&self, name: &str) -> String {
        let path = self.path(name).display().to_string();
        assert_eq!(path.get(1..3), Some(":\\"), "{path}");
        format!("\"{path}\"")
    }

    fn file(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("it can be written");
    }

    fn script(&self, lines: &str) -> Run {
        self.file("lines.dsh", lines);
        self.run(&ids::CLASS_ID.braced().to_string(), &["script", "lines.dsh"], "")
    }

    /// Runs the program in the folder, with these commands on its standard input.
    fn run(&self, class: &str, arguments: &[&str], commands: &str) -> Run {
        self.file("commands.txt", commands);
        // What the provider's process inherits must not be the tests' own output.
        let (said, complaints) = (self.path("said.txt"), self.path("complaints.txt"));
        let output = |path| Stdio::from(File::create(path).expect("it can be written"));
        let mut program = Command::new(built("lunshadow-shadow.exe"));
        program.current_dir(self.folder.path()).args(["--clsid", class]).args(arguments);
        program.stdin(File::open(self.path("commands.txt")).expect("it is there"));
        program.stdout(output(&said)).stderr(output(&complaints));
        let status = start(&mut program).and_then(|mut child| child.wait()).expect("it is built and starts").code();
        let text = |path| fs::read_to_string(path).expect("it is text");
        Run { status, said: text(said), complaints: text(complaints) }
    }

    /// The one line that a script is refused with.
    fn refused(&self, lines: &str) -> String {
        let run = self.script(lines);
        assert!(run.status == Some(1) && run.complaints.lines().count() == 1, "{lines}: {run:#?}");
        run.complaints
    }

    fn shadow_counts(&self) -> Vec<u32> {
        self.luns.iter().map(|lun| self.array.shadow_count(*lun)).collect()
    }

    /// What the host has as a record on its first LUN, after it has written another one if that is wanted.
    fn record(&self, new: Option<u8>) -> u8 {
        // The program has logged out, or its session is taken over.
        let host = Host::log_in(&self.host, self.array.portal()).expect("the array lets the host in");
        let device = host.device_of(self.luns[0]);
        if let Some(record) = new {
            host.write_record(&device, record);
        }
        host.record(&device)
    }
}

/// Two LUNs with a volume each, which only the host of that name sees.
fn add_luns(array: &ArraySide, host: &str) -> Vec<LunId> {
    let add = |number: u64| array.add_lun(&format!("{host}-{number}"), SAMPLE_MEBIBYTES, host);
    let luns: Vec<LunId> = (1..=2).map(add).collect();
    let logged_in = Host::log_in(host, array.portal()).expect("the array lets the host in");
    for (seed, lun) in (1..).zip(&luns) {
        logged_in.fill(*lun, seed);
    }
    luns
}

#[test]
fn a_script_creates_shadow_copies_and_the_next_run_lists_and_deletes_them() {
    let bed = Bed::new();
    let folder = bed.folder.path().display();
    bed.file(
        "copy.cmd",
        &format!("@echo %Data% and %Logs% of %VSS_SHADOW_SET% for %DISKSH_PARAM_1%>{folder}\\copied.txt\r\n"),
    );
    let provider = ids::PROVIDER_ID.braced();
    bed.file(
        "create.dsh",
        &format!(
            "set context persistent\r\nset metadata {}\r\nset verbose on\r\nbegin backup\r\nwriter verify SqlServerWriter\r\n\
             add volume E: alias Data provider {provider}\r\nadd volume F: alias Logs\r\ncreate\r\nend backup\r\n\
             list providers\r\nexpose %Data% X:\r\nexec {}\r\n",
            bed.text("nightly.cab"),
            bed.text("copy.cmd"),
        ),
    );
    let class = ids::CLASS_ID.braced().to_string();
    let created = bed.run(&class, &["script", "create.dsh", "tape"], "").assert_ended();
    let (data, logs, set) = (created.alias("Data"), created.alias("Logs"), created.alias("VSS_SHADOW_SET"));
    for said in [
        "writer SqlServerWriter takes part",
        "number of shadow copies listed: 2",
        &format!("  {}", ids::DISPLAY_NAME),
        &format!("{data} stands for X: and is not mounted, because this program mounts no files; attach iscsi://"),
        &format!("as the initiator {}", iqn_of(&bed.host)),
    ] {
        assert!(created.said.contains(said), "{said}: {created:#?}");
    }
    let copied = fs::read_to_string(bed.path("copied.txt")).expect("the command file has run");
    assert_eq!(copied.trim_end(), format!("{data} and {logs} of {set} for tape"));
    assert_eq!(fs::read(bed.path("nightly.cab")).expect("it is written").get(..4), Some(b"MSCF".as_slice()));
    assert_eq!(bed.shadow_counts(), [1, 1]);
    let phases: Vec<_> =
        bed.array.sets().iter().filter(|it| it.host.as_ref() == Some(&bed.host)).map(|it| it.summary.phase).collect();
    assert_eq!(phases, [SetPhase::Kept]);

    // Another process, which knows them from the file beside that of the hosts.
    let load = format!("load metadata {}\n", bed.text("nightly.cab"));
    let listed = bed.script("list shadows all").assert_ended();
    for said in [data, logs, set, "number of shadow copies listed: 2"] {
        assert!(listed.said.contains(said), "{said}: {listed:#?}");
    }
    let deleted = bed.script(&format!("{load}delete shadows set %VSS_SHADOW_SET%\nlist shadows all")).assert_ended();
    for said in ["number of shadow copies deleted: 2", "number of shadow copies listed: 0"] {
        assert!(deleted.said.contains(said), "{said}: {deleted:#?}");
    }
    assert_eq!(bed.shadow_counts(), [0, 0]);
}

#[test]
fn scripts_import_mask_resync_and_break_transportable_sets() {
    let bed = Bed::new();
    assert_eq!(bed.record(Some(1)), 1);
    let load = format!("load metadata {}\n", bed.text("nightly.cab"));
    let create = format!(
        "set context persistent\nset option transportable\nset metadata {}\nadd volume E: alias Data\ncreate\nlist shadows all",
        bed.text("nightly.cab")
    );
    let created = bed.script(&create).assert_ended();
    assert!(created.said.contains("number of shadow copies listed: 0"), "{created:#?}");
    assert_eq!(bed.record(Some(2)), 2);
    bed.script(&format!("{load}begin restore\nadd shadow %Data%\nresync novolcheck\nend restore")).assert_ended();
    assert_eq!(bed.record(None), 1, "the content of the shadow copy is back");
    let masked =
        bed.script(&format!("{load}import\nlist shadows all\nmask %VSS_SHADOW_SET%\nlist shadows all")).assert_ended();
    let counts: Vec<_> =
        masked.said.lines().filter_map(|line| line.strip_prefix("number of shadow copies listed: ")).collect();
    assert_eq!(counts, ["1", "1", "0"], "{masked:#?}");
    let broken =
        bed.script(&format!("{load}import\nbreak writable nomask %VSS_SHADOW_SET%\nlist shadows all")).assert_ended();
    assert!(
        broken.said.ends_with("number of shadow copies listed: 0\r\n")
            || broken.said.ends_with("number of shadow copies listed: 0\n"),
        "{broken:#?}"
    );
    assert_eq!(bed.shadow_counts(), [0, 0], "it is a LUN of its own");
}

#[test]
fn a_script_that_cannot_go_on_ends_in_one_line_and_leaves_nothing() {
    let bed = Bed::new();
    bed.file("fails.cmd", "@exit /b 3\r\n");
    bed.file("copy.ps1", "exit 0\r\n");
    let program = built("lunshadow-conform.exe").display().to_string();
    for (lines, said) in [
        ("add volume E: provider {00000000-0000-0000-0000-000000000001}".to_owned(), "line 1: no provider {00000000"),
        ("add volume G:".to_owned(), "line 1: there is no volume G: on this host; it has E:, F:"),
        (format!("add volume E:\ncreate\nexec {}", bed.text("fails.cmd")), "fails.cmd failed with status 3"),
        (format!("exec {}", bed.text("copy.ps1")), "name a .cmd file that starts it"),
        (r"exec C:\nowhere\copy.cmd".to_owned(), r"line 1: cannot run C:\nowhere\copy.cmd: "),
        (r"load metadata C:\nowhere\a.cab".to_owned(), r"cannot read the metadata in C:\nowhere\a.cab: "),
    ] {
        let refused = bed.refused(&lines);
        assert!(
            refused.starts_with("lunshadow-shadow: lines.dsh: line ") && refused.contains(said),
            "{said}: {refused}"
        );
    }
    let run = bed.script(&format!("exec \"{program}\""));
    assert!(run.status == Some(1) && run.complaints.contains("failed with status 2"), "{run:#?}");
    assert_eq!(bed.shadow_counts(), [0, 0]);

    let unknown = "{00000000-0000-0000-0000-000000000001}";
    for (arguments, said) in [
        (&["prompt"][..], "no provider that is registered with VSS has the class"),
        (&["--provider", unknown, "prompt"], "COM makes no object of the class"),
        (&["--hosts", "no.toml", "prompt"], "cannot read the simulated hosts in no.toml"),
    ] {
        let run = bed.run(unknown, arguments, "");
        let is_one = run.complaints.lines().count() == 1 && run.complaints.starts_with("lunshadow-shadow: ");
        assert!(run.status == Some(2) && is_one && run.complaints.contains(said), "{said}: {run:#?}");
    }
}

#[test]
fn a_script_with_a_volume_that_the_provider_refuses_ends_in_one_line_and_a_prompt_goes_on() {
    let bed = Bed::new();
    // LUNs of another host: the provider speaks for the first, and is not shown them.
    let other = new_name("shadow");
    let _enrolment = bed.array.add_host(&other, None);
    let luns = add_luns(&bed.array, &other);
    bed.describe(&other, &luns);
    let add = format!("add volume E: provider {}", ids::PROVIDER_ID.braced());
    let refused = bed.refused(&format!("# not ours\n{add}"));
    assert!(refused.contains("line 2: ") && refused.contains("VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER"), "{refused}");
    let class = ids::CLASS_ID.braced().to_string();
    let prompted = bed.run(&class, &["prompt"], &format!("{add}\r\nlist providers\r\nexit\r\n"));
    assert!(prompted.status == Some(0) && prompted.complaints.lines().count() == 1, "{prompted:#?}");
    assert!(prompted.said.contains("number of providers listed: 1"), "{prompted:#?}");
    assert!(luns.iter().all(|lun| bed.array.shadow_count(*lun) == 0));
}
