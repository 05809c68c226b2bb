//! What a failed TLS handshake means and what to do about it, in the same words for every server that is talked to: broker,
//! database, grid, and a devstatus that a command asks.

mod connector;

use std::error::Error;
use std::io;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, Error as TlsError, InvalidMessage, PeerIncompatible,
};
use webpki::Error as ChainError;

pub use self::connector::{
    ClientCertificate, ClientCertificateError, ClientTls, ConnectorSource, TrustError, connector,
};

/// The most that is read of a file of certificates or keys: far above any chain, as the system's whole trust store has a quarter of
/// a megabyte.
pub const PEM_MAX_BYTES: u64 = 4 << 20;

/// What the error itself says about TLS, where it means a failed handshake; `None` for any other error. Its own
/// sources, and what an IO error carries, are looked at, too.
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<TlsError>() {
        return Some(explain_tls(error));
    }
    if let Some(error) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        return explain(error.as_ref());
    }
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return explain(inner);
    }
    explain(error.source()?)
}

/// A failed handshake of any kind, also where the connection ended in it.
pub fn explain_handshake(error: &io::Error) -> String {
    if let Some(text) = explain(error) {
        return text;
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the server closed the connection during the handshake: check that the port is one with TLS (for MQTT \
             mostly 8883; 1883 is without, mqtt://), and that a proxy on the way lets TLS pass"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

fn explain_tls(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(error) => explain_certificate(error),
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server does not speak TLS: check that the port is one with TLS (for MQTT mostly 8883; 1883 is \
             without, mqtt://)"
                .to_owned()
        }
        TlsError::AlertReceived(alert) => explain_alert(*alert),
        TlsError::PeerIncompatible(error) => explain_incompatible(error),
        TlsError::NoCertificatesPresented => "the server showed no certificate: give it one".to_owned(),
        TlsError::InvalidCertRevocationList(_) => "a list of revoked certificates cannot be used".to_owned(),
        TlsError::FailedToGetCurrentTime => {
            "the time of this machine cannot be read, so no certificate can be checked".to_owned()
        }
        TlsError::InvalidMessage(_)
        | TlsError::InappropriateMessage { .. }
        | TlsError::InappropriateHandshakeMessage { .. }
        | TlsError::PeerMisbehaved(_)
        | TlsError::DecryptError
        | TlsError::PeerSentOversizedRecord => {
            "the server breaks the TLS protocol, or something on the way changes its data: look into its log".to_owned()
        }
        _ => "TLS failed for a reason that the library does not name: look into the server's log".to_owned(),
    }
}

fn explain_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "the server's certificate expired at {}: renew it, or set this machine's clock if it is wrong",
            moment(*not_after)
        ),
        CertificateError::Expired => {
            "the server's certificate has expired: renew it, or set this machine's clock if it is wrong".to_owned()
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the server's certificate is not valid before {}: set this machine's clock if it is wrong, or wait",
            moment(*not_before)
        ),
        CertificateError::NotValidYet => {
            "the server's certificate is not valid yet: set this machine's clock if it is wrong, or wait".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "nobody who is trusted vouches for the server's certificate (unknown issuer): name the certificate of the \
             authority that signed it with --ca-file, and have the server send the certificates in between"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the server's certificate is not for {}: it names {}; use one of these names in the URL, or have a \
             certificate issued for it",
            expected.to_str(),
            names(presented)
        ),
        CertificateError::NotValidForName => {
            "the server's certificate is for another name than the one in the URL: use its name, or have one issued for \
             this name"
                .to_owned()
        }
        CertificateError::BadSignature => {
            "the signature of the server's certificate is wrong: the authority in --ca-file may be another one of the \
             same name"
                .to_owned()
        }
        CertificateError::Revoked => "the server's certificate has been revoked: have a new one issued".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not for servers: have one issued with the extended key usage serverAuth"
                .to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the server's certificate is signed in a way that is not supported (SHA-1, for instance): have one issued \
             with SHA-256 and an RSA or ECDSA key"
                .to_owned()
        }
        CertificateError::BadEncoding => {
            "the server's certificate cannot be read: have a new one issued".to_owned()
        }
        CertificateError::UnhandledCriticalExtension => {
            "the server's certificate has a critical extension that is not known here: have one issued without".to_owned()
        }
        CertificateError::Other(other) => {
            explain_chain(other.0.downcast_ref::<ChainError>()).to_owned()
        }
        _ => "the server's certificate cannot be accepted: have a new one issued".to_owned(),
    }
}

