//! Files that are locks by being there, on the way of the other locks of files.

use super::lock_files::{LockFiles, OWNER};
use super::{Kernel, Want};
use crate::model::{FileEvent, FileSeen, Holder, HolderSource, LockEvent, LockFileSeen, What};

impl Kernel {
    /// What it would help to know of a name.
    pub(super) fn wants_of_name(&mut self, seen: &LockFileSeen) -> Option<Want> {
        let (device, inode) = seen.base;
        if !LockFiles::concerns(seen) {
            return None;
        }
        if !seen.path.starts_with('/') && !self.names.knows(device, inode) {
            let (thread, descriptor) = (seen.thread.id, seen.descriptor);
            return Some(Want::Directory { thread, descriptor, device, inode });
        }
        self.people.now(seen.time);
        let base = self.names.path_of(device, inode);
        if let Some((directory, name)) = self.lock_files.wants(seen, base.as_deref()) {
            let (thread, root) = (seen.thread.id, seen.root);
            return Some(Want::LockFile { thread, root, directory, name });
        }
        let maker = seen.maker.map(|(_, maker)| maker.pid);
        maker.filter(|&pid| !self.people.knows(pid, seen.time)).map(Want::Holder)
    }

    /// A file that is a lock by being there goes the way of the others.
    pub(super) fn lock_file(&mut self, seen: &LockFileSeen, out: &mut Vec<LockEvent>) {
        if seen.event == FileEvent::Otherwise {
            return self.polls.cancel(seen.thread.id);
        }
        let base = self.names.path_of(seen.base.0, seen.base.1);
        let Some(mut event) = self.lock_files.read(seen, base.as_deref()) else { return };
        let lock = event.lock;
        if let Some(path) = self.lock_files.path(&lock.id) {
            self.names.call(lock.id, path);
        }
        if event.event == FileEvent::Refused {
            return self.lock_file_is_there(seen, event, out);
        }
        if self.left_behind.clear(&lock.id) {
            // When its hold ended nobody knows; whoever takes the file away did not have it.
            self.holds.forget(&lock);
            out.push(self.event(seen.time, &lock, seen.thread, What::Cleared));
        }
        if let Some((since, id)) = seen.maker {
            let name = self.people.holder(id.pid).name;
            let holder = Holder { id, name, source: HolderSource::LastAcquirer, gone: false };
            (event.holder, event.holder_owner) = (Some(id.pid), Some(OWNER));
            self.holds.made(&event, since, holder);
        }
        self.file(&event, out);
    }

    /// A thread is refused since a file is there: whose.
    fn lock_file_is_there(
        &mut self,
        seen: &LockFileSeen,
        mut event: FileSeen,
        out: &mut Vec<LockEvent>,
    ) {
        let lock = event.lock;
        let held = self.lock_files.held(&lock.id, seen.maker, self.holds.maker(&lock));
        let gone = held.as_ref().is_some_and(|held| held.gone);
        if !gone && self.left_behind.clear(&lock.id) {
            self.holds.forget(&lock);
            out.push(self.event(seen.time, &lock, seen.thread, What::Cleared));
        }
        let Some(held) = held else {
            self.holds.forget(&lock);
            return self.file(&event, out);
        };
        let pid = held.id.pid;
        let name = held.name.unwrap_or_else(|| self.people.holder(pid).name);
        let holder = Holder { id: held.id, name, source: held.source, gone };
        (event.holder, event.holder_owner) = (Some(pid), Some(OWNER));
        match held.since {
            Some(since) if held.source == HolderSource::LastAcquirer => {
                self.holds.made(&event, since, holder.clone());
            }
            _ => self.holds.named(&event, holder.clone()),
        }
        self.file(&event, out);
        // What a file says may be read only after it has been in the way for a while.
        if held.since.is_some_and(|since| since <= seen.refused.map_or(0, |(first, _)| first)) {
            self.polls.name_holder(seen.thread.id, &lock.id, &holder);
        }
        if gone {
            self.left_behind.note(lock.id);
            let since = seen.refused.map_or(seen.time, |(first, _)| first);
            let what = What::LeftBehind { holder, since };
            out.push(self.event(seen.time, &lock, seen.thread, what));
        }
    }
}
