//! DiskShadow's scripts on simulated hosts, as `docs/diskshadow.md` has them, against the running array.

use std::fs;
use std::process::Output;

use anyhow::{Context as _, ensure};
use lunshadow::array::TARGET_NAME;
use lunshadow_initiator::{Disk, Session};
use lunshadow_scsi::LunAddress;
use tokio::runtime::Runtime;

use crate::rehearsal::{Rehearsal, names};
use crate::service::{Service, initiator, program, text, write};

#[test]
fn the_page_comes_true() -> anyhow::Result<()> {
    let rehearsal = Rehearsal::set_up()?;
    let said = rehearsal.succeed("create.dsh", "sql")?;
    ensure!(said.contains("writer SqlServerWriter takes part"), "{said}");
    ensure!(said.contains("number of transportable shadow copies created: 2"), "{said}");
    // Both LUNs are in one set, which stays, and nobody sees them yet.
    ensure!(rehearsal.shadow_hosts()? == [vec![""; 0], vec![]], "{:#?}", rehearsal.sets()?);
    ensure!(rehearsal.sets()?[0]["summary"]["phase"] == "kept");
    ensure!(&fs::read(rehearsal.path("c/backup/nightly.cab"))?[..4] == b"MSCF");

    let said = rehearsal.succeed("copy.dsh", "backup")?;
    ensure!(said.contains("number of shadow copies listed: 2") && said.contains("%Logs%"), "{said}");
    ensure!(said.contains("number of shadow copies deleted: 2"), "{said}");
    let copied = fs::read_to_string(rehearsal.path("c/backup/copied.txt"))?;
    let set =
        said.lines().find_map(|line| line.strip_prefix("alias %VSS_SHADOW_SET% = ")).context("the set's alias")?;
    ensure!(copied.trim().ends_with(&format!("of {set}")) && copied.matches('{').count() == 3, "{copied}");
    ensure!(rehearsal.sets()?.is_empty(), "{:#?}", rehearsal.sets()?);
    // The credentials that the enrolment strings brought are good for more than one script.
    ensure!(rehearsal.lines("list providers", "sql")?.contains("Lunshadow"));
    Ok(())
}

#[test]
fn persistent_copies_are_known_to_the_next_script_and_volatile_ones_are_gone() -> anyhow::Result<()> {
    let rehearsal = Rehearsal::set_up()?;
    rehearsal.lines("add volume E:\ncreate", "sql")?;
    ensure!(rehearsal.sets()?.is_empty(), "{:#?}", rehearsal.sets()?);

    let said = rehearsal
        .lines("set context persistent\nadd volume e:\nadd volume f:\ncreate\nexpose %VSS_SHADOW_2% X:", "sql")?;
    let portal = rehearsal.service.portal.to_string();
    ensure!(said.contains("stands for X:") && said.contains(&format!("iscsi://{portal}/{TARGET_NAME}/")), "{said}");
    ensure!(rehearsal.shadow_hosts()? == [["sql"], ["sql"]]);
    let listed = rehearsal.lines("list shadows all", "sql")?;
    ensure!(listed.contains("[E:]") && listed.contains("number of shadow copies listed: 2"), "{listed}");
    let deleted = rehearsal.lines("delete shadows oldest f:\nlist shadows all\ndelete shadows volume e:", "sql")?;
    ensure!(deleted.contains("number of shadow copies listed: 1"), "{deleted}");
    ensure!(rehearsal.sets()?.is_empty(), "{:#?}", rehearsal.sets()?);
    ensure!(rehearsal.lines("list shadows all", "sql")?.contains("listed: 0"));

    // What somebody else has deleted is missed, and keeps nothing from being done.
    rehearsal.lines("set context persistent\nadd volume e:\ncreate", "sql")?;
    let sets = rehearsal.sets()?;
    rehearsal.service.admin(&["shadow", "delete", sets[0]["summary"]["set"].as_str().context("an id")?])?;
    rehearsal.file("list.dsh", "list shadows all")?;
    let Output { status, stdout, stderr } = rehearsal.run(&["script", "list.dsh"], "sql")?;
    let (stdout, stderr) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
    ensure!(status.success() && stdout.contains("listed: 0"), "{status}: {stdout}");
    ensure!(stderr.contains("are not on host sql now") && stderr.contains("sql.shadows.json"), "{stderr}");
    Ok(())
}

