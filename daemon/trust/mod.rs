//! Who vouches for a commit, or a tag: signatures and ancestry, judged on the raw objects.
//!
//! In: the bytes of commit and tag objects, the texts of the keys, and the time. Out:
//! the signer, or the one reason why there is none. Must not: read, write, wait,
//! look at a clock, or decide what follows.
//!
//! Nothing here believes whoever brought the objects: a commit's id is computed
//! from its bytes, and only what was parsed without any doubt is judged. Where
//! git is lenient this is strict; `docs/trust.md` lists the differences.

pub mod untrusted;
pub mod commit;
pub mod tag;
#[doc(hidden)]
pub mod base64;
#[doc(hidden)]
pub mod wire;
mod pattern;
pub mod key_file;
pub mod allowed_signers;
mod krl;
pub mod revocation;
mod ssh;
#[cfg(feature = "openpgp")]
mod openpgp;
pub mod keys;
pub mod history;
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod tests;

pub use keys::{Keys, Signer, verify};
pub use untrusted::Untrusted;
