//! The product itself, as an administrator has it: `lunshadow-provider.exe`, its registration, its settings, its process.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunshadow_provider_com::{config, ids};
use lunshadow_vss::ProviderId;
use lunshadow_vss_com::RemoteProvider;
use windows::Win32::Foundation::{CloseHandle, HANDLE};
use windows::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};
use windows::Win32::System::Threading::{
    OpenProcess, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE, TerminateProcess, WaitForSingleObject,
};
use windows_service::service::ServiceAccess;
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::array_side::ArraySide;
use crate::start;

/// The program's file name, here and where it is installed.
const PROGRAM: &str = "lunshadow-provider.exe";

/// Wine's program that knows which process serves which class.
const CLASS_LIST: &str = "rpcss.exe";

/// How long a process may take to be gone once it is ended.
const GONE_AT_MOST_MS: u32 = 10_000;

/// How VSS reaches the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// The product's default.
    Service,
    /// A process that COM starts itself.
    LocalServer,
}

/// A host's settings: whom it is to the array.
#[derive(Debug)]
pub struct Identity {
    /// The host's name at the array.
    pub host: String,
    settings: PathBuf,
    _folder: tempfile::TempDir,
}

impl Identity {
    /// Makes a host known to the array and enrols it, with the product's own command.
    ///
    /// # Panics
    /// If the array or the product refuses.
    #[must_use]
    pub fn enrol(array: &ArraySide, host: &str, imports_from: Option<&str>) -> Self {
        let enrolment = array.add_host(host, imports_from);
        let folder = tempfile::tempdir().expect("a folder for the settings");
        let settings = folder.path().join("provider.toml");
        let mut add = Command::new(built_program());
        add.args(["config", "add", "--name", "array"]).env(config::PATH_VARIABLE, &settings);
        let output = run(&mut add, &enrolment);
        assert!(output.status.success(), "config add: {}", String::from_utf8_lossy(&output.stderr));
        Self { host: host.to_owned(), settings, _folder: folder }
    }

    /// The file with the host's settings.
    #[must_use]
    pub fn settings(&self) -> &Path {
        &self.settings
    }
}

/// The product, installed. Dropping it uninstalls it.
#[derive(Debug)]
pub struct Product(Activation);

impl Product {
    /// Installs the program that was built, for a host.
    ///
    /// # Panics
    /// If it cannot be installed.
    #[must_use]
    pub fn install(activation: Activation, identity: &Identity) -> Self {
        let mut install = Command::new(built_program());
        install.arg("install");
        if activation == Activation::LocalServer {
            install.arg("--local-server");
        }
        let output = run(&mut install, "");
        assert!(output.status.success(), "install: {}", String::from_utf8_lossy(&output.stderr));
        let product = Self(activation);
        product.speak_for(identity);
        product
    }

    /// Has the next process of the provider be another host's.
    ///
    /// # Panics
    /// If the settings cannot be written.
    pub fn speak_for(&self, identity: &Identity) {
        self.stop();
        let path = config::default_path();
        let folder = path.parent().expect("the settings are in a folder");
        std::fs::create_dir_all(folder).expect("the folder can be made");
        std::fs::copy(&identity.settings, &path).expect("the settings can be written");
    }

