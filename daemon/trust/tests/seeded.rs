//! Random changes of bytes, bounded, and the same in each run.
//!
//! In: a seed and examples. Out: changed examples. Must not: need anything of the program: `tests/mutations` uses it, too.

/// Random enough to vary bytes, and the same in each run (xorshift).
pub(super) struct Seeded(pub(super) u64);

impl Seeded {
    pub(super) fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % below.max(1)
    }

    /// One to four changes: a byte replaced, removed, doubled, or the end cut off.
    pub(super) fn change(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut changed = bytes.to_vec();
        for _ in 0..=self.next(4) {
            let at = self.next(changed.len());
            match (changed.get(at).copied(), self.next(16)) {
                (None, _) => changed.push(b'\n'),
                (Some(_), 0) => changed.truncate(at),
                (Some(_), 1..4) => drop(changed.remove(at)),
                (Some(byte), 4..7) => changed.insert(at, byte),
                (Some(_), 7..10) => {
                    const LOADED: &[u8] = b"\n \0\"=,-#!*\xff\x7f";
                    changed[at] = LOADED[self.next(LOADED.len())];
                }
                (Some(byte), _) => changed[at] = byte ^ (1 << self.next(8)),
            }
        }
        changed
    }
}

/// How many changes are tried.
const ROUNDS: usize = 3_000;

/// Runs a body over a corpus, and over changes of it: the same ones in each run.
pub(super) fn fuzz(seed: u64, corpus: &[&[u8]], body: fn(&[u8])) {
    let mut random = Seeded(seed);
    for example in corpus {
        body(example);
    }
    for _ in 0..ROUNDS {
        let example = corpus[random.next(corpus.len())];
        body(&random.change(example));
    }
}
