# The flake of a scenario's repository: one host for each file in ./hosts, in JSON or in Nix.
{
  description = "Hosts in miniature";

  # The daemon as the test bed put it on the host. Its lock holds the hash, so evaluation is pure and offline; the
  # copy in the store is kept by the systems that use it.
  inputs.daemon = {
    url = "path:/opt/deploy-flake";
    flake = false;
  };

  outputs = { self, daemon }:
    let
      miniNixos = import ./mini-nixos.nix;

      read = file:
        if builtins.match ".*\\.json" file != null
        then builtins.fromJSON (builtins.readFile (./hosts + "/${file}"))
        else import (./hosts + "/${file}");

      toplevel = name: { embedRevision ? false, ... }@knobs: miniNixos (
        { inherit name daemon; }
        // builtins.removeAttrs knobs [ "embedRevision" ]
        // (if embedRevision then { revision = self.rev or "dirty"; } else { })
      );

      host = file: rec {
        name = builtins.head (builtins.match "(.*)\\.(json|nix)" file);
        value.config.system.build.toplevel = toplevel name (read file);
      };
    in
    {
      nixosConfigurations =
        builtins.listToAttrs (map host (builtins.attrNames (builtins.readDir ./hosts)));
    };
}
