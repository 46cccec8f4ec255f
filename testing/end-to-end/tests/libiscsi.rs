//! What libiscsi's own programs see of a source LUN and of its shadow LUN.

use anyhow::Context;
use lunshadow_control::{ChapAccount, ChapAccounts, Secret};
use lunshadow_end_to_end::array::{ArrayLun, INITIATOR, TestArray};
use lunshadow_end_to_end::peer::Peer;
use lunshadow_lun::identity_of;

/// A size that is no power of two, so that a mistake in it shows.
const LUN_BYTES: u64 = 37 << 20;

/// An array with one LUN and a shadow LUN of it.
async fn array_with_shadow() -> anyhow::Result<(TestArray, ArrayLun, ArrayLun)> {
    let array = TestArray::start().await?;
    let source = array.add_lun("source", LUN_BYTES).await?;
    let shadow = array.shadow(&[source]).await?[0];
    Ok((array, source, shadow))
}

/// The output of `iscsi-inq` on a LUN, with these arguments besides.
async fn inquiry(inq: &Peer, array: &TestArray, lun: ArrayLun, arguments: &[&str]) -> anyhow::Result<String> {
    let url = array.url(lun);
    inq.succeed(["-i", INITIATOR].iter().chain(arguments).chain([&url.as_str()])).await
}

/// A vital product data page, by number.
async fn page(inq: &Peer, array: &TestArray, lun: ArrayLun, page: u8) -> anyhow::Result<String> {
    inquiry(inq, array, lun, &["-e", "1", "-c", &page.to_string()]).await
}

