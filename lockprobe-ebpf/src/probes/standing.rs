//! Where threads stand, asked for one by one: the registers their stacks are unwound from.
//!
//! `iter/task`, made for one thread at a time (`bpf_iter_link_info.task.tid`, Linux 6.1). Nothing
//! else tells the frame pointer of a sleeping thread without stopping it.

use aya_ebpf::helpers::generated::bpf_seq_write;
use lockprobe_ebpf::wire::Standing;

use crate::maps::*;
use crate::task::Task;

#[repr(C)]
struct IterContext {
    meta: *const *mut aya_ebpf::bindings::seq_file,
    task: *const u8,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
fn standing(ctx: *const IterContext) -> u32 {
    // SAFETY: the context of a task iterator.
    let (meta, pointer) = unsafe { ((*ctx).meta, (*ctx).task) };
    if pointer.is_null() {
        return 0;
    }
    let task = Task::new(pointer);
    let registers = task.registers();
    let standing = Standing {
        tgid: task.tgid(),
        tid: task.tid(),
        blocked: u32::from(task.state() != 0 && task.is_blocked()),
        reserved: 0,
        call: registers.get(&REG_NR),
        first: registers.get(&REG_ARG0),
        ip: registers.get(&REG_IP),
        sp: registers.get(&REG_SP),
        bp: registers.get(&REG_BP),
        cpu_ns: task.cpu_ns(),
    };
    // SAFETY: the first member of `struct bpf_iter_meta` is the file, and the helper reads exactly
    // the size named.
    unsafe { bpf_seq_write(*meta, (&raw const standing).cast(), size_of::<Standing>() as u32) };
    0
}
