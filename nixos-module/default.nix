# The NixOS module: the daemon's unit (its sandbox is in service.nix), its users,
# the bus's policy, and the configuration file, which is checked when the system
# is built. systemd makes every directory, for the unit that needs it.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.deploy-flake;
  format = pkgs.formats.toml { };
  service = import ./service.nix;
  typed = import ./options.nix { inherit lib; };

  fetchUser = "deploy-flake-fetch";
  buildUser = "deploy-flake-build";
  operators = "deploy-flake";

  # Which boot loader's default entry is read back. GRUB comes last of the known
  # ones: NixOS enables it by default.
  bootLoader =
    if config.boot.isContainer then
      "none"
    else if config.boot.loader.systemd-boot.enable then
      "systemd-boot"
    else if config.boot.loader.generic-extlinux-compatible.enable then
      "extlinux"
    else if config.boot.loader.grub.enable then
      "grub"
    else
      "none";

  # TOML has no null: what was not set is left out.
  given =
    value:
    if lib.isAttrs value && !lib.isDerivation value then
      lib.mapAttrs (_: given) (lib.filterAttrs (_: it: it != null) value)
    else if lib.isList value then
      map given value
    else
      value;

  # A file with a mistake in it does not get into a system: the daemon that
  # would refuse it checks it here.
  canCheck = pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;
  generated = format.generate "deploy-flake-config.toml" (given cfg.settings);
  configFile = pkgs.runCommand "deploy-flake-config-checked.toml" { } ''
    ${lib.optionalString canCheck "${lib.getExe cfg.package} check-config ${generated}"}
    cp ${generated} $out
  '';

  busPolicy = pkgs.runCommand "deploy-flake-bus-policy" { } ''
    install -D -m 0444 ${./org.deploy_flake.conf} \
      $out/share/dbus-1/system.d/org.deploy_flake.conf
  '';

  remoteOptions = lib.types.submodule {
    freeformType = format.type;
    options = {
      url = lib.mkOption {
        type = lib.types.str;
        example = "https://example.org/infrastructure.git";
        description = ''
          Where the repository with this host's flake is: https, ssh or file;
          http and git work and are warned of.

          Effect: what the branch holds becomes this host's system.

          Risk: whoever may push to the branch is root on this host. With http
          and git://, so is anybody on the way. The file is world-readable, so
          a URL with a password or token in it is refused; for a private
          repository, {file}`docs/configuration.md` has the keys that name files.
        '';
      };
      branch = lib.mkOption {
        type = lib.types.str;
        default = "main";
        description = ''
          The branch that this host follows.

          Effect: another branch deploys its commit with the next look, if that
          descends from the last confirmed one.

          Risk: with `trust.force_push = "allow"`, an older branch brings an
          older system.
        '';
      };
      poll_interval = lib.mkOption {
        type = lib.types.str;
        default = "60s";
        example = "5m";
        description = ''
          The mean time between two looks at the remote, from 1s to 1d.

          Effect: how long a commit waits; `deploy-flake trigger` does not wait.

          Risk: short intervals of many hosts are a burden for the server.
        '';
      };
    }
    // typed.remote;
  };

  section =
    options:
    lib.mkOption {
      type = lib.types.submodule {
        freeformType = format.type;
        inherit options;
      };
      default = { };
      description = "See {file}`docs/configuration.md`.";
    };

  settingsOptions = lib.types.submodule {
    freeformType = format.type;
    options = {
      remote = lib.mkOption {
        type = lib.types.listOf remoteOptions;
        default = [ ];
        example = lib.literalExpression ''[ { url = "https://example.org/infrastructure.git"; } ]'';
        description = ''
          What this host follows: one remote or more, in order, each with a
          `name` of its own; only one may do without, and is `origin`.

          Effect: the commit that is furthest along is followed, whichever
          remote has it; at equal commits the first. One that does not answer
          is a warning, as long as another does.

          Risk: that of {option}`services.deploy-flake.settings.remote.*.url`,
          for each of them.
        '';
      };
      mode = lib.mkOption {
        type = lib.types.enum [
          "switch"
          "boot"
          "test"
        ];
        default = "switch";
        description = ''
          How a commit of the branch is brought to this host.

          Effect: `switch` tests its system and, if the host stays healthy,
          makes it the boot entry; `boot` only makes it the boot entry, and the
          host arrives with its next reboot; `test` only tests it, and a reboot
          leads back.

          Risk: with `boot`, the next boot starts a system that was never tested
          on this host. With `test`, a host that was rebooted does not run the
          commit before the branch moves.
        '';
      };
      testing = lib.mkOption {
        type = lib.types.submodule {
          freeformType = format.type;
          options.follow = lib.mkOption {
            type = lib.types.enum [
              "if-signed"
              "always"
              "never"
            ];
            default = "if-signed";
            description = ''
              When this host follows its testing branch, `testing-<host name>`
              unless `branch` names another.

              Effect: its commits are only ever tested here; a reboot, or the
              end of the branch, leads back. `if-signed` follows it where
              `trust.require` demands signatures.

              Risk: with `always` and without signatures, whoever can make that
              branch is root on this host.
            '';
          };
        };
        default = { };
        description = ''
          The branch whose commits are only ever tested on this host.

          Effect and risk: see {option}`services.deploy-flake.settings.testing.follow`.
        '';
      };
      push = lib.mkOption {
        type = lib.types.submodule {
          freeformType = format.type;
          options = {
            allow = lib.mkOption {
              type = lib.types.enum [
                "never"
                "test-only"
                "always"
              ];
              default = "test-only";
              description = ''
                Which snapshots root may have this host deploy, with
                `deploy-flake push`.

                Effect: `test-only` takes those that are pushed with
                `--test-only`, which a reboot ends; `always` makes others the
                boot entry as well. The host stays with one until its branch is a new commit.

                Risk: a snapshot is in no commit. With `always` a host may run
                for long what nobody but whoever pushed it has seen.
              '';
            };
            although_signed = lib.mkOption {
              type = lib.types.bool;
              default = false;
              description = ''
                Whether snapshots are taken although `trust.require` demands
                signatures, which a snapshot never has.

                Effect: with `false` none is taken where signatures are
                demanded.

                Risk: with `true`, whoever is root on this host for a moment may
                leave a system there that nobody signed.
              '';
            };
          };
        };
        default = { };
        description = ''
          The snapshots that root may push to this host.

          Effect and risk: see {option}`services.deploy-flake.settings.push.allow`.
        '';
      };
      drift = lib.mkOption {
        type = lib.types.enum [
          "report"
          "correct"
        ];
        default = "report";
        description = ''
          What to do when somebody changed the host by hand, at rest.

          Effect: `report` says so and leaves the host alone; `correct` brings
          it back with the next look.

          Risk: with `correct`, a repair by hand lasts until the next look.
        '';
      };
      on_reboot_required = lib.mkOption {
        type = lib.types.enum [
          "refuse"
          "boot"
        ];
        default = "refuse";
        description = ''
          What to do with a system that can only be reached by a reboot.

          Effect: `refuse` writes nothing and says so; `boot` writes its boot
          entry.

          Risk: with `boot`, the next boot starts a system that was never
          tested on this host.
        '';
      };
      boot_loader = lib.mkOption {
        type = lib.types.enum [
          "auto"
          "systemd-boot"
          "grub"
          "extlinux"
          "none"
        ];
        default = bootLoader;
        defaultText = lib.literalMD "the one that `boot.loader` enables";
        description = ''
          Which boot loader's default entry is read back after it was written.

          Effect: a host counts as deployed only when its default entry is the
          commit's system.

          Risk: with `none`, nobody notices a boot entry that was not written.
        '';
      };
      evaluate = section typed.evaluate;
      trust = section typed.trust;
    };
  };
