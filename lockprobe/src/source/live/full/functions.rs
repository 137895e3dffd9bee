//! The lock functions of one binary, and where to probe them.

use std::collections::BTreeMap;
use std::fs::File;

use lockprobe_ebpf::wire::act;
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object as _, ObjectSegment as _, ObjectSymbol as _, ReadCache};

use super::site::{self, Argument, Site};

type Elf<'a> = ElfFile64<'a, LittleEndian, &'a ReadCache<File>>;

/// Longest function looked at.
const LONGEST: u64 = 16 << 10;
/// Taken where a symbol has no size.
const SIZELESS: u64 = 128;

const LOCK: u64 = act::BLOCKS;
const TRY: u64 = act::MAY_FAIL;
const TIMED: u64 = act::BLOCKS | act::MAY_FAIL;
const READ: u64 = act::RWLOCK | act::SHARED;
const WRITE: u64 = act::RWLOCK;
const CONDITION: u64 = act::CONDITION | act::SECOND;

/// glibc takes the mutex of a condition back with this function, which has no exported name.
const TAKE_BACK: &str = "__pthread_mutex_cond_lock";

/// Function, whether it lets a lock go, and what it does.
const FUNCTIONS: [(&str, bool, u64); 18] = [
    ("pthread_mutex_lock", false, LOCK),
    ("pthread_mutex_trylock", false, TRY),
    ("pthread_mutex_timedlock", false, TIMED),
    ("pthread_mutex_clocklock", false, TIMED),
    ("pthread_mutex_unlock", true, 0),
    (TAKE_BACK, false, LOCK | act::CONDITION),
    ("pthread_cond_wait", true, CONDITION),
    ("pthread_cond_timedwait", true, CONDITION),
    ("pthread_cond_clockwait", true, CONDITION),
    ("pthread_rwlock_rdlock", false, READ | LOCK),
    ("pthread_rwlock_tryrdlock", false, READ | TRY),
    ("pthread_rwlock_timedrdlock", false, READ | TIMED),
    ("pthread_rwlock_clockrdlock", false, READ | TIMED),
    ("pthread_rwlock_wrlock", false, WRITE | LOCK),
    ("pthread_rwlock_trywrlock", false, WRITE | TRY),
    ("pthread_rwlock_timedwrlock", false, WRITE | TIMED),
    ("pthread_rwlock_clockwrlock", false, WRITE | TIMED),
    ("pthread_rwlock_unlock", true, WRITE),
];

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Function.
    pub function: &'static str,
    /// Lets a lock go, rather than asking for one.
    pub releases: bool,
    /// Where in the function, and at what cost.
    pub site: Site,
    /// Offset in the file.
    pub offset: u64,
    /// What the kernel half is told with each call.
    pub cookie: u64,
}

/// What a binary turned out to be.
pub enum Binary {
    /// It has lock functions.
    Locks(Vec<Probe>),
    /// It was made by the Go compiler, whose locks are its own.
    Go,
    /// It is musl, or contains it: its lock functions call each other under no name, and a mutex
    /// of the normal kind does not say whether it was had.
    Musl,
    /// It has none, or cannot be read.
    Other,
}

#[derive(Clone, Copy)]
struct Function {
    address: u64,
    size: u64,
}

/// Looks for the lock functions of a file. `naive`: at their entries, whatever that costs.
pub fn find(file: File, naive: bool) -> Binary {
    let cache = ReadCache::new(file);
    let Ok(elf) = Elf::parse(&cache) else { return Binary::Other };
    if elf.architecture() != object::Architecture::X86_64 {
        return Binary::Other;
    }
    if elf.section_by_name(".go.buildinfo").is_some() {
        return Binary::Go;
    }
    let mut known = symbols(&elf);
    if !is_glibc(&elf) {
        return if has_one_of(&elf, &MUSL) { Binary::Musl } else { Binary::Other };
    }
    if !known.contains_key("pthread_mutex_lock") || !known.contains_key("pthread_mutex_unlock") {
        return Binary::Other;
    }
    if !known.contains_key(TAKE_BACK)
        && let Some(found) = take_back(&elf, &known)
    {
        known.insert(TAKE_BACK, vec![found]);
    }
    let seen = known.contains_key(TAKE_BACK);
    let mut probes = Vec::new();
    for (name, releases, what) in FUNCTIONS {
        for &function in known.get(name).into_iter().flatten() {
            let mut what = what;
            if what & act::RWLOCK == 0 {
                what |= act::OWNED;
            }
            if what & CONDITION == CONDITION && !seen {
                what |= act::RETURN_UNSEEN;
            }
            if let Some(probe) = probe(&elf, name, releases, what, function, naive) {
                probes.push(probe);
            }
        }
    }
    Binary::Locks(probes)
}

