//! The encoding of SSH's own formats (RFC 4251): integers and strings with
//! their length before them.
//!
//! In: bytes. Out: the pieces, or nothing where the bytes end too early. Must
//! not: know what the pieces mean.

/// What is still to be read.
#[derive(Clone, Copy)]
pub struct Wire<'a>(pub &'a [u8]);

impl<'a> Wire<'a> {
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.take(1).and_then(|byte| byte.first().copied())
    }

    pub fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?;
        bytes.try_into().ok().map(u32::from_be_bytes)
    }

    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }

    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}
