//! What fails leaves the machine as it was.

use lunshadow_provider_com::install::{Hosting, InstallError, Step, carry_out, installation, removal};

use crate::machine::Machine;

/// A step that cannot be done.
struct Impossible;

impl Step for Impossible {
    fn what(&self) -> String {
        "do the impossible".to_owned()
    }

    fn apply(&mut self) -> Result<(), InstallError> {
        Err(InstallError::Vss { call: "Impossible", code: 0x8000_ffff })
    }

    fn undo(&mut self) -> Result<(), InstallError> {
        Ok(())
    }
}

/// Takes the first `count` steps for real, then fails.
fn fail_after(mut steps: Vec<Box<dyn Step>>, count: usize) {
    steps.truncate(count);
    steps.push(Box::new(Impossible));
    let failure = carry_out(&mut steps, &mut |_| ()).expect_err("the last step is impossible");
    assert_eq!((failure.step.as_str(), failure.not_undone), ("do the impossible", Vec::new()), "after {count} steps");
}

#[test]
fn an_installation_that_fails_after_any_step_leaves_nothing() {
    let machine = Machine::clean();
    let before = machine.picture();
    for hosting in [Hosting::Service, Hosting::LocalServer] {
        let steps = || installation(&machine.layout, hosting).expect("they are prepared");
        for count in 0..=steps().len() {
            fail_after(steps(), count);
            machine.assert_as_in(&before, &format!("{hosting:?}, after {count} steps"));
        }
    }
}

#[test]
fn an_upgrade_that_fails_after_any_step_leaves_what_was_installed() {
    let machine = Machine::clean();
    machine.succeed(&["install"]);
    let before = machine.picture();
    for hosting in [Hosting::Service, Hosting::LocalServer] {
        let steps = || installation(&machine.layout, hosting).expect("they are prepared");
        for count in 0..=steps().len() {
            fail_after(steps(), count);
            machine.assert_as_in(&before, &format!("{hosting:?}, after {count} steps"));
        }
    }
}

#[test]
fn a_removal_that_fails_after_any_step_leaves_what_was_installed() {
    let machine = Machine::clean();
    machine.succeed(&["install"]);
    let before = machine.picture();
    for count in 0..=removal(&machine.layout, false).len() {
        fail_after(removal(&machine.layout, false), count);
        machine.assert_as_in(&before, &format!("after {count} steps"));
    }
}

#[test]
fn p_007_a_client_edition_is_refused_in_plain_text() {
    let machine = Machine::clean();
    let before = machine.picture();
    machine.pretend("ClientEdition", 1);
    let outcome = machine.run(&["install", "--quiet"]);
    machine.pretend_nothing();
    assert_eq!(outcome.code, Some(5), "{}", outcome.complained);
    assert!(outcome.complained.contains("this is a client edition of Windows"), "{}", outcome.complained);
    assert!(outcome.complained.contains("Everything is as it was before."), "{}", outcome.complained);
    machine.assert_as_in(&before, "after the refusal");
}

#[test]
fn a_registration_that_fails_is_told_with_its_code() {
    let machine = Machine::clean();
    let before = machine.picture();
    machine.pretend("RegisterFails", 0x8004_2302);
    let outcome = machine.run(&["install"]);
    machine.pretend_nothing();
    assert_eq!(outcome.code, Some(1), "{}", outcome.complained);
    assert!(outcome.complained.contains("RegisterProvider answered 0x80042302"), "{}", outcome.complained);
    machine.assert_as_in(&before, "after the failure");
}

#[test]
fn p_009_a_provider_in_use_is_neither_removed_nor_upgraded() {
    let machine = Machine::clean();
    machine.succeed(&["install"]);
    let before = machine.picture();
    machine.pretend("InUse", 1);
    let outcomes = [machine.run(&["uninstall"]), machine.run(&["install"])];
    machine.pretend_nothing();
    for outcome in outcomes {
        assert_eq!(outcome.code, Some(4), "{}", outcome.complained);
        assert!(outcome.complained.contains("VSS is using the provider"), "{}", outcome.complained);
        machine.assert_as_in(&before, "after the refusal");
    }
}

#[test]
fn a_folder_that_cannot_be_made_undoes_the_rest() {
    let machine = Machine::clean();
    let folder = machine.layout.program.parent().expect("it has one").to_owned();
    std::fs::write(&folder, "a file in its place").expect("it is writable");
    let before = machine.picture();
    let outcome = machine.run(&["install"]);
    machine.assert_as_in(&before, "after the failure");
    std::fs::remove_file(&folder).expect("it is there");
    assert_eq!(outcome.code, Some(1), "{}", outcome.complained);
    assert!(outcome.complained.contains("cannot copy the program"), "{}", outcome.complained);
}