/// Other libraries have functions of the same names, which call each other and keep no owner
/// where glibc does.
fn is_glibc(elf: &Elf<'_>) -> bool {
    // Exported by the library, and in the full symbol table of static programs.
    const MARKS: [&str; 4] = [
        "gnu_get_libc_version",
        "__lll_lock_wait",
        "__libc_single_threaded",
        "pthread_kill_other_threads_np",
    ];
    has_one_of(elf, &MARKS)
}

/// A stage of its dynamic linker, which musl exports; what its locks sleep in.
const MUSL: [&str; 2] = ["__dls3", "__timedwait_cp"];

fn has_one_of(elf: &Elf<'_>, names: &[&str]) -> bool {
    let mut symbols = elf.dynamic_symbols().chain(elf.symbols()).filter(|s| s.is_definition());
    symbols.any(|symbol| symbol.name().is_ok_and(|name| names.contains(&name)))
}

fn probe(
    elf: &Elf<'_>,
    function: &'static str,
    releases: bool,
    what: u64,
    at: Function,
    naive: bool,
) -> Option<Probe> {
    let code = code(elf, at)?;
    let argument = if what & act::SECOND == 0 { Argument::First } else { Argument::Second };
    let site = if naive {
        site::entry(code, at.address)
    } else {
        site::choose(code, at.address, argument)
    };
    let offset = offset_of(elf, at.address)?.checked_add(site.offset)?;
    Some(Probe { function, releases, site, offset, cookie: what | site.frame << act::RETURN_SHIFT })
}

/// The functions of the table by name, each address once: old versions of a function have the
/// same name.
fn symbols(elf: &Elf<'_>) -> BTreeMap<&'static str, Vec<Function>> {
    let mut found: BTreeMap<&'static str, Vec<Function>> = BTreeMap::new();
    for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
        if !symbol.is_definition() {
            continue;
        }
        let Ok(name) = symbol.name() else { continue };
        let Some((name, ..)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
            continue;
        };
        let function = Function { address: symbol.address(), size: symbol.size() };
        let all = found.entry(name).or_default();
        if all.iter().all(|known| known.address != function.address) {
            all.push(function);
        }
    }
    found
}

/// [`TAKE_BACK`] without its name: of the functions that waiting for a condition calls, the one
/// that begins as all functions for mutexes do and does not unlock.
fn take_back(elf: &Elf<'_>, known: &BTreeMap<&'static str, Vec<Function>>) -> Option<Function> {
    let unlock = known.get("pthread_mutex_unlock")?.first()?;
    let unlock = site::goes_on_at(code(elf, *unlock)?, unlock.address)?;
    let mut found: Vec<u64> = Vec::new();
    for &wait in known.get("pthread_cond_wait")? {
        for address in site::calls(code(elf, wait)?, wait.address) {
            let called = Function { address, size: 64 };
            let Some(bytes) = code(elf, called) else { continue };
            if address != unlock
                && site::begins_with_the_kind(bytes, address)
                && !found.contains(&address)
            {
                found.push(address);
            }
        }
    }
    // More than one would be a guess.
    let [address] = found[..] else { return None };
    Some(Function { address, size: SIZELESS })
}

fn code<'a>(elf: &Elf<'a>, function: Function) -> Option<&'a [u8]> {
    let size = if function.size == 0 { SIZELESS } else { function.size.min(LONGEST) };
    elf.segments().find_map(|segment| segment.data_range(function.address, size).ok()?)
}

fn offset_of(elf: &Elf<'_>, address: u64) -> Option<u64> {
    elf.segments().find_map(|segment| {
        let (offset, size) = segment.file_range();
        let inside = address.checked_sub(segment.address()).filter(|&inside| inside < size)?;
        offset.checked_add(inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C library this test runs with.
    #[test]
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    fn our_own_library_has_cheap_sites_for_the_functions_that_matter() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let path =
            maps.lines().find(|l| l.contains("libc.so")).and_then(|l| l.split(' ').next_back());
        let Some(path) = path else { return };
        let Binary::Locks(probes) = find(File::open(path).unwrap(), false) else { panic!() };
        for name in ["pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_wait", TAKE_BACK] {
            let found: Vec<_> = probes.iter().filter(|p| p.function == name).collect();
            assert!(!found.is_empty(), "{name}: {probes:#?}");
            assert!(found.iter().all(|p| p.site.emulated), "{found:#?}");
        }
    }

    #[test]
    fn a_file_that_is_no_binary_has_none() {
        assert!(matches!(find(File::open("/proc/self/status").unwrap(), false), Binary::Other));
        assert!(matches!(find(File::open("/dev/null").unwrap(), false), Binary::Other));
    }
}
