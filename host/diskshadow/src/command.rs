//! The commands, as they are understood; each is printed as it would be typed.

use std::fmt;

use lunshadow_vss::{ProviderId, SnapshotId, SnapshotSetId};

use crate::words::written;

/// A line of a script, or of the prompt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// `help`: the commands.
    Help,
    /// `set`: shows what is set.
    ShowSettings,
    /// `set context`.
    SetContext(ContextChoice),
    /// `set option`: these, and none of those before.
    SetOption(Options),
    /// `set metadata`.
    SetMetadata(String),
    /// `set verbose`.
    SetVerbose(bool),
    /// `load metadata`.
    LoadMetadata(String),
    /// `writer verify`: the creation fails without this writer or component.
    WriterVerify(String),
    /// `writer exclude`: this writer or component takes no part.
    WriterExclude(String),
    /// `add`: shows volumes and aliases.
    ShowAdded,
    /// `add volume`.
    AddVolume {
        /// A drive letter, a mount point, or `\\?\Volume{…}\`.
        volume: String,
        /// What the shadow copy's id is to be called.
        alias: Option<String>,
        /// Who is to make it.
        provider: Option<ProviderId>,
    },
    /// `add alias`.
    AddAlias {
        /// The name.
        name: String,
        /// What it stands for.
        value: String,
    },
    /// `add shadow`: the content of this shadow copy is to come back.
    AddShadow {
        /// The shadow copy.
        shadow: SnapshotId,
        /// Where to; by default to where it was taken.
        destination: Option<String>,
    },
    /// `create`.
    Create,
    /// `exec`.
    Exec(String),
    /// `begin backup`.
    BeginBackup,
    /// `end backup`.
    EndBackup,
    /// `begin restore`.
    BeginRestore,
    /// `end restore`.
    EndRestore,
    /// `simulate restore`.
    SimulateRestore,
    /// `reset`.
    Reset,
    /// `list writers`.
    ListWriters(WriterDetail),
    /// `list shadows`.
    ListShadows(ShadowSelection),
    /// `list providers`.
    ListProviders,
    /// `delete shadows`.
    DeleteShadows(DeletionChoice),
    /// `import`.
    Import,
    /// `mask`.
    Mask(SnapshotSetId),
    /// `expose`.
    Expose {
        /// The shadow copy.
        shadow: SnapshotId,
        /// Where.
        place: Place,
    },
    /// `unexpose`.
    Unexpose(Exposed),
    /// `break`.
    Break {
        /// The set.
        set: SnapshotSetId,
        /// What becomes of its LUNs.
        choice: BreakChoice,
    },
    /// `revert`.
    Revert(SnapshotId),
    /// `resync`.
    Resync {
        /// The disks get the signatures that the copied ones had.
        revert_signature: bool,
        /// Volumes that nobody named are replaced without a question.
        no_volume_check: bool,
    },
    /// `exit`, `quit`.
    Exit,
}

/// How long shadow copies live, and who takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContextChoice {
    /// For clients' "previous versions".
    ClientAccessible,
    /// They outlive the program.
    Persistent {
        /// Without writers.
        no_writers: bool,
    },
    /// They end with the program, or with `reset`.
    Volatile {
        /// Without writers.
        no_writers: bool,
    },
}

/// What else is wanted of shadow copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// What kind of copy; the provider's choice if it is not said.
    pub kind: Option<CopyKind>,
    /// They are imported later, here or elsewhere.
    pub transportable: bool,
    /// Writers recover them; not for backup.
    pub rollback_recover: bool,
    /// Transactions are recovered.
    pub txf_recover: bool,
    /// Nothing is recovered.
    pub no_auto_recover: bool,
}

/// How a shadow copy relates to its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyKind {
    /// They share what neither has changed.
    Differential,
    /// A full copy.
    Plex,
}

/// How much `list writers` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriterDetail {
    /// Which there are.
    Plain,
    /// Their components too.
    Metadata,
    /// All.
    Detailed,
    /// In what state they are.
    Status,
}

/// Which shadow copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShadowSelection {
    /// All.
    All,
    /// Those of a set.
    Set(SnapshotSetId),
    /// One.
    Id(SnapshotId),
}

/// Which shadow copies go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeletionChoice {
    /// All.
    All,
    /// Those of a volume.
    Volume(String),
    /// The oldest one of a volume.
    Oldest(String),
    /// Those of a set.
    Set(SnapshotSetId),
    /// One.
    Id(SnapshotId),
    /// The one that is exposed there.
    Exposed(Place),
}

/// Where a shadow copy is exposed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// As a drive, by its letter in upper case.
    Drive(char),
    /// As a share.
    Share(String),
    /// In an empty folder.
    MountPoint(String),
}

/// What is not to be exposed any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Exposed {
    /// The shadow copy of this id.
    Id(SnapshotId),
    /// The shadow copy there.
    At(Place),
}

/// What becomes of the LUNs of a set that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BreakChoice {
    /// Their volumes can be written to.
    pub writable: bool,
    /// They are taken away from this host.
    pub mask: bool,
    /// Whether the disks get the signatures of those that were copied; VSS decides if it is not said.
    pub revert_signature: Option<bool>,
}

