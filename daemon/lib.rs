//! deploy-flake: a GitOps daemon for NixOS that proves a system before it
//! writes the boot entry.
//!
//! # What happens to one commit
//!
//! ```text
//! remote ──poll──▶ commit ──import──▶ our own copy ──evaluate──▶ derivation
//!   derivation ──build──▶ toplevel ──root──▶ held by root, its own output
//!   toplevel ──host healthy? guards? room? entry readable?──▶
//!   ──the closure's own checks──▶ ──guardian armed, and read back──▶
//!   ──`test`──▶ running ──the new system's daemon takes over──▶
//!   running ──as healthy as before, for the whole confirm window──▶ confirmed
//!   confirmed ──the verdict claimed──▶ ──profile, `boot`, read back──▶
//!   boot entry ──guardian disarmed──▶ deployed
//!
//!   anything wrong once it is armed ──▶ the previous system runs again
//! ```
//!
//! That order is the product. Nothing after a failed step runs but the way
//! back, and until the last step a reboot is a rollback.
//!
//! # Who does what
//!
//! ```text
//!            looks, triggers                        effects
//!  remote ───────────────────▶ daemon (one owner) ─────────▶ executor
//!     ▲                          │ step: pure      ◀─────────  │ completions
//!     │ fetcher                  │                             ▼
//!     │ (own user, network)      ├─▶ ledger, before each    pipeline: the stages
//!     └──── socket pair ─────────┤    effect                   │ one method per effect
//!                                ├─▶ snapshot, bus, journal     ▼
//!                                │                        transient units: import,
//!  status, trigger ◀─────────────┘                        evaluate, build (own user);
//!                                                         probe (no rights at all);
//!                                                         root, check, test, profile,
//!                                                         boot, restore (root)
//!
//!  guardian (root, from the previous system): armed before `test`; the token
//!  says whether daemon or guardian was first, and whoever was second obeys
//! ```
//!
//! The daemon has no capabilities and no network. Everything privileged, heavy
//! or hostile runs in a unit of its own, with a deadline, and goes on without
//! the daemon: whichever daemon comes next knows the unit by its description
//! and reads its result. The guardian needs neither the daemon, nor the bus, nor
//! the new system.
//!
//! # The modules, in the order in which data flows
//!
//! | module | in | out |
//! |---|---|---|
//! | [`model`] | text | the nouns: plain data that cannot be malformed |
//! | [`config`] | a TOML file | settings that cannot be wrong, or every mistake |
//! | [`host`] | plain requests | clocks, children, systemd, the journal |
//! | [`reconcile`] | state, event, policy, time | the next state and its effects: pure |
//! | [`trust`] | a commit's bytes, keys, the time | who vouches for it: pure |
//! | [`fetcher`] | the daemon's requests | the mirror: a process of its own |
//! | [`probe`] | a closure's configuration | what the network looks like from it: a process of its own |
//! | [`relay`] | what Nix says of a build | lines for the journal, and how far it is: a process of its own |
//! | [`pipeline`] | an effect | what was found or done: the hands |
//! | [`guardian`] | a command line and a plan | the previous system again, or a reboot |
//! | [`store`] | state | ledger, snapshot, lock: what survives |
//! | [`ipc`] | calls | requests, judged by their caller |
//! | [`report`] | what happened | journal, status text, words |
//! | [`executor`] | effects | completions |
//! | [`daemon`] | all above | a host that follows |
//! | [`cli`] | arguments | what people read, exit codes |
//!
//! Arrows go down only; `docs/architecture.md` says who may use whom. What only
//! a host needs is there on Linux only; the command line for other hosts is
//! built for macOS, too.

pub mod model;
pub mod config;
pub mod host;
pub mod reconcile;
#[cfg(target_os = "linux")]
pub mod trust;
#[cfg(target_os = "linux")]
pub mod fetcher;
#[cfg(target_os = "linux")]
pub mod probe;
pub mod relay;
#[cfg(target_os = "linux")]
pub mod pipeline;
#[cfg(target_os = "linux")]
pub mod guardian;
pub mod store;
pub mod ipc;
pub mod report;
#[cfg(target_os = "linux")]
pub mod executor;
#[cfg(target_os = "linux")]
pub mod daemon;
pub mod cli;
