//! Keyrings from which something was taken that a key cannot do without.

use pgp::composed::{ArmorOptions, Deserializable, SignedPublicKey};
use pgp::packet::{SubpacketData, UserId};
use pgp::types::PacketHeaderVersion;

use super::case::crafted;
use crate::trust::keys::{KeyTexts, Keys};
use crate::trust::verify;

/// The verdict on a commit by the subkey of `pgp-subkey`, with its key changed.
fn verdict(change: fn(&mut SignedPublicKey)) -> Result<String, &'static str> {
    let crafted = crafted();
    let (keys, _) = SignedPublicKey::from_string_many(&crafted.keyring).expect("a keyring");
    let mut keys = keys.map(|key| key.expect("a key"));
    let is_it = |key: &SignedPublicKey| {
        let users = key.details.users.iter();
        let mut users = users.filter_map(|user| user.id.as_str());
        users.any(|user| user.starts_with("pgp-subkey "))
    };
    let mut key = keys.find(is_it).expect("there is that key");
    change(&mut key);
    let keyring = key.to_armored_string(ArmorOptions::default());
    let keyring = keyring.expect("a key can be written");
    let keys = Keys::load(&KeyTexts {
        keyrings: &[&keyring],
        ..KeyTexts::default()
    })
    .expect("the keyring is well-formed");
    let verdict = verify(crafted.object("pgp-subkey"), &keys, crafted.now);
    verdict.map(|it| it.principal).map_err(|it| it.code())
}

#[test]
fn a_subkey_signs_only_with_its_own_consent() {
    let unchanged = verdict(|_| {});
    let principal = "pgp-subkey <pgp-subkey@example.org>".to_owned();
    assert_eq!(unchanged, Ok(principal));
    let without_consent = verdict(|key| {
        for binding in &mut key.public_subkeys[0].signatures {
            let config = binding.config().expect("a known version");
            let is_consent =
                |data: &SubpacketData| matches!(data, SubpacketData::EmbeddedSignature(_));
            let at = config
                .unhashed_subpackets()
                .position(|it| is_consent(&it.data));
            let at = at.expect("gpg puts it where it is not hashed");
            binding.unhashed_subpacket_remove(at).expect("it is there");
        }
    });
    assert_eq!(without_consent, Err("key-may-not-sign"));
}

#[test]
fn a_key_without_a_statement_of_its_owner_is_nobodys() {
    let no_user = verdict(|key| key.details.users.clear());
    assert_eq!(no_user, Err("key-not-bound"));
    // What the owner said of another user id says nothing of this one.
    let foreign = verdict(|key| {
        for user in &mut key.details.users {
            user.id = UserId::from_str(PacketHeaderVersion::New, "Mallory <m@example.org>")
                .expect("a user id");
        }
    });
    assert_eq!(foreign, Err("key-not-bound"));
}

#[test]
fn a_subkey_that_is_not_bound_is_not_known_or_not_trusted() {
    let none = verdict(|key| key.public_subkeys.clear());
    assert_eq!(none, Err("unknown-key"));
}

#[test]
fn a_key_that_is_there_twice_has_to_be_good_twice() {
    let crafted = crafted();
    let revoked = crafted.object("revoked OpenPGP key");
    let keyring = &crafted.keyring;
    let keys = Keys::load(&KeyTexts {
        keyrings: &[keyring, keyring],
        ..KeyTexts::default()
    })
    .expect("the keyring is well-formed");
    let verdict = verify(revoked, &keys, crafted.now);
    assert_eq!(verdict.map_err(|it| it.code()), Err("key-revoked"));
    let good = verify(crafted.object("pgp-subkey"), &keys, crafted.now);
    assert!(good.is_ok());
}
