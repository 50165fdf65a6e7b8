//! Which certificates of servers are accepted.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::dsn::{Tls, Verify};
use crate::tls;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustError {
    #[error("the certificates in {}: {cause}", path.display())]
    Authorities { path: PathBuf, cause: String },
    #[error("TLS: {0}")]
    Verifier(String),
}

/// Returns the configuration of a client that verifies as much as the DSN says.
pub(super) fn config(options: &Tls) -> Result<Arc<ClientConfig>, TrustError> {
    tls::choose_provider();
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = &options.authorities {
        let failed = |cause: String| TrustError::Authorities { path: path.clone(), cause };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| failed(error.to_string()))?;
            roots.add(certificate).map_err(|error| failed(error.to_string()))?;
        }
    }
    let roots = Arc::new(roots);
    let builder = ClientConfig::builder();
    let provider = Arc::clone(builder.crypto_provider());
    let config = match options.verify {
        Verify::Identity => builder.with_root_certificates(roots).with_no_client_auth(),
        verify => {
            let known = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
            let known = known.map_err(|error| TrustError::Verifier(error.to_string()))?;
            let verifier = Arc::new(Lenient { known, verify, provider });
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
    };
    Ok(Arc::new(config))
}

/// Accepts a certificate that does not name the host; or any, if nothing is to be verified.
#[derive(Debug)]
struct Lenient {
    known: Arc<WebPkiServerVerifier>,
    verify: Verify,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.verify == Verify::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        match self.known.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.supported_verify_schemes()
    }
}