in
{
  options.services.deploy-flake = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = ''
        Whether this host keeps itself equal to what its git remote asks for.

        Effect: every new commit of the branch is evaluated, built, tested on
        this host and, if the host stays healthy, made its boot entry.

        Risk: whoever may push to the branch is root on this host.
      '';
    };

    package = lib.mkOption {
      type = lib.types.package;
      defaultText = lib.literalMD "the package of the flake that this module is from";
      description = ''
        The package with the daemon and the command line.

        Effect: a change takes effect when the daemon is next restarted: a
        switch leaves a running one alone, because it may be the one that does
        the switch.

        Risk: a daemon that cannot start deploys nothing any more.
      '';
    };

    operators = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "alice" ];
      description = ''
        Users who may operate the daemon, besides root: the members of the
        group `${operators}`.

        Effect: `deploy-flake trigger` and what else docs/control.md has for
        operators works for them. Everybody may read the state.

        Risk: small; what is deployed is still up to the remote.
      '';
    };

    settings = lib.mkOption {
      type = settingsOptions;
      default = { };
      example = lib.literalExpression ''
        {
          remote = [ { url = "https://example.org/infrastructure.git"; } ];
          health.ignore_units = [ "flaky.service" ];
          deadlines.build = "12h";
        }
      '';
      description = ''
        The configuration file, {file}`/etc/deploy-flake/config.toml`; every key
        is explained in {file}`docs/configuration.md`.

        Effect: the file is checked when the system is built. A change takes
        effect when the daemon is next restarted.

        Risk: the file is world-readable, in the Nix store too.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.settings.remote != [ ];
        message = "services.deploy-flake.settings.remote: expected at least one remote, found none. Set it to [ { url = \"https://...\"; } ].";
      }
      {
        assertion = config.nix.enable;
        message = "services.deploy-flake evaluates and builds on this host, which needs nix.enable = true.";
      }
      {
        assertion = config.system.switch.enable or true;
        message = "services.deploy-flake runs the system's own switch-to-configuration, which needs system.switch.enable = true.";
      }
      {
        assertion =
          let
            allowed = config.nix.settings.allowed-users or [ "*" ];
          in
          lib.elem "*" allowed || lib.elem buildUser allowed || lib.elem "@${buildUser}" allowed;
        message = "services.deploy-flake builds as the user ${buildUser}, which nix.settings.allowed-users does not let through. Add it there.";
      }
      {
        assertion = !config.system.autoUpgrade.enable;
        message = "services.deploy-flake and system.autoUpgrade would undo each other's work. Disable one of the two.";
      }
    ]
    ++ typed.assertions cfg.settings;

    environment.systemPackages = [ cfg.package ];
    environment.etc."deploy-flake/config.toml".source = configFile;

    # What is left of the last confirmed commit when the ledger is lost.
    environment.etc."deploy-flake/revision" = lib.mkIf (config.system.configurationRevision != null) {
      text = config.system.configurationRevision;
    };
    services.dbus.packages = [ busPolicy ];

    users.users.${fetchUser} = {
      isSystemUser = true;
      group = fetchUser;
      description = "deploy-flake's fetcher";
    };
    users.users.${buildUser} = {
      isSystemUser = true;
      group = buildUser;
      home = "/var/cache/deploy-flake/build";
      description = "deploy-flake's evaluation and build";
    };
    users.groups.${fetchUser} = { };
    # Not a member of the fetcher's group: only the import reads the mirror, and
    # its unit is given the group for as long as it runs.
    users.groups.${buildUser} = { };
    users.groups.${operators}.members = cfg.operators;

    systemd.services.deploy-flake = {
      description = "GitOps daemon of this host";
      wantedBy = [ "multi-user.target" ];
      wants = [ "nix-daemon.socket" ];
      after = [
        "dbus.socket"
        "nix-daemon.socket"
      ];

      # The daemon may be the one that does the switch.
      restartIfChanged = false;
      unitConfig = service.Unit;

      # What the daemon and the step units run. They get store paths of this
      # system, which a switch does not change under them.
      path = [
        config.nix.package
        pkgs.coreutils
        pkgs.git
        pkgs.openssh
        config.systemd.package
      ];

      serviceConfig = service.Service // {
        ExecStart = "${lib.getExe cfg.package} daemon --config /etc/deploy-flake/config.toml";
      };
    };
  };
}
