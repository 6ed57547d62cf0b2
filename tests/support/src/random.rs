//! A seeded source of random numbers, and mutations of frames by it.

/// SplitMix64: small, seeded, the same everywhere.
pub struct Random(u64);

impl Random {
    /// The seed of this run: `PONDWIRE_SEED`, or a fixed one; printed so that a failure can be
    /// repeated.
    pub fn from_env(test: &str) -> Self {
        let seed = std::env::var("PONDWIRE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(20_261_123);
        println!("{test}: PONDWIRE_SEED={seed}");
        Self(seed)
    }

    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// How many cases a property test runs: `PONDWIRE_CASES`, or `default`; at most `PONDWIRE_MAX_CASES`.
pub fn cases(default: usize) -> usize {
    let number = |name| std::env::var(name).ok().and_then(|cases| cases.parse().ok());
    number("PONDWIRE_CASES")
        .unwrap_or(default)
        .min(number("PONDWIRE_MAX_CASES").unwrap_or(usize::MAX))
}

/// Bytes that matter to a JSON scanner, as likely as any other when mutating.
const TELLING: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"0",
    b"-",
    b".",
    b"e",
    b"E",
    b"+",
    b" ",
    b"\n",
    b"\r",
    b"\t",
    b"\0",
    b"\x1f",
    b"\x7f",
    b"\xc3\xa9",
    b"\xf0\x9f\x98\x80",
    b"\xff",
    b"\xed\xa0\x80",
    b"\\u0041",
    b"\\ud800",
    b"\\ud83d\\ude00",
    b"\\u12",
    b"\\\"",
    b"\\\\",
    b"true",
    b"false",
    b"null",
    b"nul",
    b"1.5e-3",
    b"01",
    b"-",
    b"\"\"",
    b"{}",
    b"[]",
    b"[[",
    b"]]",
    b"\"payload\":",
    b"\"\\u0061ction\":",
    b"/",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
];

/// One to four small changes: the frames that break scanners are nearly right.
pub fn mutate(random: &mut Random, frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(7) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => {
                bytes.remove(at);
            }
            3 => {
                let end = (at + random.below(40)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            4 => {
                let end = (at + random.below(12)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let telling = *random.pick(TELLING);
                let end = if random.below(2) == 0 { at } else { (at + 1).min(bytes.len()) };
                bytes.splice(at..end, telling.iter().copied());
            }
        }
    }
    bytes
}
