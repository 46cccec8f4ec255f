//! The machine that is installed on, and what there is to compare.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lunshadow_provider_com::ids::PROVIDER_ID;
use lunshadow_provider_com::install::{KeyImage, Layout};
use lunshadow_windows::stand_in::{PRETENCE_KEY, PROVIDERS_KEY};
use lunshadow_windows::start;
use windows_registry::LOCAL_MACHINE;

/// Everything of the registry that an installer could touch, below HKEY_LOCAL_MACHINE.
const WATCHED_KEYS: &[&str] = &[
    r"Software\Classes\CLSID",
    r"Software\Classes\AppID",
    r"Software\Lunshadow",
    r"Software\Microsoft\Windows\CurrentVersion\Uninstall",
    r"SYSTEM\CurrentControlSet\Services",
    r"SYSTEM\CurrentControlSet\Control\Session Manager",
];

/// Keys that every Windows has, and a fresh prefix of Wine may lack.
const EVERYWHERE: &[&str] = &[
    r"Software\Classes\AppID",
    r"Software\Microsoft\Windows\CurrentVersion\Uninstall",
    r"SYSTEM\CurrentControlSet\Services\EventLog\Application",
    PROVIDERS_KEY,
];

/// What an installation could change.
#[derive(PartialEq, Eq)]
pub(crate) struct Picture {
    registry: BTreeMap<&'static str, Option<KeyImage>>,
    /// Files with their content, folders without.
    files: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

/// How the program ended.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
    pub(crate) complained: String,
}

/// A machine without the provider. Dropping it removes what a test left.
pub(crate) struct Machine {
    pub(crate) layout: Layout,
    output: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn clean() -> Self {
        for key in EVERYWHERE {
            LOCAL_MACHINE.create(key).expect("the registry takes it");
        }
        let machine = Self { layout: Layout::of_this_machine(), output: tempfile::tempdir().expect("a folder") };
        machine.pretend_nothing();
        let removed = machine.run(&["uninstall", "--quiet"]);
        assert_eq!(removed.code, Some(0), "{}", removed.complained);
        machine
    }

    /// The program as it was built, beside the folder of the tests.
    pub(crate) fn built_program() -> PathBuf {
        let test = std::env::current_exe().expect("it has a name");
        let folder = test.parent().and_then(Path::parent).expect("tests are in a folder of the build's");
        folder.join("lunshadow-provider.exe")
    }

    /// Runs the built program.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_program(&Self::built_program(), arguments)
    }

    /// Runs a program with its output in files: a COM server that it starts inherits them, and would keep a pipe open.
    pub(crate) fn run_program(&self, program: &Path, arguments: &[&str]) -> Outcome {
        let (out, error) = (self.output.path().join("out"), self.output.path().join("error"));
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        command
            .stdout(File::create(&out).expect("it is writable"))
            .stderr(File::create(&error).expect("it is writable"));
        let status = start(&mut command).and_then(|mut child| child.wait()).expect("the program is built");
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).expect("it was written")).into_owned();
        Outcome { code: status.code(), said: read(&out), complained: read(&error) }
    }

    /// Runs the built program, which has to succeed.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {}", outcome.complained);
        outcome.said
    }

    pub(crate) fn pretend(&self, value: &str, number: u32) {
        LOCAL_MACHINE.create(PRETENCE_KEY).and_then(|key| key.set_u32(value, number)).expect("the registry takes it");
    }

    pub(crate) fn pretend_nothing(&self) {
        ["ClientEdition", "InUse", "RegisterFails"].into_iter().for_each(|value| self.pretend(value, 0));
    }

    /// The registration as VSS keeps it.
    pub(crate) fn registration(&self) -> Option<KeyImage> {
        KeyImage::read(&format!(r"{PROVIDERS_KEY}\{}", braced(PROVIDER_ID))).expect("it is readable")
    }

    pub(crate) fn picture(&self) -> Picture {
        let registry = WATCHED_KEYS.iter().map(|key| (*key, KeyImage::read(key).expect("it is readable"))).collect();
        let mut files = BTreeMap::new();
        for folder in [self.layout.program.parent(), Some(&*self.layout.settings)].into_iter().flatten() {
            collect(folder, &mut files);
        }
        Picture { registry, files }
    }

    /// That everything is as in the picture; names what is not.
    pub(crate) fn assert_as_in(&self, before: &Picture, when: &str) {
        let after = self.picture();
        for (key, image) in &before.registry {
            let now = after.registry.get(key).and_then(Option::as_ref);
            assert_eq!(differences(image.as_ref(), now), [""; 0], "{when}: {key}");
        }
        let names = |picture: &Picture| picture.files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(before), "{when}");
        assert!(after.files == before.files, "{when}: a file has another content");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.pretend_nothing();
        self.run(&["uninstall", "--quiet"]);
    }
}

/// As the registry writes it.
pub(crate) fn braced(id: uuid::Uuid) -> String {
    id.braced().to_string().to_uppercase()
}

fn collect(path: &Path, files: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
    if path.is_dir() {
        files.insert(path.to_owned(), None);
        for entry in fs::read_dir(path).expect("it is readable") {
            collect(&entry.expect("it is readable").path(), files);
        }
    } else if path.exists() {
        files.insert(path.to_owned(), Some(fs::read(path).expect("it is readable")));
    }
}

/// The keys and values that two trees do not share.
fn differences(before: Option<&KeyImage>, after: Option<&KeyImage>) -> Vec<String> {
    let empty = KeyImage::default();
    let (before_is, after_is) = (before.is_some(), after.is_some());
    let (before, after) = (before.unwrap_or(&empty), after.unwrap_or(&empty));
    let mut found = Vec::new();
    if before_is != after_is {
        found.push(format!("was there: {before_is}, is there: {after_is}"));
    }
    let values = before.values.keys().chain(after.values.keys());
    let changed = values.filter(|name| before.values.get(*name) != after.values.get(*name));
    found.extend(changed.map(|name| {
        let show = |image: &KeyImage| format!("{:?}", image.values.get(name));
        format!("value {name:?}: {} became {}", show(before), show(after))
    }));
    let mut keys: Vec<&String> = before.keys.keys().chain(after.keys.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let below = differences(before.keys.get(key), after.keys.get(key));
        found.extend(below.into_iter().map(|difference| format!(r"{key}\{difference}")));
    }
    found.sort();
    found.dedup();
    found
}