    /// Ends the process that serves, if one does: a service in good order, a local server at once.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&self) {
        match self.0 {
            Activation::Service => stop_service(),
            Activation::LocalServer => end_servers(),
        }
    }

    /// Runs one of the product's commands, as an administrator does, and answers what it printed.
    ///
    /// # Panics
    /// If the program does not start.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> String {
        let output = run(Command::new(built_program()).args(arguments), "");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// An object of the provider's class, by way of the registry. COM starts a process if none serves.
    ///
    /// # Panics
    /// If COM cannot.
    #[must_use]
    pub fn activate(&self) -> Arc<RemoteProvider> {
        Arc::new(RemoteProvider::create(ids::CLASS_ID).expect("COM activates the provider"))
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        self.stop();
        let output = run(Command::new(built_program()).arg("uninstall"), "");
        if !std::thread::panicking() {
            assert!(output.status.success(), "uninstall: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// The provider's id at VSS.
#[must_use]
pub fn provider_id() -> ProviderId {
    ProviderId(ids::PROVIDER_ID)
}

/// The processes of the product that serve its class.
#[must_use]
pub fn servers() -> Vec<u32> {
    processes_of(PROGRAM)
}

fn processes_of(program: &str) -> Vec<u32> {
    let mut found = Vec::new();
    // SAFETY: nothing but flags is passed.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) }.expect("processes can be listed");
    let size = u32::try_from(size_of::<PROCESSENTRY32W>()).expect("small");
    let mut entry = PROCESSENTRY32W { dwSize: size, ..PROCESSENTRY32W::default() };
    // SAFETY: the structure says its own size.
    let mut more = unsafe { Process32FirstW(snapshot, &raw mut entry) };
    while more.is_ok() {
        let name = entry.szExeFile.split(|unit| *unit == 0).next().unwrap_or_default();
        if String::from_utf16_lossy(name).eq_ignore_ascii_case(program) {
            found.push(entry.th32ProcessID);
        }
        // SAFETY: as before.
        more = unsafe { Process32NextW(snapshot, &raw mut entry) };
    }
    close(snapshot);
    found
}

/// Ends the provider's processes at once, in the middle of whatever they do. All processes of a prefix are this run's.
///
/// Wine keeps the class of a dead process registered, and would send clients there for ever; Windows does not. So the process that keeps
/// the list of classes ends too, and COM starts it anew with an empty one.
///
/// # Panics
/// If one does not end.
pub fn end_servers() {
    let servers = servers();
    let lists = if servers.is_empty() { Vec::new() } else { processes_of(CLASS_LIST) };
    for process in servers.into_iter().chain(lists) {
        // SAFETY: an id that is not a process any more is refused.
        let Ok(handle) = (unsafe { OpenProcess(PROCESS_TERMINATE | PROCESS_SYNCHRONIZE, false, process) }) else {
            continue;
        };
        // SAFETY: the handle is open. A process that has ended by itself cannot be ended, which is as good.
        unsafe { TerminateProcess(handle, 1) }.ok();
        // SAFETY: the handle is open.
        let gone = unsafe { WaitForSingleObject(handle, GONE_AT_MOST_MS) };
        assert_eq!(gone.0, 0, "process {process} does not end");
        close(handle);
    }
}

/// Has the service control manager stop the service, and waits until its process is gone.
fn stop_service() {
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT);
    let access = ServiceAccess::STOP | ServiceAccess::QUERY_STATUS;
    let Ok(service) = manager.and_then(|manager| manager.open_service(ids::SERVICE_NAME, access)) else { return };
    // One that does not run cannot be stopped.
    service.stop().ok();
    let until = Instant::now() + Duration::from_millis(GONE_AT_MOST_MS.into());
    while !servers().is_empty() {
        assert!(Instant::now() < until, "the service does not end");
        std::thread::yield_now();
    }
}

fn close(handle: HANDLE) {
    // SAFETY: it is open and not used any more.
    unsafe { CloseHandle(handle) }.expect("the handle is open");
}

/// The product beside the tests.
fn built_program() -> PathBuf {
    built(PROGRAM)
}

/// A program of this workspace beside the tests, which lie one folder deeper.
///
/// # Panics
/// If a test does not know where it is.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("a test knows its own path");
    let found = tests.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| Path::new(name).to_owned())
}

/// Runs a program to its end, with its output in pipes of their own: what it starts must not inherit the tests'.
fn run(command: &mut Command, input: &str) -> Output {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start(pipes).expect("the product is built and starts");
    let mut to_child = child.stdin.take().expect("it has a pipe");
    // A command that needs no input may have closed it.
    writeln!(to_child, "{input}").ok();
    drop(to_child);
    child.wait_with_output().expect("it ends")
}
