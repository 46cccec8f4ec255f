//! The administrator's commands, as they are typed.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, ensure};
use lunshadow::array::TARGET_NAME;
use lunshadow_initiator::{Disk, Session};
use lunshadow_scsi::LunAddress;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::service::{Service, initiator, refused, succeed, text, write};

#[test]
fn hosts_and_luns_are_made_listed_and_removed_and_everything_can_be_repeated() -> anyhow::Result<()> {
    let service = Service::start()?;
    ensure!(service.admin(&["host", "list"])?.contains("lunshadow host add"), "what to do next is not said");
    service.add_host("sql")?;
    service.admin(&["host", "add", "backup", "--iqn", &initiator("backup"), "--imports-from", "sql"])?;
    let again =
        service.admin_json(&["host", "add", "backup", "--iqn", &initiator("backup"), "--imports-from", "sql"])?;
    ensure!(again["outcome"] == "already-so" && again["host"]["name"] == "backup", "{again}");
    for outcome in ["done", "already-so"] {
        let made = service.admin_json(&["lun", "create", "data", "--size", "64KiB"])?;
        let mapped = service.admin_json(&["lun", "map", "data", "sql"])?;
        ensure!(made["outcome"] == outcome && mapped["outcome"] == outcome, "{made} {mapped}");
        ensure!(mapped["number"] == 1, "{mapped}");
    }

    let hosts = service.admin_json(&["host", "list"])?;
    let names: Vec<_> =
        hosts["hosts"].as_array().context("no hosts")?.iter().map(|host| &host["host"]["name"]).collect();
    ensure!(names == ["backup", "sql"], "{hosts}");
    ensure!(hosts["hosts"][0]["imports_from"][0] == "sql" && hosts["hosts"][1]["lun_count"] == 1, "{hosts}");
    let luns = service.admin_json(&["lun", "list"])?;
    ensure!(luns["luns"][0]["name"] == "data" && luns["luns"][0]["len_bytes"] == 65536, "{luns}");
    ensure!(luns["luns"][0]["hosts"][0]["host"] == "sql", "{luns}");
    ensure!(service.admin(&["lun", "list"])?.contains("sql:1"));
    ensure!(service.admin(&["shadow", "list"])? == "no shadow sets\n");

    ensure!(service.admin_refused(&["lun", "delete", "data"])?.contains("unmap it first"));
    ensure!(service.admin_refused(&["host", "remove", "sql"])?.contains("unmap them first"));
    for outcome in ["done", "already-so"] {
        ensure!(service.admin_json(&["lun", "unmap", "data", "sql"])?["outcome"] == outcome);
    }
    for outcome in ["done", "already-so"] {
        ensure!(service.admin_json(&["lun", "delete", "data"])?["outcome"] == outcome);
        ensure!(service.admin_json(&["host", "remove", "sql"])?["outcome"] == outcome);
    }
    Ok(())
}

#[test]
fn what_cannot_be_done_is_refused_in_one_line_that_says_what_to_do() -> anyhow::Result<()> {
    let service = Service::start()?;
    service.add_host("sql")?;
    service.admin(&["lun", "create", "data", "--size", "1MiB"])?;
    for (arguments, part) in [
        (&["host", "enrol", "nobody"][..], "lunshadow host list"),
        (&["lun", "map", "data", "nobody"], "lunshadow host list"),
        (&["lun", "map", "nothing", "sql"], "lunshadow lun list"),
        (&["host", "add", "a b", "--iqn", "iqn.2026-11.org.example:x"], "use 1 to 64 ASCII letters"),
        (&["host", "add", "web", "--iqn", "iqn.2026-11.org.example:sql"], "belongs to another host"),
        (&["host", "add", "web", "--iqn", "iqn.2026-11.org.example:web", "--imports-from", "nobody"], "no host nobody"),
        (&["lun", "create", "data", "--size", "2MiB"], "the name data is taken"),
        (&["lun", "create", "odd", "--size", "1000"], "multiple of 512"),
    ] {
        let line = service.admin_refused(arguments)?;
        ensure!(line.contains(part), "{arguments:?}: {line}");
    }
    ensure!(refused(["lun", "list"])?.contains("--pool DIR"));
    let elsewhere = tempfile::tempdir()?;
    ensure!(refused(["lun", "list", "--pool", text(elsewhere.path())])?.contains("lunshadow serve --pool"));
    ensure!(refused(["serve", "--pool", text(elsewhere.path())])?.contains("there is no pool"));
    ensure!(refused(["pool", "create", text(&service.pool()), "--size", "1GiB"])?.contains("there is a pool already"));
    Ok(())
}

