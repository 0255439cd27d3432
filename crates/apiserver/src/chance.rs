//! What is left to chance: unique identifiers, the ends of generated names, free addresses and ports.
//!
//! The seed is an argument, so that tests repeat themselves. It is *not* for secrets.

/// A source of numbers (xoroshiro128++).
#[derive(Debug, Clone)]
pub struct Chance(u64, u64);

impl Chance {
    /// Begins with a seed; every seed is another sequence.
    pub fn new(seed: [u8; 16]) -> Self {
        let seed = u128::from_le_bytes(seed) | 1;
        Self(seed as u64, (seed >> 64) as u64)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        let (a, b) = (self.0, self.1);
        let out = a.wrapping_add(b).rotate_left(17).wrapping_add(a);
        let b = a ^ b;
        self.0 = a.rotate_left(49) ^ b ^ (b << 21);
        self.1 = b.rotate_left(28);
        out
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(end)) >> 64) as u64
    }

    /// A number below `end`, which is not 0.
    pub fn below_128(&mut self, end: u128) -> u128 {
        (u128::from(self.number()) << 64 | u128::from(self.number())) % end
    }

    /// A UUID of version 4.
    pub fn uid(&mut self) -> String {
        let bits = u128::from(self.number()) << 64 | u128::from(self.number());
        let bits = bits & !(0xf << 76) & !(0x3 << 62) | 4 << 76 | 2 << 62;
        let hex = format!("{bits:032x}");
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }

    /// The five letters at the end of a generated name.
    pub fn suffix(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5).map(|_| char::from(LETTERS[self.below(LETTERS.len() as u64) as usize])).collect()
    }
}

/// Answers something that nobody knows, from the kernel.
pub fn seed() -> [u8; 16] {
    let mut seed = [0; 16];
    let random = ring::rand::SystemRandom::new();
    ring::rand::SecureRandom::fill(&random, &mut seed)
        .expect("the kernel has random numbers once it has started");
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_forms_that_are_wanted() {
        let mut chance = Chance::new([7; 16]);
        let uid = chance.uid();
        assert_eq!((uid.len(), &uid[14..15]), (36, "4"), "{uid}");
        assert!("89ab".contains(&uid[19..20]), "{uid}");
        assert_ne!(uid, chance.uid());
        assert!((0..1000).all(|_| chance.below(3) < 3 && chance.below_128(5) < 5));
        assert_eq!(chance.suffix().len(), 5);
    }
}
