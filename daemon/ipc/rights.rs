//! Who may call what: one table, which the server checks calls by, the
//! documentation shows, and the bus's policy file has to agree with.
//!
//! In: a method's name. Out: the right that it takes. Must not: know callers;
//! `caller` judges them.

use super::NAME;

/// What a caller wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To see what everybody may know. For everybody.
    Look,
    /// What does no harm that a commit could not do, or the next word undo. For
    /// root and operators.
    Operate,
    /// What sets aside what keeps the host safe, or what it is to be. For root
    /// alone.
    Administer,
}

impl Right {
    /// Who has it, in the documentation.
    pub fn holders(self) -> &'static str {
        match self {
            Self::Look => "everybody",
            Self::Operate => "operators",
            Self::Administer => "root",
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// The interface that it is of.
    pub interface: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What it takes.
    pub right: Right,
    /// What it does, for the documentation.
    pub does: &'static str,
}

const fn ours(name: &'static str, right: Right, does: &'static str) -> Method {
    Method {
        interface: NAME,
        name,
        right,
        does,
    }
}

const fn of_bus(
    interface: &'static str,
    name: &'static str,
    right: Right,
    does: &'static str,
) -> Method {
    Method {
        interface,
        name,
        right,
        does,
    }
}

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const PEER: &str = "org.freedesktop.DBus.Peer";
const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";

/// Every method of the object. What is not here, nobody may call.
pub const METHODS: &[Method] = &[
    ours("Trigger", Right::Operate, "looks at the remotes now"),
    ours(
        "Retry",
        Right::Operate,
        "tries once more what the branch asks for, though it failed here",
    ),
    ours(
        "Pause",
        Right::Operate,
        "begins no new deployment, for so many seconds (0: until `Resume`), for a reason",
    ),
    ours(
        "Resume",
        Right::Operate,
        "ends a pause, or what `Rollback` or `Push` led to, and looks at the remotes",
    ),
    ours(
        "Confirm",
        Right::Operate,
        "ends the confirm window of a deployment as soon as the host is seen healthy",
    ),
    ours(
        "Reject",
        Right::Operate,
        "leads back from a deployment in its confirm window, for a reason",
    ),
    ours(
        "RetryAllowing",
        Right::Administer,
        "the same, and the system may lack what is named: the daemon, an ssh server, the remote",
    ),
    ours(
        "Allow",
        Right::Administer,
        "lets a commit be followed once, though it is refused",
    ),
    ours(
        "Rollback",
        Right::Administer,
        "goes back to the system of an earlier deployment, and stays there",
    ),
    ours(
        "Push",
        Right::Administer,
        "deploys a flake of this host's store (path, configuration, options), and stays there",
    ),
    of_bus(PROPERTIES, "Get", Right::Look, "reads a property"),
    of_bus(PROPERTIES, "GetAll", Right::Look, "reads all of them"),
    of_bus(
        PROPERTIES,
        "Set",
        Right::Administer,
        "sets one; there is none that can be set",
    ),
    of_bus(
        INTROSPECTABLE,
        "Introspect",
        Right::Look,
        "tells what can be called",
    ),
    of_bus(PEER, "Ping", Right::Look, "answers"),
    of_bus(
        PEER,
        "GetMachineId",
        Right::Look,
        "tells the host's machine id, which everybody can read",
    ),
];

/// The right that a method of ours takes. None: there is no such row, so nobody
/// has it.
pub fn right(name: &str) -> Option<Right> {
    let row = METHODS
        .iter()
        .find(|row| row.interface == NAME && row.name == name);
    row.map(|row| row.right)
}

/// The table as the documentation has it.
pub fn table() -> String {
    let mut text = String::from("| method | for | what it does |\n|---|---|---|\n");
    for row in METHODS {
        let interface = row.interface.strip_prefix("org.freedesktop.DBus.");
        let name = match interface {
            Some(interface) => format!("{interface}.{}", row.name),
            None => row.name.to_owned(),
        };
        let line = format!("| `{name}` | {} | {} |\n", row.right.holders(), row.does);
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ipc::OPERATORS;

    #[test]
    fn the_documentation_shows_the_table() {
        let documentation = include_str!("../../docs/control.md");
        assert!(
            documentation.contains(&table()),
            "it has to be:\n{}",
            table()
        );
    }

    #[test]
    fn no_method_has_two_rows() {
        let names: BTreeSet<_> = METHODS
            .iter()
            .map(|row| (row.interface, row.name))
            .collect();
        assert_eq!(names.len(), METHODS.len());
        assert_eq!(right("Trigger"), Some(Right::Operate));
        for unknown in ["", "trigger", "Ping", "Shutdown"] {
            assert_eq!(right(unknown), None, "{unknown}");
        }
    }

    /// What a rule of the bus's policy is about.
    #[derive(Debug)]
    struct Rule<'a> {
        allows: bool,
        destination: Option<&'a str>,
        interface: Option<&'a str>,
        member: Option<&'a str>,
    }

    fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
        let (_, value) = element.split_once(&format!("{name}=\""))?;
        value.split('"').next()
    }

    /// The rules of one `<policy>` of the file, in their order.
    fn rules<'a>(policy: &'a str, of: &str) -> Vec<Rule<'a>> {
        let begin = format!("<policy {of}>");
        let (_, rest) = policy
            .split_once(&begin)
            .unwrap_or_else(|| panic!("{begin}"));
        let (inside, _) = rest.split_once("</policy>").expect("it ends");
        let elements = inside.split('<').skip(1);
        let elements = elements.filter(|it| it.starts_with("allow ") || it.starts_with("deny "));
        let rule = |element: &'a str| Rule {
            allows: element.starts_with("allow "),
            destination: attribute(element, "send_destination"),
            interface: attribute(element, "send_interface"),
            member: attribute(element, "send_member"),
        };
        elements.map(rule).collect()
    }

    /// What the bus decides: of the rules that match, the last one counts.
    fn allows(rules: &[&[Rule<'_>]], method: &Method) -> bool {
        let is_about = |rule: &&Rule<'_>| {
            rule.destination == Some(NAME)
                && rule.interface.is_none_or(|it| it == method.interface)
                && rule.member.is_none_or(|it| it == method.name)
        };
        let mut matching = rules.iter().flat_map(|rules| rules.iter()).filter(is_about);
        matching.next_back().is_some_and(|rule| rule.allows)
    }

    #[test]
    fn the_bus_lets_through_what_the_table_does_and_nothing_else() {
        let policy = include_str!("../../nixos-module/org.deploy_flake.conf");
        let default = rules(policy, "context=\"default\"");
        let operators = rules(policy, &format!("group=\"{OPERATORS}\""));
        let root = rules(policy, "user=\"root\"");
        assert_eq!(policy.matches("<policy ").count(), 3);
        for method in METHODS {
            for (who, rules, may) in [
                ("everybody", &[&*default][..], method.right == Right::Look),
                (
                    "operators",
                    &[&default, &operators],
                    method.right != Right::Administer,
                ),
                ("root", &[&default, &root], true),
            ] {
                assert_eq!(allows(rules, method), may, "{who}: {method:?}");
            }
        }
        // Nor what has no row: a method that comes later begins as root's.
        let unknown = ours("Later", Right::Administer, "");
        assert!(!allows(&[&default, &operators], &unknown));
        let listed = |rule: &Rule<'_>| {
            let is_row = |row: &Method| {
                rule.interface == Some(row.interface)
                    && rule.member.is_none_or(|member| member == row.name)
            };
            !rule.allows || METHODS.iter().any(is_row)
        };
        assert!(default.iter().chain(&operators).all(listed));
    }
}
