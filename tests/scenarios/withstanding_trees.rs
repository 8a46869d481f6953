//! Trees that would write elsewhere, were they ever checked out, by a key that may sign: the signature keeps nobody from
//! them, so they come to git's own check and to Nix.
//!
//! In: a scene. Out: codes; that nothing of such a tree is a file of the host is asserted each time.

use crate::protocol::Script;
use crate::testbed::repository::CommitId;
use crate::withstanding_histories::tree;
use crate::withstanding_scene::{Remote, Scene, generation};

/// What every file of these trees holds, and no other file of a host.
const TEXT: &str = "smuggled by a tree";

/// Where a link leads that leads out.
const OUT: &str = "/etc/passwd";

/// Begins a case; a second earlier than it is, for the kernel's clock is coarse.
const MARK: &str = "touch --date='1 second ago' /var/mark";

/// What is found on the host that has changed since a case began and holds the text. The journal is larger.
const SEARCH: &str = "find / /run /tmp /boot -xdev -cnewer /var/mark -type f -size -2k \
                      -exec grep -lF 'smuggled by a tree' {} + | sort -u";

/// What an entry of a tree is.
#[derive(Clone, Copy)]
enum Object {
    File,
    /// A link to [`OUT`].
    Link,
    /// A directory with a hook in it.
    Directory,
    /// A file of submodules, of which one is called so and is where that says.
    Submodule(&'static str, &'static str),
}

use Object::{Directory, File, Link, Submodule};

/// A mode, a name, and what it is.
type Entry = (&'static str, &'static str, Object);

#[test]
fn a_tree_by_a_trusted_key_becomes_no_file_of_the_host() {
    let mut scene = Scene::new();
    let ann = scene.keys.allowed("ann");
    scene.trust([&ann, "", ""]);
    the_search_finds_what_is_there(&scene);
    refused_by_git(&mut scene);
    refused_by_nix(&mut scene);

    scene.remote_is(Remote::Git);
    let floor = scene.floor.0.clone();
    scene.begin_at(&floor);
    let good = scene.signed("ann", &generation("good"));
    scene.offer();
    scene.follows(&good);
    scene.floor = good;
    what_is_only_odd_is_followed(&mut scene);
}

/// Each has git's own name for what is wrong.
fn refused_by_git(scene: &mut Scene) {
    let cases: [(&str, &[Entry], &str); 17] = [
        ("..", &[("100644", "..", File)], "hasDotdot"),
        ("a directory ..", &[("40000", "..", Directory)], "hasDotdot"),
        ("a directory .", &[("40000", ".", Directory)], "hasDot:"),
        (".git", &[("100644", ".git", File)], "hasDotgit"),
        (
            "a directory .git",
            &[("40000", ".git", Directory)],
            "hasDotgit",
        ),
        (".GIT", &[("100644", ".GIT", File)], "hasDotgit"),
        ("git~1", &[("100644", "git~1", File)], "hasDotgit"),
        (
            ".git with a sign that nobody sees",
            &[("100644", ".g\u{200c}it", File)],
            "hasDotgit",
        ),
        ("a path", &[("100644", "../../etc/x", File)], "fullPathname"),
        (
            "a whole path",
            &[("100644", "/etc/x", File)],
            "fullPathname",
        ),
        (
            "a link, and a file below it",
            &[("120000", "etc", Link), ("100644", "etc/x", File)],
            "fullPathname",
        ),
        (
            "a link and a directory of one name",
            &[("120000", "x", Link), ("40000", "x", Directory)],
            "duplicateEntries",
        ),
        (
            "another flake.nix",
            &[("120000", "flake.nix", Link)],
            "duplicateEntries",
        ),
        (
            "submodules behind a link",
            &[("120000", ".gitmodules", Link)],
            "gitmodulesSymlink",
        ),
        (
            "a submodule that is called as a path",
            &[("100644", ".gitmodules", Submodule("../../x", "./x"))],
            "gitmodulesName",
        ),
        (
            "a submodule that is at an option",
            &[("100644", ".gitmodules", Submodule("x", "-uid"))],
            "gitmodulesUrl",
        ),
        (
            "a file without a name",
            &[("100644", "", File)],
            "empty filename",
        ),
    ];
    for (what, entries, words) in cases {
        let commit = offer(scene, None, entries);
        let failure = scene.refuses(what, &commit);
        assert_eq!(failure["code"], "object-refused", "{what}: {failure:#}");
        assert_eq!(failure["class"], "deterministic", "{what}");
        let message = failure["message"].as_str().unwrap_or_default();
        assert!(message.contains(words), "{what}: {message}");
        assert_eq!(smuggled(scene), "", "{what}");
    }
}

