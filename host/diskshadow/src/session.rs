//! The interpreter: what is set, added, loaded and begun, and which commands go with that.

mod backup;
mod shadows;

use lunshadow_vss::{Context, SnapshotId};

use crate::aliases::{Aliases, Known};
use crate::command::{Command, ContextChoice, CopyKind, Options};
use crate::fault::{Fault, StateError};
use crate::listing;
use crate::parser::parse;
use crate::usage::COMMANDS;
use crate::vss::{Machine, Metadata, Output, Volume, Vss};

/// Whether there is a next command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// There is.
    Continue,
    /// That was the last one.
    Exit,
}

/// A run of DiskShadow.
pub struct Session<'a> {
    vss: &'a mut dyn Vss,
    machine: &'a mut dyn Machine,
    output: &'a mut dyn Output,
    aliases: Aliases,
    state: State,
}

/// What `reset` forgets, besides the aliases.
struct State {
    context: ContextChoice,
    options: Options,
    /// Where metadata goes.
    metadata: Option<String>,
    is_verbose: bool,
    volumes: Vec<AddedVolume>,
    /// Writers and components that have to take part.
    verified: Vec<String>,
    excluded: Vec<String>,
    loaded: Option<Metadata>,
    work: Work,
    /// What the next resync brings back.
    recoveries: Vec<SnapshotId>,
}

/// A volume of the next set.
struct AddedVolume {
    volume: Volume,
    alias: Option<String>,
    provider: Option<lunshadow_vss::ProviderId>,
}

/// What is under way with the writers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Nothing,
    Backup {
        /// It has its set.
        is_created: bool,
        /// Writers took part.
        has_writers: bool,
    },
    Restore,
}

impl Default for State {
    fn default() -> Self {
        Self {
            context: ContextChoice::Volatile { no_writers: false },
            options: Options::default(),
            metadata: None,
            is_verbose: false,
            volumes: Vec::new(),
            verified: Vec::new(),
            excluded: Vec::new(),
            loaded: None,
            work: Work::Nothing,
            recoveries: Vec::new(),
        }
    }
}

impl State {
    /// The context as VSS has it.
    fn context(&self) -> Context {
        let context = match self.context {
            ContextChoice::ClientAccessible => Context::CTX_CLIENT_ACCESSIBLE,
            ContextChoice::Persistent { no_writers: false } => Context::CTX_APP_ROLLBACK,
            ContextChoice::Persistent { no_writers: true } => Context::CTX_NAS_ROLLBACK,
            ContextChoice::Volatile { no_writers: false } => Context::CTX_BACKUP,
            ContextChoice::Volatile { no_writers: true } => Context::CTX_FILE_SHARE_BACKUP,
        };
        let Options { kind, transportable, rollback_recover, txf_recover, no_auto_recover } = self.options;
        let options = [
            (kind == Some(CopyKind::Differential), Context::DIFFERENTIAL),
            (kind == Some(CopyKind::Plex), Context::PLEX),
            (transportable, Context::TRANSPORTABLE),
            (rollback_recover, Context::ROLLBACK_RECOVERY),
            (txf_recover, Context::TXF_RECOVERY),
            (no_auto_recover, Context::NO_AUTORECOVERY),
        ];
        options.iter().filter(|(is, _)| *is).fold(context, |context, (_, bit)| context | *bit)
    }

    /// A restore excludes a backup, and the other way round.
    fn check_free(&self) -> Result<(), StateError> {
        match self.work {
            Work::Nothing => Ok(()),
            Work::Backup { .. } => Err(StateError::BackupBegun),
            Work::Restore => Err(StateError::RestoreBegun),
        }
    }

    fn loaded(&self) -> Result<&Metadata, StateError> {
        self.loaded.as_ref().ok_or(StateError::NothingLoaded)
    }

    /// The loaded metadata, which has to be of a transportable set.
    fn loaded_document(&self) -> Result<&str, StateError> {
        self.loaded()?.document.as_deref().ok_or(StateError::NotTransportable)
    }
}

impl<'a> Session<'a> {
    /// A new run, in which nothing is set.
    pub fn new(vss: &'a mut dyn Vss, machine: &'a mut dyn Machine, output: &'a mut dyn Output) -> Self {
        Self { vss, machine, output, aliases: Aliases::default(), state: State::default() }
    }

    /// Makes an alias, as `add alias` does. A value that a script is given may be any.
    pub fn define(&mut self, name: &str, value: &str) {
        self.aliases.put(name, value.to_owned());
    }

