//! Chance as an input: [`Entropy`].

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::object::Name;

/// A seeded source of chance, from which UIDs, name suffixes and tie breaks come.
///
/// [`Entropy::child`] gives each purpose a generator of its own, so that one more draw here does not change what is
/// drawn there: a seed replays a cluster even after code in one corner of it has changed.
#[derive(Clone, Debug)]
pub struct Entropy {
    seed: [u8; 32],
    rng: ChaCha8Rng,
}

/// The letters of generated names: no vowels, so that no words appear, and nothing that looks like something else.
const SUFFIX_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

impl Entropy {
    /// The generator that `seed` stands for.
    pub fn seeded(seed: u64) -> Entropy {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Entropy::from_seed(bytes)
    }

    /// The generator of a full-length seed, such as the operating system's entropy.
    pub fn from_seed(seed: [u8; 32]) -> Entropy {
        Entropy { seed, rng: ChaCha8Rng::from_seed(seed) }
    }

    /// An independent generator for `purpose`. Depends on the seed and the purpose, not on what was drawn before.
    pub fn child(&self, purpose: &str) -> Entropy {
        let mut mixer = ChaCha8Rng::from_seed(self.seed);
        let mut seed = self.seed;
        for chunk in purpose.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let key = u64::from_le_bytes(word) ^ mixer.next_u64() ^ (chunk.len() as u64);
            let mut next = [0; 32];
            for (lane, out) in next.chunks_mut(8).enumerate() {
                let mut old = [0; 8];
                old.copy_from_slice(&seed[lane * 8..lane * 8 + 8]);
                let mixed = u64::from_le_bytes(old).rotate_left(17)
                    ^ key.wrapping_mul(0x9E37_79B9_7F4A_7C15 + 2 * lane as u64);
                out.copy_from_slice(&mixed.to_le_bytes());
            }
            ChaCha8Rng::from_seed(next).fill_bytes(&mut seed);
        }
        Entropy::from_seed(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// A number below `bound`; zero if `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of a 128-bit product: no bias that matters below 2^32, and none visible above.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `0.0..1.0`.
    pub fn fraction(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.rng.fill_bytes(out);
    }

    /// A version 4 UUID in text.
    pub fn uuid(&mut self) -> Name {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        uuid(bytes)
    }

    /// The random end of a generated name: `len` letters of Kubernetes' alphabet without vowels.
    pub fn suffix(&mut self, len: usize) -> Name {
        (0..len).map(|_| char::from(SUFFIX_LETTERS[self.below(27) as usize])).collect()
    }
}

/// A version 4 UUID in text, of these bytes but for what marks it as one.
pub(crate) fn uuid(mut bytes: [u8; 16]) -> Name {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let n = u128::from_be_bytes(bytes);
    let part = |shift: u32, digits: u32| (n >> shift) & ((1u128 << (digits * 4)) - 1);
    smol_str::format_smolstr!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        part(96, 8),
        part(80, 4),
        part(64, 4),
        part(48, 4),
        part(0, 12)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_depend_on_seed_and_purpose_alone() {
        let mut root = Entropy::seeded(7);
        let before = root.child("uid").uuid();
        root.next_u64();
        assert_eq!(root.child("uid").uuid(), before);
        assert_ne!(root.child("name").uuid(), before);
        assert_ne!(Entropy::seeded(8).child("uid").uuid(), before);
        assert_ne!(root.child("a long purpose, one").uuid(), root.child("a long purpose, two").uuid());
    }

    #[test]
    fn uuids_have_their_version_and_variant() {
        let uuid = Entropy::seeded(1).uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"));
    }
}
