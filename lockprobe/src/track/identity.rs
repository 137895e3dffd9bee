//! Identities that are the same in every replay, on every machine and with every compiler.

use std::fmt::{self, Write};

use crate::model::{LockId, SpanId, ThreadId};

/// FNV-1a, 64 bits (RFC 9923): what is written to it is what it is made of.
pub struct Identity(u64);

impl Identity {
    /// Of what this says, as text.
    pub fn of(text: fmt::Arguments<'_>) -> Self {
        let mut identity = Self(0xcbf2_9ce4_8422_2325);
        // Writing to it cannot fail.
        let _ = identity.write_fmt(text);
        identity
    }

    /// One of several numbers made from it, never zero. FNV leaves the bits of like texts alike;
    /// the finaliser of MurmurHash3 spreads them.
    pub fn number(&self, which: u64) -> u64 {
        let mut x = self.0 ^ which.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        (x ^ (x >> 33)).max(1)
    }
}

impl Write for Identity {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        Ok(())
    }
}

/// What a span is of.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    /// An attempt.
    Acquire,
    /// A hold.
    Hold,
}

/// Identity of a span: lock, thread, start and role.
pub fn span_id(lock: &LockId, thread: ThreadId, start: u64, role: Role) -> SpanId {
    let role = match role {
        Role::Acquire => "acquire",
        Role::Hold => "hold",
    };
    let ThreadId { pid, tid } = thread;
    let identity = Identity::of(format_args!("{role} {lock} {pid} {tid} {start}"));
    let trace = u128::from(identity.number(1)) << 64 | u128::from(identity.number(2));
    SpanId { trace, span: identity.number(3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recordings are replayed years later: these numbers must never change.
    #[test]
    fn identities_are_what_they_always_were() {
        assert_eq!(Identity::of(format_args!("")).0, 0xcbf2_9ce4_8422_2325);
        assert_eq!(Identity::of(format_args!("a")).0, 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Identity::of(format_args!("foobar")).0, 0x8594_4171_f739_67e8);
        let lock = LockId::Private { pid: 7, image: 0, address: 0x1000 };
        let thread = ThreadId { pid: 7, tid: 8 };
        let id = span_id(&lock, thread, 9, Role::Acquire);
        assert_ne!(id, span_id(&lock, thread, 9, Role::Hold));
        assert_ne!(id, span_id(&lock, thread, 10, Role::Acquire));
        assert_eq!(
            format!("{:032x}{:016x}", id.trace, id.span),
            "156b4ab8302dc2dda5d4de30009fcd09f1c19a0e1aa6c1bd"
        );
    }
}
