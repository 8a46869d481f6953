//! The arguments, and through them `--help`: the reference of the command line.
//!
//! In: words. Out: what they ask for. Must not: do anything.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use super::{
    allow, check_config, confirm, diff, doctor, generate, history, logs, pause, plan, push, reject,
    resume, retry, rollback, show, status, trigger,
};
#[cfg(target_os = "linux")]
use super::{daemon, fetcher, guardian, probe, relay};

/// Keeps a NixOS host equal to what its git remote asks for.
///
/// The daemon takes each new commit through evaluation, build, the system's
/// own checks and a test, and writes the boot entry only when the host is
/// healthy: until then, a reboot is a rollback.
///
/// Hosts without a subcommand are a push: see `deploy-flake help push`.
#[derive(Debug, Parser)]
#[command(name = "deploy-flake", version, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands. What only a host does is there on Linux only.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the daemon; for the unit deploy-flake.service.
    #[cfg(target_os = "linux")]
    Daemon(daemon::Arguments),
    /// Checks a configuration file and tells every mistake in it.
    ///
    /// Nothing is changed and nobody is asked. Exit codes: 0 the daemon would
    /// accept the file, 1 it would not.
    CheckConfig(check_config::Arguments),
    /// Has the daemon look at its remote now, here or on other hosts.
    ///
    /// For root and members of the group deploy-flake. Looking twice does no
    /// harm: the daemon compares what is wanted with what is.
    ///
    /// With hosts it goes through your own ssh to all of them at once, follows
    /// every phase, and comes back to a host whose connection dies meanwhile.
    ///
    /// Exit codes: 0 told; with --wait or hosts: deployed or already there. 1 an
    /// error, 2 arguments not understood, 3 refused or failed, 4 the remote
    /// could not be asked, 5 reboot required, 6 gave up waiting, 7 the daemon is
    /// not running, 8 the way back failed and the host needs a human, 9 rolled
    /// back, 10 the branch asks for another commit than --expect, 11 the hosts
    /// ended in different ways, 12 already there (with --detailed-exit-code),
    /// 130 interrupted, 255 ssh did not get to the host.
    Trigger(trigger::Arguments),
    /// Has the daemon try once more what the branch asks for, though it failed.
    ///
    /// For root and members of the group deploy-flake; with --allow for root
    /// alone. A system that failed on this host is not activated again by
    /// itself, under no commit: say this when the cause lay outside of it. It
    /// is one try, guarded as any other. On a host that is what the branch asks
    /// for, it is the same as `trigger`.
    ///
    /// Exit codes: as for `trigger`: 0 told; with --wait or hosts: deployed or
    /// already there. 1 an error, 2 arguments not understood, 3 refused or
    /// failed, 4 the remote could not be asked, 5 reboot required, 6 gave up
    /// waiting, 7 the daemon is not running, 8 the way back failed and the host
    /// needs a human, 9 rolled back, 10 the branch asks for another commit than
    /// --expect, 11 the hosts ended in different ways, 12 already there (with
    /// --detailed-exit-code), 130 interrupted, 255 ssh did not get to the host.
    Retry(retry::Arguments),
    /// Has the daemon follow a commit once that it refuses (root only).
    Allow(allow::Arguments),
    /// Has the daemon begin no new deployment until a time, or `resume`.
    ///
    /// For root and members of the group deploy-flake. A deployment that goes
    /// on is finished, or led back, as ever; the daemon goes on looking, and
    /// status tells what waits. It outlives restarts and reboots.
    ///
    /// Exit codes: 0 paused; 1 an error, 3 the daemon declined, 7 it is not
    /// running, 255 ssh failed.
    Pause(pause::Arguments),
    /// Ends a pause; what has waited is deployed.
    ///
    /// For root and members of the group deploy-flake.
    ///
    /// Exit codes: 0 told; 1 an error, 3 the daemon declined, 7 it is not
    /// running, 255 ssh failed.
    Resume(resume::Arguments),
    /// Says that the system in its confirm window is good: the window ends.
    ///
    /// For root and members of the group deploy-flake. It stands for the rest
    /// of the window, and never for health: the host has to be seen as healthy
    /// as before all the same, or it is led back.
    ///
    /// Exit codes: 0 told; 1 an error, 3 no system is in its confirm window, 7
    /// the daemon is not running, 255 ssh failed.
    Confirm(confirm::Arguments),
    /// Says that the system in its confirm window is bad: it is led back from.
    ///
    /// For root and members of the group deploy-flake. The system counts as one
    /// that failed: it is not activated again by itself.
    ///
    /// Exit codes: 0 told; 1 an error, 3 no system is in its confirm window, 7
    /// the daemon is not running, 255 ssh failed.
    Reject(reject::Arguments),
    /// Has the daemon go back to an earlier system and stay there (root only).
    ///
    /// The system is checked, tested, confirmed and made the boot entry like any
    /// other; one that does not work is led back from. The host stays on it
    /// until the branch is another commit than now, or until `resume`.
    ///
    /// Exit codes: as for `trigger`: 0 told; with --wait or hosts: the earlier
    /// system runs. 3 declined, refused or failed, 9 it did not work, and was
    /// rolled back.
    Rollback(rollback::Arguments),
    /// Has hosts deploy the local flake as it is now (root only).
    ///
    /// A snapshot of it is copied to the hosts with all its inputs, over your own
    /// ssh. Each host's daemon builds, checks, tests and confirms it as it does a
    /// commit of its branch, makes it the boot entry, or leads back from it. Once
    /// the daemons have it they need nobody: what is shown here is only watched.
    /// The host stays on it until its branch is a new commit, or until `resume`.
    ///
    /// A host takes pushes with --test-only, and others only where its
    /// configuration says so (`push.allow`).
    ///
    /// Without `push` the same is done for hosts that are written as nixos://...,
    /// or with a user or a domain, or that are configurations of the flake.
    ///
    /// Exit codes: 0 it runs, or ran already; with --no-wait: the daemons have it.
    /// 1 an error, such as that it could not be copied, 2 arguments not understood,
    /// 3 declined, refused or failed, 5 reboot required, 6 not over, or not copied,
    /// in time, 7 the daemon is not running, 8 the way back failed and the host
    /// needs a human, 9 rolled back, 11 the hosts ended in different ways, 130
    /// interrupted, 255 ssh did not get to the host.
    Push(Box<push::Arguments>),
    /// Shows what runs, what is wanted, and what is going on or why nothing is.
    ///
    /// For everybody, at once, also while the daemon is stopped or busy.
    ///
    /// Exit codes: 0 the state was told, whatever it is; 1 it cannot be read;
    /// 7 the daemon has not run since the host was booted; 11 the hosts differ
    /// in that; 255 ssh did not get to the host.
    Status(status::Arguments),
    /// Runs what another host asks for over ssh, if it is `trigger` or `status`.
    ///
    /// For authorized_keys: command="deploy-flake remote",restrict ssh-ed25519 ...
    /// The key then may have the daemon look, wait for what comes of it, and see
    /// the state, and nothing else: `deploy-flake trigger` with --wait,
    /// --timeout, --expect and --output, and `deploy-flake status` with --output.
    #[cfg(target_os = "linux")]
    Remote,
    /// Writes completions for shells, or manual pages; for packages.
    #[command(hide = true)]
    Generate(generate::Arguments),
    /// Lists the deployments that ended, newest first, here or on other hosts.
    ///
    /// For everybody, also while the daemon is stopped. Exit codes: 0 listed, 1
    /// they cannot be read, 11 not on all hosts, 255 ssh did not get to the host.
    History(history::Arguments),
    /// Shows all that is kept of one deployment.
    ///
    /// For everybody, also while the daemon is stopped. Exit codes: 0 shown, 1 it
    /// is not kept, or cannot be read, 11 not on all hosts, 255 ssh did not get to
    /// the host.
    Show(show::Arguments),
    /// Shows how two systems differ: packages, kernel, units, size.
    ///
    /// For everybody. Exit codes: 0 shown, whether they differ or not; 1 they
    /// cannot be compared, 11 not on all hosts, 255 ssh did not get to the host.
    Diff(diff::Arguments),
    /// Shows what daemon and steps said of one deployment, from the journal.
    ///
    /// For root and members of the group systemd-journal. Of several hosts each
    /// line has its host. Exit codes: 0 shown, 1 there is nothing to show, 11 not
    /// on all hosts, 130 interrupted, 255 ssh did not get to the host.
    Logs(logs::Arguments),
    /// Looks for what would keep this host from following its remote.
    ///
    /// Nothing is changed. Everybody may; root sees more. Exit codes: 0 nothing
    /// failed, though there may be warnings; 1 something did, 11 not on all hosts,
    /// 255 ssh did not get to the host.
    Doctor(doctor::Arguments),
    /// Shows what a look would do now, and to which units.
    ///
    /// Nothing is changed, and nobody is asked: it goes by what the remotes
    /// answered last. Everybody may; what the units would do is told to root.
    ///
    /// Exit codes: 0 told; 1 the state cannot be read, 7 the daemon has not run
    /// since the host was booted, 11 not on all hosts, 255 ssh did not get to the
    /// host.
    Plan(plan::Arguments),
    /// Fetches for the daemon, which starts it; not for use by hand.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Fetcher(fetcher::Arguments),
    /// Brings the previous system back; the daemon arms it, not for use by hand.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Guardian(guardian::Arguments),
    /// Looks at the network from this program's closure and prints what it saw
    /// as one line of JSON; the daemon runs it.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Probe(probe::Arguments),
    /// Runs a build and tells how far it is; the daemon has it run, not for use
    /// by hand.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Relay(relay::Arguments),
}

