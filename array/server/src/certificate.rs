//! The certificate by which hosts know the array: self-signed, made once, kept beside the pool.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lunshadow_control::Fingerprint;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use crate::kept_file::{self, Readers};

const CERTIFICATE_FILE: &str = "control-certificate.pem";
const KEY_FILE: &str = "control-key.pem";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no certificate or key; remove both files to get new ones, then enrol every host anew", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The key cannot be made.
    #[error("cannot make a certificate")]
    Making(#[source] rcgen::Error),
    /// Certificate and key do not belong together, or are of a kind that cannot be served.
    #[error("the certificate and the key of the control service do not fit each other")]
    Unusable(#[source] rustls::Error),
}

/// A certificate with its key.
#[derive(Debug)]
pub struct ServerCertificate {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl ServerCertificate {
    /// Whom it is made out to. Nobody goes by it: hosts go by the fingerprint.
    pub const NAME: &str = "lunshadow-array";

    /// The certificate in `folder`; makes one there if there is none. The key's file is for its owner only.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load_or_make(folder: &Path) -> Result<Self, CertificateError> {
        let (certificate_path, key_path) = (folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE));
        if !certificate_path.exists() {
            make(&certificate_path, &key_path)?;
        }
        let read =
            |path: &Path| fs::read(path).map_err(|source| CertificateError::File { path: path.to_owned(), source });
        let not_pem = |path: &Path| {
            let path = path.to_owned();
            move |source| CertificateError::NotPem { path, source }
        };
        let certificate =
            CertificateDer::from_pem_slice(&read(&certificate_path)?).map_err(not_pem(&certificate_path))?;
        let key = PrivateKeyDer::from_pem_slice(&read(&key_path)?).map_err(not_pem(&key_path))?;
        Ok(Self { certificate, key })
    }

    /// What hosts know the array by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(Sha256::digest(&self.certificate).into())
    }

    /// What a peer is shown.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// How to shake hands: TLS 1.3 and 1.2.
    ///
    /// # Errors
    /// If certificate and key do not fit each other.
    pub fn tls_config(self) -> Result<Arc<ServerConfig>, CertificateError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![self.certificate], self.key))
            .map_err(CertificateError::Unusable)?;
        Ok(Arc::new(config))
    }
}

/// The key first: a certificate without its key would never be replaced.
fn make(certificate_path: &Path, key_path: &Path) -> Result<(), CertificateError> {
    let made =
        rcgen::generate_simple_self_signed([ServerCertificate::NAME.to_owned()]).map_err(CertificateError::Making)?;
    let write = |path: &Path, readers: Readers, text: &str| {
        let written = kept_file::write(path, readers, text);
        written.map_err(|source| CertificateError::File { path: path.to_owned(), source })
    };
    write(key_path, Readers::Owner, &made.signing_key.serialize_pem())?;
    write(certificate_path, Readers::Everybody, &made.cert.pem())
}
