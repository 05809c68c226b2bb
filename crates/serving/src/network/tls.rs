//! TLS for those who ask: certificate, key, and who may vouch for clients, from files that are read again when they change.
//! TLS 1.2 and 1.3; inside, HTTP/2 and HTTP/1.1 are offered.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

use super::places::Use;
use server::access::Digest;
use server::http_settings::TlsSettings;
use system::files;
use system::tls::PEM_MAX_BYTES;

/// The versions of HTTP, as clients name them in the handshake.
pub const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read a certificate from {0}")]
    Certificate(PathBuf, #[source] pem::Error),
    #[error("cannot read a private key from {0}")]
    Key(PathBuf, #[source] pem::Error),
    #[error("there is no certificate in {0}")]
    NoCertificate(PathBuf),
    #[error("certificate and private key cannot be used")]
    Pair(#[source] rustls::Error),
    #[error("the authorities for client certificates cannot be used")]
    ClientCa(#[source] VerifierBuilderError),
    #[error("an authority for client certificates cannot be used")]
    Authority(#[source] rustls::Error),
}

/// What new connections are accepted with.
pub struct Tls {
    settings: TlsSettings,
    current: RwLock<Current>,
}

/// What the files say, and the digest of their bytes.
struct Current {
    config: Arc<ServerConfig>,
    /// The same without HTTP/2.
    config_http1: Arc<ServerConfig>,
    sha256: Digest,
}

impl Tls {
    pub fn load(settings: TlsSettings) -> Result<Self, TlsError> {
        let current = RwLock::new(read(&settings)?);
        Ok(Self { settings, current })
    }

    /// Reads the files again and says whether they have changed; if they cannot be used, what was read before stays in force.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let new = read(&self.settings)?;
        let mut current = self.current.write();
        let is_changed = current.sha256 != new.sha256;
        if is_changed {
            *current = new;
        }
        Ok(is_changed)
    }

    pub fn acceptor(&self, good_for: Use) -> TlsAcceptor {
        let current = self.current.read();
        TlsAcceptor::from(Arc::clone(match good_for {
            Use::Anything => &current.config,
            // Which is for one short answer.
            Use::HealthOnly => &current.config_http1,
        }))
    }
}

fn read(settings: &TlsSettings) -> Result<Current, TlsError> {
    let mut read = Vec::new();
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions");
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path, &mut read)? {
                roots.add(certificate).map_err(TlsError::Authority)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(TlsError::ClientCa)?)
        }
    };
    let key = pem(&settings.key, &mut read)
        .and_then(|pem| PrivateKeyDer::from_pem_slice(&pem))
        .map_err(|error| TlsError::Key(settings.key.clone(), error))?;
    let chain = certificates(&settings.certificate, &mut read)?;
    let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![HTTP_1.to_vec()];
    let config_http1 = Arc::new(config.clone());
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
    Ok(Current { config: Arc::new(config), config_http1, sha256: Digest::of(&read.concat()) })
}

/// The text of a file, whose digest is added to those of the others.
fn pem(path: &Path, read: &mut Vec<[u8; Digest::BYTES]>) -> Result<Vec<u8>, pem::Error> {
    let pem = files::read_regular(path, PEM_MAX_BYTES).map_err(pem::Error::Io)?;
    read.push(Digest::of(&pem).bytes());
    Ok(pem)
}

fn certificates(
    path: &Path,
    read: &mut Vec<[u8; Digest::BYTES]>,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error| TlsError::Certificate(path.to_owned(), error);
    let pem = pem(path, read).map_err(failed)?;
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(failed)?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(certificates)
}
