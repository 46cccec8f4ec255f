//! From words to commands. Keywords have no case; every error says what would be right.

use lunshadow_vss::{ProviderId, SnapshotId, SnapshotSetId};
use uuid::Uuid;

use crate::command::{
    BreakChoice, Command, ContextChoice, CopyKind, DeletionChoice, Exposed, Options, Place, ShadowSelection,
    WriterDetail,
};
use crate::usage;
use crate::words::{Variables, split};

/// Why a line is no command.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// There is an odd number of quotation marks.
    #[error("a quotation mark is not closed")]
    OpenQuotation,
    /// There is no such alias, nor anything else of that name.
    #[error("%{name}% stands for nothing; `add` shows the aliases that there are, and %% is a percent sign")]
    UnknownVariable {
        /// The name.
        name: String,
    },
    /// There is no such command.
    #[error("there is no command \"{word}\"; `help` lists all")]
    UnknownCommand {
        /// The first word.
        word: String,
    },
    /// Something is missing at the end.
    #[error("something is missing after \"{after}\"; write: {usage}")]
    Incomplete {
        /// The last word.
        after: String,
        /// What would be right.
        usage: &'static str,
    },
    /// A word that means nothing where it stands.
    #[error("\"{word}\" cannot stand there; write: {usage}")]
    Unexpected {
        /// The word.
        word: String,
        /// What would be right.
        usage: &'static str,
    },
    /// An id was expected.
    #[error("\"{word}\" is no id such as {{01234567-89ab-cdef-0123-456789abcdef}}, nor %NAME% of one; write: {usage}")]
    NotAnId {
        /// The word.
        word: String,
        /// What would be right.
        usage: &'static str,
    },
    /// Two words that exclude each other.
    #[error("{one} and {other} exclude each other; write: {usage}")]
    Contradiction {
        /// One.
        one: &'static str,
        /// The other.
        other: &'static str,
        /// What would be right.
        usage: &'static str,
    },
}

/// Reads a line; a comment or an empty one is no command.
///
/// # Errors
/// [`ParseError`].
pub fn parse(line: &str, variables: &dyn Variables) -> Result<Option<Command>, ParseError> {
    let words = split(line, variables)?;
    let Some((first, rest)) = words.split_first() else { return Ok(None) };
    let mut words = Words { usage: usage::of(first), last: first, rest };
    let command = match first.to_ascii_lowercase().as_str() {
        "help" | "?" => Command::Help,
        "set" => set(&mut words)?,
        "load" => words.then("metadata").and_then(|()| words.owned()).map(Command::LoadMetadata)?,
        "writer" => writer(&mut words)?,
        "add" => add(&mut words)?,
        "create" => Command::Create,
        "exec" => Command::Exec(words.owned()?),
        "begin" => words.one_of(&[("backup", Command::BeginBackup), ("restore", Command::BeginRestore)])?,
        "end" => words.one_of(&[("backup", Command::EndBackup), ("restore", Command::EndRestore)])?,
        "simulate" => words.then("restore").map(|()| Command::SimulateRestore)?,
        "reset" => Command::Reset,
        "list" => list(&mut words)?,
        "delete" => words.then("shadows").and_then(|()| deletion(&mut words)).map(Command::DeleteShadows)?,
        "import" => Command::Import,
        "mask" => Command::Mask(words.set_id()?),
        "expose" => Command::Expose { shadow: words.snapshot_id()?, place: words.place()? },
        "unexpose" => Command::Unexpose(unexposed(words.next()?)),
        "break" => broken(&mut words)?,
        "revert" => Command::Revert(words.snapshot_id()?),
        "resync" => resync(&mut words)?,
        "exit" | "quit" => Command::Exit,
        _ => return Err(ParseError::UnknownCommand { word: first.clone() }),
    };
    words.end()?;
    Ok(Some(command))
}

