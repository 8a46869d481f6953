//! What callers ask for, answered.
//!
//! In: a request of somebody who may make it. Out: what the core makes of it,
//! and the answer. Must not: wait for the machine; the loop does not.

use super::core::Core;
use super::wanting::Wanted;
use crate::ipc::request::{Declined, Reply, Request};
use crate::pipeline::Stages;
use crate::reconcile::event::{Demand, Instead};
use crate::report::milestones;

/// Does what a caller asks for.
pub(super) fn answer<S: Stages>(core: &mut Core<S>, request: Request) {
    match request {
        Request::Trigger { reply } => tell(reply, Ok(core.trigger_again(Demand::Look))),
        Request::Retry { allowed, reply } => {
            milestones::retry_asked(&allowed);
            let is_roots = !allowed.is_empty();
            let demand = Demand::Retry { allowed };
            let look = match is_roots {
                true => core.trigger(demand),
                false => core.trigger_again(demand).look,
            };
            tell(reply, Ok(look));
        }
        Request::Allow { commit, reply } => {
            let answer = core.allow(commit.clone());
            if answer.is_ok() {
                milestones::allow_asked(&commit);
            }
            tell(reply, answer);
        }
        Request::Pause {
            by,
            reason,
            length,
            reply,
        } => tell(reply, core.pause(by, reason, length)),
        Request::Rollback {
            by,
            deployment,
            reply,
        } => core.find_out(Wanted {
            by,
            instead: Instead::Earlier(deployment),
            reply,
        }),
        Request::Push { by, push, reply } => core.find_out(Wanted {
            by,
            instead: Instead::Pushed(push),
            reply,
        }),
        Request::Resume { by, reply } => tell(reply, core.let_go_on(by)),
        Request::Confirm {
            by,
            deployment,
            reply,
        } => tell(reply, core.confirm(by, deployment.as_ref())),
        Request::Reject {
            by,
            deployment,
            reason,
            reply,
        } => tell(reply, core.reject(by, deployment.as_ref(), reason)),
    }
}

pub(super) fn tell<T>(reply: Reply<T>, answer: Result<T, Declined>) {
    // One who is gone does not need it.
    let _ = reply.send(answer);
}
