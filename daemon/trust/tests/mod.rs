//! The verdicts on commits that the real tools made: git, ssh-keygen, gpg.

mod tools;
mod case;
mod shape_cases;
mod ssh_cases;
mod security_key;
#[cfg(feature = "openpgp")]
mod openpgp_cases;
#[cfg(feature = "openpgp")]
mod bindings;
mod collision;
mod verdicts;
mod files;
mod tags;
mod history;
mod seeded;
mod mutations;
