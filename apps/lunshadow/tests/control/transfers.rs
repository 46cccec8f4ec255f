//! LUNs out of image files and into them, of a pool that is served and of one that is not.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use lunshadow_end_to_end::peer::Peer;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::service::{Service, kept_shadows, program, refused, run, succeed, text, write};

const MIB: u64 = 1 << 20;
const LEN_BYTES: u64 = 40 * MIB + 512;

/// A sparse image with content at its beginning, across a border of what is read at a time, in a hole, and in its last block.
fn make_image(path: &Path) -> anyhow::Result<()> {
    let file = File::create_new(path)?;
    file.set_len(LEN_BYTES)?;
    for (at, len, byte) in
        [(0, 65536, 1), (5 * MIB - 100, 4196, 2), (20 * MIB + 4096, 512, 3), (LEN_BYTES - 512, 512, 4)]
    {
        file.write_all_at(&vec![byte; usize::try_from(len)?], at)?;
    }
    // Zeros that are stored.
    Ok(file.write_all_at(&vec![0; 1 << 20], 30 * MIB)?)
}

fn is_sparse(path: &Path) -> anyhow::Result<bool> {
    Ok(std::fs::metadata(path)?.blocks() * 512 < 4 * MIB)
}

/// Standard output as one document.
fn json<'a>(arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&succeed(arguments)?)?)
}

