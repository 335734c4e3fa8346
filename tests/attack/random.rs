//! Random numbers and damage to bytes; the same seed gives the same attack everywhere.

/// xorshift.
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }
}

/// Damages bytes in one to five places. `words` are pieces that mean something where the bytes go.
pub(crate) fn damage(random: &mut Random, bytes: &mut Vec<u8>, words: &[&[u8]]) {
    for _ in 0..=random.below(5) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(40)).min(bytes.len());
        match random.below(9) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            3 | 4 if !words.is_empty() => {
                let word = random.pick(words);
                let end = if random.chance(50) { at } else { end };
                bytes.splice(at..end, word.iter().copied());
            }
            5 => {
                let length = random.below(8) + 1;
                let junk = random.bytes(length);
                bytes.splice(at..at, junk);
            }
            6 => {
                let (byte, length) = (random.byte(), 1 << random.below(14));
                bytes.splice(at..at, std::iter::repeat_n(byte, length));
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = if random.chance(50) {
                        *byte ^ (1 << random.below(8))
                    } else {
                        random.byte()
                    };
                }
            }
        }
    }
}
