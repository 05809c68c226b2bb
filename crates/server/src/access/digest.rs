//! What is kept of a secret: its SHA-256, compared in constant time.
//!
//! A slow hash is for secrets that people choose, of which a thief could try the likely ones. These are 190 random bits:
//! nobody tries those, however fast the hash is, and a slow one would let every request with a wrong key cost what it was
//! meant to cost the thief.

use std::fmt::{self, Write};

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::ConstantTimeEq;

/// The SHA-256 of a secret. There is no comparison of two but the one that takes the same time wherever they differ.
#[derive(Clone, Copy)]
pub struct Digest([u8; SHA256_OUTPUT_LEN]);

impl Digest {
    /// What no secret has, for the comparison with the secret of an unknown key.
    pub const NONE: Digest = Digest([0; SHA256_OUTPUT_LEN]);

    pub const BYTES: usize = SHA256_OUTPUT_LEN;

    pub fn of(secret: &[u8]) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, secret).as_ref());
        Self(bytes)
    }

    pub fn bytes(self) -> [u8; Self::BYTES] {
        self.0
    }

    /// The digest that `Display` has written.
    pub fn parse(hex: &str) -> Option<Self> {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        if hex.len() != bytes.len() * 2 || !hex.bytes().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('…')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sha_256_and_is_read_as_it_is_written() {
        // From FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), abc);
        assert_eq!(Digest::parse(abc), Some(Digest::of(b"abc")));
        assert_eq!(Digest::parse(&abc[1..]), None);
        assert_eq!(Digest::parse(&abc.replace('b', "ä")), None);
        assert_eq!(Digest::parse(&abc.replace('b', "g")), None);
    }

    #[test]
    fn only_the_same_secret_matches() {
        assert_eq!(Digest::of(b"abc"), Digest::of(b"abc"));
        assert_ne!(Digest::of(b"abd"), Digest::of(b"abc"));
        assert_ne!(Digest::of(b""), Digest::NONE);
    }
}
