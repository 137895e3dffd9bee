//! Calls of TLS libraries by clients of lock servers: OpenSSL, and what is called the same.
//!
//! `SSL_write(SSL *ssl, const void *buf, int num)`, `SSL_read(SSL *ssl, void *buf, int num)`, and with
//! `_ex` behind the name a fourth argument, `size_t *`, where the length is left (OpenSSL 1.1.1);
//! `SSL_do_handshake(SSL *ssl)`, `SSL_connect(SSL *ssl)`.

use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use crate::socket::tls;

#[uprobe]
fn tls_write(ctx: ProbeContext) -> u32 {
    tls::enters(argument(&ctx, 0), argument(&ctx, 1), 0, true);
    0
}

#[uprobe]
fn tls_write_ex(ctx: ProbeContext) -> u32 {
    tls::enters(argument(&ctx, 0), argument(&ctx, 1), argument(&ctx, 3), true);
    0
}

#[uprobe]
fn tls_read(ctx: ProbeContext) -> u32 {
    tls::enters(argument(&ctx, 0), argument(&ctx, 1), 0, false);
    0
}

#[uprobe]
fn tls_read_ex(ctx: ProbeContext) -> u32 {
    tls::enters(argument(&ctx, 0), argument(&ctx, 1), argument(&ctx, 3), false);
    0
}

#[uprobe]
fn tls_handshake(ctx: ProbeContext) -> u32 {
    tls::enters(argument(&ctx, 0), 0, 0, true);
    0
}

#[uretprobe]
fn tls_sent(ctx: RetProbeContext) -> u32 {
    tls::leaves(ctx.ret::<i64>(), true);
    0
}

#[uretprobe]
fn tls_received(ctx: RetProbeContext) -> u32 {
    tls::leaves(ctx.ret::<i64>(), false);
    0
}

#[inline(always)]
fn argument(ctx: &ProbeContext, which: usize) -> u64 {
    ctx.arg::<u64>(which).unwrap_or(0)
}
