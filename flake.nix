{
  description = "A GitOps daemon for NixOS that proves a system before it writes the boot entry";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      # On Darwin it is the command line for other hosts. nixpkgs gives platforms up; one that it has not is left out.
      systems = lib.intersectLists lib.systems.flakeExposed [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      forEachSystem = of: lib.genAttrs systems (system: of nixpkgs.legacyPackages.${system});
      manifest = (lib.importTOML ./Cargo.toml).package;
    in
    {
      packages = forEachSystem (pkgs: {
        default = pkgs.rustPlatform.buildRustPackage {
          pname = manifest.name;
          inherit (manifest) version;
          src = lib.fileset.toSource {
            root = ./.;
            fileset = lib.fileset.unions [
              ./Cargo.toml
              ./Cargo.lock
              ./daemon
              ./docs
              ./README.md
            ];
          };
          cargoLock.lockFile = ./Cargo.lock;
          nativeBuildInputs = [
            pkgs.installShellFiles
            pkgs.pkg-config
          ];
          # What the fetcher needs, which is for hosts only.
          buildInputs = lib.optionals pkgs.stdenv.hostPlatform.isLinux [
            pkgs.curl
            pkgs.openssl
            pkgs.zlib
          ];
          # The tests boot hosts and need root: `tests/all` runs them.
          doCheck = false;
          # The program knows its own arguments; one for another platform cannot be asked here.
          postInstall = lib.optionalString (pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform) ''
            $out/bin/deploy-flake generate man man
            installManPage man/*
            for shell in bash fish zsh; do
              $out/bin/deploy-flake generate completions $shell > deploy-flake.$shell
            done
            installShellCompletion --cmd deploy-flake \
              --bash deploy-flake.bash --fish deploy-flake.fish --zsh deploy-flake.zsh
          '';
          meta = {
            inherit (manifest) description;
            license = lib.licenses.mit;
            mainProgram = manifest.name;
            platforms = lib.platforms.linux ++ lib.platforms.darwin;
          };
        };
      });

      nixosModules.default =
        { pkgs, ... }:
        {
          imports = [ ./nixos-module ];
          services.deploy-flake.package =
            lib.mkDefault
              self.packages.${pkgs.stdenv.hostPlatform.system}.default;
        };

      devShells = forEachSystem (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ self.packages.${pkgs.stdenv.hostPlatform.system}.default ];
          packages = [
            pkgs.cargo-deny
            pkgs.clippy
            pkgs.rustfmt
          ];
        };
      });
    };
}
