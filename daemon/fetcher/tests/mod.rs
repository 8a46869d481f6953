//! The fetcher against real repositories, real servers, and servers that lie.

mod upstream;
mod scenarios;
mod damage;
mod growth;
mod quiet;
mod branches;
mod heartbeats;
mod lineage;
mod servers;
mod protocol;
mod script;
mod hostile;
mod ssh;
mod https;
mod bomb;
mod hostile_packs;
