//! Each rule on a snippet that breaks it and one that keeps it.

use super::source::{Source, blank};
use super::{Fault, paths, purity, rooms, size, unsafe_code, words};

fn sentences(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(|fault| format!("{}: {}", fault.line, fault.sentence)).collect()
}

fn one(path: &str, text: &str, check: fn(&[Source]) -> Vec<Fault>) -> Vec<String> {
    sentences(&check(&[Source::new(path, text)]))
}

#[test]
fn comments_and_literals_are_blanked() {
    let text = "a(\"b\\\"c\", 'd', '\\'', r#\"e\"f\"#) /* g /* h */ i */ + j // k\nl<'m>(\"n\n\")";
    let code: Vec<String> = blank(text).lines().map(|line| line.replace(' ', "")).collect();
    assert_eq!(code, ["a(,,,)+j", "l<'m>(", ")"]);
    let raw = "let r#type = br\"\\\"; unsafe";
    assert!(blank(raw).contains("r#type") && blank(raw).ends_with("unsafe"));
}

#[test]
fn use_trees_are_spread_out() {
    let paths: Vec<String> = paths::spread("crate::{model::{A, b::C as D}, track::*, sinks}")
        .iter()
        .map(|path| path.join("::"))
        .collect();
    assert_eq!(paths, ["crate::model::A", "crate::model::b::C", "crate::track::*", "crate::sinks"]);
}

#[test]
fn a_sink_does_not_see_the_lock_table() {
    let text = "//! X.\nuse crate::{\n    model::Record,\n    track::Table,\n};\n";
    let found = one("lockprobe/src/sinks/html.rs", text, rooms::imports);
    assert_eq!(
        found,
        ["2: `sinks` must not import `crate::track::Table`: a sink sees records only, so that \
          any output can be had from a recording"]
    );
}

#[test]
fn paths_in_code_and_through_super_count_as_imports() {
    let text = "//! X.\nfn f(t: &crate::track::Table) {\n    super::super::cli::g();\n}\n";
    let found = one("lockprobe/src/backends/etcd/mod.rs", text, rooms::imports);
    assert_eq!(found.len(), 2, "{found:?}");
    let text = "//! X.\nuse super::super::super::track::Table;\nuse super::super::Backend;\n";
    assert_eq!(one("lockprobe/src/backends/etcd/frame.rs", text, rooms::imports).len(), 1);
}

#[test]
fn tests_may_import_any_room() {
    let text = "//! X.\n\n#[cfg(test)]\nmod tests {\n    use crate::track::Table;\n}\n";
    assert!(one("lockprobe/src/sinks/html.rs", text, rooms::imports).is_empty());
    let text = "//! X.\nuse crate::track::Table;\n";
    assert!(one("lockprobe/src/backends/redis/tests.rs", text, rooms::imports).is_empty());
}

#[test]
fn only_the_edge_names_the_wire() {
    let text = "//! X.\nuse lockprobe_ebpf::wire::Thread;\n";
    assert!(one("lockprobe/src/decode/mod.rs", text, rooms::imports).is_empty());
    assert_eq!(one("lockprobe/src/track/mod.rs", text, rooms::imports).len(), 1);
}

#[test]
fn a_file_outside_the_rooms_is_noticed() {
    assert_eq!(one("lockprobe/src/attic.rs", "//! X.\n", rooms::imports).len(), 1);
    assert!(one("lockprobe/src/lib.rs", "//! X.\n", rooms::imports).is_empty());
}

#[test]
fn members_of_an_open_set_are_strangers() {
    let redis = Source::new("lockprobe/src/backends/redis/mod.rs", "//! X.\n");
    let etcd = "//! X.\nuse crate::backends::{Backend, redis::Reply};\n";
    let etcd = Source::new("lockprobe/src/backends/etcd/mod.rs", etcd);
    let found = sentences(&rooms::strangers(&[redis, etcd]));
    assert_eq!(found, ["2: `backends::etcd` must not import `backends::redis`"]);

    let socket = Source::new("lockprobe-ebpf/src/probes/socket.rs", "//! X.\n");
    let tls = Source::new("lockprobe-ebpf/src/probes/tls.rs", "//! X.\nuse super::socket::read;\n");
    assert_eq!(rooms::strangers(&[socket, tls]).len(), 1);
}

#[test]
fn pure_rooms_have_no_clock_and_no_files() {
    let text = "//! X.\nuse std::{fs, time::Instant};\nfn f() {\n    Instant::now();\n}\n";
    let found = one("lockprobe/src/track/state.rs", text, purity::check);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("`Instant::now`") || found[1].contains("`Instant::now`"));
    assert!(one("lockprobe/src/enrich/mod.rs", text, purity::check).is_empty());
    let text = "//! X.\nuse serde::Serialize;\n";
    assert_eq!(one("lockprobe/src/model/lock.rs", text, purity::check).len(), 1);
}

#[test]
fn long_files_and_functions_are_named() {
    let body = "    let x = ();\n".repeat(69);
    let text = format!("//! X.\npub(crate) const fn f(\n    a: [u8; 3],\n) {{\n{body}}}\n");
    let found = one("a/src/b.rs", &text, size::functions);
    assert_eq!(found, ["2: function `f` has 73 lines, of 70 at most"]);
    let text = "//! X.\ntrait T {\n    fn declared(&self);\n}\n";
    assert!(one("a/src/b.rs", text, size::functions).is_empty());

    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    // x\n".repeat(300));
    let code = "const X: () = ();\n".repeat(200);
    assert!(one("a/src/b.rs", &(code.clone() + &tests), size::files).is_empty());
    assert_eq!(one("a/src/b.rs", &code.repeat(3), size::files).len(), 1);
}

#[test]
fn files_open_with_a_sentence_and_rooms_with_a_contract() {
    assert!(one("a/src/b.rs", "//! Says\n//! why.\n\nfn f() {}\n", words::opening).is_empty());
    assert_eq!(one("a/src/b.rs", "fn f() {}\n", words::opening).len(), 1);
    assert_eq!(one("a/src/b.rs", "//! heading\n", words::opening).len(), 1);
    let room = "//! A room.\n//!\n//! In: a. Out: b.\n";
    let found = one("lockprobe/src/track/mod.rs", room, words::contract);
    assert_eq!(found, ["1: the room's description lacks `Never:`"]);
    assert!(one("lockprobe/src/backends/etcd/mod.rs", room, words::contract).is_empty());
}

#[test]
fn empty_words_in_type_names_are_found() {
    let text = "pub struct LockInfo;\nenum DataPoint {}\nstruct Database;\nstruct Information;\n";
    let found = one("a/src/b.rs", text, words::names);
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn unsafe_needs_an_allowed_file_and_an_argument() {
    let allowed = unsafe_code::Allowed::read("# list\na/src/*: for a reason\n").unwrap();
    let faults = |path: &str, text: &str| {
        sentences(&unsafe_code::check(&[Source::new(path, text)], &allowed)).len()
    };
    let argued = "// SAFETY: the pointer\n// is valid.\nlet x =\n    unsafe { *p };\n";
    assert_eq!(faults("a/src/b.rs", argued), 0);
    assert_eq!(faults("c/src/b.rs", argued), 1);
    assert_eq!(faults("a/src/b.rs", "let x = unsafe { *p };\n"), 1);
    assert_eq!(faults("c/src/b.rs", "// unsafe\n#[unsafe(no_mangle)]\n\"unsafe\";\n"), 0);
    assert!(unsafe_code::Allowed::read("a/src/b.rs\n").is_err());
}
