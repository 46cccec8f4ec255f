//! Installing, upgrading, removing.

use std::fs;

use lunshadow_provider_com::ids::{CLASS_ID, SERVICE_NAME, version_id};
use lunshadow_provider_com::install::{Hosting, KeyImage, installation};
use lunshadow_windows::stand_in::PROVIDERS_KEY;
use windows_registry::LOCAL_MACHINE;

use crate::machine::{Machine, braced};

fn text(image: &KeyImage, name: &str) -> String {
    let (_, bytes) = image.values.get(name).unwrap_or_else(|| unreachable!("there is no {name:?} in {image:?}"));
    let units: Vec<u16> = bytes.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned()
}

fn number(image: &KeyImage, name: &str) -> u32 {
    let (_, bytes) = &image.values[name];
    u32::from_le_bytes(bytes[..].try_into().expect("a DWORD"))
}

#[test]
fn p_006_vss_gets_a_hardware_provider_with_a_fixed_id_and_the_builds_version() {
    let machine = Machine::clean();
    assert!(machine.registration().is_none());
    machine.succeed(&["install"]);
    let registration = machine.registration().expect("it is registered under its fixed id");
    assert_eq!(number(&registration, "Type"), 3);
    assert_eq!(text(&registration, "VersionId").to_uppercase(), braced(version_id()));
    assert_eq!(text(&registration.keys["CLSID"], "").to_uppercase(), braced(CLASS_ID));
}

#[test]
fn an_uninstallation_leaves_the_machine_as_it_was() {
    let machine = Machine::clean();
    let before = machine.picture();
    for arguments in [&["install"][..], &["install", "--local-server"]] {
        let said = machine.succeed(arguments);
        assert!(said.contains("register the provider with VSS"), "{said}");
        assert!(machine.layout.program.is_file() && machine.layout.settings.is_dir());
        machine.succeed(&["uninstall"]);
        machine.assert_as_in(&before, &format!("after {arguments:?} and uninstall"));
    }
}

#[test]
fn a_silent_roll_out_says_nothing() {
    let machine = Machine::clean();
    for arguments in [["install", "--quiet"], ["uninstall", "--quiet"]] {
        assert_eq!(machine.succeed(&arguments), "");
    }
}

#[test]
fn p_005_the_class_is_made_out_of_process_by_a_service_or_a_program() {
    let machine = Machine::clean();
    let class = format!(r"Software\Classes\CLSID\{}", braced(CLASS_ID));
    let read = |key: &str| KeyImage::read(key).expect("it is readable");
    machine.succeed(&["install"]);
    let image = read(&class).expect("it is registered");
    assert!(image.keys.is_empty(), "{image:?}");
    let app = read(&format!(r"Software\Classes\AppID\{}", text(&image, "AppID"))).expect("it is registered");
    assert_eq!(text(&app, "LocalService"), SERVICE_NAME);
    let service = read(&format!(r"SYSTEM\CurrentControlSet\Services\{SERVICE_NAME}")).expect("it is entered");
    assert!(text(&service, "ImagePath").ends_with("lunshadow-provider.exe\" service"), "{service:?}");
    assert_eq!(text(&service, "ObjectName"), "LocalSystem");

    machine.succeed(&["install", "--local-server"]);
    let image = read(&class).expect("it is registered");
    assert_eq!(image.keys.keys().collect::<Vec<_>>(), ["LocalServer32"]);
    assert!(text(&image.keys["LocalServer32"], "").ends_with("lunshadow-provider.exe\" serve"), "{image:?}");
    let app = read(&format!(r"Software\Classes\AppID\{}", text(&image, "AppID"))).expect("it is registered");
    assert!(!app.values.contains_key("LocalService"), "a service would win over the program");
    assert!(read(&format!(r"SYSTEM\CurrentControlSet\Services\{SERVICE_NAME}")).is_none());
}

#[test]
fn p_008_installing_again_upgrades_and_keeps_the_settings() {
    let machine = Machine::clean();
    machine.succeed(&["install"]);
    let settings = machine.layout.settings.join("provider.toml");
    fs::write(&settings, "[limits]\nvolumes_at_most = 7\n").expect("it is writable");
    let installed = machine.picture();
    // As if an older version had been there.
    fs::write(&machine.layout.program, "an older program").expect("it is writable");
    let registration = machine.registration().expect("it is registered");
    let key = format!(r"{PROVIDERS_KEY}\{}", braced(lunshadow_provider_com::ids::PROVIDER_ID));
    LOCAL_MACHINE.create(&key).and_then(|key| key.set_string("VersionId", "{older}")).expect("the registry takes it");

    machine.succeed(&["install"]);
    machine.assert_as_in(&installed, "after the upgrade");
    assert_eq!(machine.registration(), Some(registration));
}

#[test]
fn p_008_a_registration_that_is_there_already_is_replaced() {
    let machine = Machine::clean();
    machine.succeed(&["install"]);
    let before = machine.registration().expect("it is registered");
    // The last step alone: nobody has unregistered the provider before.
    let mut steps = installation(&machine.layout, Hosting::Service).expect("they are prepared");
    steps.last_mut().expect("there are steps").apply().expect("it unregisters and registers");
    assert_eq!(machine.registration(), Some(before));
}

#[test]
fn an_uninstallation_may_keep_the_settings() {
    let machine = Machine::clean();
    machine.succeed(&["install"]);
    let settings = machine.layout.settings.join("provider.toml");
    fs::write(&settings, "").expect("it is writable");
    machine.succeed(&["uninstall", "--keep-settings"]);
    assert!(settings.is_file() && !machine.layout.program.exists());
    machine.succeed(&["uninstall"]);
    assert!(!machine.layout.settings.exists());
}

#[test]
fn the_installed_program_removes_itself() {
    let machine = Machine::clean();
    machine.succeed(&["install"]);
    let outcome = machine.run_program(&machine.layout.program, &["uninstall"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.complained);
    assert!(machine.registration().is_none());
    assert!(!machine.layout.program.exists(), "it has moved away, since it cannot remove itself");
    assert!(!machine.layout.settings.exists());
}