#[test]
fn an_administrator_elsewhere_needs_address_fingerprint_and_credential() -> anyhow::Result<()> {
    let service = Service::start()?;
    let credential = service.pool().join("control-credential");
    let fingerprint = service.endpoint.fingerprint.to_string();
    let list = |fingerprint, credential| {
        [
            "host",
            "list",
            "--control",
            &service.endpoint.address,
            "--fingerprint",
            fingerprint,
            "--credential-file",
            credential,
        ]
    };
    succeed(list(&fingerprint, text(&credential)))?;

    let wrong = fingerprint.chars().rev().collect::<String>();
    let line = refused(list(&wrong, text(&credential)))?;
    ensure!(line.contains(&fingerprint) && line.contains(&wrong), "{line}");
    service.logged(&["WARN", "refused the array's certificate"])?;

    let other = service.pool().join("other-credential");
    std::fs::write(&other, "0123456789abcdef")?;
    ensure!(refused(list(&fingerprint, text(&other)))?.contains("does not know this credential"));
    service.logged(&["WARN", "/v1/admin/hosts", "NotAuthenticated"])
}

#[test]
fn secrets_are_for_their_owner_and_outlive_a_restart_unlike_the_address() -> anyhow::Result<()> {
    let mut service = Service::start()?;
    let pool = service.pool();
    for secret in ["control-credential", "control-key.pem", "control-endpoint.json", "catalog.redb"] {
        let mode = std::fs::metadata(pool.join(secret))?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{secret} has mode {mode:o}");
    }
    let credential = std::fs::read_to_string(pool.join("control-credential"))?;
    let fingerprint = service.endpoint.fingerprint;
    service.stop()?;
    ensure!(!pool.join("control-endpoint.json").exists(), "the address is still there");
    let mut service = service.serve_again()?;
    ensure!(service.endpoint.fingerprint == fingerprint, "another certificate");
    ensure!(std::fs::read_to_string(pool.join("control-credential"))? == credential, "another credential");
    service.admin(&["host", "list"])?;

    // What a killed service leaves behind leads nowhere, and the command says so.
    service.kill()?;
    ensure!(service.admin_refused(&["host", "list"])?.contains("does not answer"));
    service.serve_again()?.admin(&["host", "list"])?;
    Ok(())
}

#[test]
fn an_enrolment_string_has_an_address_that_the_host_can_use() -> anyhow::Result<()> {
    let service = Service::start()?;
    ensure!(service.add_host("sql")?.address == service.endpoint.address);
    let named = service.admin(&["host", "enrol", "sql", "--address", "array.example:3261"])?;
    ensure!(named.starts_with("lunshadow-enrol/array.example:3261/"), "{named}");
    // As if it listened on all addresses.
    let endpoint_file = service.pool().join("control-endpoint.json");
    let endpoint = std::fs::read_to_string(&endpoint_file)?;
    std::fs::write(&endpoint_file, endpoint.replace("127.0.0.1", "0.0.0.0"))?;
    ensure!(service.admin_refused(&["host", "enrol", "sql"])?.contains("--address array.example:"));
    service.admin(&["host", "enrol", "sql", "--address", "array.example:3261"])?;
    Ok(())
}