#[test]
fn two_volumes_of_a_lun_have_one_shadow_lun_that_goes_with_the_last_of_them() -> anyhow::Result<()> {
    let rehearsal = Rehearsal::set_up()?;
    fs::write(rehearsal.path("halves"), two_partitions())?;
    rehearsal.service.admin(&["lun", "import", text(&rehearsal.path("halves")), "halves"])?;
    rehearsal.service.admin(&["lun", "map", "halves", "sql"])?;
    let hosts = fs::read_to_string(rehearsal.path("hosts.toml"))?;
    let (sql, others) = hosts.split_once("name = \"backup\"").context("the page has that host behind the first one")?;
    let sql = sql.trim_end().trim_end_matches("[[host]]");
    let volume = |mount: &str, partition: u8| {
        format!("[[host.volume]]\nmount = \"{mount}\"\nlun = 3\npartition = {partition}\n")
    };
    let halves = volume("G:", 1) + &volume("H:", 2);
    rehearsal.file("hosts.toml", &format!("{sql}\n{halves}[[host]]\nname = \"backup\"{others}"))?;

    let said =
        rehearsal.lines("set context persistent\nadd volume G:\nadd volume H:\ncreate\nlist shadows all", "sql")?;
    ensure!(said.contains("number of shadow copies listed: 2"), "{said}");
    ensure!(rehearsal.shadow_hosts()? == [["sql"]], "two copies, and one LUN: {:#?}", rehearsal.sets()?);
    let listed = rehearsal.lines("delete shadows volume g:\nlist shadows all", "sql")?;
    ensure!(listed.contains("number of shadow copies listed: 1"), "{listed}");
    ensure!(rehearsal.shadow_hosts()? == [["sql"]], "the other copy is on it: {:#?}", rehearsal.sets()?);
    rehearsal.lines("delete shadows volume h:", "sql")?;
    ensure!(rehearsal.sets()?.is_empty(), "{:#?}", rehearsal.sets()?);
    Ok(())
}