impl Place {
    /// Reads a drive letter with its colon, a path, or else the name of a share.
    #[must_use]
    pub fn of(word: &str) -> Self {
        let mut chars = word.chars();
        if let (Some(letter), Some(':')) = (chars.next(), chars.next())
            && letter.is_ascii_alphabetic()
            && matches!(chars.as_str(), "" | "\\")
        {
            return Self::Drive(letter.to_ascii_uppercase());
        }
        if word.contains(['\\', '/']) { Self::MountPoint(word.to_owned()) } else { Self::Share(word.to_owned()) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drive(letter) => write!(f, "{letter}:"),
            Self::Share(text) | Self::MountPoint(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for ContextChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientAccessible => "clientaccessible",
            Self::Persistent { no_writers: false } => "persistent",
            Self::Persistent { no_writers: true } => "persistent nowriters",
            Self::Volatile { no_writers: false } => "volatile",
            Self::Volatile { no_writers: true } => "volatile nowriters",
        })
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.map(|kind| match kind {
            CopyKind::Differential => "differential",
            CopyKind::Plex => "plex",
        });
        let flags = [
            (self.transportable, "transportable"),
            (self.rollback_recover, "rollbackrecover"),
            (self.txf_recover, "txfrecover"),
            (self.no_auto_recover, "noautorecover"),
        ];
        let words: Vec<_> = kind.into_iter().chain(flags.iter().filter_map(|(is, word)| is.then_some(*word))).collect();
        f.write_str(&words.join(" "))
    }
}

impl fmt::Display for BreakChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            (self.writable, "writable"),
            (self.mask, "mask"),
            (self.revert_signature == Some(true), "revertid"),
            (self.revert_signature == Some(false), "norevertid"),
        ];
        let words: Vec<_> = flags.iter().filter_map(|(is, word)| is.then_some(*word)).collect();
        f.write_str(&words.join(" "))
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Help => f.write_str("help"),
            Self::ShowSettings => f.write_str("set"),
            Self::SetContext(context) => write!(f, "set context {context}"),
            Self::SetOption(options) => write!(f, "set option {options}"),
            Self::SetMetadata(file) => write!(f, "set metadata {}", written(file)),
            Self::SetVerbose(is_on) => write!(f, "set verbose {}", if *is_on { "on" } else { "off" }),
            Self::LoadMetadata(file) => write!(f, "load metadata {}", written(file)),
            Self::WriterVerify(name) => write!(f, "writer verify {}", written(name)),
            Self::WriterExclude(name) => write!(f, "writer exclude {}", written(name)),
            Self::ShowAdded => f.write_str("add"),
            Self::AddVolume { volume, alias, provider } => {
                write!(f, "add volume {}", written(volume))?;
                alias.iter().try_for_each(|alias| write!(f, " alias {}", written(alias)))?;
                provider.iter().try_for_each(|provider| write!(f, " provider {provider}"))
            }
            Self::AddAlias { name, value } => write!(f, "add alias {} {}", written(name), written(value)),
            Self::AddShadow { shadow, destination } => {
                write!(f, "add shadow {shadow}")?;
                destination.iter().try_for_each(|destination| write!(f, " {}", written(destination)))
            }
            Self::Create => f.write_str("create"),
            Self::Exec(file) => write!(f, "exec {}", written(file)),
            Self::BeginBackup => f.write_str("begin backup"),
            Self::EndBackup => f.write_str("end backup"),
            Self::BeginRestore => f.write_str("begin restore"),
            Self::EndRestore => f.write_str("end restore"),
            Self::SimulateRestore => f.write_str("simulate restore"),
            Self::Reset => f.write_str("reset"),
            Self::ListWriters(detail) => f.write_str(match detail {
                WriterDetail::Plain => "list writers",
                WriterDetail::Metadata => "list writers metadata",
                WriterDetail::Detailed => "list writers detailed",
                WriterDetail::Status => "list writers status",
            }),
            Self::ListShadows(ShadowSelection::All) => f.write_str("list shadows all"),
            Self::ListShadows(ShadowSelection::Set(set)) => write!(f, "list shadows set {set}"),
            Self::ListShadows(ShadowSelection::Id(shadow)) => write!(f, "list shadows id {shadow}"),
            Self::ListProviders => f.write_str("list providers"),
            Self::DeleteShadows(choice) => write!(f, "delete shadows {choice}"),
            Self::Import => f.write_str("import"),
            Self::Mask(set) => write!(f, "mask {set}"),
            Self::Expose { shadow, place } => write!(f, "expose {shadow} {}", written(&place.to_string())),
            Self::Unexpose(Exposed::Id(shadow)) => write!(f, "unexpose {shadow}"),
            Self::Unexpose(Exposed::At(place)) => write!(f, "unexpose {}", written(&place.to_string())),
            Self::Break { set, choice } if *choice == BreakChoice::default() => write!(f, "break {set}"),
            Self::Break { set, choice } => write!(f, "break {choice} {set}"),
            Self::Revert(shadow) => write!(f, "revert {shadow}"),
            Self::Resync { revert_signature, no_volume_check } => {
                let signature = if *revert_signature { " revertsig" } else { "" };
                write!(f, "resync{signature}{}", if *no_volume_check { " novolcheck" } else { "" })
            }
            Self::Exit => f.write_str("exit"),
        }
    }
}

impl fmt::Display for DeletionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Volume(volume) => write!(f, "volume {}", written(volume)),
            Self::Oldest(volume) => write!(f, "oldest {}", written(volume)),
            Self::Set(set) => write!(f, "set {set}"),
            Self::Id(shadow) => write!(f, "id {shadow}"),
            Self::Exposed(place) => write!(f, "exposed {}", written(&place.to_string())),
        }
    }
}
