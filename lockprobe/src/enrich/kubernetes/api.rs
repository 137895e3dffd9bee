//! Pods by the API server: a list, and then every change.
//!
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::client::{Answer, Client, Failure};
use super::pod::{Pod, Written};
use super::table::Pods;

/// Bytes of a list, or of a page of one: 500 pods of 30 kB.
pub const LONGEST_LIST: usize = 16 << 20;
/// Pages of a list.
const MOST_PAGES: usize = 100;
/// Bytes of an event: the server stores no object of more than 1.5 MB.
const LONGEST_EVENT: usize = 4 << 20;
/// For how long the server is to tell changes before it ends the answer; and how much longer it is
/// believed to be there.
const WATCH: u64 = 290;
const PATIENCE: Duration = Duration::from_secs(WATCH + 20);

/// A list of pods, or a page of one.
pub struct List {
    /// The pods, those that make sense.
    pub pods: Vec<Pod>,
    version: Option<String>,
    more: Option<String>,
}

#[derive(Deserialize)]
struct WrittenList {
    #[serde(default)]
    metadata: ListMetadata,
    items: Option<Vec<Written>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    more: Option<String>,
}

impl List {
    /// Reads it and keeps what is of use.
    pub fn read(bytes: &[u8]) -> Result<Self, Failure> {
        let list: WrittenList = serde_json::from_slice(bytes).map_err(|_| Failure::Malformed)?;
        let pods = list.items.ok_or(Failure::Malformed)?.into_iter().filter_map(Written::keep);
        let ListMetadata { resource_version: version, more } = list.metadata;
        Ok(Self { pods: pods.collect(), version, more: more.filter(|more| !more.is_empty()) })
    }
}

/// A change.
#[derive(Deserialize)]
struct Event<T> {
    #[serde(rename = "type")]
    kind: String,
    object: T,
}

/// An error.
#[derive(Deserialize)]
struct Status {
    code: Option<u16>,
}

/// Follows the pods of a node until something fails. `began` is called once the list is there.
pub async fn follow(client: &Client, node: &str, pods: &Pods, began: impl FnOnce()) -> Failure {
    let mut version = match list(client, node, pods).await {
        Ok(version) => version,
        Err(failure) => return failure,
    };
    began();
    loop {
        let path = format!(
            "{}&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH}&resourceVersion={}",
            path(node),
            encoded(&version)
        );
        let watched = match client.get(&path).await {
            Ok(answer) => watch(answer, pods, &mut version).await,
            Err(failure) => Err(failure),
        };
        match watched {
            // The server ended it in good order; a pause, lest one that does so at once be asked
            // without end.
            Ok(()) => tokio::time::sleep(Duration::from_millis(500)).await,
            Err(Failure::Gone) => match list(client, node, pods).await {
                Ok(newer) => version = newer,
                Err(failure) => return failure,
            },
            Err(failure) => return failure,
        }
    }
}

fn path(node: &str) -> String {
    format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", encoded(node))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// All pods, as the server has them in memory: asking for the very latest would have it read the
/// pods of all nodes from its store.
async fn list(client: &Client, node: &str, pods: &Pods) -> Result<String, Failure> {
    let base = path(node);
    match pages(client, &format!("{base}&resourceVersion=0&limit=500"), pods).await {
        // From memory it may not divide what it answers.
        Err(Failure::TooLong) => pages(client, &format!("{base}&limit=50"), pods).await,
        listed => listed,
    }
}

async fn pages(client: &Client, path: &str, pods: &Pods) -> Result<String, Failure> {
    let mut all = Vec::new();
    let mut next = path.to_owned();
    for _ in 0..MOST_PAGES {
        let bytes = client.get(&next).await?.whole(LONGEST_LIST).await?;
        let page = List::read(&bytes)?;
        all.extend(page.pods);
        let Some(more) = page.more else {
            pods.replace(all);
            return page.version.ok_or(Failure::Malformed);
        };
        // What goes on from a page may not name a version.
        let base = path.replace("&resourceVersion=0", "");
        next = format!("{base}&continue={}", encoded(&more));
    }
    Err(Failure::TooLong)
}

/// Takes in changes until the answer ends. One event a line; a line that is too long or makes no
/// sense is passed over, and at the next list nothing of it is missing.
async fn watch(mut answer: Answer, pods: &Pods, version: &mut String) -> Result<(), Failure> {
    let mut line: Vec<u8> = Vec::new();
    let mut too_long = false;
    while let Some(piece) = answer.piece(PATIENCE).await? {
        let mut rest = &piece[..];
        while let Some(end) = rest.iter().position(|&b| b == b'\n') {
            if !too_long && line.len() + end <= LONGEST_EVENT {
                line.extend_from_slice(&rest[..end]);
                take(&line, pods, version)?;
            }
            line.clear();
            too_long = false;
            rest = &rest[end + 1..];
        }
        if line.len() + rest.len() > LONGEST_EVENT {
            too_long = true;
            line = Vec::new();
        } else if !too_long {
            line.extend_from_slice(rest);
        }
    }
    Ok(())
}

fn take(line: &[u8], pods: &Pods, version: &mut String) -> Result<(), Failure> {
    // In place of a pod there may be a status, whose fields mean other things.
    if let Ok(Event { kind, object: Status { code } }) = serde_json::from_slice(line)
        && kind == "ERROR"
    {
        return Err(match code {
            Some(410) => Failure::Gone,
            Some(code) => Failure::Status(code),
            None => Failure::Malformed,
        });
    }
    let event: Result<Event<Written>, _> = serde_json::from_slice(line);
    let Ok(Event { kind, object }) = event else { return Ok(()) };
    if let Some(newer) = object.version() {
        newer.clone_into(version);
    }
    match (kind.as_str(), object.keep()) {
        ("ADDED" | "MODIFIED", Some(pod)) => pods.put(pod),
        ("DELETED", Some(pod)) => pods.remove(&pod.uid),
        // A bookmark has a version only.
        _ => {}
    }
    Ok(())
}
