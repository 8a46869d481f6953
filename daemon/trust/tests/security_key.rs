//! Signatures that ssh-keygen makes only with hardware, or not at all: put
//! together here, with openssl for the arithmetic.

use sha2::{Digest, Sha256, Sha512};

use super::case::Bench;
use super::tools::{DATE, with_header};
use crate::trust::base64;
use crate::trust::wire::Wire;

const TOUCHED: u8 = 1;

pub(super) fn add(bench: &mut Bench) {
    for (name, kind) in [("sk-ed25519", Kind::Ed25519), ("sk-p256", Kind::P256)] {
        let key = kind.generate(bench, name);
        let line = format!("{} {}", kind.name(), encode(&key));
        bench.allow(&format!("{name}@example.org {line}"));
    }
    for (name, kind, flags, verdict) in [
        (
            "sk-ed25519",
            Kind::Ed25519,
            TOUCHED,
            Ok("sk-ed25519@example.org"),
        ),
        ("sk-p256", Kind::P256, TOUCHED, Ok("sk-p256@example.org")),
        (
            "sk-ed25519 untouched",
            Kind::Ed25519,
            0,
            Err("no-user-presence"),
        ),
        ("sk-p256 untouched", Kind::P256, 4, Err("no-user-presence")),
    ] {
        let payload = bench.tools.payload(name, DATE);
        let armored = kind.sign(bench, &payload, flags);
        let object = with_header(&payload, "gpgsig", &armored);
        match verdict {
            Ok(principal) => bench.good(name, object, principal),
            Err(code) => bench.bad(name, object, code),
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Ed25519,
    P256,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "sk-ssh-ed25519@openssh.com",
            Self::P256 => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Ed25519 => "sk-ed25519",
            Self::P256 => "sk-p256",
        }
    }

    /// Makes a key pair; returns the public key in SSH's encoding.
    fn generate(self, bench: &Bench, name: &str) -> Vec<u8> {
        let algorithm: &[&str] = match self {
            Self::Ed25519 => &["-algorithm", "ed25519"],
            Self::P256 => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        };
        let arguments = [&["genpkey", "-out", name], algorithm].concat();
        bench.tools.run("openssl", &arguments, b"");
        self.public(bench)
    }

    fn public(self, bench: &Bench) -> Vec<u8> {
        let arguments = ["pkey", "-in", self.file(), "-pubout", "-outform", "DER"];
        let der = bench.tools.run("openssl", &arguments, b"");
        // The raw key is what such a structure ends with.
        match self {
            Self::Ed25519 => strings(&[self.name().as_bytes(), &der[der.len() - 32..], b"ssh:"]),
            Self::P256 => strings(&[
                self.name().as_bytes(),
                b"nistp256",
                &der[der.len() - 65..],
                b"ssh:",
            ]),
        }
    }

    /// Signs as a security key does (PROTOCOL.u2f): its own flags and counter are part of it.
    fn sign(self, bench: &Bench, payload: &[u8], flags: u8) -> Vec<u8> {
        let mut about = vec![flags];
        about.extend(7u32.to_be_bytes());
        let message = to_be_signed(payload);
        let input = [
            &Sha256::digest(b"ssh:")[..],
            &about,
            &Sha256::digest(&message)[..],
        ]
        .concat();
        bench.tools.write("input", &input);
        let raw = self.raw(bench);
        let mut signature = strings(&[self.name().as_bytes(), &raw]);
        signature.extend(about);
        armored(&blob(
            &self.public(bench),
            b"git",
            b"",
            b"sha512",
            &signature,
        ))
    }

    fn raw(self, bench: &Bench) -> Vec<u8> {
        let key = self.file();
        match self {
            Self::Ed25519 => {
                let arguments = ["pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", "input"];
                bench.tools.run("openssl", &arguments, b"")
            }
            Self::P256 => {
                let arguments = ["dgst", "-sha256", "-sign", key, "input"];
                let der = bench.tools.run("openssl", &arguments, b"");
                // SEQUENCE, length, twice INTEGER, length, and bytes: as SSH's own numbers.
                let first = usize::from(der[3]);
                strings(&[&der[4..4 + first], &der[4 + first + 2..]])
            }
        }
    }
}