    /// Reads a line, and does what it says.
    ///
    /// # Errors
    /// [`Fault`]; the next line may follow nonetheless, unless the fault [ends the prompt](Fault::ends_prompt).
    pub fn execute(&mut self, line: &str) -> Result<Flow, Fault> {
        let known = Known { aliases: &self.aliases, machine: &*self.machine };
        match parse(line, &known)? {
            None => Ok(Flow::Continue),
            Some(Command::Exit) => Ok(Flow::Exit),
            Some(command) => self.run(&command).map(|()| Flow::Continue),
        }
    }

    /// Ends the run: shadow copies that are not persistent go.
    ///
    /// # Errors
    /// If one could not be deleted.
    pub fn finish(self) -> Result<(), Fault> {
        Ok(self.vss.reset()?)
    }

    fn run(&mut self, command: &Command) -> Result<(), Fault> {
        match command {
            Command::Help => self.help(),
            Command::ShowSettings => self.show_settings(),
            Command::SetContext(context) => self.state.context = *context,
            Command::SetOption(options) => self.state.options = *options,
            Command::SetMetadata(file) => self.state.metadata = Some(file.clone()),
            Command::SetVerbose(is_on) => self.state.is_verbose = *is_on,
            Command::ShowAdded => self.show_added(),
            Command::AddAlias { name, value } => self.aliases.put(name, value.clone()),
            Command::LoadMetadata(file) => self.load_metadata(file)?,
            Command::WriterVerify(name) => {
                self.check_writer(name)?;
                self.state.verified.push(name.clone());
            }
            Command::WriterExclude(name) => {
                self.check_writer(name)?;
                self.state.excluded.push(name.clone());
            }
            Command::AddVolume { volume, alias, provider } => self.add_volume(volume, alias.as_deref(), *provider)?,
            Command::AddShadow { shadow, destination } => self.add_shadow(*shadow, destination.as_deref())?,
            Command::Create => self.create()?,
            Command::Exec(file) => self.exec(file)?,
            Command::BeginBackup => self.begin_backup()?,
            Command::EndBackup => self.end_backup()?,
            Command::BeginRestore => self.begin_restore()?,
            Command::EndRestore => self.end_restore()?,
            Command::SimulateRestore => self.simulate_restore()?,
            Command::Reset => self.reset()?,
            Command::ListWriters(detail) => listing::writers(self.output, &self.vss.writers(), *detail),
            Command::ListShadows(which) => self.list_shadows(*which)?,
            Command::ListProviders => listing::providers(self.output, &self.vss.providers()),
            Command::DeleteShadows(which) => self.delete_shadows(which)?,
            Command::Import => self.import()?,
            Command::Mask(set) => self.mask(*set)?,
            Command::Expose { shadow, place } => self.expose(*shadow, place)?,
            Command::Unexpose(which) => self.unexpose(which)?,
            Command::Break { set, choice } => self.break_set(*set, *choice)?,
            Command::Revert(shadow) => self.revert(*shadow)?,
            Command::Resync { revert_signature, no_volume_check } => {
                self.resync(*revert_signature, *no_volume_check)?;
            }
            // `execute` has seen to it.
            Command::Exit => (),
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Fault> {
        self.vss.reset()?;
        self.state = State::default();
        self.aliases.clear();
        Ok(())
    }

    fn exec(&mut self, file: &str) -> Result<(), Fault> {
        match self.machine.run(file, self.aliases.all())? {
            0 => Ok(()),
            status => Err(Fault::Program { file: file.to_owned(), status }),
        }
    }

    fn help(&mut self) {
        for (_, usage, what) in COMMANDS {
            self.output.say(usage);
            self.output.say(&format!("    {what}"));
        }
    }

    fn show_settings(&mut self) {
        let State { context, options, metadata, is_verbose, .. } = &self.state;
        let options = if *options == Options::default() { "none".to_owned() } else { options.to_string() };
        for line in [
            format!("context   {context}"),
            format!("options   {options}"),
            format!("metadata  {}", metadata.as_deref().unwrap_or("not set")),
            format!("verbose   {}", if *is_verbose { "on" } else { "off" }),
        ] {
            self.output.say(&line);
        }
    }

    fn show_added(&mut self) {
        if self.state.volumes.is_empty() {
            self.output.say("no volumes are added");
        }
        for AddedVolume { volume, alias, provider } in &self.state.volumes {
            let alias = alias.as_ref().map(|alias| format!("  alias {alias}")).unwrap_or_default();
            let provider = provider.map(|id| format!("  provider {id}")).unwrap_or_default();
            self.output.say(&format!("volume {}{alias}{provider}", listing::volume(volume)));
        }
        for (name, value) in self.aliases.all() {
            self.output.say(&format!("alias %{name}% = {value}"));
        }
    }
}
