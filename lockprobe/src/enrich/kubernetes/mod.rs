//! The pods of this node, from the API server or the kubelet; never from a container runtime.
//!
//! The API server is asked for a list and then told of changes (a watch); the kubelet, which has no
//! watch, is asked again and again. Both answer over TLS to the token of our service account. Their
//! answers are bounded, and as hostile as anything: what makes no sense is left out or asked for
//! again.
//!
//! # Why no client library
//!
//! The `kube` crate (5.0, client and watcher, without default features) brings 61 crates that
//! nothing else here needs, mostly for the types of the whole API, of which four fields are used.
//! Built alone with the release profile it took 137 s against 23 s and came to 9.5 MB against
//! 2.4 MB of what is done here with hyper and rustls, which the OTLP client brings anyway. It also
//! parses pods whole, with the environments in them, and takes answers of any length.
//!
//! | file | does |
//! |---|---|
//! | `settings` | whom to ask, and as whom |
//! | `client` | one request over one connection |
//! | `api`, `kubelet` | the two sources |
//! | `watch` | the thread that asks, and what it says of it |
//! | `pod` | what is kept of a pod (pure) |
//! | `table` | all pods |

mod api;
mod client;
mod kubelet;
mod pod;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod watch;

pub use pod::Pod;
pub use settings::{Kubernetes, PodSource};
pub use table::Pods;
pub use watch::Watch;
