//! What the running system is asked beside the records: /proc, binaries, stacks.

use lockprobe_ebpf::wire::kind;

use super::full::Wanted;
use super::{Aside, PROCESSES_AT_MOST, Pipeline, talk};
use crate::analyses::{holder, paused};
use crate::backends::futex::Want;
use crate::backends::kernel;
use crate::enrich::LockFileAsked;
use crate::model::{Fact, Observation, Record};
use crate::source::{Batch, facts};

/// Most call sites of one process remembered as told of.
const SITES_AT_MOST: usize = 4096;

impl Pipeline {
    /// What the running system says about an observation before it is understood. Facts are
    /// handed on one by one, since each may answer what the next would have been asked for.
    pub(super) fn look_up(
        &mut self,
        observation: &Observation,
        out: &mut Vec<Record>,
    ) -> std::io::Result<()> {
        if let Observation::Tick(now) = observation {
            let mut due = holder::worth_a_look(self.tracker.table(), &self.activities, *now);
            let overdue = self.tracker.overdue(now.saturating_sub(talk::GRACE));
            due.extend(paused::worth_a_look(overdue, &self.activities, *now));
            self.ask_about(&due, out)?;
            self.ask_processor(*now, out)?;
            let Aside::Live(enricher, _) = &mut self.aside else { return Ok(()) };
            for process in enricher.news() {
                self.learn(Fact::Process(process), out)?;
            }
        }
        // Who it is first: that is gone with the process, and binaries may take a while.
        let about = observation.thread().map(|t| t.pid);
        let of_lock = !matches!(observation, Observation::Process(_));
        if let Some(pid) = about.filter(|pid| of_lock && !self.processes.contains_key(pid))
            && let Aside::Live(enricher, _) = &mut self.aside
        {
            let process = enricher.process(pid, self.futex.image(pid));
            self.learn(Fact::Process(process), out)?;
        }
        let Aside::Live(enricher, _) = &mut self.aside else { return Ok(()) };
        let mut found = match observation {
            Observation::Lock(seen) => enricher.lock(seen),
            _ => match self.full.wants(observation, &self.futex) {
                Some(Wanted::Lock(seen)) => enricher.acquired(&seen),
                Some(Wanted::Places(pid, ips)) => enricher.places(pid, &ips),
                None => Vec::new(),
            },
        };
        // The call site, then who had the lock and who has it.
        for _ in 0..3 {
            for fact in found.drain(..) {
                self.learn(fact, out)?;
            }
            let Some(want) = self.futex.wants(observation) else { break };
            let Aside::Live(enricher, _) = &mut self.aside else { break };
            match (want, observation) {
                (Want::Thread { pid, ns_tid }, _) => {
                    found.push(Fact::Thread(enricher.thread(pid, ns_tid)));
                }
                (Want::Site, Observation::Wait(wait) | Observation::Waiting(wait)) => {
                    found = enricher.waiting(wait);
                }
                (Want::Site, _) => break,
            }
        }
        found.into_iter().try_for_each(|fact| self.learn(fact, out))?;
        self.look_up_kernels(observation, out)?;
        self.look_at_stacks(observation).into_iter().try_for_each(|fact| self.learn(fact, out))
    }

    /// The same about a lock the kernel keeps: what the file is called, who had the lock and who
    /// has it.
    fn look_up_kernels(
        &mut self,
        observation: &Observation,
        out: &mut Vec<Record>,
    ) -> std::io::Result<()> {
        let mut last = None;
        for _ in 0..4 {
            // What could not be found out just now is not asked for again at once.
            let want =
                self.kernel_locks.wants(observation).filter(|want| last.as_ref() != Some(want));
            let Some(want) = want else { break };
            last = Some(want.clone());
            let Aside::Live(enricher, _) = &mut self.aside else { break };
            let fact = match want {
                kernel::Want::Path { thread, descriptor, device, inode } => {
                    Fact::File(enricher.file(thread, descriptor, device, inode))
                }
                kernel::Want::Directory { thread, descriptor, device, inode } => {
                    Fact::File(enricher.directory(thread, descriptor, device, inode))
                }
                kernel::Want::LockFile { thread, root, directory, name } => {
                    let (directory, name) = (directory.as_str(), name.as_str());
                    let asked = LockFileAsked { thread, root, directory, name };
                    Fact::LockFile(enricher.lock_file(asked))
                }
                kernel::Want::Holder(pid) => Fact::Holder(enricher.holder(pid)),
            };
            self.learn(fact, out)?;
        }
        Ok(())
    }

    /// Takes the stacks that this observation is an occasion for.
    fn look_at_stacks(&mut self, observation: &Observation) -> Vec<Fact> {
        let Aside::Live(enricher, _) = &mut self.aside else { return Vec::new() };
        match observation {
            Observation::Lock(seen) => self.stacks.first(seen),
            Observation::Waiting(wait) => self.stacks.look(wait, &self.futex, enricher),
            Observation::Wait(wait) => return self.stacks.ended(wait, enricher),
            Observation::Tick(now) => return self.stacks.ripen(*now, enricher),
            _ => {}
        }
        Vec::new()
    }

    /// Takes in a fact, tells the kernel half, and keeps it for a replay.
    pub(super) fn learn(&mut self, fact: Fact, out: &mut Vec<Record>) -> std::io::Result<()> {
        if let Fact::Site(site) = &fact
            && let Aside::Live(_, Some(verdicts)) = &mut self.aside
        {
            verdicts.tell(site.pid, site.level, site.ip, site.class);
            if self.verdicts_given.len() >= PROCESSES_AT_MOST {
                self.verdicts_given.clear();
            }
            let given = self.verdicts_given.entry(site.pid).or_default();
            // Of more the kernel half keeps those that are in use, and so many are few to take back.
            if given.len() < SITES_AT_MOST {
                given.insert((site.level, site.ip));
            }
        }
        if let Some(recorder) = &mut self.recorder {
            let mut one = Batch::default();
            let json = facts::to_json(&fact).to_string();
            one.push_parts(kind::FACT, self.now, &[json.as_bytes()]);
            for frame in one.frames() {
                recorder.write(frame)?;
            }
        }
        self.observe(Observation::Fact(fact), out);
        Ok(())
    }
}
