//! Who may call what: every method as every kind of caller, against the table. First as the bus has it; then with a
//! policy that lets everybody through, so that the daemon's own judgement is all there is.

use std::fs;

use deploy_flake::ipc::rights::{METHODS, Method, Right};
use deploy_flake::ipc::{NAME, PATH};

use crate::common::{DEADLINE, settled};
use crate::testbed::child::Output;
use crate::testbed::host::Host;
use crate::triggering::world;

/// A kind of caller.
struct Caller {
    name: &'static str,
    /// What comes before the words of a command.
    prefix: &'static [&'static str],
    /// The most that it may.
    may: Right,
}

/// A service, with what systemd is to make of it.
macro_rules! service {
    ($($property:literal),*) => {
        &["systemd-run", "--quiet", "--pipe", "--wait", "--collect", $(concat!("--property=", $property)),*, "--"]
    };
}

const CALLERS: [Caller; 8] = [
    Caller {
        name: "root",
        prefix: &[],
        may: Right::Administer,
    },
    Caller {
        name: "a service of root's without any capability",
        prefix: service![
            "CapabilityBoundingSet=",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict"
        ],
        may: Right::Administer,
    },
    Caller {
        name: "an operator",
        prefix: &["runuser", "-u", "operator", "--"],
        may: Right::Operate,
    },
    Caller {
        name: "a service in the operators' group",
        prefix: service![
            "DynamicUser=yes",
            "User=lonely",
            "SupplementaryGroups=deploy-flake"
        ],
        may: Right::Operate,
    },
    Caller {
        name: "an ordinary user",
        prefix: &["runuser", "-u", "visitor", "--"],
        may: Right::Look,
    },
    Caller {
        name: "nobody",
        prefix: &["runuser", "-u", "nobody", "--"],
        may: Right::Look,
    },
    Caller {
        name: "a service with a user of its own",
        prefix: service!["DynamicUser=yes", "User=lonely"],
        may: Right::Look,
    },
    Caller {
        name: "a service in a sandbox",
        prefix: service![
            "User=visitor",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "ProtectHome=yes",
            "PrivateTmp=yes",
            "PrivateNetwork=yes",
            "PrivateDevices=yes",
            "RestrictAddressFamilies=AF_UNIX"
        ],
        may: Right::Look,
    },
];

/// What a caller that may call it is answered: none of it changes anything on a host at rest.
fn arguments(method: &Method) -> &'static [&'static str] {
    match (method.interface, method.name) {
        (NAME, "Trigger" | "Retry" | "Resume") => &[],
        (NAME, "RetryAllowing") => &["array:string:everything"],
        (NAME, "Allow") => &["string:main"],
        (NAME, "Pause") => &["uint64:99999999999", "string:too long"],
        (NAME, "Confirm" | "Rollback") => &["string:ffffffffffffffff"],
        (NAME, "Push") => &["string:/etc", "string:host", "array:string:test-only"],
        (NAME, "Reject") => &["string:ffffffffffffffff", "string:none is there"],
        (_, "Get") => &["string:org.deploy_flake.Daemon1", "string:Phase"],
        (_, "GetAll") => &["string:org.deploy_flake.Daemon1"],
        (_, "Set") => &[
            "string:org.deploy_flake.Daemon1",
            "string:Phase",
            "variant:string:x",
        ],
        (_, "Introspect" | "Ping" | "GetMachineId") => &[],
        (interface, name) => panic!("no arguments for {interface}.{name}"),
    }
}

/// What it then says: the error's name, or none for a value. A bus that has nobody to ask and a daemon that hangs end in
/// errors, too (`ServiceUnknown`, `NoReply`): neither is an answer.
fn error(method: &Method) -> Option<&'static str> {
    match (method.interface, method.name) {
        (NAME, "Trigger" | "Retry" | "Resume") => None,
        (NAME, "RetryAllowing" | "Allow" | "Pause" | "Push") => Some("InvalidArgs"),
        (NAME, "Confirm" | "Rollback" | "Reject") => Some("Failed"),
        (_, "Set") => Some("UnknownProperty"),
        (_, "Get" | "GetAll" | "Introspect" | "Ping" | "GetMachineId") => None,
        (interface, name) => panic!("no answer of {interface}.{name}"),
    }
}

