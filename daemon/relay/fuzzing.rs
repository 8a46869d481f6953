//! Nix's activity stream from any bytes.
//!
//! In: any bytes. Out: nothing. Must not: panic, or take long; there is nothing
//! else that a caller could see.

use super::stream::Stream;
use crate::model::progress::Progress;
use crate::model::text::is_unsafe;

/// Reads a stream, and the progress that comes of it.
///
/// # Panics
/// If progress steers a terminal, or is not what is read back.
pub fn fuzz_build_stream(bytes: &[u8]) {
    let mut stream = Stream::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        drop(stream.take(line));
        if let Some(progress) = stream.progress() {
            let text = progress.to_string();
            assert!(!text.chars().any(is_unsafe), "{text:?}");
            assert_eq!(Progress::parse(&text), Some(progress));
        }
    }
}