/// A disk with an MBR: two primary partitions of 7 MiB each, whose content nobody knows.
fn two_partitions() -> Vec<u8> {
    const MEBIBYTE_SECTORS: u32 = 2048;
    let mut disk = vec![0; 16 << 20];
    disk[440..444].copy_from_slice(&0x5eed_0002_u32.to_le_bytes());
    for (place, start_mebibytes) in [(446, 1_u32), (462, 8)] {
        disk[place + 4] = 7;
        disk[place + 8..place + 12].copy_from_slice(&(start_mebibytes * MEBIBYTE_SECTORS).to_le_bytes());
        disk[place + 12..place + 16].copy_from_slice(&(7 * MEBIBYTE_SECTORS).to_le_bytes());
    }
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

#[test]
fn a_broken_set_becomes_luns_of_their_own_and_a_masked_one_can_come_back() -> anyhow::Result<()> {
    let rehearsal = Rehearsal::set_up()?;
    rehearsal.succeed("create.dsh", "sql")?;
    let load = "load metadata C:\\backup\\nightly.cab\nimport\n";
    rehearsal.lines(&format!("{load}mask %VSS_SHADOW_SET%"), "backup")?;
    ensure!(rehearsal.shadow_hosts()? == [vec![""; 0], vec![]], "{:#?}", rehearsal.sets()?);

    rehearsal.lines(load, "backup")?;
    ensure!(rehearsal.shadow_hosts()? == [["backup"], ["backup"]]);
    // The next script knows the set, but has to be told what it is called.
    let listed = rehearsal.lines("list shadows all", "backup")?;
    let set = listed.split_whitespace().skip_while(|word| *word != "set").nth(1).context("a set")?;
    rehearsal.lines(&format!("break writable nomask {set}"), "backup")?;
    ensure!(rehearsal.sets()?.is_empty(), "{:#?}", rehearsal.sets()?);
    let luns = rehearsal.service.admin_json(&["lun", "list"])?;
    let of_backup: Vec<_> = luns["luns"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|lun| names(&lun["hosts"], "host") == ["backup"])
        .collect();
    ensure!(of_backup.len() == 2, "{luns:#}");
    ensure!(rehearsal.lines("list shadows all", "backup")?.contains("listed: 0"));
    Ok(())
}

#[test]
fn a_resync_brings_the_content_back() -> anyhow::Result<()> {
    let rehearsal = Rehearsal::set_up()?;
    let runtime = Runtime::new()?;
    let before = runtime.block_on(content(&rehearsal.service))?;
    rehearsal.succeed("create.dsh", "sql")?;
    runtime.block_on(write(&rehearsal.service, 1, 8 << 20, 1 << 20, 0xa5))?;
    ensure!(runtime.block_on(content(&rehearsal.service))? != before);
    let load = "load metadata C:\\backup\\nightly.cab\n";
    let refused = rehearsal.refused(&format!("{load}import\nrevert %Data%"), "sql")?;
    ensure!(refused.contains("line 3: ") && refused.contains("`resync`"), "{refused}");
    rehearsal.lines(&format!("{load}begin restore\nadd shadow %Data%\nresync novolcheck\nend restore"), "sql")?;
    ensure!(runtime.block_on(content(&rehearsal.service))? == before);
    Ok(())
}

/// What the page's host has on a part of its first LUN.
async fn content(service: &Service) -> anyhow::Result<Vec<u8>> {
    let session = Session::login(service.portal, &initiator("sql").parse()?, TARGET_NAME).await?;
    let disk = Disk::new(session.clone(), LunAddress::peripheral(1));
    let content = disk.read((8 << 20) / 512, 2048).await?;
    session.logout().await?;
    Ok(content.to_vec())
}

#[test]
fn scripts_stop_in_one_line_and_leave_nothing_behind() -> anyhow::Result<()> {
    let rehearsal = Rehearsal::set_up()?;
    for (script, said) in [
        (
            "# a volume that is not there\nadd volume G:",
            "lunshadow: lines.dsh: line 2: there is no volume G: on this host; it has E:, F:",
        ),
        (
            "set context clientaccessible\nadd volume E:",
            "line 2: no provider of this host makes client-accessible shadow copies",
        ),
        ("add volume E: provider {00000000-0000-0000-0000-000000000001}", "line 1: no provider {00000000"),
        (
            "set option transportable\nset metadata D:\\a.cab\nadd volume E:\ncreate",
            "line 4: nothing stands for drive D: of host sql",
        ),
        (
            "set option transportable\nset metadata no/such/a.cab\nadd volume E:\ncreate",
            "line 4: cannot write the metadata in no/such/a.cab",
        ),
        ("load metadata hosts.toml", "line 1: cannot read the metadata in hosts.toml"),
        ("set context persistent\nadd volume E:\ncreate\nexec nothing.cmd", "line 4: cannot run nothing.cmd"),
        ("exec C:\\backup\\fails.cmd", "line 1: C:\\backup\\fails.cmd failed with status 3"),
        (
            "delete shadows all\nexpose {00000000-0000-0000-0000-000000000001} X:",
            "line 2: there is no shadow copy {0000",
        ),
    ] {
        rehearsal.file("c/backup/fails.cmd", "#!/bin/sh\nexit 3\n")?;
        fs::set_permissions(
            rehearsal.path("c/backup/fails.cmd"),
            fs::metadata(rehearsal.path("c/backup/copy.cmd"))?.permissions(),
        )?;
        let refused = rehearsal.refused(script, "sql")?;
        ensure!(refused.contains(said), "{said}: {refused}");
    }
    ensure!(rehearsal.sets()?.is_empty(), "{:#?}", rehearsal.sets()?);

    // A writer that cannot freeze keeps the set from existing, and is seen to have failed.
    let hosts = fs::read_to_string(rehearsal.path("hosts.toml"))?;
    rehearsal.file("hosts.toml", &hosts.replace("components = ", "fails-at = \"freeze\"\ncomponents = "))?;
    let refused = rehearsal.refused("set context persistent\nadd volume E:\ncreate", "sql")?;
    ensure!(refused.contains("line 3: ") && refused.contains("VSS_E_WRITERERROR_NONRETRYABLE"), "{refused}");
    ensure!(rehearsal.sets()?.is_empty(), "{:#?}", rehearsal.sets()?);
    rehearsal.lines("writer exclude SqlServerWriter\nadd volume E:\ncreate", "sql")?;

    let Output { status, stderr, .. } = rehearsal.run(&["script", "no.dsh"], "sql")?;
    ensure!(status.code() == Some(2), "{status}: {}", String::from_utf8_lossy(&stderr));
    let Output { status, stderr, .. } = rehearsal.run(&["script", "create.dsh"], "nobody")?;
    let stderr = String::from_utf8(stderr)?;
    ensure!(
        status.code() == Some(2) && stderr.contains("there is no host nobody; the file has sql, backup"),
        "{stderr}"
    );
    Ok(())
}

#[test]
fn a_prompt_goes_on_after_an_error_and_a_pool_may_be_in_the_process() -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::process::Stdio;

    let mut rehearsal = Rehearsal::set_up()?;
    rehearsal.service.stop()?;
    let pool = rehearsal.service.pool();
    let hosts = format!(
        "[[host]]\nname = \"sql\"\ninitiator = \"{}\"\npool = \"{}\"\n[[host.volume]]\nmount = \"E:\"\nlun = 1\npartition = 1\n",
        initiator("sql"),
        text(&pool)
    );
    rehearsal.file("hosts.toml", &hosts)?;
    let mut command = program(["shadow", "prompt"]);
    command.current_dir(rehearsal.folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let lines = b"add volume E:\nmake\ncreate\nlist shadows all\nexit\nlist shadows all\n";
    child.stdin.take().context("it is piped")?.write_all(lines)?;
    let Output { status, stdout, stderr } = child.wait_with_output()?;
    let (stdout, stderr) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
    ensure!(
        status.success() && stderr == "lunshadow: there is no command \"make\"; `help` lists all\n",
        "{status}: {stderr}"
    );
    ensure!(stdout.matches("number of shadow copies listed: 1").count() == 2, "{stdout}");

    let rehearsal = Rehearsal { service: rehearsal.service.serve_again()?, folder: rehearsal.folder };
    ensure!(rehearsal.sets()?.is_empty(), "{:#?}", rehearsal.sets()?);
    Ok(())
}
