//! TLS to an array that is known by the fingerprint of its certificate, and by nothing else.

use std::fmt;
use std::io;
use std::sync::Arc;

use lunshadow_control::Fingerprint;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use sha2::{Digest as _, Sha256};

/// The server showed another certificate than the one that was enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrongCertificate {
    pub(crate) expected: Fingerprint,
    pub(crate) found: Fingerprint,
}

impl fmt::Display for WrongCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, found } = self;
        write!(
            f,
            "it shows the certificate {found} instead of {expected}; if the array got a new one, enrol this host anew, otherwise \
             somebody else answers at this address"
        )
    }
}

impl std::error::Error for WrongCertificate {}

impl WrongCertificate {
    /// The cause of a failed handshake, if it is this one.
    pub(crate) fn in_io(error: &io::Error) -> Option<Self> {
        Self::in_tls(error.get_ref()?.downcast_ref()?)
    }

    fn in_tls(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => {
                cause.downcast_ref::<Self>().cloned()
            }
            _ => None,
        }
    }
}

/// The name in the handshake. It is not sent and not compared, but rustls wants one.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from("array.invalid").expect("a well-formed name")
}

/// How to shake hands with the array of that fingerprint.
pub(crate) fn client_config(expected: Fingerprint) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = PinnedCertificate { expected, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need");
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = builder.with_no_client_auth();
    config.enable_sni = false;
    Arc::new(config)
}

/// Takes one certificate. The handshake's signature is verified as always: it proves that the server has the certificate's key.
#[derive(Debug)]
struct PinnedCertificate {
    expected: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Fingerprint(Sha256::digest(end_entity).into());
        if found == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        let wrong = WrongCertificate { expected: self.expected, found };
        Err(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(wrong)))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
