# The daemon's tree as a system has it: as it was built, or as one that a deployment must not keep.
#
# In: the tree, and which variant of it. Out: a tree with another store path whose `deploy-flake` differs only in what
# `daemon` does: the command line and the processes that a daemon starts from it are the real ones.
{ daemon, platform, variant }:

let
  variants = {
    # Ends at once.
    exits = "echo 'this daemon ends at once' >&2; exit 1";
    # Becomes ready, looks at its remote, and dies.
    crashes = ''(sleep 1; kill -KILL $$) & exec "$real" "$@"'';
    # Is never ready.
    hangs = "exec sleep infinity";
  };
  launcher = ''
    #!/bin/sh
    real=@out@/libexec/deploy-flake
    case $1 in
      daemon) ${variants.${variant}} ;;
    esac
    exec "$real" "$@"
  '';
  # The next version works, and is another program: a copy, whose own path is another one.
  copy = "cp -r $daemon $out";
  wrapped = ''
    mkdir -p $out/bin $out/libexec
    cp $daemon/bin/deploy-flake $out/libexec/deploy-flake
    ln -s $daemon/share $out/share
    printf %s "$launcher" | sed "s|@out@|$out|g" > $out/bin/deploy-flake
    chmod +x $out/bin/deploy-flake
  '';
in
if variant == null then "${daemon}"
else derivation {
  name = "deploy-flake-${variant}";
  system = platform;
  builder = "/bin/sh";
  args = [ "-euc" ("PATH=/usr/bin:/bin\n" + (if variant == "next" then copy else wrapped)) ];
  inherit daemon;
  launcher = if variant == "next" then "" else launcher;
}
