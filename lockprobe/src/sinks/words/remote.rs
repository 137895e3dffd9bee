//! Findings about servers' locks in words.

use crate::model::{Doing, Finding, FindingKind, Notice, NoticeKind};
use crate::sinks::{duration, thread_label};

/// What it is, as the beginning of a title.
pub fn what(finding: &Finding) -> String {
    let lock = finding.remote.as_ref().map(|n| n.hold.lock.identity()).unwrap_or_default();
    let title = match finding.kind {
        FindingKind::StaleHolder => "STALE HOLDER of",
        FindingKind::LeaseLost => "LEASE LOST of",
        FindingKind::Overlap => "TWO HOLDERS of",
        FindingKind::LateRelease => "LATE RELEASE of",
        FindingKind::RemovedByOther => "REMOVED BY ANOTHER:",
        FindingKind::ImmortalLock => "IMMORTAL LOCK",
        FindingKind::HolderPaused => "PAUSED HOLDER of",
        FindingKind::ThunderingHerd => "THUNDERING HERD at",
        _ => "ORPHANED LOCK",
    };
    format!("{title} {lock}")
}

/// The evidence.
pub fn lines(notice: &Notice, finding: &Finding, process: &dyn Fn(u32) -> String) -> Vec<String> {
    let hold = &notice.hold;
    let who = process(hold.thread.id.pid);
    let since = duration(notice.time.saturating_sub(hold.since));
    let lease =
        hold.lease.map_or_else(|| "no lease".to_owned(), |l| format!("a lease of {}", duration(l)));
    let mut lines =
        vec![format!("{who} was given it {since} before, with {lease}, by {}", hold.server)];
    if hold.renewals > 0 {
        let ago = duration(notice.time.saturating_sub(hold.renewed));
        lines.push(format!("it was renewed {} times, the last time {ago} before", hold.renewals));
    }
    let other = notice.other.as_ref().map(|(thread, _)| {
        format!("{} of {}", thread_label(&thread.name(), thread.id), process(thread.id.pid))
    });
    lines.push(match finding.kind {
        FindingKind::StaleHolder => {
            format!("the lease is over, and {who} goes on without having let go: another may get the lock")
        }
        FindingKind::LeaseLost => format!("the server ended it, and {who} had not let go"),
        FindingKind::Overlap => {
            format!("the server gave it to {} as well", other.unwrap_or_default())
        }
        FindingKind::LateRelease => {
            format!("{who} let go of it when it was not its any more: what it did last was not protected")
        }
        FindingKind::RemovedByOther => {
            format!("{} took it away without a look at whose it is", other.unwrap_or_default())
        }
        FindingKind::ImmortalLock => {
            "nothing ends it if its holder does not: after a crash it stays for ever".to_owned()
        }
        FindingKind::HolderPaused => {
            let left = hold.deadline.map(|end| duration(end.saturating_sub(notice.time)));
            let left = left.map(|left| format!(" in {left}")).unwrap_or_default();
            let asleep = finding.holder.as_ref().is_some_and(|a| a.doing == Doing::DiskSleep);
            let how = match asleep {
                true => "sleeps where no signal reaches it (state D)",
                false => "is stopped or frozen",
            };
            format!("{who} {how} and has missed renewals: it will lose the lock{left}")
        }
        FindingKind::ThunderingHerd => {
            let many = if let NoticeKind::Herd(many) = notice.what { many } else { 0 };
            format!("{many} attempts asked for it within 50 ms after {who} had let it go")
        }
        _ => match hold.deadline {
            Some(deadline) => {
                let left = duration(deadline.saturating_sub(notice.time));
                format!("{who} has ended without letting go; the server keeps the lock for {left} more")
            }
            None => format!("{who} has ended without letting go, and the server keeps the lock for ever"),
        },
    });
    lines
}
