//! Probes on functions of programs without CAP_SYS_ADMIN.
//!
//! Since Linux 6.16 the kernel lets only CAP_SYS_ADMIN open a probe by perf_event_open(2), which is
//! how aya attaches; a link of the kind `uprobe_multi` (Linux 6.6) takes CAP_BPF and CAP_PERFMON.
//! A program has to be loaded for it from the start, so the object is read once more, and its
//! programs are given the tables that are there.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};

use aya::Ebpf;
use aya::maps::Map;
use aya_obj::Object;
use aya_obj::generated::{bpf_attach_type, bpf_cmd, bpf_insn, bpf_prog_type};

use super::load;

/// Oldest kernel with such links.
pub const OLDEST_KERNEL: (u32, u32) = (6, 6);
/// `BPF_F_UPROBE_MULTI_RETURN`.
const AT_RETURN: u32 = 1;

/// The tables of a loaded object, by name.
#[derive(Default)]
pub struct Tables(HashMap<String, OwnedFd>);

impl Tables {
    /// To be called before any is taken out.
    pub fn of(ebpf: &Ebpf) -> Self {
        let all = ebpf.maps().filter_map(|(name, map)| Some((name.to_owned(), descriptor(map)?)));
        Self(all.collect())
    }
}

fn descriptor(map: &Map) -> Option<OwnedFd> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::RingBuf(data) => data.fd().as_fd().try_clone_to_owned().ok(),
        _ => None,
    }
}

/// Programs that are loaded for such links, and the links.
#[derive(Default)]
pub struct Multi {
    programs: HashMap<&'static str, OwnedFd>,
    links: Vec<OwnedFd>,
}

impl Multi {
    /// Loads these programs; `None` where the kernel does not, and probes by perf have to do.
    pub fn load(tables: &Tables, names: &[&'static str]) -> Option<Self> {
        if !load::is_at_least(OLDEST_KERNEL) {
            return None;
        }
        let mut object = Object::parse(load::OBJECT).ok()?;
        let sections: HashSet<usize> =
            object.functions.keys().map(|(section, _)| *section).collect();
        let maps: HashMap<_, _> = object.maps.drain().collect();
        let known = maps
            .iter()
            .filter_map(|(name, map)| Some((name.as_str(), tables.0.get(name)?.as_raw_fd(), map)));
        object.relocate_maps(known, &sections).ok()?;
        object.relocate_calls(&sections).ok()?;
        let programs = names.iter().map(|&name| {
            let program = object.programs.get(name)?;
            let function = object.functions.get(&program.function_key())?;
            Some((name, load_program(name, &program.license, &function.instructions).ok()?))
        });
        let programs = programs.collect::<Option<_>>();
        drop(object);
        load::release_memory();
        Some(Self { programs: programs?, links: Vec::new() })
    }

    /// Probes a file for all processes: program, offset, and whether at the return of what begins
    /// there. All of them or none.
    pub fn attach_all<'a>(
        &mut self,
        file: &str,
        sites: impl Iterator<Item = (&'a str, u64, bool)>,
    ) -> Option<()> {
        let file = CString::new(file).ok()?;
        let links = sites.map(|(name, offset, returns)| self.attach(name, &file, offset, returns));
        let links: Vec<OwnedFd> = links.collect::<Option<_>>()?;
        self.links.extend(links);
        Some(())
    }

    fn attach(&self, name: &str, file: &CStr, offset: u64, returns: bool) -> Option<OwnedFd> {
        let program = self.programs.get(name)?;
        let call = LinkCall {
            program: program.as_raw_fd() as u32,
            target: 0,
            attach_type: bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32,
            flags: 0,
            path: file.as_ptr(),
            offsets: &raw const offset,
            counters: 0,
            cookies: 0,
            count: 1,
            how: if returns { AT_RETURN } else { 0 },
            pid: 0,
            padding: 0,
        };
        bpf(bpf_cmd::BPF_LINK_CREATE, &call).ok()
    }
}

/// `link_create.uprobe_multi` of `union bpf_attr`.
#[repr(C)]
struct LinkCall {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: *const c_char,
    offsets: *const u64,
    counters: u64,
    cookies: u64,
    count: u32,
    how: u32,
    pid: u32,
    padding: u32,
}

/// Loading a program, of `union bpf_attr`.
#[repr(C)]
struct LoadCall {
    kind: u32,
    length: u32,
    instructions: *const bpf_insn,
    licence: *const c_char,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

fn load_program(name: &str, licence: &CString, instructions: &[bpf_insn]) -> io::Result<OwnedFd> {
    let mut short = [0; 16];
    // The last byte stays a zero.
    short[..15].iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    bpf(
        bpf_cmd::BPF_PROG_LOAD,
        &LoadCall {
            kind: bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32,
            length: instructions.len() as u32,
            instructions: instructions.as_ptr(),
            licence: licence.as_ptr(),
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel: 0,
            flags: 0,
            name: short,
            interface: 0,
            attach_type: bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32,
        },
    )
}

/// A command of bpf(2) that makes a descriptor.
fn bpf<T>(command: bpf_cmd, attributes: &T) -> io::Result<OwnedFd> {
    let pointer: *const T = attributes;
    // SAFETY: the attributes are as long as said; they and what they point to live through the
    // call, in which the kernel reads them and writes nothing.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command as i64, pointer, size_of::<T>()) };
    match i32::try_from(fd) {
        // SAFETY: a new descriptor that nobody else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
