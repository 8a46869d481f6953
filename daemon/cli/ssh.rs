//! `deploy-flake trigger HOST`, `retry HOST`: the same command on another host,
//! through the user's own `ssh` with its keys, jump hosts and multiplexing.
//!
//! In: a host and the arguments. Out: what the far side writes, and its exit
//! code. Must not: let the host's name become an option or a command.

use std::os::unix::process::ExitStatusExt as _;

use anyhow::Context as _;

use super::exit::Exit;
use super::failure::Failure;
use crate::host::foreground;
use crate::model::text::is_unsafe;

/// The user's own, from PATH.
const SSH: &str = "ssh";

/// Accepts what ssh takes as a destination and cannot take as an option.
pub(super) fn destination(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("expected a host, found nothing".to_owned());
    }
    if text.starts_with('-') {
        return Err("a host must not begin with '-'".to_owned());
    }
    if text.chars().any(|c| is_unsafe(c) || c.is_whitespace()) {
        return Err("a host has no white space or control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// Runs `deploy-flake` with the arguments on the host. The arguments are our
/// own words: the far side's shell reads them once more.
pub(super) fn run(host: &str, arguments: &[String]) -> Result<Exit, Failure> {
    let mut words = vec!["--".to_owned(), host.to_owned(), "deploy-flake".to_owned()];
    words.extend_from_slice(arguments);
    let status = foreground::run(SSH, &words)
        .context("start ssh")
        .map_err(|error| {
            Failure::from(error).hint("Install OpenSSH's client, or run the command on the host.")
        })?;
    match (status.code().map(u8::try_from), status.signal()) {
        (Some(Ok(code)), _) => Ok(Exit::Passed(code)),
        (_, signal) => {
            let signal = signal.unwrap_or_default();
            Err(anyhow::anyhow!("ssh was ended by signal {signal}").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_cannot_be_an_option() {
        for good in ["host1", "root@host1", "ssh://root@host1:22", "2001:db8::1"] {
            assert_eq!(destination(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "-oProxyCommand=x",
            "-",
            "a\nb",
            "a b",
            "a\u{1b}",
            "a\u{202e}b",
        ] {
            assert!(destination(bad).is_err(), "{bad:?}");
        }
    }
}