/// What the library passes on from the check of the chain without a name of its own.
fn explain_chain(error: Option<&ChainError>) -> &'static str {
    match error {
        Some(ChainError::CaUsedAsEndEntity) => {
            "the server shows the certificate of an authority as its own (CA:TRUE, as self-signed ones often are): make \
             an authority, name its certificate with --ca-file, and have it sign one for the server with CA:FALSE"
        }
        Some(ChainError::EndEntityUsedAsCa) => {
            "the certificate that signed the server's is not a CA certificate (CA:FALSE): have the server's signed \
             by an authority"
        }
        Some(ChainError::UnsupportedCertVersion) => {
            "the server's certificate is of version 1, which cannot say for which names it is: have one of version 3 \
             issued with the server's name as subjectAltName"
        }
        Some(ChainError::NameConstraintViolation) => {
            "the authority may not vouch for the server's name (name constraints): have another one sign it"
        }
        Some(ChainError::PathLenConstraintViolated) => {
            "there are more authorities between the server's certificate and the trusted one than that one allows"
        }
        Some(
            ChainError::MalformedExtensions
            | ChainError::ExtensionValueInvalid
            | ChainError::InvalidSerialNumber,
        ) => "the server's certificate breaks the rules of X.509: have a new one issued",
        Some(_) | None => "the server's certificate cannot be accepted: have a new one of version 3 issued",
    }
}

fn explain_alert(alert: AlertDescription) -> String {
    let what = match alert {
        AlertDescription::CertificateRequired => {
            "a client certificate is required: the server wants a certificate of this client, which --broker-cert names for a \
             broker, --tls-client-cert for a devstatus service, and the key tls_client_cert for [[webhook]] and [republish]"
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => {
            "the server refuses the certificate of this client, or the lack of one"
        }
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "the server and this client have no cipher in common, or the server wants a certificate of this client"
        }
        AlertDescription::ProtocolVersion => {
            "the server has no version of TLS that this client has: enable TLS 1.2 or 1.3 at the server"
        }
        AlertDescription::UnrecognisedName => {
            "the server does not know the name in the URL: check the host name"
        }
        AlertDescription::InternalError => "the server failed: look into its log",
        _ => "the server ended the handshake: look into its log",
    };
    let code = u8::from(alert);
    format!("{what} (TLS alert {code})")
}

fn explain_incompatible(error: &PeerIncompatible) -> String {
    match error {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
            "the server speaks only versions of TLS before 1.2, which are not safe: enable TLS 1.2 or 1.3 at the server"
        }
        PeerIncompatible::NoCipherSuitesInCommon
        | PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoEcPointFormatsInCommon => {
            "the server and this client have no cipher in common: enable those of TLS 1.3, or ECDHE with AES-GCM"
        }
        PeerIncompatible::ExtendedMasterSecretExtensionRequired => {
            "the server's TLS 1.2 lacks the extended master secret: enable TLS 1.3 at the server"
        }
        _ => "the server's TLS and ours do not fit: enable TLS 1.3 at the server",
    }
    .to_owned()
}

fn names(presented: &[String]) -> String {
    /// A certificate may name hundreds of hosts.
    const SHOWN: usize = 8;
    // The library writes them as `DnsName("a.example")` and `IpAddress(192.0.2.1)`.
    let plain = |name: &String| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner.trim_end_matches(')'));
        inner.trim_matches('"').escape_default().to_string()
    };
    match presented {
        [] => "none (it has no subjectAltName)".to_owned(),
        few if few.len() <= SHOWN => few.iter().map(plain).collect::<Vec<_>>().join(", "),
        many => {
            let shown = many[..SHOWN].iter().map(plain).collect::<Vec<_>>().join(", ");
            format!("{shown} and {} more", many.len() - SHOWN)
        }
    }
}

