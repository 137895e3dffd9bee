//! Memory of other processes, by `process_vm_readv`.

/// Reads up to `length` bytes at `address`; what could be read, perhaps nothing.
pub fn read(pid: u32, address: u64, length: usize) -> Vec<u8> {
    let Ok(pid) = i32::try_from(pid) else {
        return Vec::new();
    };
    let mut buffer = vec![0u8; length];
    // The kernel transfers whole iovecs only up to the first fault within one: one iovec a page,
    // so that the pages before an unmapped one arrive.
    let page = 4096;
    let mut remote = Vec::new();
    let mut at = address;
    let Some(end) = address.checked_add(length as u64) else {
        return Vec::new();
    };
    while at < end && remote.len() < 16 {
        let next = (at / page + 1).saturating_mul(page).min(end);
        remote
            .push(libc::iovec { iov_base: at as *mut libc::c_void, iov_len: (next - at) as usize });
        at = next;
    }
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: `local` describes `buffer`, which is alive and writable for its whole length; the
    // remote side is never dereferenced here, the kernel checks it.
    let got = unsafe {
        libc::process_vm_readv(
            pid,
            &raw const local,
            1,
            remote.as_ptr(),
            remote.len() as libc::c_ulong,
            0,
        )
    };
    buffer.truncate(usize::try_from(got).unwrap_or(0));
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_can_be_read_and_nothing_cannot() {
        let words = [7u64, 8, 9];
        let got = read(std::process::id(), words.as_ptr() as u64, 24);
        assert_eq!(got.len(), 24);
        assert_eq!(got[8], 8);
        assert!(read(std::process::id(), 8, 24).is_empty());
        assert!(read(std::process::id(), u64::MAX - 3, 24).is_empty());
        assert!(read(u32::MAX, 8, 24).is_empty());
    }
}
