//! From what a wait is for to the lock as people read it.

use std::sync::Arc;

use crate::model::{LockDescription, LockFact, LockId, LockKind, Mode};

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taking {
    /// The kind of lock.
    pub kind: LockKind,
    /// How the thread would have it.
    pub mode: Mode,
    /// How far the address slept on lies behind the lock's beginning.
    pub inner: u64,
    /// The call site says so.
    pub confirmed: bool,
    /// Nothing says which lock of the process it is.
    pub hidden: bool,
}

/// The lock that threads of this program of a process sleep at this address for.
pub fn describe(
    (pid, image): (u32, u32),
    address: u64,
    taking: &Taking,
    fact: Option<&LockFact>,
    shared: Option<(u64, u64, u64)>,
) -> Arc<LockDescription> {
    let Taking { kind, inner, confirmed, .. } = *taking;
    let address = address.wrapping_sub(inner);
    let id = match shared {
        _ if taking.hidden => LockId::Process { pid, image, kind },
        Some((device, inode, offset)) => {
            LockId::Shared { device, inode, offset: offset.wrapping_sub(inner) }
        }
        None => LockId::Private { pid, image, address },
    };
    let call_site = fact.and_then(|f| f.call_site.clone());
    Arc::new(LockDescription {
        id,
        kind,
        name: name(kind, address, id, fact),
        confirmed,
        call_site,
        address: None,
    })
}

/// A symbol; else where it was first contended; else its address.
fn name(kind: LockKind, address: u64, id: LockId, fact: Option<&LockFact>) -> Arc<str> {
    if let LockId::Process { .. } = id {
        return format!("some {} {}", kind.system(), kind.name()).into();
    }
    if kind == LockKind::PythonGil {
        return "GIL".into();
    }
    if let Some(symbol) = fact.and_then(|f| f.symbol.as_deref()) {
        return symbol.into();
    }
    if let Some(site) = fact.and_then(|f| f.call_site.as_ref()) {
        return site.to_string().into();
    }
    match id {
        LockId::Private { .. } => format!("{address:#x}").into(),
        _ => id.to_string().into(),
    }
}