impl Arguments {
    /// Reads the command line; what nobody understands ends the process.
    pub fn of(words: Vec<OsString>) -> Self {
        Self::read(words).unwrap_or_else(|error| error.exit())
    }

    /// A guardian leaves out options that it does not know: a newer daemon may
    /// start an older one, and on the way back it is too late to refuse.
    #[cfg(target_os = "linux")]
    pub(super) fn read(words: Vec<OsString>) -> Result<Self, clap::Error> {
        let refused = match Self::try_parse_from(&words) {
            Ok(arguments) => return Ok(arguments),
            Err(error) => error,
        };
        if let Some(pushing) = Self::without_subcommand(&words, &refused) {
            return pushing;
        }
        let is_guardian = words.get(1).is_some_and(|word| word == "guardian");
        if !is_guardian || refused.kind() != ErrorKind::UnknownArgument {
            return Err(refused);
        }
        let (known, unknown) = guardian::sorted(words);
        let mut arguments = Self::try_parse_from(known)?;
        if let Command::Guardian(guardian) = &mut arguments.command {
            guardian.unknown = unknown;
        }
        Ok(arguments)
    }

    #[cfg(not(target_os = "linux"))]
    fn read(words: Vec<OsString>) -> Result<Self, clap::Error> {
        match Self::try_parse_from(&words) {
            Ok(arguments) => Ok(arguments),
            Err(refused) => Self::without_subcommand(&words, &refused).unwrap_or(Err(refused)),
        }
    }

