//! All of the program but COM: a fake class, over LUNs of a real target.
#![cfg(not(windows))]

use std::cell::RefCell;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use clap::Parser as _;
use lunshadow_coordinator::disk::make_sample_disk;
use lunshadow_coordinator::{StandInFault, StandInProvider};
use lunshadow_end_to_end::array::{INITIATOR, TestArray};
use lunshadow_rehearsal::Console;
use lunshadow_shadow_com::arguments::Arguments;
use lunshadow_shadow_com::{Class, VssName};
use lunshadow_vss::{HResult, HardwareProvider, Method, ProviderId};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

const CLASS: &str = "{88cb7c5d-5166-4968-82c5-db12ae552a1d}";
const PROVIDER: Uuid = Uuid::from_u128(0x0a1d_5d0e_6f2f_4a55_a1c5_64a4_7a3c_2f01);

/// Somebody else's provider, as if it were behind COM.
struct Fake {
    provider: Arc<StandInProvider>,
    is_registered: bool,
}

impl Class for Fake {
    fn create(&self) -> anyhow::Result<Arc<dyn HardwareProvider>> {
        Ok(Arc::clone(&self.provider) as _)
    }

    fn vss_name(&self) -> anyhow::Result<Option<VssName>> {
        Ok(self.is_registered.then(|| VssName { id: ProviderId(PROVIDER), name: "ACME".to_owned() }))
    }
}

/// A class whose program is gone, at a VSS that does not start.
struct Gone;

impl Class for Gone {
    fn create(&self) -> anyhow::Result<Arc<dyn HardwareProvider>> {
        bail!("the class is not registered")
    }

    fn vss_name(&self) -> anyhow::Result<Option<VssName>> {
        bail!("access is denied")
    }
}

/// What came of a run.
#[derive(Debug)]
struct Run {
    /// Whether all came to its end, or why nothing was run.
    verdict: Result<bool, String>,
    said: String,
    complaints: Vec<String>,
}

/// An array with two LUNs, and the file that describes the host that sees them.
struct Bed {
    runtime: Runtime,
    array: TestArray,
    folder: TempDir,
    class: Fake,
}

