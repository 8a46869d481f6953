//! Histories, branches, trees and files of keys that a host must not follow, most of them on git's own server.
//!
//! In: a scene. Out: codes.

use crate::protocol::Script;
use crate::withstanding_scene::{Remote, Scene, generation};

/// Commits beside, below and without the floor; commits that somebody should have signed.
pub(crate) fn histories(scene: &mut Scene) {
    scene.remote_is(Remote::Git);
    let floor = scene.floor.0.clone();
    let older = format!("{floor}~1");
    scene.begin_at(&older);
    scene.offer();
    scene.withstands("the commit before", "downgrade");
    let other = scene.signed("ann", &generation("for-another-branch")).0;
    scene.offer();
    scene.withstands("a signed commit of another branch", "diverged");
    scene
        .repository()
        .git(&["checkout", "--quiet", "--orphan", "orphan"]);
    let orphan = scene.signed("ann", &generation("without-a-past")).0;
    scene.offer();
    scene.withstands("a signed commit without a past", "diverged");

    unsigned_ones(scene, &floor);
    foreign_ones(scene, &floor);
    what_a_server_makes_of_them(scene, [&floor, &older, &other, &orphan]);
}

fn unsigned_ones(scene: &mut Scene, floor: &str) {
    scene.begin_at(floor);
    let side = scene.unsigned("nobody-signed-this").0;
    scene.offer();
    scene.withstands("an unsigned commit", "commit-unsigned");
    scene.signed("ann", &generation("on-top"));
    scene.offer();
    scene.withstands("an unsigned commit below a signed one", "commit-unsigned");
    scene
        .repository()
        .git(&["checkout", "--quiet", "--orphan", "elsewhere"]);
    let elsewhere = scene.unsigned("elsewhere").0;
    for (what, other) in [
        ("a signed merge of an unsigned side", side),
        ("a signed merge of another repository", elsewhere),
    ] {
        scene.begin_at(floor);
        scene.signed("ann", &generation("before-the-merge"));
        let merge = [
            "merge",
            "--quiet",
            "--no-commit",
            "--allow-unrelated-histories",
        ];
        let words = [&merge[..], &["--strategy=ours", &other]].concat();
        scene.repository().git(&words);
        scene.signed("ann", &generation("merged"));
        scene.offer();
        scene.withstands(what, "commit-unsigned");
    }
}

fn foreign_ones(scene: &mut Scene, floor: &str) {
    let both = format!(
        "{}{}",
        scene.keys.allowed("ann"),
        scene.keys.allowed("mallory")
    );
    let brings = generation("brings-a-key").etc("deploy-flake/allowed-signers", &both);
    for (what, generation) in [
        ("a commit by somebody else", &generation("by-somebody-else")),
        ("a commit that brings its key", &brings),
    ] {
        scene.begin_at(floor);
        scene.signed("mallory", generation);
        scene.offer();
        let message = scene.withstands(what, "commit-untrusted");
        assert!(message.contains("unknown-key"), "{what}: {message}");
    }
}

/// A server may see its own history as it likes: what counts is what comes over.
fn what_a_server_makes_of_them(scene: &mut Scene, [floor, older, other, orphan]: [&str; 4]) {
    scene.beside(&format!("git update-ref refs/heads/other {other}"));
    branch_is(scene, "'ref: refs/heads/other'");
    scene.withstands("a branch that is another one", "diverged");
    branch_is(scene, other);
    scene.beside(&format!("git replace {other} {floor}"));
    scene.withstands("a commit that is replaced by the floor", "diverged");
    scene.beside("rm -r $GIT_DIR/refs/replace");
    scene.beside(&format!("echo {orphan} {floor} > $GIT_DIR/info/grafts"));
    branch_is(scene, orphan);
    scene.withstands("a commit that is grafted onto the floor", "diverged");
    scene.beside("rm $GIT_DIR/info/grafts");
    scene.beside(&format!("echo {other} > $GIT_DIR/shallow"));
    branch_is(scene, other);
    scene.withstands("a history that is cut off", "diverged");
    scene.beside("rm $GIT_DIR/shallow");

    let before = scene.beside(&format!("git rev-parse {older}"));
    scene.beside("mv $GIT_DIR/objects $GIT_DIR/alternate; mkdir -p $GIT_DIR/objects/info");
    scene.beside("echo ../alternate > $GIT_DIR/objects/info/alternates");
    branch_is(scene, &before);
    scene.withstands("the commit before, from elsewhere", "downgrade");
    scene.beside("rm -r $GIT_DIR/objects; mv $GIT_DIR/alternate $GIT_DIR/objects");
}

/// The server's branch becomes this, whatever it is.
fn branch_is(scene: &mut Scene, what: &str) {
    scene.beside(&format!("echo {what} > $GIT_DIR/refs/heads/main"));
}

