//! HTTP inside TLS, as a client that trusts one authority only and may have a certificate itself.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::http::{self, Connection, Response};
use super::private_ca::PrivateCa;

/// Whom the client trusts and who it is.
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    pub fn new(trusted: &PrivateCa, own: Option<&PrivateCa>) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&trusted.ca_file) {
            roots.add(certificate).expect("the authority can be trusted");
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the versions")
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::from_pem_file(&own.key_file).expect("the key is one");
                builder
                    .with_client_auth_cert(certificates(&own.certificate_file), key)
                    .expect("certificate and key belong together")
            }
        };
        Self(Arc::new(config))
    }

    /// One request on a connection of its own. An error: the service is not trusted, or does not trust.
    pub fn get(&self, address: SocketAddr, path: &str) -> io::Result<Response> {
        let name = ServerName::try_from("localhost").expect("a host name");
        let session = ClientConnection::new(Arc::clone(&self.0), name).expect("the settings are sound");
        let mut stream = StreamOwned::new(session, http::connect(address));
        stream.write_all(&http::request("GET", path))?;
        Connection::over(stream).receive("GET")
    }
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_file_iter(path).expect("the file can be read");
    certificates.collect::<Result<_, _>>().expect("the file holds certificates")
}
