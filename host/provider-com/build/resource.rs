//! The program's resources: the messages of the event log, and what its properties show in the Explorer.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::message_table::message_table;

/// Writes the resources and has them linked into the program, if it is built for Windows.
pub(crate) fn embed() -> io::Result<()> {
    let folder = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let (table, script) = (folder.join("messages.bin"), folder.join("provider.rc"));
    fs::write(&table, message_table())?;
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    fs::write(&script, text(&table, &version))?;
    // Only linking needs a compiler of resources. Where there is none, as in a check for another target, none is needed.
    let parameters = embed_resource::NONE;
    embed_resource::compile_for(&script, ["lunshadow-provider"], parameters)
        .manifest_optional()
        .map_err(io::Error::other)
}

/// In the language of resource scripts. 11 is the type `RT_MESSAGETABLE`, 0 the neutral language.
fn text(table: &Path, version: &str) -> String {
    let table = table.display().to_string().replace('\\', "\\\\");
    let numbers: Vec<&str> = version.split(['.', '-']).take(3).collect();
    let numbers = numbers.join(",");
    format!(
        r#"LANGUAGE 0, 0
1 11 "{table}"
1 VERSIONINFO
FILEVERSION {numbers},0
PRODUCTVERSION {numbers},0
FILEOS 0x40004
FILETYPE 1
BEGIN
  BLOCK "StringFileInfo"
  BEGIN
    BLOCK "040904b0"
    BEGIN
      VALUE "CompanyName", "The Lunshadow project"
      VALUE "FileDescription", "Lunshadow VSS Hardware Provider"
      VALUE "FileVersion", "{version}"
      VALUE "InternalName", "lunshadow-provider"
      VALUE "OriginalFilename", "lunshadow-provider.exe"
      VALUE "ProductName", "Lunshadow"
      VALUE "ProductVersion", "{version}"
    END
  END
  BLOCK "VarFileInfo"
  BEGIN
    VALUE "Translation", 0x409, 1200
  END
END
"#
    )
}
