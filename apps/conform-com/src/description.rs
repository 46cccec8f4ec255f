//! The file that describes what stands around a provider: `--bed`.
//!
//! ```toml
//! [iscsi]                                # the LUNs, where the array is reached by iSCSI; the suite writes to them
//! initiator = "iqn.1991-05.com.microsoft:sql-1"
//! portal = "192.0.2.10:3260"
//! target = "iqn.2026-11.org.lunshadow:array"
//! sources = ["5f35663c2f6aa9f6b8658a2e3fd80eb3"]
//! scratch-mib = { offset = 16, length = 4 }
//!
//! [array]                                # the control service, where the array is Lunshadow's
//! control = "192.0.2.10:3261"
//! fingerprint = "c01b…"
//! credential-file = 'C:\lunshadow\administrator.credential'
//! host = "sql-1"
//!
//! [provider]
//! end = ["taskkill", "/f", "/im", "provider.exe"]    # what ends the provider's process, for COM to start another one
//! ```
//!
//! Where the array is not reached by iSCSI, LUNs are described as Windows sees them, one `[[lun]]` each, and nothing is written to them:
//!
//! ```toml
//! [[lun]]
//! vendor = "ACME"
//! product = "ARRAY"
//! serial = "Z1D70001"
//! identifiers = [{ code-set = 1, type = 3, hex = "6001…" }]
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use lunshadow_control::{Fingerprint, InitiatorName};
use lunshadow_vss::{BusType, DiskSignature, LUN_INFORMATION_VERSION, LunInformation, StorageIdentifier};
use serde::Deserialize;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Description {
    /// LUNs that are reached by iSCSI.
    pub iscsi: Option<Iscsi>,
    /// LUNs that are described.
    #[serde(default)]
    pub lun: Vec<Lun>,
    /// The array, if it is Lunshadow's.
    pub array: Option<Array>,
    /// The provider.
    #[serde(default)]
    pub provider: Provider,
}

/// LUNs that are reached by iSCSI.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Iscsi {
    /// A name by which the array takes this program for the host of the provider.
    pub initiator: InitiatorName,
    /// Where the array listens.
    pub portal: String,
    /// The target node.
    pub target: String,
    /// The serial numbers of the LUNs that the suite may copy and overwrite.
    pub sources: Vec<String>,
    /// Where on each of them nothing is that matters.
    pub scratch_mib: ScratchMib,
}

/// A piece of a LUN, in MiB.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScratchMib {
    /// Its beginning.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

/// A LUN as Windows sees it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lun {
    vendor: Option<String>,
    product: Option<String>,
    revision: Option<String>,
    serial: Option<String>,
    /// `STORAGE_BUS_TYPE`; iSCSI without it.
    bus_type: Option<u32>,
    #[serde(default)]
    identifiers: Vec<Identifier>,
}

/// A designator of page 0x83.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Identifier {
    code_set: u32,
    r#type: u32,
    hex: String,
}

/// Lunshadow's control service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Array {
    /// Its address.
    pub control: String,
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// The file with the administrator's credential.
    pub credential_file: PathBuf,
    /// What the host of the provider is called there.
    pub host: String,
}

/// The provider.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// A program with its arguments that ends the provider's process.
    #[serde(default)]
    pub end: Vec<String>,
}

impl Description {
    /// Reads the file. Paths in it begin at its folder.
    ///
    /// # Errors
    /// If it cannot be read, or describes nothing that can be tested; with the line.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}, which --bed names", path.display()))?;
        let mut description = Self::parse(&text).with_context(|| format!("in {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        if let Some(array) = &mut description.array {
            array.credential_file = folder.join(&array.credential_file);
        }
        Ok(description)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let description: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            anyhow::anyhow!("{line}{}", error.message().replace('\n', " "))
        })?;
        match (&description.iscsi, &description.lun[..]) {
            (Some(iscsi), []) => {
                ensure!(!iscsi.sources.is_empty(), "sources names no LUN to copy");
                let ScratchMib { offset, length } = iscsi.scratch_mib;
                ensure!(length > 0, "scratch-mib has no length");
                // It is counted in bytes later.
                ensure!(offset.checked_add(length).is_some_and(|end| end < 1 << 44), "scratch-mib is beyond any LUN");
            }
            (None, [_, ..]) => {
                description.luns()?;
            }
            _ => bail!("give the LUNs to copy either as [iscsi] or as [[lun]]"),
        }
        Ok(description)
    }

    /// The serial numbers of the LUNs that the suite may copy.
    #[must_use]
    pub fn serials(&self) -> BTreeSet<String> {
        let attached = self.iscsi.iter().flat_map(|iscsi| iscsi.sources.clone());
        attached.chain(self.lun.iter().filter_map(|lun| lun.serial.clone())).collect()
    }

    /// The LUNs that are described.
    ///
    /// # Errors
    /// If an identifier is not hexadecimal.
    pub fn luns(&self) -> anyhow::Result<Vec<LunInformation>> {
        self.lun.iter().map(Lun::information).collect()
    }
}

