//! The program's file and the folder of the settings.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use windows::Win32::Storage::FileSystem::{MOVEFILE_DELAY_UNTIL_REBOOT, MoveFileExW};
use windows_core::{HSTRING, PCWSTR};

use super::{InstallError, Step};
use crate::config::make_private_folder;

/// For how long a file that cannot be removed is tried again: a process that ends holds its program a little longer than its service.
const ENDING_AT_MOST: Duration = Duration::from_secs(5);

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

fn failed(path: &Path) -> impl Fn(io::Error) -> InstallError {
    let what = path.display().to_string();
    move |error| InstallError::of_system(&what, error)
}

/// Removes a file if it is there, waiting for a process that is just ending.
fn remove_file(path: &Path) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if began.elapsed() >= ENDING_AT_MOST => return Err(error),
            Err(_) => thread::sleep(PAUSE),
            Ok(()) => return Ok(()),
        }
    }
}

/// Has Windows remove a file or an empty folder when it starts next.
fn remove_at_restart(path: &Path) -> io::Result<()> {
    let name = HSTRING::from(path.as_os_str());
    // SAFETY: the name ends with a zero; no new name means removal.
    unsafe { MoveFileExW(&name, PCWSTR::null(), MOVEFILE_DELAY_UNTIL_REBOOT) }.map_err(io::Error::from)
}

/// Puts a copy of the running program where programs are.
pub(super) struct CopyProgram {
    target: PathBuf,
    made_folder: bool,
    copied: bool,
    /// The program that was there before.
    previous: Option<PathBuf>,
}

impl CopyProgram {
    pub(super) fn new(target: PathBuf) -> Self {
        Self { target, made_folder: false, copied: false, previous: None }
    }

    /// A running program can be renamed, not replaced.
    fn set_aside(&mut self) -> io::Result<()> {
        for number in 0.. {
            let aside = self.target.with_extension(format!("old-{number}"));
            if aside.exists() && fs::remove_file(&aside).is_err() {
                // An older one that still runs.
                continue;
            }
            match fs::rename(&self.target, &aside) {
                Ok(()) => self.previous = Some(aside),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            break;
        }
        Ok(())
    }
}

impl Step for CopyProgram {
    fn what(&self) -> String {
        format!("copy the program to {}", self.target.display())
    }

    fn apply(&mut self) -> Result<(), InstallError> {
        let source = std::env::current_exe().map_err(|error| InstallError::of_system("this program's file", error))?;
        let same = fs::canonicalize(&source).ok() == fs::canonicalize(&self.target).ok();
        if same && self.target.exists() {
            return Ok(());
        }
        let folder = self.target.parent().unwrap_or(Path::new(r"\"));
        if !folder.is_dir() {
            fs::create_dir(folder).map_err(failed(folder))?;
            self.made_folder = true;
        }
        self.set_aside().map_err(failed(&self.target))?;
        self.copied = true;
        fs::copy(&source, &self.target).map(drop).map_err(failed(&self.target))
    }

    fn undo(&mut self) -> Result<(), InstallError> {
        if self.copied {
            remove_file(&self.target).map_err(failed(&self.target))?;
        }
        if let Some(previous) = self.previous.take() {
            fs::rename(&previous, &self.target).map_err(failed(&previous))?;
        }
        if self.made_folder {
            let folder = self.target.parent().unwrap_or(Path::new(r"\"));
            fs::remove_dir(folder).map_err(failed(folder))?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), InstallError> {
        let Some(previous) = self.previous.take() else { return Ok(()) };
        remove_file(&previous).or_else(|_| remove_at_restart(&previous)).map_err(failed(&previous))
    }
}

/// Makes the folder of the settings, or takes it away from everybody but administrators.
pub(super) struct SettingsFolder {
    folder: PathBuf,
    made: bool,
}

impl SettingsFolder {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, made: false }
    }
}

impl Step for SettingsFolder {
    fn what(&self) -> String {
        format!("make the folder {}", self.folder.display())
    }

    fn apply(&mut self) -> Result<(), InstallError> {
        self.made = !self.folder.exists();
        make_private_folder(&self.folder).map_err(failed(&self.folder))
    }

    fn undo(&mut self) -> Result<(), InstallError> {
        if !self.made {
            return Ok(());
        }
        match fs::remove_dir(&self.folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(&self.folder)(error)),
            _ => Ok(()),
        }
    }
}

/// Removes the program, and the settings unless they are to stay. Nothing happens before everything else is done.
pub(super) struct RemoveFiles {
    program: PathBuf,
    settings: Option<PathBuf>,
}

impl RemoveFiles {
    pub(super) fn new(program: PathBuf, settings: Option<PathBuf>) -> Self {
        Self { program, settings }
    }

    /// A program cannot remove itself, but move: it goes when Windows starts next.
    fn remove_program(&self) -> io::Result<()> {
        let this = std::env::current_exe().and_then(fs::canonicalize).ok();
        let itself = this.is_some() && this == fs::canonicalize(&self.program).ok();
        if itself {
            let away = std::env::temp_dir().join(format!("lunshadow-provider-{}.exe", std::process::id()));
            return match fs::rename(&self.program, &away) {
                Ok(()) => remove_at_restart(&away),
                Err(_) => remove_at_restart(&self.program),
            };
        }
        remove_file(&self.program).or_else(|_| remove_at_restart(&self.program))
    }

    fn remove_older_programs(folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let is_older = path.extension().is_some_and(|extension| extension.to_string_lossy().starts_with("old-"));
            if is_older {
                remove_file(&path).or_else(|_| remove_at_restart(&path))?;
            }
        }
        Ok(())
    }
}

impl Step for RemoveFiles {
    fn what(&self) -> String {
        "remove the program's files".to_owned()
    }

    fn apply(&mut self) -> Result<(), InstallError> {
        Ok(())
    }

    fn undo(&mut self) -> Result<(), InstallError> {
        Ok(())
    }

    fn settle(&mut self) -> Result<(), InstallError> {
        if let Some(folder) = &self.settings {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(folder)(error)),
                _ => {}
            }
        }
        let folder = self.program.parent().unwrap_or(Path::new(r"\"));
        if !folder.exists() {
            return Ok(());
        }
        self.remove_program().map_err(failed(&self.program))?;
        Self::remove_older_programs(folder).map_err(failed(folder))?;
        // What others put there stays.
        fs::remove_dir(folder).or_else(|_| remove_at_restart(folder)).map_err(failed(folder))
    }
}
