//! What the project promises, each promise a scenario on real hosts: `cargo test --test scenarios NAME`.

#![expect(
    clippy::disallowed_methods,
    reason = "the harness spawns children, waits with a clock and reads its environment"
)]

#[path = "../testbed/mod.rs"]
#[expect(
    dead_code,
    reason = "the bed offers more than each set of scenarios uses"
)]
#[expect(
    unreachable_pub,
    reason = "what scenarios may use is pub, although the crate has no users"
)]
mod testbed;

/// Cases that unit tests have as well, and where those find the program's own modules.
mod trust;
#[path = "../../daemon/fetcher/tests/protocol.rs"]
mod protocol;
use deploy_flake::host;

mod bed;
mod bed_network;
mod bed_invariants;
mod sabotaging;
mod sabotaging_daemon;
mod common;
mod invariants;
mod guarding;
mod window;
mod replacing;
mod quarantining;
mod overriding;
mod astray;
mod unmounted;
mod enduring;
mod enduring_fault;
mod enduring_arming;
mod enduring_commit;
mod enduring_full_disks;
mod enduring_lost_ledgers;
mod following;
mod following_several;
mod branching;
mod trusting;
mod trusting_heartbeat;
mod trusting_policies;
mod withstanding;
mod withstanding_histories;
mod withstanding_remotes;
mod withstanding_scene;
mod withstanding_trees;
mod withstanding_length;
mod racing;
mod probing;
mod asking_by_ssh;
mod asking_by_https;
mod asking_for_inputs;
mod losing;
mod drifting;
mod modes;
mod configuring;
mod triggering;
mod triggering_from_afar;
mod triggering_in_bounds;
mod building;
mod versions;
mod many_hosts;
mod many_hosts_lost;
mod many_hosts_asked;
mod watching;
mod confirming_from_afar;
mod remote_key;
mod retrying;
mod authorising;
mod signalling;
mod commanding;
mod pushed;
mod pushing;
mod status;
mod planning;
mod telling;
mod remembering;
mod refusing;
mod dying;
mod dying_host;
mod dying_moment;
mod dying_guarded;
mod dying_guarded_host;
mod dying_failed_rollback;
mod dying_process;
mod dying_story;
mod dying_neighbours;
mod dying_rebooted;
mod dying_ledger;
mod dying_restoring;
mod dying_replaced;
mod dying_rights;
mod surviving;
mod surviving_scene;
mod surviving_table;
mod surviving_daemons;
mod surviving_guards;
