//! Copying what a system call sent or received, from the caller's memory.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::maps::ring_buf::RingBufEntry;
use lockprobe_ebpf::wire::{BytesRecord, Counter, PIECES, PIECES_A_CALL, Thread, bytes_flag, kind};

use crate::emit::{self, count};
use crate::maps::*;
use crate::task::Task;

/// Bytes that are looked at to tell whether they matter.
pub const HEAD: usize = 64;

/// What is being looked at or copied, one call at a time: too much for the stack, and in a map the
/// verifier follows none of its values through the loops.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Call {
    /// Who makes it.
    pub thread: Thread,
    /// The first bytes.
    pub head: [u8; HEAD],
    /// The first buffer.
    pub first: u64,
    /// How much of the call is in it.
    pub first_length: u64,
    /// The call's length.
    pub length: u64,
    /// Further buffers: where the list of all lies, and how many there are.
    list: u64,
    count: u64,
    /// On which connection.
    connection: u64,
    /// Bytes that went this way before.
    offset: u64,
    /// Bytes that are left to copy.
    left: u64,
    /// Where they lie.
    at: u64,
    /// How many of them lie there.
    here: u64,
    /// The next buffer.
    index: u64,
    /// Bits of `bytes_flag`.
    flags: u64,
}

/// Room for a record and its data.
#[repr(C)]
struct Piece<const N: usize> {
    record: BytesRecord,
    data: [u8; N],
}

/// Memory of the caller; zero where it cannot be read.
#[inline(always)]
pub fn read_user<T: Copy>(at: u64, mut value: T) -> T {
    // SAFETY: the helper checks the address and writes the size named, zeros if it fails.
    unsafe { bpf_probe_read_user((&raw mut value).cast(), size_of::<T>() as u32, at as *const _) };
    value
}

impl Call {
    /// The one this processor is at.
    #[inline(always)]
    pub fn here() -> Option<&'static mut Self> {
        // SAFETY: this processor's slot, which no other program of ours uses meanwhile.
        CALL.get_ptr_mut(0).map(|call| unsafe { &mut *call })
    }

    /// The call the thread is in; `None` for one that shows no buffers.
    #[inline(always)]
    pub fn of(task: Task, length: u64) -> Option<&'static mut Self> {
        let call = Self::here()?;
        let registers = task.registers();
        let nr = registers.get(&REG_NR);
        let at = registers.get(&REG_ARG1);
        call.length = length;
        (call.first, call.first_length) = (at, length);
        (call.list, call.count) = (0, 0);
        let plain = nr == NR_READ.load()
            || nr == NR_WRITE.load()
            || nr == NR_SENDTO.load()
            || nr == NR_RECVFROM.load();
        if !plain {
            (call.list, call.count) = if nr == NR_READV.load() || nr == NR_WRITEV.load() {
                (at, registers.get(&REG_ARG2))
            } else if nr == NR_SENDMSG.load() || nr == NR_RECVMSG.load() {
                // `struct msghdr`: the list and its length follow the address and its length.
                let [list, count] = read_user(at + 16, [0u64; 2]);
                (list, count)
            } else {
                return None;
            };
            let [first, size] = read_user(call.list, [0u64; 2]);
            (call.first, call.first_length) = (first, size.min(length));
        }
        call.read_head();
        Some(call)
    }

    /// One buffer.
    #[inline(always)]
    pub fn plain(buffer: u64, length: u64) -> Option<&'static mut Self> {
        let call = Self::here()?;
        call.length = length;
        (call.first, call.first_length) = (buffer, length);
        (call.list, call.count) = (0, 0);
        call.read_head();
        Some(call)
    }

    #[inline(always)]
    fn read_head(&mut self) {
        let mut size = self.first_length;
        if size >= HEAD as u64 {
            size = HEAD as u64;
        }
        self.head = [0; HEAD];
        // SAFETY: the helper checks the address and writes no more than the size named.
        unsafe {
            let head = self.head.as_mut_ptr().cast();
            bpf_probe_read_user(head, size as u32, self.first as *const _)
        };
    }

    /// What of it is to be copied, up to a limit.
    #[inline(always)]
    pub fn prepare(&mut self, connection: u64, offset: u64, flags: u32, limit: u64) {
        self.connection = connection;
        self.offset = offset;
        self.flags = u64::from(flags);
        self.left = limit.min(self.length);
        (self.at, self.here, self.index) = (self.first, self.first_length, 1);
    }

    /// Copies what was prepared into records.
    #[inline(always)]
    pub fn copy(&mut self) {
        lockprobe_copy();
    }

    /// One byte of the head; the index is bounded here, for the verifier.
    #[inline(always)]
    pub fn byte(&self, at: usize) -> u8 {
        self.head[at & (HEAD - 1)]
    }

    /// Eight bytes from there on, as the machine reads them.
    #[inline(always)]
    pub fn word(&self, at: usize) -> u64 {
        let mut word = 0;
        let mut i = 0;
        while i < 8 {
            word |= u64::from(self.byte(at + i)) << (8 * i);
            i += 1;
        }
        word
    }

    /// A record of TLS: of this type, version 3.
    #[inline(always)]
    pub fn is_tls(&self, kind: u8) -> bool {
        self.byte(0) == kind && self.byte(1) == 3
    }
}

