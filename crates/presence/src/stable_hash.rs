//! A hash that is the same in every process and version (FNV-1a, 64 bits), for what is compared with what another instance or
//! an earlier version has written. It protects from nothing: anybody can find two inputs with one hash.

/// Takes bytes piece by piece; the pieces make no difference.
#[derive(Clone, Copy, Debug)]
pub struct StableHash(u64);

impl Default for StableHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl StableHash {
    /// The hash with these bytes added.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(bytes.iter().fold(self.0, add))
    }

    /// The hash of all bytes so far.
    pub fn value(self) -> u64 {
        self.0
    }

    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> u64 {
        Self::default().with(bytes).value()
    }
}

#[cfg(test)]
mod tests {
    use super::StableHash;

    #[test]
    fn the_hash_is_fnv_1a() {
        // The values that its authors publish.
        assert_eq!(StableHash::of(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(StableHash::of(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(StableHash::of(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(StableHash::default().with(b"foo").with(b"bar").value(), StableHash::of(b"foobar"));
    }
}