/// Branches that are no commit, or not there.
pub(crate) fn branches(scene: &mut Scene) {
    let floor = scene.floor.0.clone();
    scene.beside(&format!("git tag -a -m t v1 {floor}"));
    for (what, name) in [
        ("a branch that is a tag", "refs/tags/v1".to_owned()),
        ("a branch that is a tree", format!("{floor}^{{tree}}")),
        ("a branch that is a file", format!("{floor}:flake.nix")),
    ] {
        let id = scene.beside(&format!("git rev-parse '{name}'"));
        branch_is(scene, &id);
        scene.withstands(what, "branch-not-a-commit");
    }
    branch_is(scene, &"1".repeat(40));
    scene.withstands("a branch that is not there as an object", "fetch-failed");
    scene.beside("rm $GIT_DIR/refs/heads/main");
    scene.withstands("no branch of that name", "branch-missing");
    scene.beside(
        "mv $GIT_DIR $GIT_DIR.sha1; git init --quiet --bare --object-format=sha256 $GIT_DIR",
    );
    let commit = "git commit-tree -m x $(git hash-object -w -t tree /dev/null)";
    let commit = format!("export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x; {commit}");
    let id = scene.beside(&commit);
    branch_is(scene, &id);
    scene.withstands("a repository of SHA-256", "remote-unsupported");
    scene.beside("rm -r $GIT_DIR; mv $GIT_DIR.sha1 $GIT_DIR");
}

/// Trees that would write elsewhere, were they ever checked out.
pub(crate) fn trees(scene: &mut Scene) {
    let floor = scene.floor.0.clone();
    let link = scene.store("blob", b"/etc");
    let file = scene.store("blob", b"smuggled");
    for (what, entries) in [
        ("a tree with ..", vec![("100644", "..", &file)]),
        ("a tree with .git", vec![("100644", ".git", &file)]),
        ("a tree with .GIT", vec![("100644", ".GIT", &file)]),
        ("a tree with git~1", vec![("100644", "git~1", &file)]),
        ("a tree with a path", vec![("100644", "../../x", &file)]),
        (
            "a tree with a link, and a file below it",
            vec![("120000", "etc", &link), ("100644", "etc/x", &file)],
        ),
        (
            "a tree with a name twice",
            vec![("100644", "x", &file), ("120000", "x", &link)],
        ),
        ("a tree with an odd mode", vec![("777777", "x", &file)]),
    ] {
        let tree = scene.store("tree", &tree(&entries));
        let who = "A <a@example.org> 1 +0000";
        let commit = format!("tree {tree}\nparent {floor}\nauthor {who}\ncommitter {who}\n\nx\n");
        let tip = scene.store("commit", commit.as_bytes());
        let pack = scene.pack(&[&tip, &tree, &link, &file]);
        scene.remote_is(Remote::Script(Script::new(&tip, pack)));
        scene.withstands(what, "commit-unsigned");
        let mirror = scene.host.shell("ls -A /var/cache/deploy-flake/mirror");
        assert_eq!(mirror.text(), ".git", "{what}: nothing is checked out");
    }
}

/// A tree object of modes, names and ids.
pub(crate) fn tree(entries: &[(&str, &str, &String)]) -> Vec<u8> {
    let mut tree = Vec::new();
    for (mode, name, id) in entries {
        tree.extend(format!("{mode} {name}\0").into_bytes());
        tree.extend(id.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("digits")
        }));
    }
    tree
}

/// A good commit, and files by which it cannot be judged, or is not good.
pub(crate) fn files_of_keys(scene: &mut Scene) {
    let floor = scene.floor.0.clone();
    scene.remote_is(Remote::Git);
    scene.begin_at(&floor);
    scene.signed("ann", &generation("judged-by-other-files"));
    scene.offer();
    let ann = scene.keys.allowed("ann");
    let key = ann.split_once(' ').expect("a key").1;
    let ended = ann.replacen(' ', " valid-before=\"20250101Z\" ", 1);
    let early = ann.replacen(' ', " valid-after=\"21000101Z\" ", 1);
    let for_files = ann.replacen(' ', " namespaces=\"file\" ", 1);
    for (what, keys, reason) in [
        ("by a key that was revoked", [&*ann, "", key], "key-revoked"),
        ("by a key that has ended", [&ended, "", ""], "key-expired"),
        (
            "by a key of next century",
            [&early, "", ""],
            "key-not-yet-valid",
        ),
        (
            "by a key for files",
            [&for_files, "", ""],
            "key-not-for-git",
        ),
        ("where nobody may sign", ["", "", ""], "unknown-key"),
    ] {
        scene.trust(keys);
        let message = scene.withstands(what, "commit-untrusted");
        assert!(message.contains(reason), "{what}: {message}");
    }
    for (what, keys) in [
        ("a line that is not understood", ["ann@example.org", "", ""]),
        ("a keyring that is none", [&*ann, "garbage", ""]),
        ("a revocation that is none", [&*ann, "", "everybody"]),
    ] {
        scene.trust(keys);
        scene.withstands(what, "keys-unusable");
    }
    scene.trust([&ann, "", ""]);
    for (what, change, back) in [
        ("keys that others can write", "chmod 666 K", "chmod 600 K"),
        ("keys of somebody else", "chown nobody K", "chown root K"),
        ("keys that are missing", "mv K K.away", "mv K.away K"),
        (
            "keys that are a directory",
            "mv K K.away; mkdir K",
            "rmdir K; mv K.away K",
        ),
    ] {
        let run = |line: &str, scene: &Scene| {
            let line = line.replace('K', "/var/keys/revoked");
            scene.host.shell(&line).must_succeed();
        };
        run(change, scene);
        scene.withstands(what, "keys-unusable");
        run(back, scene);
    }
}
