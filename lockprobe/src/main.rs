//! The `lockprobe` command.

fn main() {}
