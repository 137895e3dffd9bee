//! Unix sockets at whose other end a lock server listens, known by its path.

use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_probe_read_kernel};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use lockprobe_ebpf::wire::{SOCKET_BLOCK, UNIX_LENGTH_WORDS, UNIX_PATH};

use super::{Sock, read_kernel};
use crate::maps::*;

const AF_UNIX: u16 = 1;
const ROOM: usize = 128;

/// Unix sockets at which lock servers listen, by path: their port and dialect.
#[map]
pub static UNIX_SERVERS: HashMap<[u8; UNIX_PATH], u32> = HashMap::with_max_entries(256, 0);

/// How long their paths are, a bit a length: none of these, and no more is looked at.
#[map]
pub static UNIX_LENGTHS: Array<u64> = Array::with_max_entries(UNIX_LENGTH_WORDS, 0);

/// Room for such a path, and for as much as the verifier thinks may be read.
#[map]
pub static UNIX_NAME: PerCpuArray<[u64; ROOM / 8]> = PerCpuArray::with_max_entries(1, 0);

/// Numbers of sockets as observation began: the last of each processor's block, by block. In entry
/// `u32::MAX`, the last block.
#[map]
pub static UNIX_MARKS: HashMap<u32, u32> = HashMap::with_max_entries(1_025, 0);

impl Sock {
    /// Whether it is a stream to a process of this host.
    #[inline(always)]
    pub fn is_unix(self) -> bool {
        const STREAM: u16 = 1;
        self.family() == AF_UNIX && self.load::<u16>(SK_TYPE.load() as usize) == STREAM
    }

    /// Of a unix socket, the lock server at the other end: its port and dialect. That end has the
    /// path at which the server listens (`unix_stream_connect`), and the server's own end has a
    /// client at the other, without one.
    #[inline(always)]
    pub fn unix_server(self) -> Option<u32> {
        // SAFETY: values of the map, alive for this run of the program.
        let lengths = |at| UNIX_LENGTHS.get_ptr(at).map_or(0, |word| unsafe { *word });
        let lengths = [lengths(0), lengths(1)];
        if lengths[0] | lengths[1] == 0 {
            return None;
        }
        let peer: u64 = read_kernel(self.address() + UNIX_PEER.load());
        if peer == 0 {
            return None;
        }
        let address: u64 = read_kernel(peer + UNIX_ADDRESS.load());
        if address == 0 {
            return None;
        }
        // The family's two bytes and the zero at the end count too.
        let length: u32 = read_kernel(address + UNIX_LENGTH.load());
        let length = length.wrapping_sub(3);
        if length > UNIX_PATH as u32 {
            return None;
        }
        let word = if length < 64 { lengths[0] } else { lengths[1] };
        if word >> (length & 63) & 1 == 0 {
            return None;
        }
        let name = UNIX_NAME.get_ptr_mut(0)?;
        // SAFETY: this processor's slot; the helper checks the address and writes at most its size.
        unsafe {
            // Word by word: what the compiler calls instead goes byte by byte.
            let mut i = 0;
            while i < ROOM / 8 {
                name.cast::<u64>().add(i).write_volatile(0);
                i += 1;
            }
            let at = (address + UNIX_PATH_AT.load()) as *const _;
            if bpf_probe_read_kernel(name.cast(), length & 0x7f, at) != 0 {
                return None;
            }
            UNIX_SERVERS.get_ptr(&*name.cast::<[u8; UNIX_PATH]>()).map(|server| *server)
        }
    }

    /// The kernel's own number of it, never given twice.
    #[inline(always)]
    pub fn cookie(self) -> u64 {
        // SAFETY: a socket the kernel vouches for.
        unsafe { bpf_get_socket_cookie(self.0 as *mut _) }
    }

    /// Whether a unix socket may have been there before observation began.
    #[inline(always)]
    pub fn may_be_old(self) -> bool {
        let socket: u64 = read_kernel(self.address() + SK_SOCKET.load());
        let inode: u64 = read_kernel(socket + SOCKET_INODE.load());
        // SAFETY: values of the map, alive for this run of the program.
        let mark = |at: u32| UNIX_MARKS.get_ptr(at).map(|mark| unsafe { *mark });
        let (inode, Some(newest)) = (inode as u32, mark(u32::MAX)) else { return true };
        let block = inode / SOCKET_BLOCK;
        match mark(block) {
            Some(last) => inode <= last,
            None => block <= newest,
        }
    }
}
