//! A remote over https: a real server with a certificate from the test bed's own authority, and a token that nobody
//! but the fetcher gets.
//!
//! In: a host whose remote is the world's git server by https. Out: where the token goes, and that it is nowhere else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::common::{DEADLINE, deployed, settled, systems, text};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::world::{World, wait_until};

/// What the server takes (`lighttpd.conf`, `serve-git`).
pub(crate) const TOKEN: &str = "t0ken-of-the-test-bed-7f1d2c9b";

/// Where the host has it.
pub(crate) const FILE: &str = "/var/keys/token";

pub(crate) const URL: &str = "https://git.test/private/infrastructure.git";

pub(crate) fn config(url: &str, lines: &str) -> String {
    format!(
        "[[remote]]\nurl = \"{url}\"\npoll_interval = \"1s\"\n{lines}\n\
         [health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"\n[deadlines]\npoll = \"4s\"\n"
    )
}

/// With the token and the test bed's authority.
pub(crate) fn trusted() -> String {
    format!("token_file = \"{FILE}\"\nca_file = \"/opt/mini/tls/ca.pem\"")
}

fn generation(label: &str) -> Generation {
    Generation::without_daemon(label).daemon_config(&config(URL, &trusted()))
}

pub(crate) fn world() -> (World, Host) {
    let world = World::starting_with(generation("first").with("systemdConf", Value::Null));
    let mut host = world.host();
    write_token(&host, TOKEN);
    host.start();
    settled(&host);
    (world, host)
}

pub(crate) fn write_token(host: &Host, token: &str) {
    let file = host.path(FILE);
    fs::create_dir_all(file.parent().expect("it is in a directory"))
        .and_then(|()| fs::write(&file, format!("{token}\n")))
        .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o600)))
        .expect("the overlay can be written");
}

/// Has the daemon follow something else, as if its configuration said so.
fn follow(host: &Host, config: &str) {
    let file = "/etc/deploy-flake/config.toml";
    host.shell(&format!(
        "rm -f {file}; cat > {file} <<'END'\n{config}\nEND"
    ))
    .must_succeed();
    host.run(&["systemctl", "restart", "deploy-flake.service"])
        .must_succeed();
}

#[track_caller]
fn fails(host: &Host, code: &str) -> String {
    let status = host.wait_for_status(code, DEADLINE, |status| {
        status["remote"]["last_error"]["code"] == code
    });
    text(&status["remote"]["last_error"]["message"])
}

/// What the server was asked: port, host, path and authorization of each request, all that came before this call.
fn requests(world: &mut World, host: &Host) -> Vec<String> {
    let log = |world: &mut World| {
        let read = ["cat", "/var/log/lighttpd/access.log"];
        world.server().run(&read).stdout
    };
    let asked = log(world).matches("path=/git/last").count();
    // It is written in pieces: once this request is there, so is all before it.
    host.run(&["git", "ls-remote", "http://git.test/git/last"]);
    wait_until("the access log is written", DEADLINE, || {
        log(world).matches("path=/git/last").count() > asked
    });
    log(world).lines().map(str::to_owned).collect()
}

/// Asserts that no process, log or file of the host has a word, but for the file that it comes from and the memory
/// that systemd made of it.
#[track_caller]
pub(crate) fn is_nowhere(host: &Host, word: &str) {
    let encoded = host.shell(&format!("printf 'git:%s' {word} | base64 -w0"));
    for word in [word, encoded.text()] {
        // The pattern comes by standard input: it must not stand in a command line itself.
        let find = format!(
            "pattern=/opt/pattern; \
             for file in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do grep -lFf $pattern $file; done 2> /dev/null; \
             grep -rlFf $pattern /run /var /etc /nix/var /nix/store --exclude-dir=credentials 2> /dev/null \
             | grep -v '^{FILE}$'; \
             journalctl --all --output=export | grep -qFf $pattern && echo journal; \
             systemctl show 'deploy-flake*' | grep -qFf $pattern && echo properties; true"
        );
        fs::write(host.path("/opt/pattern"), word).expect("the overlay can be written");
        let found = host.shell(&find);
        assert_eq!(found.stdout, "", "{found}");
        // The search itself finds what is there.
        let control = host.shell("grep -rlFf /opt/pattern /opt/pattern");
        assert_eq!(control.text(), "/opt/pattern");
    }
}

