//! Who is who: operators operate, root administers, everybody looks.
//!
//! In: what the bus knows of a caller. Out: yes, or no and what to do. Must
//! not: believe what the caller says of itself.
//!
//! The bus's own policy file says the same once more. It is not enough alone:
//! a group that did not exist when the bus read it is silently left out.

use std::fs;
use std::io;

use super::OPERATORS;
use super::rights::Right;

/// Where the groups stand. A group that only a directory service knows is not
/// found; operators' groups of hosts are local on NixOS.
const GROUPS: &str = "/etc/group";

/// What the bus knows of a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Its user, if the bus could find out.
    pub user: Option<u32>,
    /// All its groups, if the bus could find out.
    pub groups: Option<Vec<u32>>,
}

/// Why a caller is turned away; what to do is part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The bus does not say who it is.
    #[error("the bus does not say who is calling; call as root")]
    Unknown,
    /// It is neither root nor an operator.
    #[error(
        "user {user} is neither root nor in group {OPERATORS}; call as root, or join the group and log in again"
    )]
    Stranger {
        /// Its user.
        user: u32,
    },
    /// The table has no such method.
    #[error("nobody may call this")]
    Nobody,
    /// It is not root.
    #[error("user {user} is not root, and nobody else may do this; call as root")]
    NotRoot {
        /// Its user.
        user: u32,
    },
}

/// Judges a caller. `operators` is the id of the operators' group.
pub fn judge(caller: &Caller, right: Right, operators: Option<u32>) -> Result<(), Denied> {
    if right == Right::Look {
        return Ok(());
    }
    let user = caller.user.ok_or(Denied::Unknown)?;
    let groups = caller.groups.as_deref().unwrap_or_default();
    let operator = operators.is_some_and(|group| groups.contains(&group));
    match right {
        _ if user == 0 => Ok(()),
        Right::Look => Ok(()),
        Right::Operate if operator => Ok(()),
        Right::Operate => Err(Denied::Stranger { user }),
        Right::Administer => Err(Denied::NotRoot { user }),
    }
}

/// Reads the id of the operators' group. Read for every call: a deployment may
/// have just made the group.
pub fn operators() -> io::Result<Option<u32>> {
    Ok(group_id(&fs::read_to_string(GROUPS)?, OPERATORS))
}

/// Finds a group in the text of group(5).
fn group_id(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_operators_may_operate_and_only_root_may_administer() {
        const GROUP: u32 = 990;
        let caller = |user, groups: Option<&[u32]>| Caller {
            user,
            groups: groups.map(<[u32]>::to_vec),
        };
        for (caller, allowed) in [
            (caller(Some(0), Some(&[0])), true),
            (caller(Some(0), None), true),
            (caller(Some(1000), Some(&[100, GROUP])), true),
            (caller(Some(1000), Some(&[100])), false),
            (caller(Some(1000), Some(&[])), false),
            (caller(Some(1000), None), false),
            (caller(Some(65_534), Some(&[65_534])), false),
            (caller(None, Some(&[GROUP])), false),
            (caller(None, None), false),
        ] {
            let judged = |right| judge(&caller, right, Some(GROUP)).is_ok();
            assert!(judged(Right::Look), "{caller:?}");
            assert_eq!(judged(Right::Operate), allowed, "{caller:?}");
            let is_root = caller.user == Some(0);
            assert_eq!(judged(Right::Administer), is_root, "{caller:?}");
        }
        for right in [Right::Operate, Right::Administer] {
            assert!(judge(&caller(Some(1000), Some(&[0, 1, 2])), right, None).is_err());
            assert!(judge(&caller(Some(0), None), right, None).is_ok());
        }
    }

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let text = "root:x:0:\ndeploy-flake-build:x:5:\n#deploy-flake:x:6:\n\
                    deploy-flake:x:990:alice\nbroken\ndeploy-flake-x:y\n";
        assert_eq!(group_id(text, "deploy-flake"), Some(990));
        assert_eq!(group_id(text, "broken"), None);
        assert_eq!(group_id("deploy-flake:x:none:\n", "deploy-flake"), None);
        assert_eq!(group_id("", "deploy-flake"), None);
    }
}