    /// Destinations without a subcommand are a push, if all of the line is one.
    /// Whether the hosts are beyond doubt is seen before anything is done.
    fn without_subcommand(
        words: &[OsString],
        refused: &clap::Error,
    ) -> Option<Result<Self, clap::Error>> {
        let first = words.get(1)?.to_str()?;
        let is_known = Self::command().find_subcommand(first).is_some();
        let may_be = [ErrorKind::InvalidSubcommand, ErrorKind::UnknownArgument];
        if is_known || !may_be.contains(&refused.kind()) {
            return None;
        }
        let (program, rest) = words.split_first()?;
        let push = [program.clone(), OsString::from(PUSH)];
        let mut pushing = Self::try_parse_from(push.iter().chain(rest));
        match &mut pushing {
            Ok(Self {
                command: Command::Push(arguments),
            }) if arguments.names_hosts_alone() => arguments.is_bare = true,
            // A forgotten subcommand must not push to all hosts, or to this one.
            Ok(_) => return None,
            // Of another mistake there is more to say.
            Err(_) if !rest.iter().any(is_url) => return None,
            Err(_) => {}
        }
        Some(pushing)
    }
}

/// The subcommand that need not be named.
const PUSH: &str = "push";

fn is_url(word: &OsString) -> bool {
    word.to_str()
        .is_some_and(|word| word.starts_with("nixos://"))
}