/// Imports an image, exports it again, and compares; the pool is served or not.
fn there_and_back(pool: &Path, folder: &Path) -> anyhow::Result<()> {
    let (image, back) = (folder.join("image"), folder.join("back"));
    make_image(&image)?;
    let pool = ["--pool", text(pool), "--json"];
    let with = |arguments: &[&'static str]| arguments.iter().copied().chain(pool).collect::<Vec<_>>();
    let made = json(["lun", "import", text(&image), "disk"].into_iter().chain(pool))?;
    ensure!(made["len_bytes"] == LEN_BYTES && made["format"] == "raw", "{made:#}");
    let status = json(with(&["pool", "status"]))?;
    let disk = &status["luns"][0];
    ensure!(disk["name"] == "disk" && disk["len_bytes"] == LEN_BYTES, "{status:#}");
    ensure!(disk["mapped_bytes"].as_u64().is_some_and(|mapped| mapped < 128 << 10), "zeros take space: {status:#}");

    json(["lun", "export", "disk", text(&back)].into_iter().chain(pool))?;
    ensure!(std::fs::read(&image)? == std::fs::read(&back)?, "the images differ");
    ensure!(is_sparse(&back)?, "the image is not sparse");

    let exists = refused(["lun", "export", "disk", text(&back)].into_iter().chain(pool))?;
    ensure!(exists.contains("exists; remove it, or say --force"), "{exists}");
    std::fs::write(&back, "something else")?;
    json(["lun", "export", "disk", text(&back), "--force"].into_iter().chain(pool))?;
    ensure!(std::fs::read(&image)? == std::fs::read(&back)?, "the images differ");
    let taken = refused(["lun", "import", text(&image), "disk"].into_iter().chain(pool))?;
    ensure!(taken.contains("the name disk is taken"), "{taken}");
    let unknown = refused(["lun", "export", "nothing", text(&folder.join("other"))].into_iter().chain(pool))?;
    ensure!(unknown.contains("there is no LUN nothing"), "{unknown}");

    let status = json(with(&["pool", "status"]))?;
    ensure!(status["luns"].as_array().is_some_and(|luns| luns.len() == 1), "something is left: {status:#}");
    let mut names: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<anyhow::Result<_>>()?;
    names.sort();
    ensure!(names == ["back", "image"], "something is left: {names:?}");
    Ok(())
}

#[test]
fn a_raw_image_comes_back_as_it_was_through_a_pool_that_is_served() -> anyhow::Result<()> {
    let (service, folder) = (Service::start()?, tempfile::tempdir()?);
    there_and_back(&service.pool(), folder.path())
}

#[test]
fn a_raw_image_comes_back_as_it_was_through_a_pool_that_is_not_served() -> anyhow::Result<()> {
    let folders = (tempfile::tempdir()?, tempfile::tempdir()?);
    let pool = folders.0.path().join("pool");
    succeed(["pool", "create", text(&pool), "--size", "1GiB"])?;
    there_and_back(&pool, folders.1.path())
}

#[test]
fn an_export_is_of_one_instant_and_of_shadow_luns_too() -> anyhow::Result<()> {
    let (service, folder) = (Service::start()?, tempfile::tempdir()?);
    let enrolment = service.enrolled("sql")?;
    let lun = service.lun_of("sql", "data")?;
    let runtime = Runtime::new()?;
    runtime.block_on(write(&service, 1, 0, MIB / 2, 1))?;
    let shadow = kept_shadows(&enrolment, &[lun])?[0].to_string();
    runtime.block_on(write(&service, 1, 0, MIB / 2, 2))?;
    for (source, byte) in [("data", 2), (shadow.as_str(), 1)] {
        let file = folder.path().join(source);
        service.admin(&["lun", "export", source, text(&file)])?;
        let content = std::fs::read(&file)?;
        ensure!(content.len() as u64 == MIB && content[..1 << 19].iter().all(|found| *found == byte), "{source}");
        ensure!(content[1 << 19..].iter().all(|found| *found == 0), "{source}");
    }
    Ok(())
}

#[test]
fn other_formats_go_through_qemu_img_there_and_back() -> anyhow::Result<()> {
    let Some(qemu_img) = Peer::find("qemu-img") else { return Ok(()) };
    let (mut service, folder) = (Service::start()?, tempfile::tempdir()?);
    let runtime = Runtime::new()?;
    let [image, qcow2, back, vmdk] =
        ["image", "image.qcow2", "back.qcow2", "back.vmdk"].map(|name| folder.path().join(name));
    make_image(&image)?;
    runtime.block_on(qemu_img.succeed(["convert", "-f", "raw", "-O", "qcow2", text(&image), text(&qcow2)]))?;

    let made = service.admin_json(&["lun", "import", text(&qcow2), "disk"])?;
    ensure!(made["len_bytes"] == LEN_BYTES && made["format"] == "qcow2", "{made:#}");
    let status = service.admin_json(&["pool", "status"])?;
    let mapped = status["luns"][0]["mapped_bytes"].as_u64().context("a number")?;
    ensure!(mapped < MIB, "zeros take space: {status:#}");
    service.admin(&["lun", "export", "disk", text(&back), "--format", "qcow2"])?;
    runtime.block_on(qemu_img.succeed(["compare", "-f", "raw", "-F", "qcow2", text(&image), text(&back)]))?;
    ensure!(is_sparse(&back)?, "the image is not sparse");

    // The same with the pool opened by the command.
    service.stop()?;
    service.admin(&["lun", "export", "disk", text(&vmdk), "--format", "vmdk"])?;
    runtime.block_on(qemu_img.succeed(["compare", "-f", "raw", "-F", "vmdk", text(&image), text(&vmdk)]))?;
    let again = service.admin_json(&["lun", "import", text(&vmdk), "again"])?;
    ensure!(again["format"] == "vmdk", "{again:#}");
    Ok(())
}

#[test]
fn a_transfer_that_fails_says_why_in_one_line_and_leaves_nothing() -> anyhow::Result<()> {
    let (service, folder) = (Service::start()?, tempfile::tempdir()?);
    let image = folder.path().join("image");
    for (arguments, part) in [
        (vec!["lun", "import", text(&image), "disk"], "cannot read"),
        (vec!["lun", "import", text(folder.path()), "disk"], "is not a file"),
        (vec!["lun", "export", "disk", text(folder.path())], "is there and no file"),
        (vec!["lun", "export", "disk", "/no/such/folder/image"], "cannot write in /no/such/folder"),
    ] {
        let line = service.admin_refused(&arguments)?;
        ensure!(line.contains(part), "{arguments:?}: {line}");
    }
    // Without qemu-img.
    std::fs::write(&image, b"QFI\xfb and nothing that belongs to it")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_lunshadow"));
    command.args(["lun", "import", text(&image), "disk", "--pool", text(&service.pool())]);
    let output = command.env("PATH", folder.path()).env_remove("RUST_LOG").output()?;
    let line = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(2) && line.lines().count() == 1, "{line}");
    ensure!(line.contains("qemu-img, which reads and writes qcow2 images, is not there"), "{line}");
    if Peer::find("qemu-img").is_some() {
        // An image that is damaged where only the conversion finds it would need one of qemu's making; this one is no image at all.
        let line = service.admin_refused(&["lun", "import", text(&image), "disk"])?;
        ensure!(line.contains("qemu-img failed"), "{line}");
    }
    let status = service.admin_json(&["pool", "status"])?;
    ensure!(status["luns"] == serde_json::json!([]), "{status:#}");
    Ok(())
}

