# NixOS in miniature: from a small description of a host to something with the layout and the behaviour of a NixOS
# system closure, built by Nix from a Debian userland, without nixpkgs.
#
# In: the knobs below, all plain data, so that a scenario can write them as JSON. Out: a derivation. Nothing random
# and nothing of the commit goes in (unless `revision` is given), so equal knobs are one and the same system.
{
  # The host's name, and what tells its generations apart for a reader.
  name,
  label ? "1",
  platform ? "x86_64-linux",

  # The tree of the daemon: bin/deploy-flake, share/dbus-1/system.d/org.deploy_flake.conf. As it is part of the
  # closure, the running system holds it against garbage collection.
  daemon,
  # Text of /etc/deploy-flake/config.toml; null leaves the daemon out of the system.
  daemonConfig ? null,
  # Another daemon than that tree's: "next" works, "exits", "crashes" and "hangs" do not (daemon.nix).
  daemonVariant ? null,

  # Shell that gives `host0` its $address and a default route via $gateway; null leaves the host without a network.
  network ? ''
    ip link set host0 up
    ip address flush dev host0
    ip address add "$address" dev host0
    ip route replace default via "$gateway"
  '',
  # The rules of nftables; null is no firewall.
  firewall ? null,
  # Whether there is an ssh server, its port, and all of its configuration; PATH is NixOS's.
  sshd ? true,
  sshdPort ? 22,
  sshdConfig ? ''
    Port ${builtins.toString sshdPort}
    HostKey /etc/ssh/ssh_host_ed25519_key
    PermitRootLogin prohibit-password
    PasswordAuthentication no
    UsePAM no
    UseDNS no
    SetEnv PATH=/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin
  '',

  # Unit files by name, those of them that multi-user.target wants, and other files of /etc by name.
  units ? { },
  wants ? [ ],
  etc ? { },

  # What only a reboot brings: the kernel's name, the interface to PID 1, and what may not be switched live.
  kernel ? "linux-1",
  kernelParams ? [ "quiet" ],
  initInterface ? "systemd 1",
  switchInhibitors ? { },
  # /etc/systemd/system.conf; null leaves Debian's. Going from one to the other re-executes systemd.
  systemdConf ? "[Manager]\n",
  # `system.configurationRevision`, usually the commit: then every commit is another system.
  revision ? null,

  # Shell that runs in the hooks, after the hook's line in the tally. A failing one fails its hook.
  activationScript ? "",
  preSwitchCheck ? "",
  bootLoader ? "",
  # The closure's own check, and where it is; null: it has none.
  selfCheck ? null,
  selfCheckPath ? "pre-activate-safety-checks",

  # What the system holds besides, each a store path of that name, such as "hello-2.12".
  packages ? [ ],

  # Shell that the builder runs first, and so many small derivations that are built before: a build that takes its time.
  buildScript ? "",
  parts ? 0,

  # Things that are wrong.
  switchable ? true,
  buildFails ? false,
  evaluationError ? null,
  # Steps of pure computation before there is a derivation: an evaluation that takes its time.
  evaluationWork ? 0,
}:

let
  inherit (builtins)
    attrNames concatMap concatStringsSep dirOf foldl' genList isBool isList listToAttrs map replaceStrings toFile toJSON toString;

  quote = quoteWith { };
  # The same with words of the text standing for variables of the shell.
  quoteWith = variables: text:
    let
      words = attrNames variables;
      value = word: "'\"\$${variables.${word}}\"'";
    in
    "'" + replaceStrings ([ "'" ] ++ words) ([ "'\\''" ] ++ map value words) text + "'";
  hook = "/opt/mini/hook";
  script = lines: concatStringsSep "\n" ([ "#!/bin/sh" ] ++ lines) + "\n";

  ## Units

  # As on NixOS, targets stand among the closure's own units: a switch starts the active ones again, and with them
  # whatever is new below them. sysinit-reactivation.target is restarted at every switch.
  ownUnits = {
    "sysinit-reactivation.target" = "[Unit]\nDescription=Reactivate sysinit units\n";
    "nix-daemon.socket" = ''
      [Unit]
      Description=Nix daemon socket
      Before=multi-user.target
      [Socket]
      ListenStream=/nix/var/nix/daemon-socket/socket
    '';
    "nix-daemon.service" = ''
      [Unit]
      Description=Nix daemon
      RequiresMountsFor=/nix/store /nix/var
      [Service]
      ExecStart=/usr/bin/nix-daemon --daemon
      KillMode=process
      LimitNOFILE=1048576
      TasksMax=infinity
    '';
  } // reachable.units // (if daemonConfig == null then { } else { "deploy-flake.service" = daemonUnit; });

  reachable = import ./reachable.nix { inherit network firewall sshd sshdConfig; };

  # The text of a unit cannot name what is yet to be built: @daemon@ becomes its path.
  daemonTree = import ./daemon.nix { inherit daemon platform; variant = daemonVariant; };

  # The unit of nixos-module/ in the same sandbox; program and PATH are Debian's.
  service = import ./service.nix;
  daemonUnit = ''
    [Unit]
    Description=GitOps daemon of this host
    After=dbus.socket nix-daemon.socket
    Wants=nix-daemon.socket
    ${section service.Unit}
    [Service]
    ExecStart=@daemon@/bin/deploy-flake daemon --config /etc/deploy-flake/config.toml
    Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    X-RestartIfChanged=false
    ${section service.Service}
  '';

  # As NixOS writes a section: a list is one line an element.
  section = settings:
    concatStringsSep "\n" (concatMap (key: map (line key) (list settings.${key})) (attrNames settings));
  line = key: value: "${key}=${if isBool value then (if value then "true" else "false") else toString value}";
  list = value: if isList value then value else [ value ];

  daemonFiles = if daemonConfig == null then { } else {
    "deploy-flake/config.toml" = daemonConfig;
  };

  allUnits = ownUnits // units;
  wanted = reachable.wants ++ (if daemonConfig == null then [ ] else [ "deploy-flake.service" ]) ++ wants;

  ## Files of /etc, written by the builder from its environment

  # As the module has it.
  ownRevision = if revision == null then { } else { "deploy-flake/revision" = revision; };

  files = { hostname = name + "\n"; } // reachable.etc // daemonFiles // ownRevision // etc // listToAttrs (map (unit: {
    name = "systemd/system/${unit}";
    value = allUnits.${unit};
  }) (attrNames allUnits));

  # No process for each file: a build is a thing of many scenarios.
  directories = paths: "mkdir -p " + concatStringsSep " " (map (path: quoteWith { "@out@" = "out"; } "@out@/${dirOf path}") paths) + "\n";
  writeFile = path: ''
    printf %s ${quoteWith { "@daemon@" = "daemonTree"; } files.${path}} > "$out/etc/${path}"
  '';
  writeFiles = toFile "write-etc" (
    directories (map (path: "etc/${path}") (attrNames files)) + concatStringsSep "" (map writeFile (attrNames files))
  );

  ## Scripts of the closure; @out@ becomes its path

  scripts = {
    init = script [
      "# The second stage of the boot; the first one is the test bed's boot loader."
      "ln -sfn @out@ /run/booted-system"
      "@out@/activate || true"
      "exec /usr/lib/systemd/systemd \"$@\""
    ];
    activate = script [
      "status=0"
      "${hook} activate @out@ || status=1"
      (builtins.readFile ./activate-etc)
      "( :"
      activationScript
      ") || { echo 'Activation script failed' >&2; status=1; }"
      "# The last line, as on NixOS, where a trap has it count, too: what runs now is this system."
      "ln -sfn @out@ /run/current-system || status=1"
      "exit $status"
    ];
    dry-activate = script [ "${hook} dry-activate @out@" ];
    pre-switch-check = script [ "${hook} pre-switch-check @out@ \"$2\"" switchInhibitorsCheck preSwitchCheck ];
    install-bootloader = script [
      "${hook} boot-loader \"$1\""
      bootLoader
      "exec /opt/mini/install-bootloader \"$1\""
    ];
  } // (if selfCheck == null then { } else {
    ${selfCheckPath} = script [ "${hook} pre-activate-safety-checks \"$1\"" selfCheck ];
  }) // (if !switchable then { } else {
    "bin/switch-to-configuration" = script [
      "export OUT=@out@ TOPLEVEL=@out@ DISTRO_ID=debian SYSTEMD=/usr"
      "export PRE_SWITCH_CHECK=@out@/pre-switch-check INSTALL_BOOTLOADER=@out@/install-bootloader"
      "${hook} \"switch-to-configuration-$1\" @out@"
      "exec /opt/mini/switch-to-configuration \"$@\""
    ];
  });

  # A key that both systems have and whose value differs may not be switched live.
  switchInhibitorsCheck = ''
    case $2 in boot | dry-activate) ;; *)
      running=/run/current-system/switch-inhibitors
      if [ -e $running ]; then
        while IFS='=' read -r key value; do
          now=$(sed -n "s/^$key=//p" /run/current-system/switch-inhibitors-lines)
          if [ -n "$now" ] && [ "$now" != "$value" ]; then
            echo "There are changes to critical components of the system:" >&2
            echo "$key : $now -> $value" >&2
            echo "Switching into this system is not recommended; reboot into it" >&2
            exit 1
          fi
        done < @out@/switch-inhibitors-lines
      fi
    esac
  '';

  writeScript = path: ''
    printf %s ${quoteWith { "@out@" = "out"; } scripts.${path}} > "$out/${path}"
  '';
  writeScripts = toFile "write-scripts" (
    directories (attrNames scripts) + concatStringsSep "" (map writeScript (attrNames scripts))
    + "(cd \"$out\" && chmod +x ${concatStringsSep " " (map quote (attrNames scripts))})\n"
  );

  ## The rest of a toplevel

  texts = {
    nixos-version = label;
    system = platform;
    init-interface-version = initInterface;
    inherit kernel;
    initrd = "initrd of ${kernel}";
    kernel-params = concatStringsSep " " kernelParams;
    reboot-triggers = toJSON { inherit kernel; initrd = "initrd of ${kernel}"; };
    switch-inhibitors = toJSON switchInhibitors;
    switch-inhibitors-lines =
      concatStringsSep "" (map (key: "${key}=${switchInhibitors.${key}}\n") (attrNames switchInhibitors));
  } // (if revision == null then { } else { configuration-revision = revision; });
  writeText = path: "printf %s ${quote texts.${path}} > \"$out/${path}\"\n";
  writeTexts = toFile "write-texts" (concatStringsSep "" (map writeText (attrNames texts)));

  # Its path goes in as a link, so that two systems with the same text have the same file and switching between
  # them does not re-execute systemd.
  linkSystemdConf = if systemdConf == null then "" else ''
    ln -s ${toFile "system.conf" systemdConf} $out/etc/systemd/system.conf
  '';

  linkPackage = package: "ln -s ${toFile package package} $out/sw/${package}";

  builder = toFile "build-toplevel" ''
    set -eu
    PATH=/usr/bin:/bin
    ${hook} build $out
    ${if buildFails then "echo 'error: this build is made to fail' >&2; exit 1" else buildScript}
    mkdir -p $out/etc/systemd/system/multi-user.target.wants $out/etc/systemd/system/sockets.target.wants
    cd /usr/lib/systemd/system
    for target in multi-user basic sysinit sockets timers paths network network-online getty local-fs remote-fs; do
      [ ! -e $target.target ] || set -- "$@" $target.target
    done
    cp "$@" $out/etc/systemd/system/
    . ${writeFiles}
    . ${writeScripts}
    . ${writeTexts}
    ${linkSystemdConf}
    cd $out/etc/systemd/system/multi-user.target.wants
    ${if wanted == [ ] then "" else "ln -s ${concatStringsSep " " (map (unit: "../${unit}") wanted)} ."}
    ln -s ../nix-daemon.socket $out/etc/systemd/system/sockets.target.wants/nix-daemon.socket
    mkdir -p $out/sw/bin
    ${if daemonConfig == null then "" else ''
      ln -s $daemonTree/bin/deploy-flake $out/sw/bin/deploy-flake
      mkdir -p $out/etc/dbus-1/system.d
      ln -s $daemonTree/share/dbus-1/system.d/org.deploy_flake.conf $out/etc/dbus-1/system.d/
    ''}
    ln -s /usr $out/systemd
    ${concatStringsSep "\n" (map linkPackage packages)}
    cat > $out/boot.json <<END
    {"org.nixos.bootspec.v1":{"system":"${platform}","kernel":"$out/kernel","initrd":"$out/initrd",
    "kernelParams":${toJSON kernelParams},"label":"NixOS ${label}","toplevel":"$out","init":"$out/init"},
    "org.nixos.specialisation.v1":{}}
    END
  '';

  # The sum is asked for and never used.
  work = foldl' (sum: n: sum + n) 0 (genList (n: n) evaluationWork);
  part = n: derivation {
    name = "part-${toString n}";
    system = platform;
    builder = "/bin/sh";
    args = [ "-c" "echo part ${toString n} is made; echo ${label} > $out" ];
  };
  system = derivation ({
    name = "nixos-system-${name}-${label}";
    system = platform;
    builder = "/bin/sh";
    args = [ builder ];
    inherit daemonTree;
  } // (if parts == 0 then { } else { parts = genList part parts; }));
in
if evaluationError != null then throw evaluationError
else if work < 0 then throw "cannot happen"
else system
