//! The fetcher against real repositories, real servers, and servers that lie.

mod upstream;
mod scenarios;
mod damage;
mod servers;
