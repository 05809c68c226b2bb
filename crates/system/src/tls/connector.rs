//! Clients of TLS servers, by the one stack that is used everywhere here.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::files;

/// There is no certificate to trust; the text says where it was looked for.
#[derive(Debug, thiserror::Error)]
#[error("no certificate to trust could be read from {0}")]
pub struct TrustError(pub String);

/// A client that trusts the certificates in the file, without one those of the system.
pub fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, TrustError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let name = || path.display().to_string();
            let pem = files::read_once(path, super::PEM_MAX_BYTES)
                .map_err(|error| TrustError(format!("{}: {error}", name())))?;
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
            if roots.is_empty() {
                return Err(TrustError(name()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TrustError("the system's trust store".to_owned()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