/// What git passes over, and Nix does not read; what Nix reads, and does not follow out of the tree.
fn refused_by_nix(scene: &mut Scene) {
    for (what, without, entry, code, class) in [
        (
            "a mode that is none",
            None,
            ("777777", "x", File),
            "import-failed",
            "transient",
        ),
        (
            "a flake.nix that is a link to elsewhere",
            Some("flake.nix"),
            ("120000", "flake.nix", Link),
            "evaluation-failed",
            "deterministic",
        ),
    ] {
        let commit = offer(scene, without, &[entry]);
        let failure = scene.refuses(what, &commit);
        assert_eq!(failure["code"], code, "{what}: {failure:#}");
        assert_eq!(failure["class"], class, "{what}");
        assert_eq!(smuggled(scene), "", "{what}");
    }
}

/// It changes nothing of the system that the commit describes, so the commit is there already.
fn what_is_only_odd_is_followed(scene: &mut Scene) {
    let entries = [
        ("100664", "everybody-writes", File),
        ("104755", "everybody-is-root", File),
        ("120000", "leads-out", Link),
    ];
    let commit = offer(scene, None, &entries);
    let last = scene.ends("odd modes and a link", &commit);
    assert_eq!(last["outcome"], "unchanged", "{last:#}");
    let files = smuggled(scene);
    assert!(!files.is_empty(), "Nix has them in its store");
    for file in files.lines() {
        assert!(file.starts_with("/nix/store/"), "{files}");
        let mode = scene.host.run(&["stat", "--format=%a %U", file]);
        let mode = mode.text();
        assert!(["444 root", "555 root"].contains(&mode), "{file}: {mode}");
    }
}

/// Has the remote offer a commit by Ann that has the floor's tree without a file, and with these entries.
fn offer(scene: &mut Scene, without: Option<&str>, added: &[Entry]) -> CommitId {
    let floor = scene.floor.0.clone();
    let list = scene.beside(&format!("git ls-tree {floor}"));
    let mut entries: Vec<(String, String, String)> = list
        .lines()
        .filter_map(|line| {
            let (what, name) = line.split_once('\t')?;
            let words: Vec<&str> = what.split(' ').collect();
            let mode = words[0].trim_start_matches('0');
            (Some(name) != without).then(|| (mode.into(), name.into(), words[2].into()))
        })
        .collect();
    let mut objects = Vec::new();
    for (mode, name, object) in added {
        let id = store(scene, *object, &mut objects);
        entries.push(((*mode).into(), (*name).into(), id));
    }
    // In git's order: a directory as if a slash ended its name.
    entries.sort_by_key(|(mode, name, _)| name.clone() + if mode == "40000" { "/" } else { "" });
    let entries: Vec<_> = entries
        .iter()
        .map(|(mode, name, id)| (&**mode, &**name, id))
        .collect();
    let tree = scene.store("tree", &tree(&entries));
    let key = scene.keys.path("ann");
    let sign = format!("-c gpg.format=ssh -c user.signingKey={key}");
    let commit = scene.beside(&format!(
        "export GIT_AUTHOR_NAME=Ann GIT_AUTHOR_EMAIL=ann@example.org; \
         git {sign} commit-tree -S -p {floor} -m x {tree}"
    ));
    objects.extend([commit.clone(), tree]);
    let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
    let pack = scene.pack(&objects);
    scene.remote_is(Remote::Script(Script::new(&commit, pack)));
    scene.host.shell(MARK).must_succeed();
    CommitId(commit)
}

/// Stores what an entry is, and all that belongs to it; returns its id.
fn store(scene: &mut Scene, object: Object, objects: &mut Vec<String>) -> String {
    let id = match object {
        File => scene.store("blob", TEXT.as_bytes()),
        Link => scene.store("blob", OUT.as_bytes()),
        Directory => {
            let file = store(scene, File, objects);
            scene.store("tree", &tree(&[("100755", "post-checkout", &file)]))
        }
        Submodule(name, url) => {
            let text = format!("[submodule \"{name}\"]\n\tpath = x\n\turl = {url}\n");
            scene.store("blob", text.as_bytes())
        }
    };
    objects.push(id.clone());
    id
}

/// The files of the host that hold what a tree brought. Neither git's repository has anything but git's own.
#[track_caller]
fn smuggled(scene: &Scene) -> String {
    let repositories = "cd /var/cache/deploy-flake; ls -A mirror build/repository";
    let listed = scene.host.shell(repositories);
    let expected = "build/repository:\n.git\n\nmirror:\n.git";
    assert_eq!(listed.text(), expected, "nothing is checked out");
    scene.host.shell(SEARCH).text().to_owned()
}

#[track_caller]
fn the_search_finds_what_is_there(scene: &Scene) {
    let files = "/boot/x /etc/x /run/x /tmp/x /var/lib/x /x";
    let make = format!("{MARK}; for f in {files}; do echo '{TEXT}' > $f; done");
    scene.host.shell(&make).must_succeed();
    let found = scene.host.shell(SEARCH);
    assert_eq!(found.text().replace('\n', " "), files);
    scene.host.shell(&format!("rm {files}")).must_succeed();
}