/// The value after `key` and a colon, on the first line that has it.
fn value<'a>(output: &'a str, key: &str) -> anyhow::Result<&'a str> {
    let line = output.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(':'));
    line.with_context(|| format!("no {key} in\n{output}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_finds_the_target_and_its_luns() -> anyhow::Result<()> {
    let Some(ls) = Peer::find("iscsi-ls") else { return Ok(()) };
    let (array, source, shadow) = array_with_shadow().await?;
    let output = ls.succeed(["-s", "-i", INITIATOR, &format!("iscsi://{}", array.portal())]).await?;
    let target = format!("Target:{} Portal:{},1", array.target_name(), array.portal());
    assert!(output.lines().any(|line| line == target), "{output}");
    // iscsi-ls takes the address of the last block for the number of blocks, and leaves out what is not a whole MiB.
    let size = format!("(Size:{}M)", (LUN_BYTES - 512) >> 20);
    for lun in [source, shadow] {
        let begin = format!("Lun:{}", lun.number.0);
        let line = output.lines().find(|line| line.split_whitespace().next() == Some(&begin));
        assert!(line.is_some_and(|line| line.contains("DIRECT_ACCESS") && line.contains(&size)), "{output}");
    }
    array.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn portal_groups_are_ports_of_their_own() -> anyhow::Result<()> {
    let (Some(ls), Some(inq)) = (Peer::find("iscsi-ls"), Peer::find("iscsi-inq")) else { return Ok(()) };
    let array = TestArray::start_on(vec!["127.0.0.1:0".parse()?, "127.0.0.1:0,2".parse()?]).await?;
    let lun = array.add_lun("source", LUN_BYTES).await?;
    let told = ls.succeed(["-i", INITIATOR, &format!("iscsi://{}", array.portal())]).await?;
    for portal in array.portals() {
        let (address, tag) = (portal.address, portal.group.tag());
        assert!(told.contains(&format!("Portal:{address},{tag}")), "{told}");
        let url = array.url_through(address, lun);
        let identification = inq.succeed(["-i", INITIATOR, "-e", "1", "-c", "131", &url]).await?;
        let name = format!("{},t,0x{tag:04x}", array.target_name());
        assert!(identification.contains(&name), "{identification}");
        let standard = inq.succeed(["-i", INITIATOR, &url]).await?;
        assert_eq!((value(&standard, "TPGS")?, value(&standard, "MultiP")?), ("3", "1"), "{standard}");
    }
    array.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_proves_its_name_is_let_in() -> anyhow::Result<()> {
    let Some(inq) = Peer::find("iscsi-inq") else { return Ok(()) };
    let (array, source, _) = array_with_shadow().await?;
    let account = |name: &str, secret: &str| ChapAccount { name: name.to_owned(), secret: Secret::new(secret) };
    let accounts = ChapAccounts {
        initiator: account("host", "the-hosts-secret"),
        array: Some(account("array", "the-arrays-one")),
    };
    array.catalog().set_chap(array.host(), Some(accounts.clone())).await?;
    let address = array.url(source).replace("iscsi://", "");
    let mutual =
        |secret: &str| format!("iscsi://host%the-hosts-secret@{address}?target_user=array&target_password={secret}");
    for (url, is_let_in) in [
        (format!("iscsi://{address}"), false),
        (format!("iscsi://host%another-secret@{address}"), false),
        (format!("iscsi://another%the-hosts-secret@{address}"), false),
        (format!("iscsi://host%the-hosts-secret@{address}"), true),
        (mutual("the-arrays-one"), true),
        (mutual("another-secret"), false),
    ] {
        let finished = inq.run(["-i", INITIATOR, &url]).await?;
        assert_eq!(finished.status.success(), is_let_in, "{url}: {} {}", finished.stdout, finished.stderr);
    }
    array.catalog().set_chap(array.host(), None).await?;
    inquiry(&inq, &array, source, &[]).await?;
    array.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_see_nothing() -> anyhow::Result<()> {
    let Some(inq) = Peer::find("iscsi-inq") else { return Ok(()) };
    let (array, source, _) = array_with_shadow().await?;
    inquiry(&inq, &array, source, &[]).await?;
    let url = array.url(source);
    let stranger = inq.run(["-i", "iqn.2026-01.com.example:stranger", &url]).await?;
    assert!(!stranger.status.success(), "{}", stranger.stdout);
    array.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_inquiry_data() -> anyhow::Result<()> {
    let Some(inq) = Peer::find("iscsi-inq") else { return Ok(()) };
    let (array, source, shadow) = array_with_shadow().await?;
    for lun in [source, shadow] {
        let output = inquiry(&inq, &array, lun, &[]).await?;
        assert_eq!(value(&output, "Peripheral Qualifier")?, "CONNECTED");
        assert_eq!(value(&output, "Peripheral Device Type")?, "DIRECT_ACCESS");
        assert_eq!(value(&output, "Vendor")?.trim_end(), "LUNSHDW");
        assert_eq!(value(&output, "Product")?.trim_end(), "SHADOW LUN");
        assert_eq!(value(&output, "CmdQue")?, "1");
    }
    array.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_pages_ascends_and_has_what_initiators_need() -> anyhow::Result<()> {
    let Some(inq) = Peer::find("iscsi-inq") else { return Ok(()) };
    let (array, source, _) = array_with_shadow().await?;
    let output = page(&inq, &array, source, 0x00).await?;
    let pages: Vec<&str> = output.lines().filter_map(|line| line.strip_prefix("Page:")?.get(..4)).collect();
    for needed in ["0x00", "0x80", "0x83", "0xb0", "0xb1", "0xb2"] {
        assert!(pages.contains(&needed), "no {needed} in {output}");
    }
    assert!(pages.is_sorted_by(|a, b| a < b), "{output}");
    array.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_lun_has_an_identity_of_its_own() -> anyhow::Result<()> {
    let Some(inq) = Peer::find("iscsi-inq") else { return Ok(()) };
    let (array, source, shadow) = array_with_shadow().await?;
    assert_ne!(source.id, shadow.id);
    for lun in [source, shadow] {
        let identity = identity_of(lun.id);
        let serial = page(&inq, &array, lun, 0x80).await?;
        assert_eq!(serial.trim_end(), format!("Unit Serial Number:[{}]", identity.serial));
        let designators = page(&inq, &array, lun, 0x83).await?;
        assert!(designators.contains(&format!("Designator:[LUNSHDW {}]", identity.serial)), "{designators}");
        let of_lun = designators.lines().filter(|line| line.trim() == "Association:(0) LOGICAL_UNIT").count();
        assert_eq!(of_lun, 2, "{designators}");
    }
    array.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_provisioning() -> anyhow::Result<()> {
    let Some(inq) = Peer::find("iscsi-inq") else { return Ok(()) };
    let (array, source, shadow) = array_with_shadow().await?;
    for lun in [source, shadow] {
        let limits = page(&inq, &array, lun, 0xb0).await?;
        for key in ["maximum transfer length", "maximum unmap lba count", "maximum unmap block descriptor count"] {
            assert_ne!(value(&limits, key)?, "0", "{limits}");
        }
        let characteristics = page(&inq, &array, lun, 0xb1).await?;
        assert!(characteristics.contains("Medium Rotation Rate"), "{characteristics}");
        let provisioning = page(&inq, &array, lun, 0xb2).await?;
        assert_eq!(value(&provisioning, "lbpu")?, "1");
        assert_eq!(value(&provisioning, "lbprz")?, "1");
    }
    array.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn capacity() -> anyhow::Result<()> {
    let Some(readcapacity) = Peer::find("iscsi-readcapacity16") else { return Ok(()) };
    let (array, source, shadow) = array_with_shadow().await?;
    for lun in [source, shadow] {
        let url = array.url(lun);
        let output = readcapacity.succeed(["-i", INITIATOR, &url]).await?;
        assert_eq!(value(&output, "RETURNED LOGICAL BLOCK ADDRESS")?, (LUN_BYTES / 512 - 1).to_string());
        assert_eq!(value(&output, "LOGICAL BLOCK LENGTH IN BYTES")?, "512");
        assert!(output.contains("LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT:3"), "{output}");
        assert_eq!(value(&output, "Total size")?, LUN_BYTES.to_string());
        assert_eq!(value(&output, "LBPME")?, "1 LBPRZ:1");
    }
    array.stop().await
}
