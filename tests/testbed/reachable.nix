# What makes a host of the test bed reachable, as its closure says: the address, the firewall, the ssh server.
#
# In: the knobs of these names (mini-nixos.nix). Out: unit files, those of them that multi-user.target wants, files of
# /etc. The host's own address and its host key are not of the closure, so that equal knobs are one and the same system.
{ network, firewall, sshd, sshdConfig }:

let
  inherit (builtins) toFile;
  none = { units = { }; wants = [ ]; etc = { }; };
  unit = name: text: none // { units.${name} = text; wants = [ name ]; };

  # "address=" and "gateway=", written when the host is made.
  ownAddress = ". /var/lib/testbed/network";

  # It is up before everything that is ordered after basic.target, the daemon among them, and stays until the end. As on
  # NixOS it is restarted where it has changed, and not stopped before the activation.
  networkUnit = unit "network.service" ''
    [Unit]
    Description=Address and default route
    DefaultDependencies=no
    Wants=network.target
    Before=network.target basic.target
    [Service]
    Type=oneshot
    RemainAfterExit=yes
    ExecStart=/bin/sh -eu ${toFile "network-start" "${ownAddress}\n${network}\n"}
    ExecStop=/usr/sbin/ip address flush dev host0
    X-StopIfChanged=false
  '';

  firewallUnit = unit "firewall.service" ''
    [Unit]
    Description=Firewall
    [Service]
    Type=oneshot
    RemainAfterExit=yes
    ExecStart=/usr/sbin/nft --file ${toFile "ruleset" firewall}
    ExecStop=/usr/sbin/nft flush ruleset
  '';

  # The text is in /etc; its path among the triggers makes it another unit where the text is another.
  sshdUnit = unit "sshd.service" ''
    [Unit]
    Description=OpenSSH server
    After=network.target
    X-Restart-Triggers=${toFile "sshd_config" sshdConfig}
    [Service]
    Type=notify
    ExecStart=/usr/sbin/sshd -D -e -f /etc/ssh/sshd_config
    KillMode=process
    Restart=always
    RuntimeDirectory=sshd
    X-StopIfChanged=false
  '' // { etc."ssh/sshd_config" = sshdConfig; };

  parts = [
    (if network == null then none else networkUnit)
    (if firewall == null then none else firewallUnit)
    (if sshd then sshdUnit else none)
  ];
in
builtins.foldl' (all: part: {
  units = all.units // part.units;
  wants = all.wants ++ part.wants;
  etc = all.etc // part.etc;
}) none parts
