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
//! program = "provider.exe"                           # its name, by which the process's memory is looked at
//! events = ["wevtutil", "query-events", "Application", "/format:RenderedXml", "/unicode:true",     # tells the provider's events behind a number
//!     "/query:*[System[Provider[@Name='ACME VSS Provider'] and EventRecordID > {after}]]"]
//!
//! [trouble]                                          # programs that make the array be in trouble, each where there is one
//! unreachable = ["array", "cut-off"]
//! full = ["array", "fill"]
//! preparing = ["array", "prepare-for-ever"]
//! commit-fails = ["array", "fail-commits"]
//! commit-takes = ["array", "delay-commits", "{ms}"]
//! resyncing = ["array", "resync-for-ever"]
//! resync-fails = ["array", "fail-resyncs"]
//! deleting = ["array", "delete-for-ever"]
//! sound = ["array", "restore"]                       # ends each of them, and may come twice
//!
//! [importer]                                         # a second host, which may import what the first one creates; this machine plays it too
//! initiator = "iqn.1991-05.com.microsoft:sql-2"      # its name, at the portal of [iscsi]
//! host = "sql-2"                                     # what the control service of [array] calls it
//! enter = ["settings", "sql-2"]                      # has the provider be that host's, from its next process on
//! leave = ["settings", "sql-1"]                      # has it be the first host's again
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
//!
//! Statements about sets of 64 LUNs need 64 others, of which none is written to: `crowd` in `[iscsi]` has their serial numbers where the same
//! initiator sees them, and otherwise each is a `[[crowd]]`, with the keys of a `[[lun]]`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use lunshadow_control::{Fingerprint, InitiatorName};
use lunshadow_vss::{BusType, DiskSignature, LUN_INFORMATION_VERSION, LunInformation, StorageIdentifier};
use serde::Deserialize;

/// How many LUNs a set may have, and a crowd has to have.
pub const CROWD: usize = 64;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Description {
    /// LUNs that are reached by iSCSI.
    pub iscsi: Option<Iscsi>,
    /// LUNs that are described.
    #[serde(default)]
    pub lun: Vec<Lun>,
    /// LUNs for sets of many, which are described.
    #[serde(default)]
    pub crowd: Vec<Lun>,
    /// The array, if it is Lunshadow's.
    pub array: Option<Array>,
    /// The provider.
    #[serde(default)]
    pub provider: Provider,
    /// What makes the array be in trouble.
    #[serde(default)]
    pub trouble: Trouble,
    /// A second host.
    pub importer: Option<Importer>,
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
    /// The serial numbers of the LUNs for sets of many.
    #[serde(default)]
    pub crowd: Vec<String>,
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
    /// The name of the program's file.
    pub program: Option<String>,
    /// A program with its arguments that prints the provider's events, those whose number is above the one that `{after}` stands for.
    #[serde(default)]
    pub events: Vec<String>,
}

/// Programs with their arguments that make the array be in trouble; what has none cannot be had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Trouble {
    /// It cannot be reached.
    pub unreachable: Vec<String>,
    /// It has no room for a shadow copy.
    pub full: Vec<String>,
    /// Preparations do not come to their end.
    pub preparing: Vec<String>,
    /// Commits fail.
    pub commit_fails: Vec<String>,
    /// Commits succeed after a time, which stands for `{ms}`, in milliseconds.
    pub commit_takes: Vec<String>,
    /// Resyncs run and do not come to their end.
    pub resyncing: Vec<String>,
    /// Resyncs fail.
    pub resync_fails: Vec<String>,
    /// Deletions do not come to their end.
    pub deleting: Vec<String>,
    /// It is sound again, whatever it was.
    pub sound: Vec<String>,
}

