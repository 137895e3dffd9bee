//! What clients say to lock servers, and what these answer.
//!
//! `sock_send_length(struct sock *sk, int ret, int flags)` and
//! `sock_recv_length(struct sock *sk, int ret, int flags)` (Linux 6.3): after the call, for sockets
//! only, so that other system calls cost nothing.
//! `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::socket::{Sock, changed, talked};

#[btf_tracepoint(function = "sock_send_length")]
fn sock_send(ctx: BtfTracePointContext) -> u32 {
    talked(Sock::new(ctx.arg::<*const u8>(0)), ctx.arg::<i32>(1), ctx.arg::<i32>(2), true);
    0
}

#[btf_tracepoint(function = "sock_recv_length")]
fn sock_recv(ctx: BtfTracePointContext) -> u32 {
    talked(Sock::new(ctx.arg::<*const u8>(0)), ctx.arg::<i32>(1), ctx.arg::<i32>(2), false);
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn sock_state(ctx: BtfTracePointContext) -> u32 {
    changed(Sock::new(ctx.arg::<*const u8>(0)), ctx.arg::<i32>(1), ctx.arg::<i32>(2));
    0
}
