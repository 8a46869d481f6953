//! One function for each thing that comes over a wire, to the fetcher or from it.
//!
//! In: any bytes. Out: nothing. Must not: panic, or take long; there is nothing
//! else that a caller could see.

use std::io;
use std::sync::Arc;

use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::git::ConnectMode;
use gix::protocol::transport::client::git::blocking_io::Connection;

use super::limits::Limits;
use super::meter::Meter;
use super::metered::Metered;
use super::session::Session;
use super::wire::{Answer, Request};

/// Has a server of git:// say these bytes to a poll, from its greeting on.
///
/// # Panics
/// If a ref is found at something else than 40 digits: its type forbids it.
pub fn fuzz_refs(bytes: &[u8]) {
    let said = io::Cursor::new(bytes.to_vec());
    let nobody: Option<(&str, Option<u16>)> = None;
    let mode = ConnectMode::Daemon;
    let server = Connection::new(said, io::sink(), Protocol::V2, "/r", nobody, mode, false);
    let meter = Arc::new(Meter::new(Limits::default()));
    let metered = Metered::new(Box::new(server), Arc::clone(&meter));
    let names = ["refs/heads/main", "refs/tags/v1"].map(str::to_owned);
    if let Ok(mut session) = Session::greet(metered, "git://example.org/r")
        && let Ok(heads) = session.heads(&names, &meter)
    {
        let mut found = heads.iter().flatten();
        assert!(found.all(|id| id.as_str().len() == 40));
    }
}

/// Reads a request as the fetcher does.
///
/// # Panics
/// If what was understood is written as something else.
pub fn fuzz_request(bytes: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        let written = serde_json::to_vec(&request).unwrap_or_default();
        assert_eq!(
            serde_json::from_slice::<Request>(&written).ok(),
            Some(request)
        );
    }
}

/// Reads an answer as the daemon does.
///
/// # Panics
/// If what was understood is written as something else.
pub fn fuzz_answer(bytes: &[u8]) {
    if let Ok(answer) = serde_json::from_slice::<Answer>(bytes) {
        let written = serde_json::to_vec(&answer).unwrap_or_default();
        assert_eq!(
            serde_json::from_slice::<Answer>(&written).ok(),
            Some(answer)
        );
    }
}