impl Lun {
    fn information(&self) -> anyhow::Result<LunInformation> {
        let identifier = |identifier: &Identifier| {
            let bytes = bytes_of(&identifier.hex)
                .with_context(|| format!("the identifier {} is not written in hexadecimal bytes", identifier.hex))?;
            Ok(StorageIdentifier { code_set: identifier.code_set, kind: identifier.r#type, bytes })
        };
        Ok(LunInformation {
            version: LUN_INFORMATION_VERSION,
            device_type: 0,
            device_type_modifier: 0,
            command_queueing: true,
            bus_type: self.bus_type.map_or(BusType::ISCSI, BusType),
            vendor_id: self.vendor.clone(),
            product_id: self.product.clone(),
            product_revision: self.revision.clone(),
            serial_number: self.serial.clone(),
            disk_signature: DiskSignature::default(),
            descriptor_version: 1,
            identifiers: self.identifiers.iter().map(identifier).collect::<anyhow::Result<_>>()?,
            interconnects: Vec::new(),
        })
    }
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISCSI: &str = r#"
        [iscsi]
        initiator = "iqn.2026-11.org.example:sql-1"
        portal = "127.0.0.1:3260"
        target = "iqn.2026-11.org.example:array"
        sources = ["0a1b"]
        scratch-mib = { offset = 16, length = 4 }

        [array]
        control = "127.0.0.1:3261"
        fingerprint = "c01be51ded8bdc3dc076dd06eac8907210f9e60bbe030e346d72f5defd3bbeb9"
        credential-file = "admin"
        host = "sql-1"

        [provider]
        end = ["end", "it"]
    "#;

    const DESCRIBED: &str = r#"
        [[lun]]
        vendor = "ACME"
        serial = "Z1D70001"
        bus-type = 6
        identifiers = [{ code-set = 1, type = 3, hex = "6001ff" }]
    "#;

    #[test]
    fn paths_begin_at_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bed.toml");
        std::fs::write(&path, ISCSI).unwrap();
        let description = Description::read(&path).unwrap();
        assert_eq!(description.array.unwrap().credential_file, folder.path().join("admin"));
        assert_eq!(description.provider.end, ["end", "it"]);
    }

    #[test]
    fn a_lun_is_what_is_described() {
        let lun = Description::parse(DESCRIBED).unwrap().luns().unwrap().remove(0);
        assert_eq!((lun.vendor_id.as_deref(), lun.product_id), (Some("ACME"), None));
        assert_eq!(lun.bus_type, BusType(6));
        assert_eq!(lun.identifiers, [StorageIdentifier { code_set: 1, kind: 3, bytes: vec![0x60, 0x01, 0xff] }]);
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (text, said) in [
            (String::new(), "give the LUNs to copy either as [iscsi] or as [[lun]]"),
            (format!("{ISCSI}{DESCRIBED}"), "give the LUNs to copy either"),
            (ISCSI.replace("portal", "port"), "line 4: unknown field `port`"),
            (ISCSI.replace("\"0a1b\"", ""), "sources names no LUN"),
            (ISCSI.replace("length = 4", "length = 0"), "scratch-mib has no length"),
            (DESCRIBED.replace("6001ff", "6001f"), "the identifier 6001f is not written in hexadecimal bytes"),
            (DESCRIBED.replace("6001ff", "6001fg"), "is not written in hexadecimal bytes"),
        ] {
            let line = format!("{:#}", Description::parse(&text).unwrap_err());
            assert!(line.contains(said) && line.lines().count() == 1, "{said}: {line}");
        }
    }
}