#[test]
fn a_private_repository_over_https_is_followed_with_a_token_that_stands_nowhere() {
    let (mut world, host) = world();
    let second = generation("second").one_shot("web.service", "true");
    let commit = world.server().repository().publish(&second);
    deployed(&host, &commit);
    is_nowhere(&host, TOKEN);
    let kind = "stat --file-system --format=%T /run/credentials";
    let kind = host.shell(kind).text().to_owned();
    assert!(["tmpfs", "ramfs"].contains(&&*kind), "{kind}");
    let show = "systemctl show --value --property=LimitCORE deploy-flake-fetcher.service";
    assert_eq!(host.shell(show).text(), "0", "it leaves no core behind");
    let asked = requests(&mut world, &host);
    let private = asked.iter().filter(|it| it.contains("path=/private/"));
    let mut private = private.peekable();
    assert!(private.peek().is_some());
    for request in private {
        assert!(request.starts_with("port=443 host=git.test "), "{request}");
        assert!(
            request.contains("authorization=Basic "),
            "sent at once: {request}"
        );
    }

    let change = "sed -i 's/^git:.*/git:an0ther-token-5e1f/' /etc/lighttpd/users";
    world.server().run(&["sh", "-c", change]).must_succeed();
    fails(&host, "remote-denied");
    write_token(&host, "an0ther-token-5e1f");
    host.run(&["deploy-flake", "trigger"]);
    host.wait_for_status("the new token is taken up", DEADLINE, |status| {
        status["remote"]["last_error"].is_null()
    });
    is_nowhere(&host, "an0ther-token-5e1f");

    fs::remove_file(host.path(FILE)).expect("it is there");
    assert!(fails(&host, "credential-unusable").contains(FILE));
}

#[test]
fn a_token_goes_where_the_url_says_and_nowhere_else() {
    let (mut world, host) = world();
    let before = systems(&host);
    let trusted = trusted();
    let bearer = format!("{trusted}\ntoken_as = \"bearer\"");
    let at = |path: &str| format!("https://git.test{path}/infrastructure.git");
    for (url, lines, code) in [
        (at("/moved/port"), &trusted, "remote-redirected"),
        (at("/moved/host"), &trusted, "remote-redirected"),
        (at("/moved/scheme"), &trusted, "remote-redirected"),
        (at("/moved/host"), &bearer, "remote-redirected"),
        (at(":8444/private"), &trusted, "remote-name-mismatch"),
        (
            at("/private"),
            &format!("token_file = \"{FILE}\""),
            "remote-untrusted",
        ),
        (at("/bearer"), &trusted, "remote-denied"),
    ] {
        follow(&host, &config(&url, lines));
        fails(&host, code);
        assert_eq!(systems(&host), before, "{url}");
    }
    follow(&host, &config(&at("/bearer"), &bearer));
    host.wait_for_status("a bearer is let in", DEADLINE, |status| {
        status["remote"]["url"] == at("/bearer") && status["remote"]["head"].is_string()
    });
    let asked = requests(&mut world, &host);
    let sent = asked.iter().filter(|it| !it.ends_with("authorization=-"));
    for request in sent {
        assert!(request.starts_with("port=443 host=git.test "), "{request}");
    }
    let elsewhere = |it: &&String| !it.starts_with("port=443 ") && !it.contains("/git/last");
    assert_eq!(asked.iter().find(elsewhere), None);
    is_nowhere(&host, TOKEN);
}

#[test]
fn the_proxy_of_the_daemons_environment_is_asked() {
    let (_world, host) = world();
    let environment = |line: &str| {
        let directory = "/run/systemd/system/deploy-flake.service.d";
        let unit = format!("[Service]\nEnvironment={line}");
        let write = format!("mkdir -p {directory} && echo '{unit}' > {directory}/proxy.conf");
        host.shell(&write).must_succeed();
        host.run(&["systemctl", "daemon-reload"]).must_succeed();
        host.run(&["systemctl", "restart", "deploy-flake.service"])
            .must_succeed();
    };
    // Nobody listens there.
    environment("https_proxy=http://git.test:3128");
    fails(&host, "remote-unreachable");
    environment("https_proxy=http://git.test:3128 no_proxy=git.test");
    host.wait_for_status("no proxy is asked for this name", DEADLINE, |status| {
        status["remote"]["last_error"].is_null() && status["remote"]["head"].is_string()
    });
}
