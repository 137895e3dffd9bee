//! Deciding who is watched while it happens: by what a process is when it begins a program, when
//! it listens, and when the choice changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use aya::maps::{HashMap, MapData};
use lockprobe_ebpf::wire::choice;

use super::Locator;
use super::candidate::{self, Ports};
use crate::select::{Choice, Decision, Needs};

/// What the kernel half is told of processes.
pub type Table = HashMap<MapData, u32, u32>;

/// A choice, and what is known for it.
pub struct Choosing {
    choice: Arc<Choice>,
    locate: Option<Locator>,
    needs: Needs,
    ports: Ports,
}

/// What a walk over all processes changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Watched from now on.
    pub begun: Vec<u32>,
    /// Not watched any more.
    pub ended: Vec<u32>,
    /// Watched in all.
    pub watched: usize,
}

impl Choosing {
    /// Begins; who listens already is found out if that matters.
    pub fn new(choice: Arc<Choice>, locate: Option<Locator>) -> Self {
        let needs = choice.needs();
        let ports = if needs.ports { candidate::listeners() } else { Ports::new() };
        Self { choice, locate, needs, ports }
    }

    /// What the choice says of a process.
    pub fn decide(&self, pid: u32) -> Decision {
        let seen = candidate::look(pid, &self.needs, &self.ports, self.locate.as_ref());
        self.choice.decide(&seen)
    }

    /// Decides anew on one process; whether it is watched from now on and was not.
    pub fn settle(&self, pid: u32, table: &mut Table) -> bool {
        self.put(pid, self.decide(pid).is_watched(), table) == Some(true)
    }

    /// A process listens.
    pub fn listens(&mut self, pid: u32, port: u16, table: &mut Table) -> bool {
        candidate::listens(&mut self.ports, pid, port);
        self.settle(pid, table)
    }

    /// A process forked: the child has its sockets.
    pub fn forked(&mut self, parent: u32, child: u32) {
        let of_parent = self.ports.get(&parent).cloned().unwrap_or_default();
        of_parent.into_iter().for_each(|port| candidate::listens(&mut self.ports, child, port));
    }

    /// A process ended.
    pub fn ended(&mut self, pid: u32) {
        self.ports.remove(&pid);
    }

    /// Tells the kernel half; whether that changed anything, and to what.
    fn put(&self, pid: u32, watched: bool, table: &mut Table) -> Option<bool> {
        let rest = self.choice.watches_the_rest();
        let said = table.get(&pid, 0).unwrap_or(0);
        let before = if rest { said != choice::LEFT_OUT } else { said == choice::WATCHED };
        let _ = match (watched, rest) {
            (true, true) | (false, false) => table.remove(&pid),
            (true, false) => table.insert(pid, choice::WATCHED, 0),
            (false, true) => table.insert(pid, choice::LEFT_OUT, 0),
        };
        (before != watched).then_some(watched)
    }

    /// Decides anew on all processes, and forgets those there are no more.
    pub fn walk(&self, table: &mut Table) -> Walked {
        let mut walked = Walked::default();
        let own = std::process::id();
        let there: BTreeSet<u32> = super::targets::processes().filter(|&pid| pid != own).collect();
        let known: Vec<u32> = table.keys().flatten().collect();
        known.iter().filter(|pid| !there.contains(pid)).for_each(|pid| drop(table.remove(pid)));
        for pid in there {
            let watched = self.decide(pid).is_watched();
            walked.watched += usize::from(watched);
            match self.put(pid, watched, table) {
                Some(true) => walked.begun.push(pid),
                Some(false) => walked.ended.push(pid),
                None => {}
            }
        }
        walked
    }
}

/// A process, and what a choice says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its id.
    pub pid: u32,
    /// Its command line, else the path of its executable; neither is to be trusted.
    pub name: String,
    /// What the choice says.
    pub decision: Decision,
}

/// What a choice says of the processes there are now, but for our own. Nothing is attached.
pub fn sightings(choice: &Choice, locate: Option<Locator>) -> Vec<Chosen> {
    let choosing = Choosing::new(Arc::new(choice.clone()), locate);
    let named = Needs { executable: true, command: true, ..Needs::default() };
    let own = std::process::id();
    let seen = super::targets::processes().filter(|&pid| pid != own).filter_map(|pid| {
        let look = candidate::look(pid, &named, &choosing.ports, None);
        let path = look.executable.map(|path| path.display().to_string());
        // A thread of the kernel has neither.
        let mut name = look.command.or(path)?;
        if let Some((at, _)) = name.char_indices().nth(200) {
            name.truncate(at);
        }
        Some(Chosen { pid, name, decision: choosing.decide(pid) })
    });
    seen.collect()
}