/// Whether it is the daemon that answered, with what this method says to whoever may call it.
fn is_answered(method: &Method, answer: &Output) -> bool {
    match error(method) {
        None => answer.code == Some(0) && answer.stdout.starts_with("method return "),
        Some(name) => {
            let start = format!("Error org.freedesktop.DBus.Error.{name}: ");
            answer.code == Some(1) && answer.stderr.starts_with(&start)
        }
    }
}

fn call(host: &Host, caller: &Caller, method: &Method) -> Output {
    let destination = format!("--dest={NAME}");
    let member = format!("{}.{}", method.interface, method.name);
    let words = [
        "dbus-send",
        "--system",
        "--print-reply",
        "--reply-timeout=20000",
        &destination,
        PATH,
        &member,
    ];
    host.run(&[caller.prefix, &words, arguments(method)].concat())
}

fn may(caller: &Caller, method: &Method) -> bool {
    match method.right {
        Right::Look => true,
        Right::Operate => caller.may != Right::Look,
        Right::Administer => caller.may == Right::Administer,
    }
}

/// Who is let through is the table's word, in every cell. `refusal`: what of whom is turned away stands in the answer.
#[track_caller]
fn is_as_the_table_has_it(host: &Host, of: impl Fn(&Method) -> bool, refusal: &[&str]) -> usize {
    let mut cells = 0;
    for caller in &CALLERS {
        for method in METHODS.iter().filter(|method| of(method)) {
            let answer = call(host, caller, method);
            let is_refused = answer.stderr.contains("DBus.Error.AccessDenied");
            let cell = format!("{} calls {}: {answer}", caller.name, method.name);
            assert_eq!(!is_refused, may(caller, method), "{cell}");
            let says = refusal.iter().any(|words| answer.stderr.contains(words));
            assert!(!is_refused || says, "{cell}");
            assert!(is_refused || is_answered(method, &answer), "{cell}");
            cells += 1;
        }
    }
    cells
}

/// Names of methods on the bus, interface by interface, as everybody can see them.
fn introspected(host: &Host) -> Vec<(String, String)> {
    let words = ["busctl", "introspect", "--no-legend", NAME, PATH];
    let list = host.run(&words);
    let mut interface = String::new();
    let mut methods = Vec::new();
    for line in list.must_succeed().stdout.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some(name), Some("interface")) => interface = name.to_owned(),
            (Some(name), Some("method")) => {
                let name = name.trim_start_matches('.').to_owned();
                methods.push((interface.clone(), name));
            }
            (_, _) => {}
        }
    }
    methods.sort();
    methods
}

#[test]
fn every_method_is_for_whom_the_table_says_by_the_bus_and_by_the_daemon() {
    let world = world();
    let host = world.boot();
    let first = settled(&host);
    // The bus lets in only who has a name, and this host has no `nss-systemd` that would give dynamic users one.
    host.run(&["useradd", "--system", "--no-create-home", "lonely"])
        .must_succeed();
    let row = |method: &Method| (method.interface.to_owned(), method.name.to_owned());
    let mut rows: Vec<_> = METHODS.iter().map(row).collect();
    rows.sort();
    assert_eq!(introspected(&host), rows, "no method without a row");

    // The bus's words are its own; those of the daemon say what to do.
    let bus = [
        "Sender is not authorized to send message",
        "Rejected send message",
    ];
    let cells = is_as_the_table_has_it(&host, |_| true, &bus);
    assert_eq!(cells, CALLERS.len() * METHODS.len());

    let everybody = format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN\"\n \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
         <busconfig><policy context=\"mandatory\"><allow send_destination=\"{NAME}\"/></policy></busconfig>\n"
    );
    let policy = host.path("/etc/dbus-1/system.d/zz-everybody.conf");
    fs::write(policy, everybody).expect("a running host");
    host.run(&["systemctl", "reload", "dbus"]).must_succeed();
    let visitor = &CALLERS[4];
    let trigger = &METHODS[0];
    host.wait_until("the bus lets everybody through", DEADLINE, |host| {
        call(host, visitor, trigger)
            .stderr
            .contains("join the group")
    });
    let daemon = ["call as root", "join the group"];
    let of_ours = |method: &Method| method.interface == NAME;
    is_as_the_table_has_it(&host, of_ours, &daemon);

    // None of it has done anything.
    let status = host.status();
    assert_eq!(status["condition"]["state"], "converged", "{status:#}");
    assert_eq!(status["pause"], serde_json::Value::Null, "{status:#}");
    assert_eq!(status["hold"], serde_json::Value::Null, "{status:#}");
    assert_eq!(host.running_system(), first);
}
