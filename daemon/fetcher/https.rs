//! How an https server is asked: the token, the authorities, the proxy.
//!
//! In: a token's file; what the configuration says. Out: a transport that is
//! set up. Must not: send a token anywhere but over https, to where the URL
//! says; redirects are never followed.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use gix::protocol::transport::client::blocking_io::Transport;
use gix::protocol::transport::client::blocking_io::http::Options;
use gix::sec::identity::Account;

use crate::fetcher::trouble::Trouble;
use crate::fetcher::wire::Problem;
use crate::model::remote::{Access, TokenAs};

/// Longer than any token, and a header that servers still take.
const TOKEN_LIMIT: usize = 4 * 1024;

/// A secret, which is never shown.
pub(super) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// Reads a token: one line, and nothing else but the end of that line.
pub(super) fn read_token(file: &Path) -> Result<Token, Trouble> {
    let unusable = |why: &str| Trouble::new(Problem::Credential, format!("the token {why}"));
    let mut text = String::new();
    let file = File::open(file).map_err(|error| unusable(&format!("cannot be read: {error}")))?;
    file.take(TOKEN_LIMIT as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|_| unusable("is no text"))?;
    let token = text.trim_end_matches(['\n', '\r']);
    if token.is_empty() {
        Err(unusable("is empty"))
    } else if token.len() > TOKEN_LIMIT {
        Err(unusable(&format!("is longer than {TOKEN_LIMIT} bytes")))
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(unusable("is more than one word of printable characters"))
    } else {
        Ok(Token(token.to_owned()))
    }
}

/// What one https server is asked with.
pub(super) struct Https {
    token: Option<Token>,
    token_as: TokenAs,
    ca_file: Option<PathBuf>,
    proxy: Option<String>,
}

impl Https {
    pub(super) fn new(token: Option<Token>, access: &Access) -> Self {
        Self {
            token,
            token_as: access.token.clone(),
            ca_file: access.ca_file.clone(),
            proxy: access.proxy.clone(),
        }
    }

    /// Sets a transport up before it is used; `options` are the repository's.
    ///
    /// The token goes with the first request: servers that also serve public
    /// repositories would not ask for it.
    pub(super) fn set_up(
        self,
        transport: &mut (dyn Transport + Send),
        mut options: Options,
    ) -> Result<(), gix::Error> {
        options.ssl_ca_info = self.ca_file.or(options.ssl_ca_info);
        options.proxy = self.proxy.or(options.proxy);
        let is_https = transport.to_url().starts_with(b"https://");
        if let Some(Token(token)) = self.token.filter(|_| is_https) {
            match self.token_as {
                TokenAs::Password { user } => {
                    transport.set_identity(Account {
                        username: user,
                        password: token,
                        oauth_refresh_token: None,
                    })?;
                }
                TokenAs::Bearer => {
                    let header = format!("Authorization: Bearer {token}");
                    options.extra_headers.push(header);
                }
            }
        }
        transport.configure(&options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_a_bad_one_is_not_repeated() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("token");
        let read = |content: &[u8]| {
            std::fs::write(&file, content).expect("it can be written");
            read_token(&file)
        };
        for good in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            let token = read(good.as_bytes()).expect(good);
            assert_eq!(token.0, "s3cret");
            assert!(!format!("{token:?}").contains("s3cret"));
        }
        let long = "s3cret".repeat(TOKEN_LIMIT);
        for bad in [
            "",
            "\n",
            "s3cret s3cret",
            "s3cret\ns3cret",
            "s3cret\r\nX: y",
            "s3crét",
            &long,
        ] {
            let trouble = read(bad.as_bytes()).expect_err(bad);
            assert_eq!(trouble.problem, Problem::Credential);
            assert!(!format!("{trouble:?}").contains("s3cr"), "{trouble:?}");
        }
        assert!(read(&[0xff, 0xfe]).is_err());
        assert!(read_token(Path::new("/nonexistent")).is_err());
    }
}
