//! The knobs of section 4.0 of the contract, both ways. Those that are about time are with the clocks; `crash_points` are everywhere.

use lunshadow_coordinator::{FillMode, Mangling, MatchMode, Settings};
use lunshadow_vss::{HResult, MatchLevel, Method};

use crate::support::{Reaction, Stage};

#[test]
fn the_code_of_fill_in_lun_info_counts_only_where_it_did() {
    let code = HResult::VSS_E_PROVIDER_VETO;
    let with = |fill_mode| Stage::new(Settings { fill_mode, ..Settings::default() });
    let stage = with(FillMode::Ignored);
    // A provider that fails here says "not mine", so that its disk is missing in the end.
    stage.provider.react(Method::FillInLunInfo, Reaction::Answer(code));
    assert_eq!(stage.create().1.unwrap_err().code(), HResult::VSS_E_MISSING_DISK);

    let stage = with(FillMode::Honoured);
    stage.provider.react(Method::FillInLunInfo, Reaction::Answer(code));
    assert_eq!(stage.create().1.unwrap_err().code(), code);
    stage.assert_host_is_free();
    assert!(stage.provider.state().shadows.is_empty());
    stage.create().1.unwrap();
}

#[test]
fn foreign_disks_are_shown_as_many_as_wanted() {
    for fill_extra in [0, 3] {
        let stage = Stage::new(Settings { fill_extra, ..Settings::default() });
        stage.create().1.unwrap();
        let lines = stage.journal.lines();
        let shown = lines.iter().filter(|line| line.starts_with(r"P.FillInLunInfo \\?\ForeignDrive")).count();
        assert_eq!(shown, fill_extra);
    }
}

#[test]
fn disks_match_by_what_the_mode_looks_at() {
    type Bend = fn(&mut lunshadow_coordinator::HostDisk);
    let untouched: Bend = |_| ();
    let other_revision: Bend = |disk| disk.lun.product_revision = Some("2".into());
    let no_identifiers: Bend = |disk| disk.lun.identifiers.clear();
    let other_serial: Bend = |disk| disk.lun.serial_number = Some("x".into());
    for (mode, bend, level) in [
        (MatchMode::Surest, untouched, Some(MatchLevel::Strict)),
        (MatchMode::Surest, other_revision, Some(MatchLevel::Page83)),
        (MatchMode::AllFields, untouched, Some(MatchLevel::Strict)),
        (MatchMode::AllFields, other_revision, None),
        (MatchMode::Page83, other_serial, Some(MatchLevel::Page83)),
        (MatchMode::Page83, no_identifiers, None),
        (MatchMode::Page80, no_identifiers, Some(MatchLevel::Page80)),
        (MatchMode::Page80, other_serial, None),
    ] {
        let stage = Stage::new(Settings { match_mode: mode, ..Settings::default() });
        stage.provider.state().mangle = Some(bend);
        stage.provider.state().fills_in_nothing = true;
        let (_requester, result) = stage.create();
        let found = result.ok().map(|copies| copies[0].luns[0].match_level);
        assert_eq!(found, level, "{mode:?}");
    }
}

#[test]
fn the_blanks_around_a_text_are_lost_where_they_are_trimmed() {
    for (mangle, product_id) in [(Vec::new(), " Shadow disk  "), (vec![Mangling::Trimmed], "Shadow disk")] {
        let stage = Stage::new(Settings { mangle, ..Settings::default() });
        let (_requester, result) = stage.create();
        result.unwrap();
        assert_eq!(stage.provider.state().shown["P-L1"].product_id.as_deref(), Some(product_id));
    }
}

#[test]
fn what_the_host_does_to_descriptions_is_seen_by_the_provider_and_made_up_for_by_it() {
    for mangling in Mangling::ALL {
        let with = |mangle| Stage::new(Settings { mangle, ..Settings::default() });
        // A provider that completes nothing leaves what the host has made of it.
        let stage = with(vec![mangling]);
        stage.provider.state().fills_in_nothing = true;
        let (_requester, result) = stage.create();
        let level = result.ok().map(|copies| copies[0].luns[0].match_level);
        let expected = match mangling {
            Mangling::AnotherBus => Some(MatchLevel::Strict),
            Mangling::Uppercase | Mangling::Padding | Mangling::Trimmed | Mangling::MoreIdentifiers => {
                Some(MatchLevel::Page83)
            }
            Mangling::NoIdentifiers => Some(MatchLevel::Page80),
        };
        assert_eq!(level, expected, "{mangling:?}");
        // One that knows its LUN reports it as it announced it; and finds it again when it is deleted.
        let stage = with(vec![mangling]);
        let (requester, result) = stage.create();
        assert_eq!(result.unwrap()[0].luns[0].match_level, MatchLevel::Strict, "{mangling:?}");
        assert_eq!(requester.release().unwrap(), 2, "{mangling:?}");
    }
}
