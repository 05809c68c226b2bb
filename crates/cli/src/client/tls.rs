//! Whom the client trusts, and as whom it shows itself: rustls and ring, as everywhere.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, TlsProvider, parse_pem};

use super::problem::ClientError;
use crate::config::ServiceSettings;
use system::files;
use system::tls::{ClientCertificate, PEM_MAX_BYTES};

pub(super) fn config(settings: &ServiceSettings) -> Result<TlsConfig, ClientError> {
    let trusted = trusted(settings.ca_file.as_deref())?;
    let own = settings.certificate.as_ref().map(own).transpose()?;
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&trusted))
        .client_cert(own)
        .build())
}

/// Who may vouch for the service: those in the file, or else whom the system trusts.
fn trusted(ca_file: Option<&Path>) -> Result<Vec<Certificate<'static>>, ClientError> {
    let (certificates, place) = match ca_file {
        Some(path) => (certificates(&files::read_once(path, PEM_MAX_BYTES)?), path.display().to_string()),
        None => {
            let system = rustls_native_certs::load_native_certs().certs;
            let certificates =
                system.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned()).collect();
            (certificates, "the system's trust store".to_owned())
        }
    };
    if certificates.is_empty() { Err(ClientError::TrustStore(place)) } else { Ok(certificates) }
}

fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    let certificates = parse_pem(pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    certificates.collect()
}

/// The certificate that is shown. That it is one, and the key its own, is checked here: the library takes it for granted.
fn own(own: &ClientCertificate) -> Result<ClientCert, ClientError> {
    let unfit = |path: &Path| ClientError::ClientCertificate(path.display().to_string());
    let chain = certificates(&files::read_once(&own.certificate, PEM_MAX_BYTES)?);
    if chain.is_empty() {
        return Err(unfit(&own.certificate));
    }
    let key = files::read_once(&own.key, PEM_MAX_BYTES)?;
    let checked = PrivateKeyDer::from_pem_slice(&key).map_err(|_no_key| unfit(&own.key))?;
    let ders = chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec()));
    CertifiedKey::from_der(ders.collect(), checked, &ring::default_provider())
        .map_err(|_not_its_own| unfit(&own.key))?;
    let key = PrivateKey::from_pem(&key).map_err(|_no_key| unfit(&own.key))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}
