//! A certificate authority that no system trusts, and the certificates that it signs for a broker.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rcgen::{KeyUsagePurpose, SanType};

/// PEM files of an authority and of one server certificate.
pub struct PrivateCa {
    pub ca_file: PathBuf,
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

impl PrivateCa {
    /// Writes an authority and a certificate for `names` (host names or addresses) into the directory.
    pub fn issue(directory: &Path, names: &[&str]) -> Self {
        let ca_key = KeyPair::generate().expect("a key can be made");
        let ca_params = ca_params();
        let ca_certificate = ca_params.self_signed(&ca_key).expect("an authority signs itself");
        let issuer = Issuer::new(ca_params, ca_key);

        let key = KeyPair::generate().expect("a key can be made");
        let certificate = server_params(names).signed_by(&key, &issuer).expect("the authority signs");
        let files = Self {
            ca_file: directory.join("ca.pem"),
            certificate_file: directory.join("server.pem"),
            key_file: directory.join("server.key"),
        };
        write(&files.ca_file, &ca_certificate.pem());
        write(&files.certificate_file, &certificate.pem());
        write(&files.key_file, &key.serialize_pem());
        files
    }

    /// The same for a client, from an authority of its own.
    pub fn issue_for_client(directory: &Path) -> Self {
        let ca_key = KeyPair::generate().expect("a key can be made");
        let ca_certificate = ca_params().self_signed(&ca_key).expect("an authority signs itself");
        let issuer = Issuer::new(ca_params(), ca_key);
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = server_params(&["client.example"]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).expect("the authority signs");
        let files = Self {
            ca_file: directory.join("client-ca.pem"),
            certificate_file: directory.join("client.pem"),
            key_file: directory.join("client.key"),
        };
        write(&files.ca_file, &ca_certificate.pem());
        write(&files.certificate_file, &certificate.pem());
        write(&files.key_file, &key.serialize_pem());
        files
    }
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "devstatus test authority");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server_params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "devstatus test broker");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // The nodes of a cluster are each other's clients, too.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = names.iter().map(|name| alt_name(name)).collect();
    params
}

fn alt_name(name: &str) -> SanType {
    match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into().expect("a host name is ASCII")),
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file can be written into the test's directory");
}
