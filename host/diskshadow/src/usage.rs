//! How each command is written, for `help` and for errors.

pub(crate) const SET_CONTEXT: &str = "set context {clientaccessible | persistent [nowriters] | volatile [nowriters]}";
pub(crate) const SET_OPTION: &str =
    "set option {[differential | plex] [transportable] [[rollbackrecover] [txfrecover] | noautorecover]}";
pub(crate) const SET_METADATA: &str = "set metadata FILE.cab";
pub(crate) const SET_VERBOSE: &str = "set verbose {on | off}";
pub(crate) const ADD_VOLUME: &str = "add volume VOLUME [alias NAME] [provider PROVIDER-ID]";
pub(crate) const ADD_ALIAS: &str = "add alias NAME VALUE";
pub(crate) const ADD_SHADOW: &str = "add shadow SHADOW-ID [VOLUME]";
pub(crate) const LIST_SHADOWS: &str = "list shadows {all | set SET-ID | id SHADOW-ID}";
pub(crate) const LIST_WRITERS: &str = "list writers [metadata | detailed | status]";

/// The commands by their first word, as they are written, and what they do.
pub(crate) const COMMANDS: &[(&str, &str, &str)] = &[
    ("set", "set [{context | option | metadata | verbose} …]", "show what is set, or set it for the next creation"),
    ("load", "load metadata FILE.cab", "take the metadata of a set, for an import or a restore"),
    ("writer", "writer {verify | exclude} WRITER-OR-COMPONENT", "insist on a writer, or leave it out"),
    ("add", "add [{volume | alias | shadow} …]", "show volumes and aliases, or add one"),
    ("create", "create", "create shadow copies of the volumes that were added"),
    ("exec", "exec FILE", "run a program with the aliases in its environment"),
    ("begin", "begin {backup | restore}", "begin a full backup, or a restore"),
    ("end", "end {backup | restore}", "end it, and tell the writers"),
    ("simulate", "simulate restore", "see whether the writers of the metadata are there, and tell them nothing"),
    ("reset", "reset", "forget everything that was set, added or loaded"),
    (
        "list",
        "list {shadows {all | set SET-ID | id SHADOW-ID} | writers [metadata | detailed | status] | providers}",
        "list them",
    ),
    (
        "delete",
        "delete shadows {all | volume VOLUME | oldest VOLUME | set SET-ID | id SHADOW-ID | exposed PLACE}",
        "delete shadow copies",
    ),
    ("import", "import", "bring the transportable shadow copies of the loaded metadata to this host"),
    ("mask", "mask SET-ID", "take the shadow copies of a set away from this host"),
    ("expose", "expose SHADOW-ID {DRIVE: | FOLDER | SHARE}", "show the files of a persistent shadow copy"),
    ("unexpose", "unexpose {SHADOW-ID | DRIVE: | FOLDER | SHARE}", "show them no longer"),
    (
        "break",
        "break [readonly | writable] [nomask | mask] [revertid | norevertid] SET-ID",
        "make ordinary volumes of the shadow copies of a set",
    ),
    ("revert", "revert SHADOW-ID", "give a volume the content of its client-accessible shadow copy"),
    ("resync", "resync [revertsig] [novolcheck]", "give LUNs the content of the shadow copies that were added"),
    ("exit", "exit", "end; so does `quit`"),
    ("help", "help", "list the commands"),
];

/// How a command is written that begins with this word.
pub(crate) fn of(word: &str) -> &'static str {
    let word = match word.to_ascii_lowercase().as_str() {
        "quit" => "exit".to_owned(),
        "?" => "help".to_owned(),
        lower => lower.to_owned(),
    };
    COMMANDS.iter().find(|(first, ..)| *first == word).map_or("help", |(_, usage, _)| usage)
}