/// A host that may import the shadow copies of the first one. The same machine plays it, so that one of the two has a provider at a time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Importer {
    /// A name by which the array takes this program for that host; where the LUNs are reached by iSCSI.
    pub initiator: Option<InitiatorName>,
    /// What the host is called at the control service; where there is one.
    pub host: Option<String>,
    /// A program with its arguments that has the provider's processes be that host's from now on.
    pub enter: Vec<String>,
    /// One that has them be the first host's again. It may come twice.
    pub leave: Vec<String>,
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
        let crowd = description.crowd.len() + description.iscsi.as_ref().map_or(0, |iscsi| iscsi.crowd.len());
        ensure!(crowd == 0 || crowd >= CROWD, "a crowd has {CROWD} LUNs, and this one has {crowd}");
        let attached = description.iscsi.as_ref().is_some_and(|iscsi| !iscsi.crowd.is_empty());
        ensure!(!attached || description.crowd.is_empty(), "give the crowd either in [iscsi] or as [[crowd]]");
        description.crowd()?;
        let trouble = &description.trouble;
        ensure!(
            !trouble.sound.is_empty() || *trouble == Trouble::default(),
            "[trouble] has no way back: sound is missing"
        );
        description.importer.iter().try_for_each(|importer| importer.check(&description))?;
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
        let attached = self.iscsi.iter().flat_map(|iscsi| iscsi.sources.iter().chain(&iscsi.crowd).cloned());
        let described = self.lun.iter().chain(&self.crowd);
        attached.chain(described.filter_map(|lun| lun.serial.clone())).collect()
    }

    /// The LUNs that are described.
    ///
    /// # Errors
    /// If an identifier is not hexadecimal.
    pub fn luns(&self) -> anyhow::Result<Vec<LunInformation>> {
        self.lun.iter().map(Lun::information).collect()
    }

    /// The LUNs for sets of many that are described.
    ///
    /// # Errors
    /// As for [`luns`](Self::luns).
    pub fn crowd(&self) -> anyhow::Result<Vec<LunInformation>> {
        self.crowd.iter().map(Lun::information).collect()
    }
}

impl Importer {
    /// Whether all is there that a second host needs beside the rest of the file.
    fn check(&self, description: &Description) -> anyhow::Result<()> {
        ensure!(!self.enter.is_empty() && !self.leave.is_empty(), "[importer] needs programs for enter and leave");
        ensure!(!description.provider.end.is_empty(), "[importer] needs end in [provider]: one class has one process");
        ensure!(
            description.iscsi.is_none() || self.initiator.is_some(),
            "say in [importer] by which initiator the second host logs in"
        );
        ensure!(
            description.array.is_none() || self.host.is_some(),
            "say in [importer] which host of [array] the second host is"
        );
        Ok(())
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

    fn crowd(count: usize) -> String {
        (0..count).map(|number| format!("[[crowd]]\nserial = \"C{number}\"\n")).collect()
    }

    /// The end of `[iscsi]`, with a crowd in it.
    fn listed(count: usize) -> String {
        let serials: Vec<String> = (0..count).map(|number| format!("\"C{number}\"")).collect();
        format!("length = 4 }}\ncrowd = [{}]", serials.join(", "))
    }

    const IMPORTER: &str = r#"
        [importer]
        initiator = "iqn.2026-11.org.example:sql-2"
        host = "sql-2"
        enter = ["enter"]
        leave = ["leave"]
    "#;

    #[test]
    fn a_crowd_belongs_to_the_suite_however_it_is_given() {
        for text in [format!("{DESCRIBED}{}", crowd(64)), ISCSI.replace("length = 4 }", &listed(64))] {
            let description = Description::parse(&text).unwrap();
            assert_eq!(description.serials().iter().filter(|serial| serial.starts_with('C')).count(), 64);
        }
    }

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
            (format!("{DESCRIBED}[[crowd]]\nserial = \"1\"\n"), "a crowd has 64 LUNs, and this one has 1"),
            (
                format!("{ISCSI}\n{}", crowd(64)).replace("length = 4 }", &listed(64)),
                "either in [iscsi] or as [[crowd]]",
            ),
            (format!("{DESCRIBED}[trouble]\nfull = [\"fill\"]\n"), "[trouble] has no way back"),
            (format!("{DESCRIBED}{IMPORTER}"), "[importer] needs end in [provider]"),
            (format!("{ISCSI}{IMPORTER}").replace("[\"enter\"]", "[]"), "needs programs for enter and leave"),
            (format!("{ISCSI}{}", IMPORTER.replace("initiator =", "# ")), "by which initiator the second host logs in"),
            (format!("{ISCSI}{}", IMPORTER.replace("host =", "# ")), "which host of [array] the second host is"),
            (format!("{DESCRIBED}[trouble]\nfuller = [\"fill\"]\n"), "unknown field `fuller`"),
        ] {
            let line = format!("{:#}", Description::parse(&text).unwrap_err());
            assert!(line.contains(said) && line.lines().count() == 1, "{said}: {line}");
        }
    }
}
