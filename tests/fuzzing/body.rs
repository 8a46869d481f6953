//! Runs the fuzz body that `DEPLOY_FLAKE_FUZZ` names.

#![no_main]

use std::sync::LazyLock;

use deploy_flake::config::fuzzing::fuzz_configuration;
use deploy_flake::fetcher::fuzzing::{fuzz_answer, fuzz_refs, fuzz_request};
use deploy_flake::relay::fuzzing::fuzz_build_stream;
use deploy_flake::store::ledger::fuzzing::fuzz_ledger;
use deploy_flake::trust::fuzzing::{
    fuzz_allowed_signers, fuzz_commit, fuzz_keyring, fuzz_openpgp_signature, fuzz_revoked,
    fuzz_ssh_signature, fuzz_tag,
};

const BODIES: [(&str, fn(&[u8])); 13] = [
    ("refs", fuzz_refs),
    ("request", fuzz_request),
    ("answer", fuzz_answer),
    ("commit", fuzz_commit),
    ("tag", fuzz_tag),
    ("ssh-signature", fuzz_ssh_signature),
    ("openpgp-signature", fuzz_openpgp_signature),
    ("allowed-signers", fuzz_allowed_signers),
    ("keyring", fuzz_keyring),
    ("revoked", fuzz_revoked),
    ("configuration", fuzz_configuration),
    ("ledger", fuzz_ledger),
    ("build-stream", fuzz_build_stream),
];

static BODY: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("DEPLOY_FLAKE_FUZZ").unwrap_or_default();
    let body = BODIES.iter().find(|(name, _)| *name == wanted);
    let names = BODIES.map(|(name, _)| name).join(", ");
    body.unwrap_or_else(|| panic!("expected one of {names}, found {wanted:?}")).1
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (*BODY)(bytes));