/// Copies what `CALL` says. A function of its own for the verifier, which looks at it once; so is what
/// it does for each piece.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lockprobe_copy() -> u32 {
    let mut i = 0;
    while i < PIECES_A_CALL {
        if lockprobe_next() == 0 {
            return 0;
        }
        i += 1;
    }
    if Call::here().is_some_and(|call| call.left != 0) {
        count(Counter::BytesUnseen);
    }
    0
}

/// Copies the next piece, or goes on to the next buffer; 0 when that was all.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lockprobe_next() -> u32 {
    let Some(call) = Call::here() else { return 0 };
    if call.left == 0 {
        return 0;
    }
    if call.here == 0 {
        if call.index >= call.count {
            count(Counter::BytesUnseen);
            return 0;
        }
        let [at, here] = read_user(call.list.wrapping_add(16 * call.index), [0u64; 2]);
        (call.at, call.here) = (at, here);
        call.index += 1;
        return 1;
    }
    let length = call.here.min(call.left);
    let copied = if length <= PIECES[0] as u64 {
        lockprobe_small_piece(length)
    } else if length <= PIECES[1] as u64 {
        lockprobe_piece(length)
    } else {
        lockprobe_large_piece(length)
    };
    // Only the first piece begins a request.
    call.flags &= u64::from(bytes_flag::SENT);
    call.offset += copied;
    call.at += copied;
    call.here -= copied;
    call.left -= copied;
    1
}

macro_rules! pieces {
    ($($name:ident $which:literal)*) => {$(
        /// A function of its own for the verifier, as [`lockprobe_copy`], which calls it in a loop.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name(length: u64) -> u64 {
            piece::<{ PIECES[$which] }>(length)
        }
    )*};
}

pieces! {
    lockprobe_small_piece 0
    lockprobe_piece 1
    lockprobe_large_piece 2
}

/// Copies up to `N` bytes; how many were taken care of.
#[inline(always)]
fn piece<const N: usize>(length: u64) -> u64 {
    let Some(call) = Call::here() else { return length };
    let mut size = length as u32;
    if size > N as u32 {
        size = N as u32;
    }
    let full = Counter::DroppedTalkRingFull;
    let entry: Option<RingBufEntry<Piece<N>>> = emit::reserve(kind::BYTES, emit::now(), full);
    let Some(mut entry) = entry else { return u64::from(size) };
    // SAFETY: the slot is a whole `Piece`; the helper writes no more than `size`, at most `N`.
    unsafe {
        let slot = entry.as_mut_ptr();
        let record = &mut (*slot).record;
        record.thread = call.thread;
        record.connection = call.connection;
        record.offset = call.offset;
        record.flags = call.flags as u32;
        let data = (&raw mut (*slot).data).cast();
        let failed = bpf_probe_read_user(data, size, call.at as *const _) != 0;
        record.length = if failed { 0 } else { size };
    }
    emit::submit(entry);
    u64::from(size)
}