impl Command {
    /// Whether it is a service, which reports to the journal, and no tool. The
    /// guardian is one that must not wait for the journal: it has its own words.
    #[cfg(target_os = "linux")]
    pub fn is_service(&self) -> bool {
        match self {
            Self::Daemon(_) | Self::Fetcher(_) => true,
            Self::CheckConfig(_)
            | Self::Trigger(_)
            | Self::Retry(_)
            | Self::Allow(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Confirm(_)
            | Self::Reject(_)
            | Self::Rollback(_)
            | Self::Push(_)
            | Self::Status(_)
            | Self::Remote
            | Self::Generate(_)
            | Self::History(_)
            | Self::Show(_)
            | Self::Diff(_)
            | Self::Logs(_)
            | Self::Doctor(_)
            | Self::Plan(_)
            | Self::Guardian(_)
            | Self::Probe(_)
            | Self::Relay(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exit::Exit;
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_of_what_waits_tells_every_exit_code() {
        let mut command = Arguments::command();
        for name in ["trigger", "retry"] {
            let waiting = command
                .find_subcommand_mut(name)
                .expect("there is one of that name");
            let help = waiting.render_long_help().to_string();
            let (_, codes) = help.split_once("Exit codes:").expect("they stand there");
            let words: Vec<&str> = codes.split_whitespace().collect();
            for exit in Exit::ALL {
                let code = exit.code().to_string();
                assert!(words.contains(&code.as_str()), "{exit:?} in {help}");
            }
        }
    }

    #[test]
    fn destinations_without_a_subcommand_are_a_push() {
        for (line, pushed) in [
            ("nixos://root@web1/web", true),
            ("web1 nixos://web2/webserver", true),
            ("web1", true),
            ("--flake ./fleet web1 --test=skip", true),
            ("--flake=./fleet --all", false),
            ("--all --output json", false),
            ("--on web-* --timeout 5m", false),
            ("web1 --all", false),
            ("--source /nix/store/x --wait", false),
            // Whether it is a host is seen later.
            ("statsu", true),
            ("push nixos://web1", false),
            ("status nixos://web1", false),
            ("status --flush", false),
            ("trigger --test-only web1", false),
            ("--verison", false),
            ("-x", false),
            ("statsu --wait --frobnicate", false),
            ("web1 --source /nix/store/x", false),
            ("nixos://web1 --frobnicate", false),
            ("nixos://-oProxyCommand=x", false),
            ("", false),
        ] {
            let words = std::iter::once("deploy-flake").chain(line.split_whitespace());
            let parsed = Arguments::read(words.map(OsString::from).collect());
            let command = parsed.map(|it| it.command);
            let is_bare = matches!(&command, Ok(Command::Push(it)) if it.is_bare);
            assert_eq!(is_bare, pushed, "{line}: {command:?}");
        }
        let read = |line: &str| {
            let words = std::iter::once("deploy-flake").chain(line.split_whitespace());
            let refused = Arguments::read(words.map(OsString::from).collect());
            refused.expect_err(line).to_string()
        };
        assert!(read("nixos://web1 --frobnicate").contains("--frobnicate"));
        assert!(read("statsu --wait --frobnicate").contains("'status'"));
    }

    #[test]
    fn arguments_are_understood_or_refused() {
        for (line, accepted) in [
            ("daemon --config /etc/x.toml", true),
            ("daemon", true),
            ("check-config", true),
            ("check-config x.toml", true),
            ("trigger", true),
            ("trigger --wait --timeout 5m --output json", true),
            ("trigger host1 --wait", true),
            ("trigger root@host1", true),
            (
                "trigger host1 nixos://root@host2:2222/web --parallel 4",
                true,
            ),
            ("trigger host1 --no-wait", true),
            ("trigger host1 --timeout 5m", true),
            ("trigger host1 --wait --no-wait", false),
            ("trigger host1 --no-wait --timeout 5m", false),
            ("trigger host1 --no-wait --expect 0123456", false),
            ("trigger host1 --parallel 0", false),
            ("trigger --all --timeout 5m", true),
            ("trigger --on web-* --on db-? --flake /etc/nixos", true),
            ("trigger host1 --all --ssh-option ConnectTimeout=60", true),
            ("trigger host1 --confirm", true),
            ("trigger --all --confirm=ask", true),
            ("retry host1 --confirm=ssh", true),
            ("trigger --confirm", false),
            ("trigger --wait --confirm=ask", false),
            ("trigger host1 --confirm=maybe", false),
            ("trigger host1 --confirm --no-wait", false),
            ("trigger --flake .", false),
            ("trigger --all --flake -x", false),
            ("trigger --expect 0123456 --timeout 5m", true),
            ("trigger --expect 012345", false),
            ("trigger --wait --detailed-exit-code", true),
            ("trigger --detailed-exit-code", false),
            ("trigger nixos://host:0", false),
            (
                "allow 0123456789abcdef0123456789abcdef01234567 host1 host2",
                true,
            ),
            ("status host1 host2", true),
            ("status --all --output json", true),
            ("status -- -x", false),
            ("status --watch", true),
            ("status host1 --watch --output json", true),
            ("remote", true),
            ("remote trigger", false),
            ("trigger --timeout 5m", false),
            ("trigger --wait --timeout 5", false),
            ("trigger -- -oProxyCommand=x", false),
            ("trigger --allow daemon", false),
            ("retry", true),
            ("retry --allow daemon --allow ssh-server --wait", true),
            ("retry --allow remote root@host1 --wait --timeout 5m", true),
            ("retry --allow sshd", false),
            ("retry --allow", false),
            ("retry -- -oProxyCommand=x", false),
            ("pause", true),
            ("pause --for 2h --reason disk", true),
            ("pause host1 --for 90d --output json", true),
            ("pause --for 0s", false),
            ("pause --for 91d", false),
            ("pause --for 2", false),
            ("pause -- -oProxyCommand=x", false),
            ("resume", true),
            ("resume root@host1 --output json", true),
            ("resume --for 2h", false),
            ("confirm", true),
            ("confirm host1 --deployment 00c0ffee00c0ffee", true),
            ("confirm --deployment x;reboot", false),
            ("reject --reason slow --deployment 00c0ffee00c0ffee", true),
            ("reject --deployment", false),
            ("rollback", true),
            (
                "rollback host1 --to 00c0ffee00c0ffee --wait --timeout 5m",
                true,
            ),
            ("rollback --to /nix/store/x", false),
            ("status --output text", true),
            ("status --output xml", false),
            ("history", true),
            ("history --limit 100 --output json", true),
            ("history --limit many", false),
            ("history web1 nixos://web2/web --limit 3", true),
            ("history --all", true),
            ("history -- -x", false),
            ("show 00c0", true),
            ("show", true),
            ("show 00c0 web1 root@web2", true),
            ("show web1", true),
            ("show --x", false),
            ("diff", true),
            ("diff 00c0", true),
            ("diff booted running --output json", true),
            ("diff running web1 web2", true),
            ("diff 00c0 00c1 --all", true),
            ("diff --flush", false),
            ("logs", true),
            ("logs 00c0 --follow", true),
            ("logs web1 web2 --follow", true),
            ("logs --on web-* --output json", true),
            ("logs --flush", false),
            ("push web1 nixos://root@web2:2222/web", true),
            ("push web1 --flake ./fleet --test-only --no-wait", true),
            ("push --all --flake ./fleet", true),
            ("push --on web-* --parallel 4 --ssh-option A=b", true),
            ("push web1 --preflight-check=skip --test=skip", true),
            (
                "push web1 --test skip --pre-activate-script bin/check",
                true,
            ),
            ("push web1 --build-cmdline --option cores 1", true),
            ("push web1 --copy-timeout 5s --copy-retries 0", true),
            ("push web1 --copy-timeout 0s", false),
            ("push web1 --copy-timeout 7h", false),
            ("push web1 --copy-retries -1", false),
            ("push web1 --instrumentation=json", true),
            ("push web1 --instrumentation=tui", true),
            ("push web1 --confirm", true),
            ("push web1 --confirm=ask --timeout 30m", true),
            ("push web1 --no-wait --confirm", false),
            ("push web1 --no-wait --timeout 5m", false),
            ("push web1 --preflight-check=maybe", false),
            (
                "push --source /nix/store/x --configuration web1 --wait",
                true,
            ),
            ("push --source /nix/store/x --wait --again", true),
            ("push --source /nix/store/x --again", true),
            ("push --source /nix/store/x web1", false),
            ("push --source /nix/store/x --all", false),
            ("push --source /nix/store/x --flake .", false),
            ("push --source /nix/store/x --confirm", false),
            ("push web1 --configuration x", false),
            ("push web1 --dirty", false),
            ("push web1 --expect 0123456", false),
            ("doctor --output json", true),
            ("doctor host1 host2 --parallel 4", true),
            ("plan", true),
            ("plan web1 web2 --output json", true),
            ("plan 00c0 --flush", false),
            ("fetcher --mirror /x", true),
            ("fetcher", false),
            ("probe --config /x --within 1000", true),
            (
                "probe --config /x --sshd-config /y --ssh-listen [::]:22 --within 1 --health-check /z",
                true,
            ),
            ("probe --config /x", false),
            ("relay -- /nix build --json -v", true),
            ("relay", false),
            ("", false),
        ] {
            let words = std::iter::once("deploy-flake").chain(line.split_whitespace());
            let parsed = Arguments::try_parse_from(words);
            assert_eq!(parsed.is_ok(), accepted, "{line}");
        }
    }
}