/// What is left of a line.
struct Words<'a> {
    usage: &'static str,
    /// The word before.
    last: &'a str,
    rest: &'a [String],
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.rest.first().map(String::as_str)
    }

    fn next(&mut self) -> Result<&'a str, ParseError> {
        let Some((first, rest)) = self.rest.split_first() else {
            return Err(ParseError::Incomplete { after: self.last.to_owned(), usage: self.usage });
        };
        (self.last, self.rest) = (first, rest);
        Ok(first)
    }

    /// Takes the next word if it is this one.
    fn takes(&mut self, keyword: &str) -> bool {
        let is_it = self.peek().is_some_and(|word| word.eq_ignore_ascii_case(keyword));
        is_it && self.next().is_ok()
    }

    fn then(&mut self, keyword: &str) -> Result<(), ParseError> {
        self.one_of(&[(keyword, ())])
    }

    /// Takes a keyword, which stands for something.
    fn one_of<T: Clone>(&mut self, choices: &[(&str, T)]) -> Result<T, ParseError> {
        let word = self.next()?;
        let choice = choices.iter().find(|(keyword, _)| word.eq_ignore_ascii_case(keyword));
        choice.map(|(_, meaning)| meaning.clone()).ok_or_else(|| self.unexpected(word))
    }

    fn owned(&mut self) -> Result<String, ParseError> {
        let usage = self.usage;
        match self.next()? {
            "" => Err(ParseError::Unexpected { word: String::new(), usage }),
            word => Ok(word.to_owned()),
        }
    }

    fn id(&mut self) -> Result<Uuid, ParseError> {
        let word = self.next()?;
        id(word).ok_or_else(|| ParseError::NotAnId { word: word.to_owned(), usage: self.usage })
    }

    fn set_id(&mut self) -> Result<SnapshotSetId, ParseError> {
        self.id().map(SnapshotSetId)
    }

    fn snapshot_id(&mut self) -> Result<SnapshotId, ParseError> {
        self.id().map(SnapshotId)
    }

    fn place(&mut self) -> Result<Place, ParseError> {
        self.owned().map(|word| Place::of(&word))
    }

    fn end(&mut self) -> Result<(), ParseError> {
        self.peek().map_or(Ok(()), |word| Err(self.unexpected(word)))
    }

    fn unexpected(&self, word: &str) -> ParseError {
        ParseError::Unexpected { word: word.to_owned(), usage: self.usage }
    }

    fn contradiction(&self, one: &'static str, other: &'static str) -> ParseError {
        ParseError::Contradiction { one, other, usage: self.usage }
    }
}

/// An id in braces, or without.
fn id(word: &str) -> Option<Uuid> {
    let inner = match word.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => word,
    };
    // The other forms that the library takes are none of VSS.
    (inner.len() == 36).then(|| Uuid::try_parse(inner).ok()).flatten()
}

fn set(words: &mut Words<'_>) -> Result<Command, ParseError> {
    let Some(what) = words.peek() else { return Ok(Command::ShowSettings) };
    words.next()?;
    match what.to_ascii_lowercase().as_str() {
        "context" => {
            words.usage = usage::SET_CONTEXT;
            context(words).map(Command::SetContext)
        }
        "option" => {
            words.usage = usage::SET_OPTION;
            options(words).map(Command::SetOption)
        }
        "metadata" => {
            words.usage = usage::SET_METADATA;
            words.owned().map(Command::SetMetadata)
        }
        "verbose" => {
            words.usage = usage::SET_VERBOSE;
            words.one_of(&[("on", true), ("off", false)]).map(Command::SetVerbose)
        }
        _ => Err(words.unexpected(what)),
    }
}

fn context(words: &mut Words<'_>) -> Result<ContextChoice, ParseError> {
    const KINDS: [(&str, u8); 3] = [("clientaccessible", 0), ("persistent", 1), ("volatile", 2)];
    Ok(match words.one_of(&KINDS)? {
        0 => ContextChoice::ClientAccessible,
        1 => ContextChoice::Persistent { no_writers: words.takes("nowriters") },
        _ => ContextChoice::Volatile { no_writers: words.takes("nowriters") },
    })
}

fn options(words: &mut Words<'_>) -> Result<Options, ParseError> {
    let mut options = Options::default();
    loop {
        let word = words.next()?;
        let is_new = match word.to_ascii_lowercase().as_str() {
            "differential" => kind(&mut options, CopyKind::Differential, words)?,
            "plex" => kind(&mut options, CopyKind::Plex, words)?,
            "transportable" => !std::mem::replace(&mut options.transportable, true),
            "rollbackrecover" => !std::mem::replace(&mut options.rollback_recover, true),
            "txfrecover" => !std::mem::replace(&mut options.txf_recover, true),
            "noautorecover" => !std::mem::replace(&mut options.no_auto_recover, true),
            _ => false,
        };
        if !is_new {
            return Err(words.unexpected(word));
        }
        if options.no_auto_recover && options.rollback_recover {
            return Err(words.contradiction("noautorecover", "rollbackrecover"));
        }
        if options.no_auto_recover && options.txf_recover {
            return Err(words.contradiction("noautorecover", "txfrecover"));
        }
        if words.peek().is_none() {
            return Ok(options);
        }
    }
}

/// Whether the kind had not been said before.
fn kind(options: &mut Options, kind: CopyKind, words: &Words<'_>) -> Result<bool, ParseError> {
    match options.kind.replace(kind) {
        Some(before) if before != kind => Err(words.contradiction("differential", "plex")),
        before => Ok(before.is_none()),
    }
}

fn writer(words: &mut Words<'_>) -> Result<Command, ParseError> {
    let make = words
        .one_of(&[("verify", Command::WriterVerify as fn(String) -> Command), ("exclude", Command::WriterExclude)])?;
    words.owned().map(make)
}

