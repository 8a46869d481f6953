//! The OpenPGP keys that are trusted.
//!
//! In: armored blocks of public keys. Out: the keys that a signature may be by.
//! Must not: drop what it does not understand; it may have been a revocation.

use jiff::Timestamp;
use pgp::composed::{SignedPublicKey, SignedPublicKeyParser, SignedPublicSubKey};
use pgp::packet::{PacketParser, PacketTrait, PublicKey, Signature, SignatureType};
use pgp::types::{KeyDetails, KeyVersion, SignedUser, Tag};

use super::component::{Binding, Component, KeyPacket};
use super::{armor, is_strong};
use crate::trust::key_file::{FILE_LIMIT, Mistake};
use crate::trust::revocation::Revoked;
use crate::trust::untrusted::{Untrusted, shown};

/// Keys with their subkeys. Everything that its owner said is verified when it
/// is added; what remains for later is only a matter of time.
#[derive(Clone, Debug, Default)]
pub(in crate::trust) struct Keyring(Vec<Certificate>);

/// A primary key with its subkeys.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// One of its user ids, made safe to show.
    pub(super) user: String,
    primary: Component,
    subkeys: Vec<Component>,
}

/// A key that a signature names.
pub(super) struct Candidate<'a> {
    pub(super) key: &'a Component,
    pub(super) certificate: &'a Certificate,
}

impl Keyring {
    /// Adds the keys of a text of armored blocks.
    pub(in crate::trust) fn add(&mut self, text: &str) -> Result<(), Mistake> {
        if text.len() > FILE_LIMIT {
            let at = "the file".to_owned();
            return Err(Mistake::new(at, "at most 4 MiB", b"more"));
        }
        for (index, bytes) in armor::public_keys(text)?.iter().enumerate() {
            let at = || format!("block {}", index + 1);
            let keys = parse(bytes);
            let keys =
                keys.map_err(|(expected, found)| Mistake::new(at(), expected, found.as_bytes()))?;
            self.0.extend(keys.iter().map(Certificate::of));
        }
        Ok(())
    }

    /// The keys and subkeys that the signature says it is by.
    pub(super) fn named_by<'a>(
        &'a self,
        signature: &'a Signature,
    ) -> impl Iterator<Item = Candidate<'a>> {
        let named = |key: &Component| {
            let details = key.packet.details();
            let fingerprints = signature.issuer_fingerprint();
            let ids = signature.issuer_key_id();
            fingerprints.contains(&&details.fingerprint())
                || ids.contains(&&details.legacy_key_id())
        };
        self.0.iter().flat_map(move |certificate| {
            let keys = std::iter::once(&certificate.primary).chain(&certificate.subkeys);
            keys.filter(move |key| named(key))
                .map(move |key| Candidate { key, certificate })
        })
    }
}

impl Candidate<'_> {
    pub(super) fn made(&self, signature: &Signature, payload: &[u8]) -> bool {
        self.key.packet.made(signature, payload)
    }

    /// Whether the key may sign now. A subkey is worth no more than its primary key.
    pub(super) fn stands(&self, revoked: &Revoked, now: Timestamp) -> Result<(), Untrusted> {
        self.certificate.primary.stands(revoked, now)?;
        self.key.stands(revoked, now)?;
        self.key.may_sign(now)
    }
}

/// What a public key consists of.
const BELONGING: [Tag; 5] = [
    Tag::PublicKey,
    Tag::PublicSubkey,
    Tag::UserId,
    Tag::UserAttribute,
    Tag::Signature,
];

