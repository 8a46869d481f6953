//! The user's own `ssh`, with its keys, jump hosts, agent and multiplexing.
//!
//! In: a destination and words. Out: ssh's argument vector. Must not: let any of
//! them become an option of ssh, or a command of the far shell.

use super::destination::Destination;

/// From PATH.
pub(super) const PROGRAM: &str = "ssh";

/// What is asked of ssh besides what its configuration says, which these come
/// before. Without them a host that is down holds its place for minutes, and a
/// connection that died in the middle of an activation is never missed.
const OPTIONS: [&str; 3] = [
    "ConnectTimeout=10",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
];

/// Whether somebody may be asked for a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prompts {
    /// There is one host, and one terminal to ask at.
    Allowed,
    /// Nobody could tell which of the hosts asks.
    Forbidden,
}

/// ssh's arguments: the user's options come first, because ssh takes the first
/// of two.
pub(super) fn arguments(
    destination: &Destination,
    options: &[String],
    prompts: Prompts,
    words: &[String],
) -> Vec<String> {
    let batch = match prompts {
        Prompts::Allowed => None,
        Prompts::Forbidden => Some("BatchMode=yes"),
    };
    let own = OPTIONS.into_iter().chain(batch).map(str::to_owned);
    let options = options.iter().cloned().chain(own);
    let mut arguments: Vec<String> = options
        .flat_map(|option| ["-o".to_owned(), option])
        // No terminal over there: what comes back is read by us.
        .chain(["-T".to_owned()])
        .collect();
    arguments.extend(destination.words());
    arguments.push("deploy-flake".to_owned());
    arguments.extend(words.iter().map(|word| quoted(word)));
    arguments
}

/// The same options for the ssh that nix starts: `own` are the user's for that, in
/// nix's form. It splits them at spaces, so an option has none.
pub(super) fn options_for_nix(
    destination: &Destination,
    options: &[String],
    own: Option<&str>,
    prompts: Prompts,
) -> String {
    let batch = match prompts {
        Prompts::Allowed => None,
        Prompts::Forbidden => Some("BatchMode=yes"),
    };
    let option = |option: &str| format!("-o {option}");
    let given = options.iter().map(|it| option(&it.replacen(' ', "=", 1)));
    let ours = OPTIONS.into_iter().chain(batch).map(option);
    let place = destination.options();
    let own = own.map(|own| own.trim().to_owned());
    let own = own.filter(|own| !own.is_empty());
    // Of two the first counts: the place that was named comes before the user's own.
    let all: Vec<String> = given.chain(place).chain(own).chain(ours).collect();
    all.join(" ")
}

/// The same over a connection of its own: one that is shared with others says
/// nothing about whether anybody gets in.
pub(super) fn fresh_arguments(
    destination: &Destination,
    options: &[String],
    prompts: Prompts,
    words: &[String],
) -> Vec<String> {
    let fresh = ["ControlMaster=no", "ControlPath=none"].map(str::to_owned);
    let options: Vec<String> = fresh.into_iter().chain(options.iter().cloned()).collect();
    arguments(destination, &options, prompts, words)
}

/// A word as the far shell gives it to the program: ssh joins all of them with
/// spaces, and a shell reads them once more.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-:=,@%+/".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Understands an option for ssh, such as `ConnectTimeout=60`. It is the user's
/// own; only mistakes are kept out.
pub(super) fn option(text: &str) -> Result<String, String> {
    let is_option = text.split_once(['=', ' ']).is_some_and(|(key, value)| {
        !key.is_empty() && !value.is_empty() && key.chars().all(|c| c.is_ascii_alphabetic())
    });
    is_option
        .then(|| text.to_owned())
        .ok_or_else(|| "expected KEY=VALUE, as in ssh_config(5)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::destination::parse;
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_host_is_the_last_of_sshs_own_words() {
        let destination = parse("nixos://root@web1:2222/web").expect("it is one");
        let options = words(&["ConnectTimeout=60"]);
        let far = words(&["trigger", "--wait"]);
        assert_eq!(
            arguments(&destination, &options, Prompts::Forbidden, &far).join(" "),
            "-o ConnectTimeout=60 -o ConnectTimeout=10 -o ServerAliveInterval=5 \
             -o ServerAliveCountMax=3 -o BatchMode=yes -T -p 2222 -l root -- web1 \
             deploy-flake trigger --wait"
        );
        let alone = arguments(&destination, &[], Prompts::Allowed, &far);
        assert!(!alone.contains(&"BatchMode=yes".to_owned()), "{alone:?}");
        let fresh = fresh_arguments(&destination, &options, Prompts::Forbidden, &far).join(" ");
        assert!(
            fresh.starts_with("-o ControlMaster=no -o ControlPath=none -o ConnectTimeout=60 "),
            "{fresh}"
        );
    }

    #[test]
    fn a_shell_gives_the_program_the_same_words() {
        let hostile = [
            "", "a b", "$(x)", "`x`", "a'b", "a\"b\\", "a;b", "a\nb", "*", "~", "plain",
        ];
        for word in hostile {
            let script = format!("printf %s {}", quoted(word));
            let command = crate::host::command::Command::new("/bin/sh", ["-c", &script]);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let deadline = std::time::Duration::from_secs(60);
            let output = runtime.block_on(crate::host::command::run(&command, deadline));
            let output = output.expect("a shell runs");
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }

    #[test]
    fn an_option_for_ssh_is_a_key_and_a_value() {
        for good in ["ConnectTimeout=60", "ProxyJump=a,b", "SetEnv A=b"] {
            assert!(option(good).is_ok(), "{good}");
        }
        for bad in ["", "ConnectTimeout", "=x", "-v", "-oA=b", "A="] {
            assert!(option(bad).is_err(), "{bad}");
        }
    }
}