/// With a control service loopback is no reason to let anybody in, and a guest of earlier runs is forgotten.
#[test]
fn only_hosts_that_were_added_may_log_in() -> anyhow::Result<()> {
    let mut service = Service::start()?;
    service.add_host("guest-of-earlier-runs")?;
    let guest = lunshadow::serve::GUEST;
    service.admin(&["host", "add", "guest-of-earlier-runs", "--iqn", guest])?;
    service.lun_of("guest-of-earlier-runs", "data")?;
    service.stop()?;
    let service = service.serve_again()?;
    service.add_host("sql")?;
    service.lun_of("sql", "more")?;

    let runtime = Runtime::new()?;
    runtime.block_on(async {
        for stranger in [guest, "iqn.2026-11.org.example:stranger"] {
            let login = Session::login(service.portal, &stranger.parse()?, TARGET_NAME).await;
            ensure!(login.is_err(), "{stranger} was let in");
        }
        let session = Session::login(service.portal, &initiator("sql").parse()?, TARGET_NAME).await?;
        let seen = Disk::new(session.clone(), LunAddress::peripheral(0)).report_luns().await?;
        let seen: Vec<_> = seen.into_iter().filter(|lun| *lun != LunAddress::peripheral(0)).collect();
        ensure!(seen == [LunAddress::peripheral(1)], "{seen:?}");
        session.logout().await?;
        Ok(())
    })
}

#[test]
fn luns_of_a_host_are_captured_at_an_administrators_word() -> anyhow::Result<()> {
    let service = Service::start()?;
    service.add_host("sql")?;
    for lun in ["data", "log"] {
        service.lun_of("sql", lun)?;
    }
    let runtime = Runtime::new()?;
    let fill = |byte| {
        runtime.block_on(async {
            write(&service, 1, 0, 1 << 20, byte).await?;
            write(&service, 2, 0, 1 << 20, byte).await
        })
    };
    fill(0x11)?;
    let set = Uuid::new_v4().to_string();
    let taken = service.admin_json(&["shadow", "create", "data", "log", "--set", &set])?;
    fill(0x22)?;
    ensure!(service.admin_json(&["shadow", "create", "log", "data", "--set", &set])?["sets"] == taken["sets"]);

    let found = &taken["sets"][0];
    ensure!(found["host"] == "sql" && found["summary"]["phase"] == "kept", "{taken}");
    ensure!(service.admin(&["shadow", "list"])?.contains(&set));
    let luns = found["luns"].as_array().context("no shadow LUNs")?;
    ensure!(luns.len() == 2, "{taken}");
    for lun in luns {
        let file = service.pool().with_extension("shadow.img");
        service.admin(&["lun", "export", lun["shadow"].as_str().context("no id")?, text(&file)])?;
        let content = std::fs::read(&file)?;
        ensure!(content[..1 << 20].iter().all(|byte| *byte == 0x11), "the shadow LUN is not of that instant");
        std::fs::remove_file(&file)?;
    }

    for (arguments, part) in [
        (&["shadow", "create", "nothing"][..], "lunshadow lun list"),
        (&["shadow", "create", "data", "--host", "nobody"], "lunshadow host list"),
        (&["shadow", "create", "data", "--set", &set], "kept"),
    ] {
        let line = service.admin_refused(arguments)?;
        ensure!(line.contains(part), "{arguments:?}: {line}");
    }
    Ok(())
}

#[test]
fn a_lun_has_as_many_shadow_luns_as_the_service_says() -> anyhow::Result<()> {
    let mut service = Service::start()?;
    service.add_host("sql")?;
    service.lun_of("sql", "data")?;
    service.stop()?;
    let service = service.serve_again_with(&["--shadows-per-lun", "2"])?;
    let sets: Vec<String> = (0..2).map(|_| Uuid::new_v4().to_string()).collect();
    for set in &sets {
        service.admin(&["shadow", "create", "data", "--set", set])?;
    }
    let line = service.admin_refused(&["shadow", "create", "data"])?;
    ensure!(line.contains('2') && line.contains("shadow LUNs of one LUN"), "{line}");
    service.admin(&["shadow", "delete", &sets[0]])?;
    service.admin(&["shadow", "create", "data"])?;
    Ok(())
}
