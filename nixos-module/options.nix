# The settings that say how a remote is asked, what is evaluated, and whose
# commits are followed, with their types; and what contradicts itself among them.
# What is null is left out of the file: the daemon's default holds.
{ lib }:
let
  inherit (lib) types;

  # A secret, by the name of its file. No Nix path: that would be copied into the
  # store, where everybody can read it.
  secretFile = types.nullOr (types.strMatching "/.*");
  # What may be public. A Nix path is copied into the store, which only root writes.
  publicFile = types.nullOr types.path;

  option =
    type: default: description:
    lib.mkOption { inherit type default description; };

  heartbeat = {
    max_age = lib.mkOption {
      type = types.str;
      example = "1d";
      description = ''
        How old the tag may be, from 1s to 366d.

        Risk: a short one stops all hosts when the tag is made late; a long one
        leaves a freeze unnoticed for so long.
      '';
    };
    tag = option (types.nullOr types.str) null ''
      The tag's name; null: `heartbeat-` and the remote's branch.
    '';
    allowed_signers = option publicFile null ''
      The file of SSH keys that may make the tag, and nothing else; null: those
      that sign commits.
    '';
  };
in
{
  remote = {
    name = option types.str "origin" ''
      The remote's name in status and journal, and in the path of its mirror if
      it is not the first: letters, digits, `_` and `-`, each name once.
    '';
    timeout = option (types.nullOr types.str) null ''
      How long one poll of this remote may take, from 1s to 1h.

      Effect: without it, `deadlines.poll` holds.

      Risk: a remote that needs longer is never heard.
    '';
    identity_file = option secretFile null ''
      For ssh: the file on the host with the private key, without a passphrase.

      Effect: the fetcher gets it from systemd, and nobody else.

      Risk: who has the key reads the repository.
    '';
    host_keys = option (types.listOf types.str) [ ] ''
      For ssh: the keys that the server may have, such as
      `ssh-ed25519 AAAA...`.

      Effect: no other key is believed. Without them, those that the host knows.

      Risk: a server with a new key is not asked until this is changed.
    '';
    token_file = option secretFile null ''
      For https: the file on the host with the token and nothing else.

      Effect: it is sent with every request, to the host of the url alone.

      Risk: who has the token reads the repository.
    '';
    token_as = option (types.nullOr (
      types.enum [
        "password"
        "bearer"
      ]
    )) null "For https: whether the token is sent as a password, or as itself.";
    token_user = option (types.nullOr types.str) null ''
      For https, with `token_as = "password"`: the user that the server takes
      the token from; most take any.
    '';
    ca_file = option publicFile null ''
      For https: certificate authorities in PEM.

      Effect: the server's certificate has to be from one of them.

      Risk: each of them may vouch for anybody who poses as the server.
    '';
    proxy = option (types.nullOr types.str) null ''
      For https: the proxy, such as `http://proxy.example.org:3128`. Without it,
      that of the daemon's environment.
    '';
  };

  evaluate = {
    directory = option (types.nullOr types.str) null ''
      The directory of the repository with {file}`flake.nix`; null: the top.
    '';
    submodules = option types.bool false ''
      Whether submodules are part of the flake.

      Risk: they are fetched from wherever {file}`.gitmodules` says.
    '';
    nix_config_file = option secretFile null ''
      A file on the host with secret settings for Nix, such as `access-tokens`.

      Effect: the evaluation alone gets it.

      Risk: whoever may push can have an evaluation use it.
    '';
    import_from_derivation = option types.bool false ''
      Whether evaluation may build.

      Risk: what is built then runs before anything of the system was checked.
    '';
  };

  trust = {
    require =
      option
        (types.enum [
          "none"
          "tip"
          "first-parent"
          "every-commit"
        ])
        "none"
        ''
          Which commits have to be signed, above the last confirmed one.

          Effect: what is not signed by a key below is not even evaluated.

          Risk: with `none`, whoever can push to the remote, or poses as it, is
          root on this host. With a demand, a host whose keys are lost follows
          nothing until root allows a commit.
        '';
    force_push =
      option
        (types.enum [
          "refuse"
          "if-signed"
          "allow"
        ])
        "refuse"
        ''
          What becomes of a commit that is older than the last confirmed one, or
          beside it.

          Effect: `refuse` waits for `deploy-flake allow`; `if-signed` follows a
          signed one; `allow` follows any.

          Risk: with `allow`, whoever holds the remote can bring back every hole
          that was ever mended.
        '';
    introduction = option (types.nullOr (types.strMatching "[0-9a-f]{40}")) null ''
      The id of the commit that everything has to descend from.

      Effect: another repository's commits, though well signed, are refused.
    '';
    allowed_signers = option publicFile null ''
      The file of SSH keys that may sign (ssh-keygen(1), ALLOWED SIGNERS).

      Risk: whoever has one of the keys is root on this host.
    '';
    keyrings = option (types.listOf types.path) [ ] ''
      Files of OpenPGP keys that may sign, armored.

      Risk: as for `allowed_signers`.
    '';
    revoked = option publicFile null ''
      The file of keys that are never believed again.

      Risk: where it is named and missing, nothing new is followed.
    '';
    heartbeat = option (types.nullOr (types.submodule { options = heartbeat; })) null ''
      A signed tag by which each remote has to show that it holds nothing back.

      Effect: from a remote that does not show it, nothing new is followed, and
      the host stays what it is.

      Risk: when whoever makes it stops, no host follows anything.
    '';
  };

  assertions =
    settings:
    let
      inherit (settings) trust;
      at = "services.deploy-flake.settings";
      isHttps = remote: lib.hasPrefix "https://" remote.url;
      isSsh = remote: lib.hasPrefix "ssh://" remote.url || !lib.hasInfix "://" remote.url;
      of = remote: key: !builtins.elem (remote.${key}) [ null [ ] ];
      forSsh = [
        "identity_file"
        "host_keys"
      ];
      forHttps = [
        "token_file"
        "token_as"
        "token_user"
        "ca_file"
        "proxy"
      ];
      ofRemote =
        remote:
        map (key: {
          assertion = of remote key -> isSsh remote;
          message = "${at}.remote: ${key} is of use with a url of ssh only, found ${remote.url}. Remove it, or change the url.";
        }) forSsh
        ++ map (key: {
          assertion = of remote key -> isHttps remote;
          message = "${at}.remote: ${key} is of use with a url of https only, found ${remote.url}. Remove it, or change the url.";
        }) forHttps
        ++ [
          {
            assertion = of remote "token_user" -> remote.token_as != "bearer";
            message = "${at}.remote: a bearer has no token_user. Remove it, or set token_as = \"password\".";
          }
        ];
    in
    lib.concatMap ofRemote settings.remote
    ++ [
      {
        assertion = trust.require == "none" || trust.allowed_signers != null || trust.keyrings != [ ];
        message = "${at}.trust: require = \"${trust.require}\" demands signatures, and no key is trusted. Set allowed_signers or keyrings.";
      }
      {
        assertion = trust.force_push != "if-signed" || trust.allowed_signers != null || trust.keyrings != [ ];
        message = "${at}.trust: force_push = \"if-signed\" asks for signatures, and no key is trusted. Set allowed_signers or keyrings.";
      }
      {
        assertion =
          trust.heartbeat == null
          || trust.heartbeat.allowed_signers != null
          || trust.allowed_signers != null
          || trust.keyrings != [ ];
        message = "${at}.trust.heartbeat demands a signed tag, and no key is trusted. Set its allowed_signers, or allowed_signers or keyrings beside it.";
      }
    ];
}