impl Bed {
    fn set_up() -> anyhow::Result<Self> {
        let (runtime, folder) = (Runtime::new()?, tempfile::tempdir()?);
        let array = runtime.block_on(TestArray::start())?;
        for (name, seed) in [("data", 1), ("logs", 2)] {
            let image = folder.path().join(name);
            make_sample_disk(&image, 16 << 20, seed)?;
            runtime.block_on(array.import(name, &fs::read(&image)?))?;
        }
        let hosts = format!(
            "[[host]]\nname = \"sql\"\ninitiator = \"{INITIATOR}\"\nportal = \"{}\"\ntarget = \"{}\"\n\
             [[host.volume]]\nmount = \"E:\"\nlun = 1\n[[host.volume]]\nmount = \"F:\"\nlun = 2\n\
             [[host.writer]]\nname = \"SqlServerWriter\"\ncomponents = [\"accounts\"]\n",
            array.portal(),
            array.target_name()
        );
        fs::write(folder.path().join("hosts.toml"), hosts)?;
        let class = Fake { provider: Arc::new(StandInProvider::taking_all()), is_registered: true };
        Ok(Self { runtime, array, folder, class })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path as a script has it.
    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Runs the program with these arguments after those of the class and the host, and with these commands on its standard input.
    fn run_over(&self, class: &dyn Class, arguments: &[&str], commands: &str) -> anyhow::Result<Run> {
        let hosts = self.text("hosts.toml");
        let line = ["lunshadow-shadow", "--clsid", CLASS, "--hosts", &hosts];
        let arguments = Arguments::try_parse_from(line.iter().chain(arguments))?;
        let (said, complaints) = (RefCell::new(String::new()), RefCell::new(Vec::new()));
        let say = |line: &str| said.borrow_mut().push_str(&format!("{line}\n"));
        let complain = |line: &str| complaints.borrow_mut().push(line.to_owned());
        let console = Console::new("lunshadow-shadow", &say, &complain);
        let ran = lunshadow_shadow_com::run(&arguments, class, console, Cursor::new(commands.to_owned()), false);
        let verdict = ran.map_err(|error| format!("{error:#}"));
        Ok(Run { verdict, said: said.take(), complaints: complaints.take() })
    }

    fn script(&self, lines: &str, parameters: &[&str]) -> anyhow::Result<Run> {
        let file = self.path("lines.dsh");
        fs::write(&file, lines)?;
        let file = file.display().to_string();
        let arguments: Vec<&str> = ["script", &file].into_iter().chain(parameters.iter().copied()).collect();
        self.run_over(&self.class, &arguments, "")
    }

    fn stop(self) -> anyhow::Result<()> {
        self.runtime.block_on(self.array.stop())
    }
}

#[test]
fn a_script_drives_the_class_and_the_next_run_has_its_aliases() -> anyhow::Result<()> {
    let bed = Bed::set_up()?;
    let program = bed.path("copy.cmd");
    fs::write(
        &program,
        "#!/bin/sh\necho \"$Data of $VSS_SHADOW_SET for $DISKSH_PARAM_1\" > \"$(dirname \"$0\")/copied\"\n",
    )?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let create = format!(
        "set context persistent\nset option transportable\nset metadata {}\nbegin backup\nwriter verify SqlServerWriter\n\
         add volume E: alias Data provider {}\nadd volume F:\ncreate\nend backup\nlist providers\nexec {}\n",
        bed.text("nightly.cab"),
        PROVIDER.braced(),
        bed.text("copy.cmd"),
    );
    let run = bed.script(&create, &["tape"])?;
    ensure!(run.verdict == Ok(true) && run.complaints.is_empty(), "{run:?}");
    ensure!(run.said.contains("transportable shadow copies created: 2"), "{run:?}");
    ensure!(run.said.contains(&format!("provider {}  ACME", ProviderId(PROVIDER))), "{run:?}");
    let calls = bed.class.provider.calls();
    let wanted = ["OnLoad", "AreLunsSupported", "BeginPrepareSnapshot", "CommitSnapshots", "OnUnload"];
    let places: Vec<_> = wanted.iter().map(|method| calls.iter().position(|call| call == method)).collect();
    ensure!(places.iter().all(Option::is_some) && places.is_sorted(), "{calls:?}");
    ensure!(bed.class.provider.copies().len() == 2);

    let alias = |name: &str| {
        let start = format!("alias %{name}% = ");
        run.said.lines().find_map(|line| line.strip_prefix(&start)).context(start)
    };
    let copied = fs::read_to_string(bed.path("copied"))?;
    ensure!(copied == format!("{} of {} for tape\n", alias("Data")?, alias("VSS_SHADOW_SET")?), "{copied}");
    ensure!(&fs::read(bed.path("nightly.cab"))?[..4] == b"MSCF");
    let again = bed.script(&format!("load metadata {}", bed.text("nightly.cab")), &[])?;
    ensure!(again.verdict == Ok(true) && again.said.contains(&format!("%Data% = {}", alias("Data")?)), "{again:?}");
    bed.stop()
}

#[test]
fn what_the_provider_refuses_is_one_line() -> anyhow::Result<()> {
    let bed = Bed::set_up()?;
    let nobody = Uuid::from_u128(1).braced();
    let create = format!("set option transportable\nset metadata {}\nadd volume E:\ncreate", bed.text("a.cab"));
    let veto = StandInFault::Answer(HResult::VSS_E_PROVIDER_VETO);
    for (lines, fault, said) in [
        (format!("add volume E: provider {nobody}"), None, "line 1: no provider {00000000"),
        (create, Some((Method::CommitSnapshots, veto)), "line 4: "),
        (
            "add volume E:".to_owned(),
            Some((Method::AreLunsSupported, StandInFault::Answer(HResult::VSS_E_PROVIDER_VETO))),
            "VSS_E_PROVIDER_VETO",
        ),
        ("add volume G:".to_owned(), None, "there is no volume G: on this host; it has E:, F:"),
    ] {
        if let Some((method, fault)) = fault {
            bed.class.provider.fail_in(method, fault);
        }
        let run = bed.script(&lines, &[])?;
        let [complaint] = &run.complaints[..] else { bail!("{lines}: {run:?}") };
        let start = format!("lunshadow-shadow: {}: line ", bed.text("lines.dsh"));
        ensure!(run.verdict == Ok(false) && complaint.starts_with(&start), "{lines}: {run:?}");
        ensure!(complaint.contains(said) && complaint.lines().count() == 1, "{said}: {complaint}");
    }
    ensure!(bed.class.provider.copies().is_empty(), "{:?}", bed.class.provider.calls());
    bed.stop()
}

#[test]
fn a_prompt_goes_on_after_an_error_but_not_after_a_failed_program() -> anyhow::Result<()> {
    let bed = Bed::set_up()?;
    let run = bed.run_over(&bed.class, &["prompt"], "make\nlist providers\nexit\nlist writers\n")?;
    ensure!(run.verdict == Ok(true) && run.said.contains("number of providers listed: 1"), "{run:?}");
    ensure!(run.complaints == ["lunshadow-shadow: there is no command \"make\"; `help` lists all"], "{run:?}");
    ensure!(!run.said.contains("SqlServerWriter"), "{run:?}");
    let run = bed.run_over(&bed.class, &["prompt"], "exec /bin/false\nlist providers\n")?;
    ensure!(run.verdict == Ok(false) && run.said.is_empty(), "{run:?}");
    ensure!(run.complaints == ["lunshadow-shadow: /bin/false failed with status 1"], "{run:?}");
    bed.stop()
}

#[test]
fn a_class_without_an_id_needs_one() -> anyhow::Result<()> {
    let mut bed = Bed::set_up()?;
    bed.class.is_registered = false;
    let given = PROVIDER.to_string();
    let unregistered = bed.run_over(&bed.class, &["prompt"], "")?;
    let of_class = "no provider that is registered with VSS has the class {88cb7c5d-";
    ensure!(unregistered.verdict.as_ref().is_err_and(|error| error.contains(of_class)), "{unregistered:?}");
    let named = bed.run_over(&bed.class, &["--provider", &given, "prompt"], "list providers\n")?;
    let line = format!("provider {}  the provider of the class {CLASS}", ProviderId(PROVIDER));
    ensure!(named.verdict == Ok(true) && named.said.contains(&line), "{named:?}");
    for (arguments, said) in [
        (&["prompt"][..], "cannot ask VSS for the id of the provider; give it with --provider: access is denied"),
        (&["--provider", &given, "prompt"], "the class is not registered"),
    ] {
        let gone = bed.run_over(&Gone, arguments, "")?;
        ensure!(gone.verdict == Err(said.to_owned()), "{gone:?}");
    }
    bed.stop()
}

#[test]
fn a_host_that_cannot_be_is_said_before_the_class_is_asked() -> anyhow::Result<()> {
    let bed = Bed::set_up()?;
    let hosts = fs::read_to_string(bed.path("hosts.toml"))?;
    for (hosts, said) in [
        (
            hosts.replace("portal", "pool"),
            "host sql: `lunshadow shadow` alone opens a pool; say where the array listens",
        ),
        (hosts.replace("name = \"sql\"", ""), "missing field `name`"),
    ] {
        fs::write(bed.path("hosts.toml"), hosts)?;
        let run = bed.run_over(&bed.class, &["prompt"], "")?;
        ensure!(run.verdict.as_ref().is_err_and(|error| error.contains(said)), "{said}: {run:?}");
    }
    ensure!(bed.class.provider.calls().is_empty(), "{:?}", bed.class.provider.calls());
    bed.stop()
}