fn moment(at: UnixTime) -> String {
    let seconds =
        i64::try_from(at.as_secs()).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    seconds.map_or_else(|| "a time that cannot be written".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
    };
    use tokio_rustls::rustls::client::WebPkiServerVerifier;
    use tokio_rustls::rustls::client::danger::ServerCertVerifier;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// 2026-11-28.
    const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_795_824_000));

    fn authority() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn server() -> CertificateParams {
        let mut params =
            CertificateParams::new(["broker.example".to_owned(), "192.0.2.1".to_owned()]).unwrap();
        params.is_ca = IsCa::ExplicitNoCa;
        params
    }

    fn verify(trusted: CertificateDer<'static>, shown: &CertificateDer<'_>, name: &str) -> Option<String> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let verified = verifier.verify_server_cert(shown, &[], &name, &[], NOW);
        verified.err().map(|error| explain(&io::Error::other(error)).unwrap())
    }

    /// What is told of a certificate that a trusted authority has signed.
    fn said(params: CertificateParams, name: &str) -> Option<String> {
        let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let trusted = authority().self_signed(&authority_key).unwrap();
        let shown = params.signed_by(&key, &Issuer::new(authority(), authority_key)).unwrap();
        verify(trusted.der().clone(), shown.der(), name)
    }

    fn assert_explained(said: Option<String>, words: &[&str]) {
        let said = said.unwrap();
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        // A name of Rust's in camel case, as Debug writes it.
        let shows_debug =
            ["Error", "Other(", "Context", "DnsName", "IpAddress", "Unsupported", "AsEndEntity"];
        assert!(!shows_debug.iter().any(|word| said.contains(word)), "{said}");
    }

    #[test]
    fn every_certificate_error_is_a_sentence() {
        assert_eq!(said(server(), "broker.example"), None);
        let words = ["not for other.example", "broker.example, 192.0.2.1;"];
        assert_explained(said(server(), "other.example"), &words);
        let with = |change: fn(&mut CertificateParams)| {
            let mut params = server();
            change(&mut params);
            said(params, "broker.example")
        };
        let expired = with(|params| params.not_after = date_time_ymd(2020, 1, 2));
        assert_explained(expired, &["expired at 2020-01-02", "clock"]);
        let early = with(|params| params.not_before = date_time_ymd(2040, 1, 2));
        assert_explained(early, &["not valid before 2040-01-02", "clock"]);
        let client = with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
        assert_explained(client, &["not for servers", "serverAuth"]);
        let authority = with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert_explained(authority, &["CA:TRUE", "--ca-file"]);
    }

    #[test]
    fn self_signed_unknown_and_false_authorities_have_different_errors() {
        let key = KeyPair::generate().unwrap();
        let mut params = authority();
        params.subject_alt_names = server().subject_alt_names;
        let own = params.self_signed(&key).unwrap();
        assert_explained(verify(own.der().clone(), own.der(), "broker.example"), &["CA:TRUE"]);
        let (other_key, third_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let shown = server().signed_by(&third_key, &Issuer::new(authority(), other_key)).unwrap();
        let mut stranger = authority();
        stranger.distinguished_name.push(rcgen::DnType::CommonName, "somebody else");
        let stranger = stranger.self_signed(&key).unwrap();
        let unknown = verify(stranger.der().clone(), shown.der(), "broker.example");
        assert_explained(unknown, &["unknown issuer", "--ca-file"]);
        let namesake = authority().self_signed(&key).unwrap();
        let forged = verify(namesake.der().clone(), shown.der(), "broker.example");
        assert_explained(forged, &["signature", "same name"]);
    }

    #[test]
    fn a_version_1_certificate_has_its_own_error() {
        let read = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let trusted = read(include_str!("../../../tests/data/certificate-v1-authority.pem"));
        let shown = read(include_str!("../../../tests/data/certificate-v1.pem"));
        assert_explained(verify(trusted, &shown, "localhost"), &["version 1", "version 3"]);
    }

    #[test]
    fn a_server_without_tls_has_its_own_error() {
        let roots = RootCertStore::empty();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0x20, 2, 0, 0, 0, 0, 0]] {
            let name = ServerName::try_from("broker.example").unwrap();
            let mut client = ClientConnection::new(Arc::new(config.clone()), name).unwrap();
            client.read_tls(&mut &answer[..]).unwrap();
            let error = client.process_new_packets().unwrap_err();
            assert_explained(explain(&error), &["does not speak TLS", "8883"]);
        }
        let closed = explain_handshake(&io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof"));
        assert_explained(Some(closed), &["closed the connection during the handshake", "8883"]);
    }

    #[test]
    fn every_alert_is_a_sentence() {
        for code in 0..=255 {
            let alert = TlsError::AlertReceived(AlertDescription::from(code));
            assert_explained(explain(&alert), &["TLS alert", &code.to_string()]);
        }
        let said = |alert| explain(&TlsError::AlertReceived(alert));
        assert_explained(
            said(AlertDescription::CertificateRequired),
            &["wants a certificate of this client"],
        );
        assert_explained(said(AlertDescription::UnknownCA), &["refuses the certificate of this client"]);
        assert_explained(said(AlertDescription::ProtocolVersion), &["TLS 1.2 or 1.3"]);
        assert_explained(said(AlertDescription::HandshakeFailure), &["no cipher in common"]);
        let old = TlsError::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13);
        assert_explained(explain(&old), &["before 1.2"]);
    }

    #[test]
    fn other_errors_are_left_alone() {
        assert_eq!(explain(&io::Error::other("something else")), None);
        assert_eq!(explain(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }
}
