# What deploy-flake.service may do and may not, as plain data: the module ships
# it, and the test bed (tests/testbed/mini-nixos.nix) runs the daemon in it. What
# depends on the host (program, PATH) is added by each.
{
  Unit = {
    # A system without the module leaves the daemon alone, so that it can finish
    # the deployment that brought that system.
    X-StopOnRemoval = false;
    # However often it ends, it is started again: a host without it would never
    # get the commit that repairs it.
    StartLimitIntervalSec = 0;
  };

  Service = {
    Type = "notify";
    NotifyAccess = "main";
    Restart = "always";
    RestartSec = 1;
    WatchdogSec = 60;
    # Memory runs out in evaluations; the daemon is to tell of it.
    OOMScoreAdjust = -500;

    StateDirectory = "deploy-flake";
    # Nobody but root lists or opens what is the daemon's own; everybody may read
    # the history below it.
    StateDirectoryMode = "0711";
    RuntimeDirectory = "deploy-flake";
    RuntimeDirectoryMode = "0755";
    # `status` answers while the daemon is stopped, and the results of steps
    # that ended meanwhile stay.
    RuntimeDirectoryPreserve = "yes";

    # Root by name only: it owns its files and may call systemd, and everything
    # that needs more runs in a unit of its own.
    CapabilityBoundingSet = "";
    AmbientCapabilities = "";
    NoNewPrivileges = true;
    PrivateNetwork = true;
    RestrictAddressFamilies = [ "AF_UNIX" ];
    ProtectSystem = "strict";
    ProtectHome = true;
    PrivateTmp = true;
    PrivateDevices = true;
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    LockPersonality = true;
    MemoryDenyWriteExecute = true;
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    SystemCallFilter = [
      "@system-service"
      "~@privileged @resources"
    ];
    SystemCallErrorNumber = "EPERM";
    UMask = "0077";
  };
}
