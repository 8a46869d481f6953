//! A crafted commit, and what is to be said of it.

use std::sync::OnceLock;

use jiff::Timestamp;

use super::tools::Tools;
use super::{shape_cases, ssh_cases};
use crate::trust::keys::{KeyTexts, Keys};
use crate::trust::verify;

/// One commit and both verdicts on it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) object: Vec<u8>,
    /// The principal that signed, or the code of the reason.
    pub(crate) expected: Result<&'static str, &'static str>,
    /// Whether git said that the signature is good.
    pub(crate) git: bool,
}

/// All cases with the keys that they are judged by.
pub(crate) struct Crafted {
    pub(crate) cases: Vec<Case>,
    pub(crate) allowed_signers: String,
    pub(crate) keyring: String,
    pub(crate) revoked: String,
    pub(crate) now: Timestamp,
}

/// Collects cases; knows the tools to make them with.
pub(super) struct Bench {
    pub(super) tools: Tools,
    cases: Vec<Case>,
    pub(super) allowed_signers: String,
    pub(super) keyring: String,
    pub(super) revoked: String,
}

impl Bench {
    pub(super) fn good(&mut self, name: &'static str, object: Vec<u8>, principal: &'static str) {
        self.add(name, object, Ok(principal));
    }

    pub(super) fn bad(&mut self, name: &'static str, object: Vec<u8>, code: &'static str) {
        self.add(name, object, Err(code));
    }

    fn add(
        &mut self,
        name: &'static str,
        object: Vec<u8>,
        expected: Result<&'static str, &'static str>,
    ) {
        self.cases.push(Case {
            name,
            object,
            expected,
            git: false,
        });
    }

    /// A line of the allowed signers.
    pub(super) fn allow(&mut self, line: &str) {
        self.allowed_signers += line;
        self.allowed_signers.push('\n');
    }
}

/// Made once for all tests; the tools' directory is gone before the first of them looks.
pub(super) fn crafted() -> &'static Crafted {
    static CRAFTED: OnceLock<Crafted> = OnceLock::new();
    CRAFTED.get_or_init(|| Crafted::following(None))
}

impl Crafted {
    /// Makes all of them, as children of a commit if there is one.
    pub(crate) fn following(parent: Option<String>) -> Self {
        let mut bench = Bench {
            tools: Tools::with_parent(parent),
            cases: Vec::new(),
            allowed_signers: "# who may sign\n\n".to_owned(),
            keyring: String::new(),
            revoked: String::new(),
        };
        ssh_cases::add(&mut bench);
        shape_cases::add(&mut bench);
        #[cfg(feature = "openpgp")]
        super::openpgp_cases::add(&mut bench);
        ask_git(&mut bench);
        Self {
            cases: bench.cases,
            allowed_signers: bench.allowed_signers,
            keyring: bench.keyring,
            revoked: bench.revoked,
            now: crate::host::clock::now().wall,
        }
    }
}

fn ask_git(bench: &mut Bench) {
    let tools = &bench.tools;
    tools.write("allowed_signers", bench.allowed_signers.as_bytes());
    // Of our formats ssh-keygen knows keys and its own lists only.
    let keys = bench.revoked.lines().filter(|it| it.starts_with("ssh-"));
    let keys: Vec<&str> = keys.collect();
    tools.write("revoked", (keys.join("\n") + "\n").as_bytes());
    for case in &mut bench.cases {
        case.git = tools.git_trusts(&tools.store(&case.object));
    }
}

impl Crafted {
    pub(super) fn keys(&self) -> Keys {
        // Without OpenPGP there is none.
        let keyrings = [self.keyring.as_str()];
        let keyrings = if self.keyring.is_empty() {
            &[]
        } else {
            &keyrings[..]
        };
        Keys::load(&KeyTexts {
            allowed_signers: Some(&self.allowed_signers),
            keyrings,
            revoked: Some(self.revoked.as_bytes()),
        })
        .expect("the keys are well-formed")
    }

    pub(super) fn object(&self, name: &str) -> &[u8] {
        let case = self.cases.iter().find(|case| case.name == name);
        &case.expect("there is such a case").object
    }

    /// The principal, or the reason's code.
    pub(super) fn verdict(&self, keys: &Keys, object: &[u8]) -> Result<String, &'static str> {
        let verdict = verify(object, keys, self.now);
        verdict
            .map(|signer| signer.principal)
            .map_err(|reason| reason.code())
    }
}
