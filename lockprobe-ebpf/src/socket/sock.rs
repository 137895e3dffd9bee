//! The kernel's `struct sock`, as a tracepoint hands it over.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

use super::{AF_INET, AF_INET6, read_kernel};
use crate::maps::*;

/// A socket: typed, never null.
#[derive(Clone, Copy)]
pub struct Sock(pub(super) *const u8);

// include/net/sock.h, `struct sock_common`: the pairs of addresses and of ports are the first
// members, the family follows the ports. They have no names of their own in the type information,
// being in unions without one.
const SERVER_ADDRESS: usize = 0;
const CLIENT_ADDRESS: usize = 4;
const SERVER_PORT_BEFORE_FAMILY: usize = 4;
const CLIENT_PORT_BEFORE_FAMILY: usize = 2;

impl Sock {
    /// Wraps a pointer taken from a program's typed arguments.
    #[inline(always)]
    pub fn new(pointer: *const u8) -> Self {
        Self(pointer)
    }

    #[inline(always)]
    pub(super) fn load<T: Copy>(self, offset: usize) -> T {
        // SAFETY: the verifier checks offset and size against the type of the pointer.
        unsafe { core::ptr::read_volatile(self.0.add(offset).cast::<T>()) }
    }

    /// Its address in the kernel.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    /// Address family.
    #[inline(always)]
    pub fn family(self) -> u16 {
        self.load(SK_FAMILY.load() as usize)
    }

    /// Port of the other end.
    #[inline(always)]
    pub fn server_port(self) -> u16 {
        u16::from_be(self.load(SK_FAMILY.load() as usize - SERVER_PORT_BEFORE_FAMILY))
    }

    /// Port of this end.
    #[inline(always)]
    pub fn client_port(self) -> u16 {
        self.load(SK_FAMILY.load() as usize - CLIENT_PORT_BEFORE_FAMILY)
    }

    /// Whether the other end is where a lock server listens. A server's own end of a connection is
    /// not: everything would be seen twice.
    #[inline(always)]
    pub fn is_to_server(self) -> bool {
        let family = self.family();
        if family != AF_INET && family != AF_INET6 {
            return false;
        }
        let port = u32::from(self.server_port());
        // SAFETY: a value of the map, alive for this run of the program.
        PORTS.get_ptr(port / 64).is_some_and(|word| unsafe { *word } >> (port % 64) & 1 == 1)
    }

    /// Number of its network name space.
    #[inline(always)]
    pub fn namespace(self) -> u32 {
        let net: u64 = read_kernel(self.address() + SK_NET.load());
        read_kernel(net + NET_INUM.load())
    }

    /// Addresses of both ends.
    #[inline(always)]
    pub fn addresses(self, client: &mut [u8; 16], server: &mut [u8; 16]) {
        let v6 = self.family() == AF_INET6;
        let (of_client, of_server) = if v6 {
            (SK_V6_CLIENT.load(), SK_V6_SERVER.load())
        } else {
            (CLIENT_ADDRESS as u64, SERVER_ADDRESS as u64)
        };
        // SAFETY: the helper checks the address and writes the size named. For IPv4 twelve bytes
        // too many are read, which nobody looks at.
        unsafe {
            let at = self.address();
            bpf_probe_read_kernel(client.as_mut_ptr().cast(), 16, (at + of_client) as *const _);
            bpf_probe_read_kernel(server.as_mut_ptr().cast(), 16, (at + of_server) as *const _);
        }
    }
}
