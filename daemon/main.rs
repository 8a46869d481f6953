//! Process entry; the command line comes with what it commands.

fn main() {}
