//! deploy-flake: a GitOps daemon for NixOS.
