//! deploy-flake: a GitOps daemon for NixOS.

pub mod model;
pub mod config;
pub mod host;
pub mod reconcile;
pub mod fetcher;
pub mod pipeline;
pub mod store;
pub mod ipc;
pub mod report;
pub mod executor;
pub mod daemon;
pub mod cli;