#[test]
fn an_import_that_a_full_pool_ends_or_a_crash_interrupts_leaves_nothing() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (pool, image) = (folder.path().join("pool"), folder.path().join("image"));
    succeed(["pool", "create", text(&pool), "--size", "128MiB"])?;
    std::fs::write(&image, vec![7; 100 << 20])?;
    let full = refused(["lun", "import", text(&image), "disk", "--pool", text(&pool)])?;
    ensure!(full.contains("no space left"), "{full}");
    let status: Value = json(["pool", "status", text(&pool), "--json"])?;
    ensure!(status["luns"] == serde_json::json!([]), "{status:#}");

    // An administrator's program that begins and is never heard of again, and an array that is killed.
    let mut service = Service::start()?;
    let client = service.admin_client()?;
    let begun = client.begin_import("disk", MIB)?;
    client.write_blocks(begun.transfer, 8, &[5; 4096])?;
    ensure!(client.read_blocks(begun.transfer, 8, 8)? == [5; 4096]);
    ensure!(client.begin_import("disk", MIB).is_err(), "the name is taken meanwhile");
    ensure!(service.admin_json(&["lun", "list"])?["luns"] == serde_json::json!([]), "it is seen before it is whole");
    let made = service.admin_json(&["lun", "create", "other", "--size", "1MiB"])?["lun"].clone();
    let exported = client.begin_export("other")?;
    ensure!(client.write_blocks(exported.transfer, 0, &[5; 512]).is_err(), "an export is written to");
    service.kill()?;
    let service = service.serve_again()?;
    let status = service.admin_json(&["pool", "status"])?;
    ensure!(status["luns"].as_array().is_some_and(|luns| luns.len() == 1), "{status:#}");
    ensure!(status["luns"][0]["lun"] == made, "{status:#}");
    ensure!(run(["lun", "create", "disk", "--size", "1MiB", "--pool", text(&service.pool())])?.status.success());
    Ok(())
}

/// Begins an import or export, interrupts it as Ctrl-C does when the service has something of it, and answers the line that the user sees.
fn interrupted(service: &Service, arguments: &[&str], before: usize) -> anyhow::Result<String> {
    let pool = service.pool();
    let mut command = program(arguments.iter().copied().chain(["--pool", text(&pool)]));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let client = service.admin_client()?;
    // It ends at the latest with the transfer, which is then refused below for not having been interrupted.
    while client.pool_luns(None)?.luns.len() == before && !has_ended(&child)? {
        std::thread::yield_now();
    }
    let sent = Command::new("sh").args(["-c", "kill -s INT \"$0\"", &child.id().to_string()]).status()?;
    ensure!(sent.success(), "kill: {sent}");
    let output = child.wait_with_output()?;
    let line = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(2) && output.stdout.is_empty(), "{}: {line}", output.status);
    ensure!(line.lines().count() == 1 && line.starts_with("lunshadow: "), "{line}");
    Ok(line)
}

/// Whether a child is there only to be waited for.
fn has_ended(child: &std::process::Child) -> anyhow::Result<bool> {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    Ok(status.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

#[test]
fn a_transfer_that_the_user_interrupts_says_so_and_leaves_nothing() -> anyhow::Result<()> {
    let (service, folder) = (Service::start()?, tempfile::tempdir()?);
    let (image, back) = (folder.path().join("image"), folder.path().join("back"));
    std::fs::write(&image, vec![7; 256 << 20])?;
    let line = interrupted(&service, &["lun", "import", text(&image), "disk"], 0)?;
    ensure!(line.contains("it was interrupted; nothing is left of it"), "{line}");
    let status = service.admin_json(&["pool", "status"])?;
    ensure!(status["luns"] == serde_json::json!([]), "{status:#}");

    // The name is free again.
    std::fs::write(&image, vec![7; 32 << 20])?;
    service.admin(&["lun", "import", text(&image), "disk"])?;
    let line = interrupted(&service, &["lun", "export", "disk", text(&back)], 1)?;
    ensure!(line.contains("it was interrupted; nothing is left of it"), "{line}");
    let status = service.admin_json(&["pool", "status"])?;
    ensure!(status["luns"].as_array().is_some_and(|luns| luns.len() == 1), "{status:#}");
    let names: Vec<_> =
        std::fs::read_dir(folder.path())?.map(|entry| Ok(entry?.file_name())).collect::<anyhow::Result<_>>()?;
    ensure!(names == ["image"], "something is left: {names:?}");
    Ok(())
}
