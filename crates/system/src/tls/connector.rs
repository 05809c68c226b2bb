//! Clients of TLS servers, by the one stack that is used everywhere here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::files;

/// There is no certificate to trust; the text says where it was looked for.
#[derive(Debug, thiserror::Error)]
#[error("no certificate to trust could be read from {0}")]
pub struct TrustError(pub String);

/// Whom a client trusts, and as whom it shows itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM file with the certificates to trust; `None`: the system's trust store.
    pub ca_file: Option<PathBuf>,
    /// What is shown to a server that asks for it.
    pub certificate: Option<ClientCertificate>,
    /// The application protocols that are offered (ALPN), the preferred one first; empty: none.
    pub alpn: Vec<String>,
}

/// The PEM files of a certificate that a client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, followed by those between it and the authority.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why a client has no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum ClientCertificateError {
    #[error("cannot read the client certificate")]
    ReadCertificate(#[source] io::Error),
    #[error("cannot read the key of the client certificate")]
    ReadKey(#[source] io::Error),
    #[error("the file of the client certificate has no certificate in PEM")]
    NoCertificate,
    #[error("the file of the client certificate's key has no unencrypted private key in PEM")]
    NoKey,
    #[error("the key is not that of the client certificate")]
    AnotherKey,
}

impl ClientCertificate {
    /// Reads both files and checks that they belong together.
    pub fn check(&self) -> Result<(), ClientCertificateError> {
        self.config(RootCertStore::empty()).map(drop)
    }

    fn config(&self, roots: impl Into<Arc<RootCertStore>>) -> Result<ClientConfig, ClientCertificateError> {
        let pem = files::read_once(&self.certificate, super::PEM_MAX_BYTES)
            .map_err(ClientCertificateError::ReadCertificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain =
            chain.ok().filter(|chain| !chain.is_empty()).ok_or(ClientCertificateError::NoCertificate)?;
        let pem =
            files::read_once(&self.key, super::PEM_MAX_BYTES).map_err(ClientCertificateError::ReadKey)?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_no_key| ClientCertificateError::NoKey)?;
        builder(roots).with_client_auth_cert(chain, key).map_err(|error| match error {
            // What it says of the certificate itself.
            tokio_rustls::rustls::Error::InvalidCertificate(_) => ClientCertificateError::NoCertificate,
            _ => ClientCertificateError::AnotherKey,
        })
    }
}

/// What makes connectors, one for each connection: a client certificate is read again each time, so that a renewed one is
/// used without a restart.
#[derive(Debug)]
pub struct ConnectorSource {
    roots: Arc<RootCertStore>,
    settings: ClientTls,
}

impl ConnectorSource {
    /// Reads the certificates to trust.
    pub fn new(settings: ClientTls) -> Result<Self, TrustError> {
        Ok(Self { roots: Arc::new(trusted(settings.ca_file.as_deref())?), settings })
    }

    pub fn connector(&self) -> Result<TlsConnector, ClientCertificateError> {
        let roots = Arc::clone(&self.roots);
        let mut config = match &self.settings.certificate {
            Some(certificate) => certificate.config(roots)?,
            None => builder(roots).with_no_client_auth(),
        };
        config.alpn_protocols = self.settings.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// A client that trusts the certificates in the file, without one those of the system.
pub fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, TrustError> {
    let config = builder(trusted(ca_file)?).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn trusted(ca_file: Option<&Path>) -> Result<RootCertStore, TrustError> {
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
    Ok(roots)
}

fn builder(
    roots: impl Into<Arc<RootCertStore>>,
) -> tokio_rustls::rustls::ConfigBuilder<ClientConfig, tokio_rustls::rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .with_root_certificates(roots)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use tokio_rustls::rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
    use tokio_rustls::rustls::{ClientConnection, ServerConfig, ServerConnection};

    use super::*;

    /// A certificate that signs itself, and its key, as PEM files.
    fn certificate(directory: &Path, name: &str) -> (ClientCertificate, CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["broker.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        let files = ClientCertificate {
            certificate: directory.join(format!("{name}.pem")),
            key: directory.join(format!("{name}.key")),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        (files, certificate.der().clone(), key)
    }

    #[test]
    fn a_key_must_be_that_of_the_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let (one, ..) = certificate(directory.path(), "one");
        let (two, ..) = certificate(directory.path(), "two");
        one.check().unwrap();
        let with = |certificate: &Path, key: &Path| {
            let files = ClientCertificate { certificate: certificate.to_owned(), key: key.to_owned() };
            files.check().unwrap_err()
        };
        let none = directory.path().join("none");
        assert!(matches!(with(&one.certificate, &two.key), ClientCertificateError::AnotherKey));
        assert!(matches!(with(&one.key, &one.key), ClientCertificateError::NoCertificate));
        assert!(matches!(with(&one.certificate, &one.certificate), ClientCertificateError::NoKey));
        assert!(matches!(with(&none, &one.key), ClientCertificateError::ReadCertificate(_)));
        assert!(matches!(with(&one.certificate, &none), ClientCertificateError::ReadKey(_)));
    }

    #[test]
    fn a_renewed_certificate_is_used_by_the_next_connection() {
        let directory = tempfile::tempdir().unwrap();
        let (files, trusted, _) = certificate(directory.path(), "client");
        let ca_file = Some(files.certificate.clone());
        let source =
            ConnectorSource::new(ClientTls { ca_file, certificate: Some(files.clone()), alpn: Vec::new() });
        let source = source.unwrap();
        assert!(source.connector().is_ok());
        std::fs::write(&files.key, "no key").unwrap();
        assert!(matches!(source.connector(), Err(ClientCertificateError::NoKey)));
        let (_, renewed, _) = certificate(directory.path(), "client");
        assert_ne!(trusted, renewed);
        assert!(source.connector().is_ok());
    }

    #[test]
    fn the_application_protocol_is_offered() {
        let directory = tempfile::tempdir().unwrap();
        let (files, der, key) = certificate(directory.path(), "server");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der], key)
            .unwrap();
        server.alpn_protocols = vec![b"x-amzn-mqtt-ca".to_vec()];
        let alpn = |names: &[&str]| {
            let ca_file = Some(files.certificate.clone());
            let alpn = names.iter().map(|name| (*name).to_owned()).collect();
            let source = ConnectorSource::new(ClientTls { ca_file, certificate: None, alpn }).unwrap();
            let config = Arc::clone(source.connector().unwrap().config());
            let name = ServerName::try_from("broker.example").unwrap();
            let mut client = ClientConnection::new(config, name).unwrap();
            let mut server = ServerConnection::new(Arc::new(server.clone())).unwrap();
            let mut hello = Vec::new();
            client.write_tls(&mut hello).unwrap();
            server.read_tls(&mut hello.as_slice()).unwrap();
            server.process_new_packets().map(|_| server.alpn_protocol().map(<[u8]>::to_vec)).ok()
        };
        assert_eq!(alpn(&["x-amzn-mqtt-ca"]), Some(Some(b"x-amzn-mqtt-ca".to_vec())));
        assert_eq!(alpn(&["mqtt", "x-amzn-mqtt-ca"]), Some(Some(b"x-amzn-mqtt-ca".to_vec())));
        assert_eq!(alpn(&[]), Some(None));
        assert_eq!(alpn(&["mqtt"]), None, "the server refuses");
    }
}
