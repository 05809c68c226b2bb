//! A certificate authority that no system trusts, and the certificates that it signs for a broker.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rcgen::{KeyUsagePurpose, SanType, SigningKey, date_time_ymd};

/// What is wrong with a server's certificate that is in order otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is an authority's own, as one that somebody makes in a hurry mostly is.
    SelfSigned,
    /// Of version 1 of X.509, which has no extensions and so no names.
    Version1,
    /// Since the second day of 2020.
    Expired,
}

/// PEM files of an authority and of one server certificate.
pub struct PrivateCa {
    pub ca_file: PathBuf,
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

impl PrivateCa {
    /// Writes an authority and a certificate for `names` (host names or addresses) into the directory.
    pub fn issue(directory: &Path, names: &[&str]) -> Self {
        Self::issue_with(directory, names, None)
    }

    /// The same with a flaw.
    pub fn issue_with(directory: &Path, names: &[&str], flaw: Option<Flaw>) -> Self {
        let ca_key = KeyPair::generate().expect("a key can be made");
        let mut ca_params = ca_params();
        if flaw == Some(Flaw::SelfSigned) {
            ca_params.subject_alt_names = server_params(names).subject_alt_names;
        }
        let ca_certificate = ca_params.self_signed(&ca_key).expect("an authority signs itself");
        let issuer = Issuer::new(ca_params, &ca_key);

        let key = KeyPair::generate().expect("a key can be made");
        let mut params = server_params(names);
        if flaw == Some(Flaw::Expired) {
            params.not_after = date_time_ymd(2020, 1, 2);
        }
        let certificate = params.signed_by(&key, &issuer).expect("the authority signs");
        let files = Self {
            ca_file: directory.join("ca.pem"),
            certificate_file: directory.join("server.pem"),
            key_file: directory.join("server.key"),
        };
        let (shown, key_of_shown) = match flaw {
            None | Some(Flaw::Expired) => (certificate.pem(), key.serialize_pem()),
            Some(Flaw::SelfSigned) => (ca_certificate.pem(), ca_key.serialize_pem()),
            Some(Flaw::Version1) => (pem(&version_1(certificate.der(), &ca_key)), key.serialize_pem()),
        };
        write(&files.ca_file, &ca_certificate.pem());
        write(&files.certificate_file, &shown);
        write(&files.key_file, &key_of_shown);
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

/// The same certificate in version 1 of X.509: without the version and the extensions, which makes a signature of its own due.
fn version_1(certificate: &[u8], signer: &KeyPair) -> Vec<u8> {
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 0x03;
    const VERSION: u8 = 0xa0;
    const EXTENSIONS: u8 = 0xa3;
    let [signed, algorithm, _signature] = elements(content(certificate)).try_into().expect("three parts");
    let mut fields = elements(content(signed));
    fields.retain(|field| ![VERSION, EXTENSIONS].contains(&field[0]));
    let signed = element(SEQUENCE, &fields.concat());
    let signature = signer.sign(&signed).expect("the authority signs");
    // The first byte says how many bits of the last one do not count.
    let signature = element(BIT_STRING, &[&[0], &signature[..]].concat());
    element(SEQUENCE, &[&signed, algorithm, &signature].concat())
}

/// The elements of DER that follow each other.
fn elements(mut der: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    while !der.is_empty() {
        let (head, length) = head(der);
        let (one, rest) = der.split_at(head + length);
        elements.push(one);
        der = rest;
    }
    elements
}

fn content(element: &[u8]) -> &[u8] {
    &element[head(element).0..]
}

/// The bytes of an element's tag and length, and those of its content.
fn head(element: &[u8]) -> (usize, usize) {
    let first = usize::from(element[1]);
    if first < 0x80 {
        return (2, first);
    }
    let bytes = &element[2..2 + first - 0x80];
    (2 + bytes.len(), bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length @ ..0x80) => element.push(length),
        Ok(length) => element.extend([0x81, length]),
        Err(_) => {
            element.push(0x82);
            element.extend(u16::try_from(content.len()).expect("a certificate is short").to_be_bytes());
        }
    }
    element.extend_from_slice(content);
    element
}

fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file can be written into the test's directory");
}
