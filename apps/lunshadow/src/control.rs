//! The control service of a pool, and how commands on the same machine find it.
//!
//! What belongs to it lies in the pool's folder: the certificate with its key and the administrator's credential, which stay; and, while
//! it runs, a file that says where it listens. Whoever may read the credential there is an administrator.

use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lunshadow_array_client::Endpoint;
use lunshadow_control::{Fingerprint, Secret};
use lunshadow_server::{
    Limits, Server, ServerCertificate, ServerConfig, administrator_credential, administrator_credential_file,
    read_credential,
};
use serde::{Deserialize, Serialize};

use crate::array::Storage;

/// The file in the pool's folder that says where its control service listens.
const ENDPOINT_FILE: &str = "control-endpoint.json";

/// Where a control service listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The address; a wildcard if it listens on all.
    pub address: SocketAddr,
    /// The certificate that it shows.
    pub fingerprint: Fingerprint,
}

impl Listening {
    /// How to reach it from this machine.
    #[must_use]
    pub fn endpoint_here(&self) -> Endpoint {
        let ip = match self.address.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let address = SocketAddr::new(ip, self.address.port()).to_string();
        Endpoint { address, fingerprint: self.fingerprint }
    }
}

/// A running control service.
#[derive(Debug)]
pub struct ControlService {
    server: Server,
    endpoint_file: PathBuf,
}

impl ControlService {
    /// Starts to serve. The certificate and the administrator's credential are made if the pool's folder does not have them.
    ///
    /// # Errors
    /// If the address cannot be listened on, or the folder cannot be read or written.
    pub async fn start(storage: &Storage, folder: &Path, listen: SocketAddr) -> anyhow::Result<Self> {
        let certificate = ServerCertificate::load_or_make(folder)?;
        let administrator = administrator_credential(folder)?;
        let config = ServerConfig { listen, certificate, administrator, limits: Limits::default() };
        let server = Server::bind(config, storage.catalog.clone()).await?;
        let service = Self { server, endpoint_file: folder.join(ENDPOINT_FILE) };
        let noted = note(&service.endpoint_file, service.listening());
        noted.with_context(|| format!("cannot write {}", service.endpoint_file.display()))?;
        Ok(service)
    }

    /// Where it listens.
    #[must_use]
    pub fn listening(&self) -> Listening {
        Listening { address: self.server.local_addr(), fingerprint: self.server.fingerprint() }
    }

    /// Lets the requests under way be answered, and ends.
    ///
    /// # Errors
    /// If the file that says where it listens cannot be removed.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        let removed = fs::remove_file(&self.endpoint_file);
        self.server.shutdown().await;
        removed.with_context(|| format!("cannot remove {}", self.endpoint_file.display()))
    }
}

/// Writes the file beside its place first, so that a command never reads half of it.
fn note(path: &Path, listening: Listening) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{}", serde_json::to_string(&listening)?)?;
    file.persist(path)?;
    Ok(())
}

/// Where the control service of the pool in `folder` listens, and its administrator's credential.
///
/// # Errors
/// If none runs, or its files may not be read.
pub fn found_beside(folder: &Path) -> anyhow::Result<(Listening, Secret)> {
    let path = folder.join(ENDPOINT_FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => anyhow::bail!(
            "no control service runs for the pool in {0}; start it with: lunshadow serve --pool {0} --control 127.0.0.1:3261",
            folder.display()
        ),
        read => {
            read.with_context(|| format!("cannot read {}; ask as the user that serves the pool", path.display()))?
        }
    };
    let listening = serde_json::from_str(&text)
        .with_context(|| format!("{} is damaged; restart the service that serves the pool", path.display()))?;
    let credential = credential_in(&administrator_credential_file(folder))?;
    Ok((listening, credential))
}

/// Whether a control service of the pool in `folder` has said where it listens. It may have been killed since.
#[must_use]
pub fn is_noted_beside(folder: &Path) -> bool {
    folder.join(ENDPOINT_FILE).exists()
}

/// Removes what a service that was killed has left, where none is started in its place. The caller has the pool open, so none runs.
///
/// # Errors
/// If the file cannot be removed.
pub fn forget_beside(folder: &Path) -> anyhow::Result<()> {
    let path = folder.join(ENDPOINT_FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// An administrator's credential out of a file.
///
/// # Errors
/// If it may not be read, or holds none.
pub fn credential_in(path: &Path) -> anyhow::Result<Secret> {
    read_credential(path).context("there is no administrator's credential to ask with")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_listens_on_all_addresses_is_reached_over_loopback() {
        for (listens, reached) in
            [("192.0.2.7:3261", "192.0.2.7:3261"), ("0.0.0.0:3261", "127.0.0.1:3261"), ("[::]:3261", "[::1]:3261")]
        {
            let listening = Listening { address: listens.parse().unwrap(), fingerprint: Fingerprint([7; 32]) };
            assert_eq!(listening.endpoint_here().address, reached);
        }
    }

    #[test]
    fn the_file_reads_back_what_was_noted() {
        let folder = tempfile::tempdir().unwrap();
        let listening = Listening { address: "127.0.0.1:3261".parse().unwrap(), fingerprint: Fingerprint([7; 32]) };
        let missing = found_beside(folder.path()).unwrap_err();
        assert!(missing.to_string().contains("lunshadow serve --pool"), "{missing}");
        administrator_credential(folder.path()).unwrap();
        note(&folder.path().join(ENDPOINT_FILE), listening).unwrap();
        assert_eq!(found_beside(folder.path()).unwrap().0, listening);
        for _ in 0..2 {
            forget_beside(folder.path()).unwrap();
            assert!(found_beside(folder.path()).is_err());
        }
    }
}
