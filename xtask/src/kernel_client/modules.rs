//! Which kernel modules have to be loaded, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

/// The modules of a kernel, from the tables that `depmod` makes (modules.dep(5)).
#[derive(Debug)]
pub(super) struct Modules<'a> {
    /// By name: the file, and the files that it needs.
    files: BTreeMap<String, (&'a str, Vec<&'a str>)>,
    /// The names of those that are part of the kernel itself.
    builtin: BTreeSet<String>,
}

impl<'a> Modules<'a> {
    /// Reads `modules.dep` and `modules.builtin`.
    ///
    /// # Errors
    /// If a line of `modules.dep` has no colon.
    pub(super) fn read(dep: &'a str, builtin: &'a str) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        for line in dep.lines() {
            let (file, needs) = line.split_once(':').with_context(|| format!("not a line of modules.dep: {line}"))?;
            files.insert(name_of(file), (file, needs.split_whitespace().collect()));
        }
        Ok(Self { files, builtin: builtin.lines().map(name_of).collect() })
    }

    /// The files of the wanted modules and of all that they need: each once, and behind what it needs.
    ///
    /// # Errors
    /// If the kernel has no such module.
    pub(super) fn load_order(&self, wanted: &[&str]) -> anyhow::Result<Vec<&'a str>> {
        let mut order = Vec::new();
        for name in wanted {
            self.add(&name_of(name), &mut order)?;
        }
        Ok(order)
    }

    fn add(&self, name: &str, order: &mut Vec<&'a str>) -> anyhow::Result<()> {
        let Some((file, needs)) = self.files.get(name) else {
            let known = self.builtin.get(name).map(drop);
            return known.with_context(|| format!("the kernel has no module {name}"));
        };
        // `depmod` refuses cycles.
        if !order.contains(file) {
            for needed in needs {
                self.add(&name_of(needed), order)?;
            }
            order.push(file);
        }
        Ok(())
    }
}

/// The name of a module by its file: the kernel makes no difference between `-` and `_`.
fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split(".ko").next().unwrap_or(name).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/fs/xfs/xfs.ko: kernel/lib/libcrc32c.ko
kernel/lib/libcrc32c.ko:
kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/lib/crc16.ko.xz:
kernel/drivers/scsi/iscsi_tcp.ko: kernel/drivers/scsi/libiscsi_tcp.ko kernel/drivers/scsi/libiscsi.ko kernel/drivers/scsi/scsi_transport_iscsi.ko
kernel/drivers/scsi/libiscsi_tcp.ko: kernel/drivers/scsi/libiscsi.ko kernel/drivers/scsi/scsi_transport_iscsi.ko
kernel/drivers/scsi/libiscsi.ko: kernel/drivers/scsi/scsi_transport_iscsi.ko
kernel/drivers/scsi/scsi_transport_iscsi.ko:
kernel/crypto/crc32c-intel.ko:
";
    const BUILTIN: &str = "kernel/drivers/virtio/virtio_pci.ko\n";

    fn names(wanted: &[&str]) -> Vec<String> {
        let modules = Modules::read(DEP, BUILTIN).expect("it is a table");
        modules.load_order(wanted).expect("all are there").into_iter().map(name_of).collect()
    }

    #[test]
    fn a_module_comes_behind_all_that_it_needs() {
        assert_eq!(names(&["iscsi_tcp"]), ["scsi_transport_iscsi", "libiscsi", "libiscsi_tcp", "iscsi_tcp"]);
        assert_eq!(names(&["libiscsi", "iscsi_tcp", "libiscsi"]).len(), 4, "each once");
        assert_eq!(names(&["ext4", "xfs"]), ["jbd2", "crc16", "ext4", "libcrc32c", "xfs"]);
    }

    #[test]
    fn names_have_either_stroke_and_any_compression() {
        assert_eq!(names(&["crc32c_intel"]), ["crc32c_intel"]);
        assert_eq!(names(&["crc32c-intel"]), ["crc32c_intel"]);
        let files = Modules::read(DEP, BUILTIN).expect("it is a table").load_order(&["crc16"]).expect("it is there");
        assert_eq!(files, ["kernel/lib/crc16.ko.xz"]);
    }

    #[test]
    fn what_is_built_in_is_there_and_what_is_unknown_is_named() {
        assert!(names(&["virtio-pci"]).is_empty());
        let modules = Modules::read(DEP, BUILTIN).expect("it is a table");
        let error = modules.load_order(&["xfs", "ntfs3"]).expect_err("it is not there");
        assert_eq!(error.to_string(), "the kernel has no module ntfs3");
        assert!(Modules::read("no table", "").is_err());
    }
}
