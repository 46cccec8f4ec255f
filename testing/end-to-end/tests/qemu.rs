//! QEMU's block layer, over its own iSCSI initiator, reads and writes a source LUN and reads its shadow LUN.

use std::path::Path;

use lunshadow_end_to_end::array::{ArrayLun, TestArray};
use lunshadow_end_to_end::images::{self, PartitionTable};
use lunshadow_end_to_end::peer::{Peer, argument};

/// Runs `qemu-io` with these commands on a LUN, as a raw disk.
async fn qemu_io(array: &TestArray, lun: ArrayLun, commands: &[&str]) -> anyhow::Result<()> {
    let Some(qemu_io) = Peer::find("qemu-io") else { return Ok(()) };
    let url = array.url(lun);
    let commands = commands.iter().flat_map(|command| ["-c", *command]);
    let output = qemu_io.succeed(["-f", "raw"].into_iter().chain(commands).chain([url.as_str()])).await?;
    // qemu-io succeeds even if a pattern is not the expected one, so that what it says has to be looked at.
    assert!(!output.contains("Pattern verification failed"), "{output}");
    Ok(())
}

/// Whether `qemu-img compare` finds the content of an image on a LUN.
async fn is_same(qemu_img: &Peer, image: &Path, url: &str) -> anyhow::Result<bool> {
    let finished = qemu_img.run(["compare", "-f", "raw", "-F", "raw", argument(image), url]).await?;
    match finished.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => anyhow::bail!("qemu-img compare: {} {}{}", finished.status, finished.stdout, finished.stderr),
    }
}

/// A disk image and an array with a LUN that holds it.
async fn array_with_image(folder: &Path) -> anyhow::Result<Option<(TestArray, ArrayLun, std::path::PathBuf)>> {
    let Some(image) = images::fat_disk(folder, PartitionTable::Gpt).await? else { return Ok(None) };
    let array = TestArray::start().await?;
    let source = array.import("disk", &std::fs::read(&image)?).await?;
    Ok(Some((array, source, image)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_lun_reads_as_the_image_that_was_imported() -> anyhow::Result<()> {
    let Some(qemu_img) = Peer::find_with_iscsi("qemu-img").await else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let Some((array, source, image)) = array_with_image(folder.path()).await? else { return Ok(()) };
    let url = array.url(source);
    let info = qemu_img.succeed(["info", "--output=json", &url]).await?;
    let info: serde_json::Value = serde_json::from_str(&info)?;
    assert_eq!(info["virtual-size"], std::fs::metadata(&image)?.len());
    assert!(is_same(&qemu_img, &image, &url).await?);
    let copy = folder.path().join("copy.img");
    qemu_img.succeed(["convert", "-f", "raw", "-O", "raw", &url, argument(&copy)]).await?;
    assert!(std::fs::read(&copy)? == std::fs::read(&image)?, "the copy differs");
    array.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_lun_stays_what_it_was_while_the_source_is_rewritten() -> anyhow::Result<()> {
    let Some(qemu_img) = Peer::find_with_iscsi("qemu-img").await else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let Some((array, source, image)) = array_with_image(folder.path()).await? else { return Ok(()) };
    let shadow = array.shadow(&[source]).await?[0];
    assert!(is_same(&qemu_img, &image, &array.url(shadow)).await?);

    // The whole source is rewritten; in pieces of odd lengths too.
    let len_bytes = std::fs::metadata(&image)?.len();
    let whole = format!("write -P 0x5a 0 {len_bytes}");
    qemu_io(&array, source, &[&whole, "write -P 0xa5 512 1536", "write -P 0xa6 1048064 70656", "flush"]).await?;
    qemu_io(
        &array,
        source,
        &["read -P 0x5a 0 512", "read -P 0xa5 512 1536", "read -P 0x5a 2048 4096", "read -P 0xa6 1048064 70656"],
    )
    .await?;
    assert!(!is_same(&qemu_img, &image, &array.url(source)).await?, "the source was not rewritten");
    assert!(is_same(&qemu_img, &image, &array.url(shadow)).await?, "the shadow LUN changed");
    array.stop().await
}

/// The other way round: what is written to the shadow LUN, as auto-recovery does, does not reach the source.
#[tokio::test(flavor = "multi_thread")]
async fn writes_to_a_shadow_lun_stay_there() -> anyhow::Result<()> {
    let Some(qemu_img) = Peer::find_with_iscsi("qemu-img").await else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let Some((array, source, image)) = array_with_image(folder.path()).await? else { return Ok(()) };
    let shadow = array.shadow(&[source]).await?[0];
    qemu_io(&array, shadow, &["write -P 0x11 0 1M", "flush", "read -P 0x11 0 1M"]).await?;
    assert!(!is_same(&qemu_img, &image, &array.url(shadow)).await?, "the shadow LUN was not written");
    assert!(is_same(&qemu_img, &image, &array.url(source)).await?, "the source changed");
    array.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_qemu_writes_is_read_back() -> anyhow::Result<()> {
    let Some(qemu_img) = Peer::find_with_iscsi("qemu-img").await else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let Some(image) = images::ext4(folder.path()).await? else { return Ok(()) };
    let array = TestArray::start().await?;
    let lun = array.add_lun("written", images::VOLUME_BYTES).await?;
    let url = array.url(lun);
    qemu_img.succeed(["convert", "-n", "-f", "raw", "-O", "raw", argument(&image), &url]).await?;
    assert!(is_same(&qemu_img, &image, &url).await?);
    assert!(array.content(lun).await? == std::fs::read(&image)?, "the array reads something else");
    array.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn discarded_blocks_read_as_zeros_on_the_source_only() -> anyhow::Result<()> {
    if Peer::find_with_iscsi("qemu-io").await.is_none() {
        return Ok(());
    }
    let array = TestArray::start().await?;
    let source = array.import("full", &vec![0x77; 16 << 20]).await?;
    let shadow = array.shadow(&[source]).await?[0];
    qemu_io(&array, source, &["discard 4M 4M", "flush"]).await?;
    qemu_io(&array, source, &["read -P 0x77 0 4M", "read -P 0 4M 4M", "read -P 0x77 8M 8M"]).await?;
    qemu_io(&array, shadow, &["read -P 0x77 0 16M"]).await?;
    array.stop().await
}