/// What is signed for the namespace "git".
fn to_be_signed(payload: &[u8]) -> Vec<u8> {
    let digest = Sha512::digest(payload);
    [&b"SSHSIG"[..], &strings(&[b"git", b"", b"sha512", &digest])].concat()
}

fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        let length = u32::try_from(part.len()).expect("it is short");
        bytes.extend(length.to_be_bytes());
        bytes.extend(*part);
    }
    bytes
}

fn blob(key: &[u8], namespace: &[u8], reserved: &[u8], hash: &[u8], signature: &[u8]) -> Vec<u8> {
    let fields = strings(&[key, namespace, reserved, hash, signature]);
    [&b"SSHSIG\0\0\0\x01"[..], &fields].concat()
}

fn armored(blob: &[u8]) -> Vec<u8> {
    let digits = encode(blob);
    let lines: Vec<&str> = digits
        .as_bytes()
        .chunks(70)
        .map(|line| std::str::from_utf8(line).expect("ASCII"))
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n").into_bytes()
}

pub(super) fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(padded);
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= group.len() { digit.into() } else { '=' });
        }
    }
    text
}

fn decode(armored: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(armored).expect("armor is text");
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    base64::decode(lines.collect::<String>().as_bytes()).expect("base 64")
}

/// The fields of a signature: key, namespace, reserved, hash, signature.
fn fields(armored: &[u8]) -> Vec<Vec<u8>> {
    let bytes = decode(armored);
    let mut wire = Wire(&bytes[10..]);
    let mut fields = Vec::new();
    for _ in 0..5 {
        fields.push(wire.string().expect("a field").to_vec());
    }
    fields
}

/// The same signature, said to be by the key of an OpenSSH line. The key is not part of what is signed.
pub(super) fn with_public_key(armor: &[u8], line: &str) -> Vec<u8> {
    let digits = line.split(' ').nth(1).expect("a key");
    let key = base64::decode(digits.as_bytes()).expect("base 64");
    let it = fields(armor);
    armored(&blob(&key, &it[1], &it[2], &it[3], &it[4]))
}

/// What no tool makes: each is refused for its own reason.
pub(super) fn damaged(armor: &[u8]) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let it = fields(armor);
    let whole = decode(armor);
    let [key, namespace, _, hash, signature] = it.as_slice() else {
        panic!("five fields");
    };
    let number = [1; 128];
    let dsa = strings(&[b"ssh-dss", &number, &number[..20], &number, &number]);
    let dsa_signature = strings(&[b"ssh-dss", &number[..40]]);
    let other = strings(&[b"ssh-other@example.org", b"key"]);
    let version = [b"SSHSIG\0\0\0\x02", &whole[10..]].concat();
    let of = |key, reserved, hash, signature| blob(key, namespace, reserved, hash, signature);
    let flipped: Vec<u8> = signature.iter().enumerate().map(flip_the_30th).collect();
    vec![
        ("DSA", of(&dsa, b"", hash, &dsa_signature), "weak-algorithm"),
        (
            "other kind of key",
            of(&other, b"", hash, signature),
            "unknown-algorithm",
        ),
        (
            "no key",
            of(b"", b"", hash, signature),
            "malformed-signature",
        ),
        ("MD5", of(key, b"", b"md5", signature), "unknown-algorithm"),
        (
            "SHA-1",
            of(key, b"", b"sha1", signature),
            "unknown-algorithm",
        ),
        (
            "something reserved",
            of(key, b"x", hash, signature),
            "malformed-signature",
        ),
        ("version 2", version, "malformed-signature"),
        (
            "bytes behind",
            [&whole[..], b"x"].concat(),
            "malformed-signature",
        ),
        (
            "bytes missing",
            whole[..whole.len() - 1].to_vec(),
            "malformed-signature",
        ),
        (
            "bytes behind the inner signature",
            of(key, b"", hash, &[signature.as_slice(), b"x"].concat()),
            "malformed-signature",
        ),
        (
            "one bit flipped",
            of(key, b"", hash, &flipped),
            "bad-signature",
        ),
        (
            "other hash named",
            of(key, b"", b"sha256", signature),
            "bad-signature",
        ),
    ]
    .into_iter()
    .map(|(name, blob, code)| (name, armored(&blob), code))
    .collect()
}

fn flip_the_30th((at, byte): (usize, &u8)) -> u8 {
    if at == 30 { byte ^ 1 } else { *byte }
}
