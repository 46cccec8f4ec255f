//! Lines: examples of every command, every error, and properties.

use lunshadow_diskshadow::{
    BreakChoice, Command, ContextChoice, CopyKind, DeletionChoice, Exposed, Options, ParseError, Place,
    ShadowSelection, Variables, WriterDetail, parse, split,
};
use lunshadow_vss::{ProviderId, SnapshotId, SnapshotSetId};
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

const ID: &str = "{01234567-89ab-cdef-0123-456789abcdef}";
const UUID: Uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
const SET: SnapshotSetId = SnapshotSetId(UUID);
const SHADOW: SnapshotId = SnapshotId(UUID);

/// One alias.
struct Data;

impl Variables for Data {
    fn value(&self, name: &str) -> Option<String> {
        name.eq_ignore_ascii_case("data").then(|| format!("{ID} {ID}"))
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn parsed(line: &str) -> Command {
    parse(line, &()).expect(line).expect(line)
}

#[test]
fn settings_are_understood_whatever_their_case() {
    let options = Options { kind: Some(CopyKind::Plex), transportable: true, ..Options::default() };
    let recovering = Options { rollback_recover: true, txf_recover: true, ..Options::default() };
    let raw = Options { kind: Some(CopyKind::Differential), no_auto_recover: true, ..Options::default() };
    for (line, command) in [
        ("set", Command::ShowSettings),
        ("SET CONTEXT clientaccessible", Command::SetContext(ContextChoice::ClientAccessible)),
        ("set context persistent", Command::SetContext(ContextChoice::Persistent { no_writers: false })),
        ("set context Persistent NoWriters", Command::SetContext(ContextChoice::Persistent { no_writers: true })),
        ("set context volatile", Command::SetContext(ContextChoice::Volatile { no_writers: false })),
        ("\tset  context volatile nowriters ", Command::SetContext(ContextChoice::Volatile { no_writers: true })),
        ("set option transportable plex", Command::SetOption(options)),
        ("set option rollbackrecover txfrecover", Command::SetOption(recovering)),
        ("set option differential noautorecover", Command::SetOption(raw)),
        (r#"set metadata "c:\my sets\a.cab""#, Command::SetMetadata(text(r"c:\my sets\a.cab"))),
        ("set verbose ON", Command::SetVerbose(true)),
        ("set verbose off", Command::SetVerbose(false)),
        ("load metadata a.cab", Command::LoadMetadata(text("a.cab"))),
        ("writer verify SqlServerWriter", Command::WriterVerify(text("SqlServerWriter"))),
        (r#"writer exclude "System Writer""#, Command::WriterExclude(text("System Writer"))),
    ] {
        assert_eq!(parsed(line), command, "{line}");
    }
}

#[test]
fn sessions_are_understood() {
    let volume =
        |alias: Option<&str>, provider| Command::AddVolume { volume: text("c:"), alias: alias.map(text), provider };
    for (line, command) in [
        ("add", Command::ShowAdded),
        ("add volume c:", volume(None, None)),
        ("add volume c: alias System", volume(Some("System"), None)),
        (&format!("add volume c: provider {ID} alias System"), volume(Some("System"), Some(ProviderId(UUID)))),
        ("add alias Data some", Command::AddAlias { name: text("Data"), value: text("some") }),
        (&format!("add shadow {ID}"), Command::AddShadow { shadow: SHADOW, destination: None }),
        (&format!("add shadow {ID} d:"), Command::AddShadow { shadow: SHADOW, destination: Some(text("d:")) }),
        ("create", Command::Create),
        (r"exec c:\backup.cmd", Command::Exec(text(r"c:\backup.cmd"))),
        ("begin backup", Command::BeginBackup),
        ("end backup", Command::EndBackup),
        ("begin restore", Command::BeginRestore),
        ("end restore", Command::EndRestore),
        ("simulate restore", Command::SimulateRestore),
        ("reset", Command::Reset),
        ("list writers", Command::ListWriters(WriterDetail::Plain)),
        ("list writers metadata", Command::ListWriters(WriterDetail::Metadata)),
        ("list writers detailed", Command::ListWriters(WriterDetail::Detailed)),
        ("list writers status", Command::ListWriters(WriterDetail::Status)),
        ("list providers", Command::ListProviders),
        ("help", Command::Help),
        ("?", Command::Help),
        ("exit", Command::Exit),
        ("Quit", Command::Exit),
    ] {
        assert_eq!(parsed(line), command, "{line}");
    }
}

#[test]
fn what_is_done_with_shadow_copies_is_understood() {
    let delete = Command::DeleteShadows;
    let expose = |place| Command::Expose { shadow: SHADOW, place };
    let broken = |choice| Command::Break { set: SET, choice };
    let plain = BreakChoice::default();
    let share = || Place::Share(text("backup"));
    for (line, command) in [
        ("list shadows all", Command::ListShadows(ShadowSelection::All)),
        ("list shadows set ID", Command::ListShadows(ShadowSelection::Set(SET))),
        ("list shadows id ID", Command::ListShadows(ShadowSelection::Id(SHADOW))),
        ("delete shadows all", delete(DeletionChoice::All)),
        ("delete shadows volume c:", delete(DeletionChoice::Volume(text("c:")))),
        ("delete shadows oldest c:", delete(DeletionChoice::Oldest(text("c:")))),
        ("delete shadows set ID", delete(DeletionChoice::Set(SET))),
        ("delete shadows id ID", delete(DeletionChoice::Id(SHADOW))),
        ("delete shadows exposed p:", delete(DeletionChoice::Exposed(Place::Drive('P')))),
        ("import", Command::Import),
        ("mask ID", Command::Mask(SET)),
        (r"expose ID x:\", expose(Place::Drive('X'))),
        (r"expose ID c:\mnt\data", expose(Place::MountPoint(text(r"c:\mnt\data")))),
        ("expose ID /mnt/data", expose(Place::MountPoint(text("/mnt/data")))),
        ("expose ID backup", expose(share())),
        ("unexpose ID", Command::Unexpose(Exposed::Id(SHADOW))),
        ("unexpose backup", Command::Unexpose(Exposed::At(share()))),
        ("break ID", broken(plain)),
        ("break readonly nomask ID", broken(plain)),
        ("break WRITABLE ID", broken(BreakChoice { writable: true, ..plain })),
        ("break mask revertid ID", broken(BreakChoice { mask: true, revert_signature: Some(true), ..plain })),
        ("break norevertid ID", broken(BreakChoice { revert_signature: Some(false), ..plain })),
        ("revert ID", Command::Revert(SHADOW)),
        ("resync", Command::Resync { revert_signature: false, no_volume_check: false }),
        ("resync novolcheck revertsig", Command::Resync { revert_signature: true, no_volume_check: true }),
    ] {
        assert_eq!(parsed(&line.replace("ID", ID)), command, "{line}");
        assert_eq!(parsed(&line.replace("ID", ID.trim_matches(['{', '}']))), command, "{line} without braces");
    }
}

#[test]
fn comments_and_empty_lines_are_nothing() {
    for line in ["", "   \t", "# create", "#", "rem create", "REM", "  Rem \"not closed", "#%no%"] {
        assert_eq!(parse(line, &()), Ok(None), "{line:?}");
    }
    assert_eq!(parse("remove", &()), Err(ParseError::UnknownCommand { word: text("remove") }));
}

#[test]
fn variables_stand_for_one_word_whatever_they_hold() {
    let words = |line| split(line, &Data).unwrap();
    assert_eq!(words("mask %DATA%"), ["mask".to_owned(), format!("{ID} {ID}")]);
    assert_eq!(words("a<%data%>b"), [format!("a<{ID} {ID}>b")]);
    assert_eq!(words("a 100% b"), ["a", "100%", "b"]);
    assert_eq!(words("50%% 100%%"), ["50%", "100%"]);
    assert_eq!(words(r#"say "a  b"c """#), ["say", "a  bc", ""]);
}

#[test]
fn every_error_says_what_would_be_right() {
    for (line, said) in [
        (r#"exec "c:\a b.cmd"#, "a quotation mark is not closed"),
        (
            "mask %nobody%",
            "%nobody% stands for nothing; `add` shows the aliases that there are, and %% is a percent sign",
        ),
        ("make", "there is no command \"make\"; `help` lists all"),
        (
            "set context",
            "something is missing after \"context\"; write: set context {clientaccessible | persistent [nowriters] | volatile [nowriters]}",
        ),
        ("set context for ever", "\"for\" cannot stand there; write: set context {"),
        ("set context clientaccessible nowriters", "\"nowriters\" cannot stand there; write: set context"),
        ("set option", "something is missing after \"option\"; write: set option {["),
        ("set option plex plex", "\"plex\" cannot stand there"),
        ("set option plex differential", "differential and plex exclude each other; write: set option"),
        ("set option noautorecover txfrecover", "noautorecover and txfrecover exclude each other"),
        ("set option rollbackrecover noautorecover", "noautorecover and rollbackrecover exclude each other"),
        ("set colour red", "\"colour\" cannot stand there; write: set ["),
        ("set metadata a b", "\"b\" cannot stand there; write: set metadata FILE.cab"),
        (r#"set metadata """#, "\"\" cannot stand there; write: set metadata FILE.cab"),
        ("set verbose maybe", "\"maybe\" cannot stand there; write: set verbose {on | off}"),
        ("add volume", "something is missing after \"volume\"; write: add volume VOLUME"),
        (
            "add volume c: provider c:",
            "\"c:\" is no id such as {01234567-89ab-cdef-0123-456789abcdef}, nor %NAME% of one; write: add volume",
        ),
        ("add volume c: alias a alias b", "\"alias\" cannot stand there; write: add volume"),
        ("add volume c: alias \"a b\"", "\"a b\" cannot stand there; write: add volume"),
        ("add alias a", "something is missing after \"a\"; write: add alias NAME VALUE"),
        ("add alias a=b c", "\"a=b\" cannot stand there; write: add alias"),
        ("add water", "\"water\" cannot stand there; write: add ["),
        ("create now", "\"now\" cannot stand there; write: create"),
        ("begin", "something is missing after \"begin\"; write: begin {backup | restore}"),
        ("end credits", "\"credits\" cannot stand there; write: end {backup | restore}"),
        ("simulate backup", "\"backup\" cannot stand there; write: simulate restore"),
        ("list", "something is missing after \"list\"; write: list {"),
        ("list shadows", "something is missing after \"shadows\"; write: list shadows {all"),
        ("list writers briefly", "\"briefly\" cannot stand there; write: list writers ["),
        ("list readers", "\"readers\" cannot stand there; write: list {"),
        ("delete", "something is missing after \"delete\"; write: delete shadows {all"),
        ("delete shadows some", "\"some\" cannot stand there; write: delete shadows {all"),
        ("delete shadows id {0123}", "\"{0123}\" is no id"),
        ("mask 0123456789abcdef0123456789abcdef", "\"0123456789abcdef0123456789abcdef\" is no id"),
        ("break", "something is missing after \"break\"; write: break [readonly"),
        ("break gently x", "\"gently\" cannot stand there; write: break [readonly"),
        ("break writable", "\"writable\" is no id"),
        ("break writable readonly x", "\"readonly\" cannot stand there"),
        ("break mask writable x", "mask and writable exclude each other"),
        ("resync twice", "\"twice\" cannot stand there; write: resync [revertsig]"),
        ("quit it", "\"it\" cannot stand there; write: exit"),
    ] {
        let error = parse(line, &()).expect_err(line).to_string();
        assert!(error.starts_with(said), "{line}: {error}");
        assert_eq!(error.lines().count(), 1, "{line}");
    }
}

fn word() -> impl Strategy<Value = String> {
    "[^\"\\p{C}]{1,12}".prop_filter("a word has something", |word| !word.is_empty())
}

fn id() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn place() -> impl Strategy<Value = Place> {
    word().prop_map(|word| Place::of(&word))
}

fn options() -> impl Strategy<Value = Options> {
    let kind = option::of(prop_oneof![Just(CopyKind::Differential), Just(CopyKind::Plex)]);
    let of =
        |(kind, transportable, (rollback_recover, txf_recover, no_auto_recover)): (_, bool, (bool, bool, bool))| {
            Options {
                kind,
                transportable,
                rollback_recover: rollback_recover && !no_auto_recover,
                txf_recover: txf_recover && !no_auto_recover,
                no_auto_recover,
            }
        };
    let options = (kind, any::<bool>(), any::<(bool, bool, bool)>()).prop_map(of);
    options.prop_filter("an option", |options| *options != Options::default())
}

fn exposed() -> impl Strategy<Value = Exposed> {
    let at = place().prop_filter("a place", |place| Uuid::try_parse(&place.to_string()).is_err());
    prop_oneof![id().prop_map(|id| Exposed::Id(SnapshotId(id))), at.prop_map(Exposed::At)]
}

fn deletion() -> impl Strategy<Value = DeletionChoice> {
    prop_oneof![
        Just(DeletionChoice::All),
        word().prop_map(DeletionChoice::Volume),
        word().prop_map(DeletionChoice::Oldest),
        id().prop_map(|id| DeletionChoice::Set(SnapshotSetId(id))),
        id().prop_map(|id| DeletionChoice::Id(SnapshotId(id))),
        place().prop_map(DeletionChoice::Exposed),
    ]
}

fn broken() -> impl Strategy<Value = BreakChoice> {
    let of = |(writable, mask, revert_signature): (bool, bool, Option<bool>)| BreakChoice {
        writable: writable && !mask,
        mask,
        revert_signature,
    };
    (any::<bool>(), any::<bool>(), any::<Option<bool>>()).prop_map(of)
}

fn command() -> impl Strategy<Value = Command> {
    let name = || "[A-Za-z_][A-Za-z0-9_]{0,8}";
    prop_oneof![
        any::<bool>().prop_map(|no_writers| Command::SetContext(ContextChoice::Persistent { no_writers })),
        any::<bool>().prop_map(|no_writers| Command::SetContext(ContextChoice::Volatile { no_writers })),
        options().prop_map(Command::SetOption),
        word().prop_map(Command::SetMetadata),
        word().prop_map(Command::LoadMetadata),
        word().prop_map(Command::WriterVerify),
        word().prop_map(Command::WriterExclude),
        word().prop_map(Command::Exec),
        (word(), option::of(name()), option::of(id())).prop_map(|(volume, alias, provider)| Command::AddVolume {
            volume,
            alias,
            provider: provider.map(ProviderId)
        }),
        (name(), word()).prop_map(|(name, value)| Command::AddAlias { name, value }),
        (id(), option::of(word()))
            .prop_map(|(id, destination)| Command::AddShadow { shadow: SnapshotId(id), destination }),
        deletion().prop_map(Command::DeleteShadows),
        (id(), place()).prop_map(|(id, place)| Command::Expose { shadow: SnapshotId(id), place }),
        exposed().prop_map(Command::Unexpose),
        (id(), broken()).prop_map(|(id, choice)| Command::Break { set: SnapshotSetId(id), choice }),
        any::<(bool, bool)>()
            .prop_map(|(revert_signature, no_volume_check)| Command::Resync { revert_signature, no_volume_check }),
    ]
}

proptest! {
    #[test]
    fn what_is_printed_is_understood(command in command()) {
        prop_assert_eq!(parse(&command.to_string(), &()), Ok(Some(command)));
    }

    #[test]
    fn no_line_is_too_strange(line in any::<String>()) {
        // Whatever it says, it says it in one line.
        if let Err(error) = parse(&line, &Data) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn lines_of_keywords_are_commands_or_errors(
        words in prop::collection::vec(prop_oneof![
            prop::sample::select(vec!["set", "add", "list", "delete", "break", "context", "option", "volume", "shadows",
                "all", "plex", "alias", "writable", "mask", "\"", "%data%", "%", "{", ID, "restore", "resync"]).prop_map(text),
            word(),
        ], 0..6),
    ) {
        let line = words.join(" ");
        // What is understood is understood the same way when it is printed.
        if let Ok(Some(command)) = parse(&line, &())
            && !format!("{command:?}").contains("\\\"")
        {
            prop_assert_eq!(parse(&command.to_string(), &()), Ok(Some(command)));
        }
    }
}
