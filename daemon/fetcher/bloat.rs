//! When the mirror holds more than the remote does, and how it is made anew.
//!
//! In: the mirror, and a way to fetch into a repository. Out: a mirror of one
//! pack. Must not: take away the mirror that is there before the new one is
//! whole.
//!
//! Each fetch brings a pack, and nothing is ever repacked: gix cannot, and the
//! fetcher has no `git`. History that a forced push left behind stays, too. A
//! new mirror from the remote has neither, and costs one clone now and then.

use std::fs;
use std::io;
use std::path::Path;

/// From how many packs on it is time. Every look-up asks each of them.
const MANY: usize = 64;

/// If it could not be done then, it is tried again only after so many more:
/// a remote that is too slow for a whole clone is still fetched from.
const AGAIN: usize = 16;

/// How many bytes besides the largest pack are nothing to worry about.
const LITTLE: u64 = 32 << 20;

/// What is in a directory of packs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Packs {
    count: usize,
    bytes: u64,
    largest: u64,
}

impl Packs {
    /// Counts the packs below a git directory.
    pub(super) fn count(git_directory: &Path) -> io::Result<Self> {
        let mut packs = Self::default();
        for entry in fs::read_dir(git_directory.join("objects/pack"))? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|it| it == "pack") {
                let bytes = entry.metadata()?.len();
                packs.count += 1;
                packs.bytes += bytes;
                packs.largest = packs.largest.max(bytes);
            }
        }
        Ok(packs)
    }

    /// Whether a new mirror would be worth a clone: too many packs, or what
    /// came after the clone is larger than the clone.
    pub(super) fn are_too_many(self) -> bool {
        let besides = self.bytes - self.largest;
        let is_time = self.count.is_multiple_of(AGAIN);
        is_time && (self.count >= MANY || besides > self.largest + LITTLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_packs_or_much_besides_the_largest_are_worth_a_clone_now_and_then() {
        let packs = |count, bytes, largest| Packs {
            count,
            bytes,
            largest,
        };
        for (packs, expected) in [
            (packs(0, 0, 0), false),
            (packs(1, 1 << 40, 1 << 40), false),
            (packs(63, 1000, 10), false),
            (packs(64, 1000, 10), true),
            (packs(65, 1000, 10), false),
            (packs(80, 1000, 10), true),
            (packs(16, (4 << 20) + LITTLE, 2 << 20), false),
            (packs(16, (4 << 20) + LITTLE + 1, 2 << 20), true),
        ] {
            assert_eq!(packs.are_too_many(), expected, "{packs:?}");
        }
    }
}