fn add(words: &mut Words<'_>) -> Result<Command, ParseError> {
    let Some(what) = words.peek() else { return Ok(Command::ShowAdded) };
    words.next()?;
    match what.to_ascii_lowercase().as_str() {
        "volume" => {
            words.usage = usage::ADD_VOLUME;
            let (volume, mut alias, mut provider) = (words.owned()?, None, None);
            while let Some(word) = words.peek() {
                if alias.is_none() && words.takes("alias") {
                    alias = Some(alias_name(words)?);
                } else if provider.is_none() && words.takes("provider") {
                    provider = Some(ProviderId(words.id()?));
                } else {
                    return Err(words.unexpected(word));
                }
            }
            Ok(Command::AddVolume { volume, alias, provider })
        }
        "alias" => {
            words.usage = usage::ADD_ALIAS;
            Ok(Command::AddAlias { name: alias_name(words)?, value: words.owned()? })
        }
        "shadow" => {
            words.usage = usage::ADD_SHADOW;
            let shadow = words.snapshot_id()?;
            let destination = if words.peek().is_some() { Some(words.owned()?) } else { None };
            Ok(Command::AddShadow { shadow, destination })
        }
        _ => Err(words.unexpected(what)),
    }
}

/// A name that can stand between percent signs, and be one of an environment variable.
fn alias_name(words: &mut Words<'_>) -> Result<String, ParseError> {
    let name = words.owned()?;
    let is_good = name.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"%=\"".contains(c));
    if is_good { Ok(name) } else { Err(words.unexpected(&name)) }
}

fn list(words: &mut Words<'_>) -> Result<Command, ParseError> {
    match words.next()?.to_ascii_lowercase().as_str() {
        "providers" => Ok(Command::ListProviders),
        "writers" if words.peek().is_none() => Ok(Command::ListWriters(WriterDetail::Plain)),
        "writers" => {
            words.usage = usage::LIST_WRITERS;
            let details = [
                ("metadata", WriterDetail::Metadata),
                ("detailed", WriterDetail::Detailed),
                ("status", WriterDetail::Status),
            ];
            words.one_of(&details).map(Command::ListWriters)
        }
        "shadows" => {
            words.usage = usage::LIST_SHADOWS;
            let which = words.one_of(&[("all", 0), ("set", 1), ("id", 2)])?;
            Ok(Command::ListShadows(match which {
                0 => ShadowSelection::All,
                1 => ShadowSelection::Set(words.set_id()?),
                _ => ShadowSelection::Id(words.snapshot_id()?),
            }))
        }
        _ => Err(words.unexpected(words.last)),
    }
}

fn deletion(words: &mut Words<'_>) -> Result<DeletionChoice, ParseError> {
    const WHICH: [(&str, u8); 6] = [("all", 0), ("volume", 1), ("oldest", 2), ("set", 3), ("id", 4), ("exposed", 5)];
    Ok(match words.one_of(&WHICH)? {
        0 => DeletionChoice::All,
        1 => DeletionChoice::Volume(words.owned()?),
        2 => DeletionChoice::Oldest(words.owned()?),
        3 => DeletionChoice::Set(words.set_id()?),
        4 => DeletionChoice::Id(words.snapshot_id()?),
        _ => DeletionChoice::Exposed(words.place()?),
    })
}

fn unexposed(word: &str) -> Exposed {
    id(word).map_or_else(|| Exposed::At(Place::of(word)), |id| Exposed::Id(SnapshotId(id)))
}

fn broken(words: &mut Words<'_>) -> Result<Command, ParseError> {
    let mut choice = BreakChoice::default();
    let (mut writable, mut mask) = (None, None);
    while words.rest.len() > 1 {
        let (place, value): (&mut Option<bool>, bool) = match words.next()?.to_ascii_lowercase().as_str() {
            "writable" => (&mut writable, true),
            "readonly" => (&mut writable, false),
            "mask" => (&mut mask, true),
            "nomask" => (&mut mask, false),
            "revertid" => (&mut choice.revert_signature, true),
            "norevertid" => (&mut choice.revert_signature, false),
            _ => return Err(words.unexpected(words.last)),
        };
        if place.replace(value).is_some() {
            return Err(words.unexpected(words.last));
        }
    }
    choice.writable = writable == Some(true);
    choice.mask = mask == Some(true);
    if choice.mask && choice.writable {
        return Err(words.contradiction("mask", "writable"));
    }
    Ok(Command::Break { set: words.set_id()?, choice })
}

fn resync(words: &mut Words<'_>) -> Result<Command, ParseError> {
    let (mut revert_signature, mut no_volume_check) = (false, false);
    while let Some(word) = words.peek() {
        if !revert_signature && words.takes("revertsig") {
            revert_signature = true;
        } else if !no_volume_check && words.takes("novolcheck") {
            no_volume_check = true;
        } else {
            return Err(words.unexpected(word));
        }
    }
    Ok(Command::Resync { revert_signature, no_volume_check })
}
