//! The thread that asks about pods, and what it says of it.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::client::Failure;
use super::settings::{Kubernetes, PodSource};
use super::table::Pods;
use super::{api, kubelet};

/// Pauses between attempts: the first, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// A source that worked for so long is asked again at once.
const WELL: Duration = Duration::from_secs(30);

/// Keeps pods up to date until it is dropped.
pub struct Watch {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts asking. `say` is told, in a sentence, once a source answers and once when none does.
    pub fn start(
        settings: Kubernetes,
        pods: Arc<Pods>,
        say: impl Fn(&str) + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || {
            let asking = Asking::new(settings, pods, &say);
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = asking.run() => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("lockprobe-pods".into()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One of the two that can be asked.
#[derive(Clone, Copy)]
enum Source {
    Api,
    Kubelet,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Api => "the API server",
            Self::Kubelet => "the kubelet",
        }
    }
}

struct Asking<'a, Say: Fn(&str)> {
    settings: Kubernetes,
    pods: Arc<Pods>,
    say: &'a Say,
    /// What was said last: an outage is told once.
    told: Cell<Told>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Works,
    Fails,
}

impl<'a, Say: Fn(&str)> Asking<'a, Say> {
    fn new(settings: Kubernetes, pods: Arc<Pods>, say: &'a Say) -> Self {
        Self { settings, pods, say, told: Cell::new(Told::Nothing) }
    }

    async fn run(&self) {
        let sources: &[Source] = match self.settings.source {
            PodSource::Off => return,
            PodSource::Api => &[Source::Api],
            PodSource::Kubelet => &[Source::Kubelet],
            PodSource::Auto => &[Source::Api, Source::Kubelet],
        };
        let mut pause = FIRST;
        loop {
            let begun = Instant::now();
            let mut failures = Vec::new();
            let mut worked = false;
            for source in sources {
                let failure;
                (worked, failure) = self.ask(*source).await;
                failures.push((*source, failure));
                if worked {
                    break;
                }
            }
            if failures.iter().all(|(_, failure)| matches!(failure, Failure::Unknown(_))) {
                self.tell(Told::Fails, || {
                    "no Kubernetes here, neither its API server nor a kubelet: pods are not named"
                        .to_owned()
                });
                return;
            }
            if begun.elapsed() >= WELL {
                pause = FIRST;
            }
            // Connections end; that is worth a word only if there is no other.
            if !worked {
                self.tell_of(&failures);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    fn tell_of(&self, failures: &[(Source, Failure)]) {
        self.tell(Told::Fails, || {
            let why = failures.iter().map(|(source, why)| format!("{}: {why}", source.name()));
            let why = why.collect::<Vec<_>>().join("; ");
            format!("Kubernetes cannot be asked about pods ({why}); trying again")
        });
    }

    /// Whether it ever answered, and how it ended.
    async fn ask(&self, source: Source) -> (bool, Failure) {
        let node = self.settings.node_name();
        let worked = Cell::new(false);
        let began = || {
            worked.set(true);
            self.tell(Told::Works, || {
                let (pods, name) = (self.pods.len(), source.name());
                format!("Kubernetes: {name} names {pods} pods of node {node}")
            });
        };
        let failure = match source {
            Source::Api => match self.settings.api() {
                Ok(client) => api::follow(&client, &node, &self.pods, began).await,
                Err(failure) => failure,
            },
            Source::Kubelet => match self.settings.kubelet() {
                Ok(client) => {
                    kubelet::follow(&client, self.settings.interval, &self.pods, began).await
                }
                Err(failure) => failure,
            },
        };
        (worked.get(), failure)
    }

    fn tell(&self, what: Told, sentence: impl FnOnce() -> String) {
        if self.told.replace(what) != what {
            let sentence = crate::model::thread::printable(&sentence());
            (self.say)(&sentence);
        }
    }
}
