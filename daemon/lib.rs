//! deploy-flake: a GitOps daemon for NixOS.

pub mod model;
pub mod fetcher;