type Refusal = (&'static str, String);

/// Every packet has to be understood, and to have found its place.
fn parse(bytes: &[u8]) -> Result<Vec<SignedPublicKey>, Refusal> {
    let mut packets = Vec::new();
    let mut signatures = 0;
    for packet in PacketParser::new(bytes) {
        let expected = "packets of OpenPGP that are understood";
        let packet = packet.map_err(|error| (expected, error.to_string()))?;
        let tag = packet.tag();
        if !BELONGING.contains(&tag) {
            return Err(("public keys and what belongs to them", format!("{tag:?}")));
        }
        signatures += usize::from(tag == Tag::Signature);
        packets.push(packet);
    }
    let keys = SignedPublicKeyParser::from_packets(packets.into_iter().map(Ok).peekable());
    let keys: Result<Vec<_>, _> = keys.collect();
    let keys = keys.map_err(|error| ("public keys of OpenPGP", error.to_string()))?;
    let placed: usize = keys.iter().map(placed).sum();
    if keys.is_empty() || placed != signatures {
        let found = format!("{placed} of {signatures} signatures that belong to a key");
        return Err(("a key, and signatures that belong to it", found));
    }
    let old = |key: &&SignedPublicKey| !is_current(key.primary_key.version());
    match keys.iter().find(old) {
        Some(old) => {
            let version = format!("version {:?}", old.primary_key.version());
            Err(("keys of version 4 or 6", version))
        }
        None => Ok(keys),
    }
}

fn is_current(version: KeyVersion) -> bool {
    matches!(version, KeyVersion::V4 | KeyVersion::V6)
}

/// How many signatures the parser gave a place.
fn placed(key: &SignedPublicKey) -> usize {
    let details = &key.details;
    let users = details.users.iter().map(|it| it.signatures.len());
    let attributes = details.user_attributes.iter();
    let attributes = attributes.map(|it| it.signatures.len());
    let subkeys = key.public_subkeys.iter().map(|it| it.signatures.len());
    let of_parts: usize = users.chain(attributes).chain(subkeys).sum();
    of_parts + details.revocation_signatures.len() + details.direct_signatures.len()
}

impl Certificate {
    fn of(key: &SignedPublicKey) -> Self {
        let details = &key.details;
        // Whoever revoked it: a revocation that is there counts, verified or not.
        let revoked = !details.revocation_signatures.is_empty();
        let packet = KeyPacket::Primary(key.primary_key.clone());
        let mut primary = Component::new(packet, revoked);
        let direct = details.direct_signatures.iter();
        let direct = direct.filter(|it| it.typ() == Some(SignatureType::Key));
        let direct = direct.filter(|it| it.verify_key(&key.primary_key).is_ok());
        let mut bindings = vec![statements(&primary, direct)];
        for user in &details.users {
            bindings.push(of_user(&primary, &key.primary_key, user));
        }
        primary.bindings = bindings;
        let subkeys = key.public_subkeys.iter();
        let subkeys = subkeys.map(|it| subkey(&key.primary_key, it));
        Self {
            user: user(key),
            primary,
            subkeys: subkeys.collect(),
        }
    }
}

/// The user id that says it is the main one, or the first.
fn user(key: &SignedPublicKey) -> String {
    let users = &key.details.users;
    let main = users
        .iter()
        .find(|user| user.is_primary())
        .or(users.first());
    main.map_or_else(|| "nobody".to_owned(), |user| shown(user.id.id()))
}

/// What the owner said with a user id; nothing, once the user id is revoked.
fn of_user(primary: &Component, key: &PublicKey, user: &SignedUser) -> Vec<Binding> {
    let own = user.signatures.iter();
    let own = own.filter(|it| it.verify_certification(key, Tag::UserId, &user.id).is_ok());
    let own: Vec<&Signature> = own.collect();
    let is_revocation = |it: &&Signature| it.typ() == Some(SignatureType::CertRevocation);
    if own.iter().any(is_revocation) {
        return Vec::new();
    }
    statements(primary, own.into_iter())
}

fn statements<'a>(key: &Component, verified: impl Iterator<Item = &'a Signature>) -> Vec<Binding> {
    let strong = verified.filter(|it| is_strong(it.hash_alg()));
    strong
        .filter_map(|it| key.binding(it, it.key_flags().sign()))
        .collect()
}

fn subkey(primary: &PublicKey, subkey: &SignedPublicSubKey) -> Component {
    let signatures = &subkey.signatures;
    let is = |it: &Signature, typ| it.typ() == Some(typ);
    let revoked = signatures
        .iter()
        .any(|it| is(it, SignatureType::SubkeyRevocation));
    let mut component = Component::new(KeyPacket::Subkey(subkey.key.clone()), revoked);
    let bindings = signatures.iter().filter(|it| {
        is(it, SignatureType::SubkeyBinding)
            && is_strong(it.hash_alg())
            && it.verify_subkey_binding(primary, &subkey.key).is_ok()
    });
    let bindings = bindings.filter_map(|it| {
        // Without the subkey's own consent anybody could claim it, and what it signed.
        let may_sign = it.key_flags().sign() && consents(primary, subkey, it);
        component.binding(it, may_sign)
    });
    component.bindings = vec![bindings.collect()];
    component
}

fn consents(primary: &PublicKey, subkey: &SignedPublicSubKey, binding: &Signature) -> bool {
    binding.embedded_signature().is_some_and(|back| {
        is_strong(back.hash_alg())
            && back
                .verify_primary_key_binding(&subkey.key, primary)
                .is_ok()
    })
}
