//! Two libraries that Wine lacks: the proxies and stubs of VSS's interfaces, compiled from the project's description of them, with what keeps Wine from
//! forgetting the interfaces, and the source of random bytes that Rust's standard library asks for.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::LINKER;
use crate::command::run;

/// The compiler of interface descriptions.
const WIDL: &str = "x86_64-w64-mingw32-widl";

/// The class id of the proxies, as the header of the run-time library wants it. Ours: it names the library in the registry only.
const PROXY_CLASS: &str = "-DPROXY_CLSID_IS={0x6f2b1d2c,0x5a3e,0x4a0b,{0x9b,0x1d,0x2e,0x7c,0x55,0x10,0x8f,0x31}}";

/// Where the libraries are.
pub(super) struct Libraries {
    pub(super) proxies: PathBuf,
    pub(super) random: PathBuf,
}

/// Builds both in `folder`.
pub(super) fn build(root: &Path, folder: &Path) -> anyhow::Result<Libraries> {
    let sources = root.join("testing/windows/idl");
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for entry in std::fs::read_dir(&sources).with_context(|| sources.display().to_string())? {
        let entry = entry?;
        std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    // It writes the header's path into what it makes, so it runs where that is.
    let widl = |arguments: &[&str]| {
        run(Command::new(WIDL).current_dir(folder).args(["--win64", "-Oicf", "-I."]).args(arguments))
    };
    widl(&["-h", "-H", "vss_p.h", "vss.idl"])?;
    widl(&["-p", "-H", "vss_p.h", "-P", "vss_p.c", "vss.idl"])?;
    widl(&["-u", "-U", "vss_i.c", "vss.idl"])?;
    widl(&["--dlldata-only", "--dlldata=dlldata.c", "vss"])?;
    let compile = |arguments: &[&str]| {
        run(Command::new(LINKER).current_dir(folder).args(["-shared", "-O1", "-Wall"]).args(arguments))
    };
    compile(&[
        "-DWIN32",
        "-D_WIN32_WINNT=0x0601",
        "-DREGISTER_PROXY_DLL",
        PROXY_CLASS,
        "-o",
        "vss_ps.dll",
        "vss_p.c",
        "vss_i.c",
        "dlldata.c",
        "keep.c",
        "vss.def",
        "-lrpcrt4",
        "-lole32",
        "-loleaut32",
        "-luuid",
        "-ladvapi32",
    ])?;
    compile(&["-Werror", "-o", "bcryptprimitives.dll", "bcryptprimitives.c", "bcryptprimitives.def", "-ladvapi32"])?;
    Ok(Libraries { proxies: folder.join("vss_ps.dll"), random: folder.join("bcryptprimitives.dll") })
}
