//! What the program has from its build: a version id, and resources.
#![expect(clippy::print_stdout, reason = "what a build script prints is what cargo reads")]

#[expect(dead_code, unreachable_pub, reason = "of the provider's events the build needs the table of situations only")]
#[path = "../../provider/src/events.rs"]
mod events;
#[expect(unreachable_pub, reason = "in the library it is public")]
#[path = "../src/message_table.rs"]
mod message_table;
mod resource;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use uuid::{Uuid, uuid};

/// The name space of version ids.
const NAMESPACE: Uuid = uuid!("4a2b6ebb-5b76-4554-a40a-40908c2aecec");

/// What the program is built from, from the workspace's root.
const SOURCES: &[&str] = &[
    "Cargo.lock",
    "wire/control/src",
    "host/vss/src",
    "host/array-client/src",
    "host/provider/src",
    "host/vss-com/src",
    "host/provider-com/src",
];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build");
    let root = Path::new("../..");
    println!("cargo::rustc-env=LUNSHADOW_VERSION_ID={}", version_id(root)?);
    resource::embed()
}

/// The same for the same version and sources, another one otherwise.
fn version_id(root: &Path) -> io::Result<Uuid> {
    let mut files = Vec::new();
    for source in SOURCES {
        let source = root.join(source);
        println!("cargo::rerun-if-changed={}", source.display());
        collect(&source, &mut files)?;
    }
    files.sort();
    let mut content = env::var("CARGO_PKG_VERSION").unwrap_or_default().into_bytes();
    for file in files {
        let bytes = fs::read(&file)?;
        // Line ends depend on how the sources were fetched.
        content.extend(bytes.into_iter().filter(|byte| *byte != b'\r'));
    }
    Ok(Uuid::new_v5(&NAMESPACE, &content))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}
