//! Calls of etcd's JSON gateway over HTTP/1.1 (etcd server/etcdserver/api/v3rpc, `/v3/...`).

use std::sync::Arc;

use super::frame::Method;
use super::json;
use super::message::{Failure, Heard, Request, What};
use crate::framing::http1::{self, Talk};
use crate::framing::{Bounded, Ears};
use crate::model::{Piece, Thread};

/// Most requests of a connection at once.
const CALLS_AT_MOST: usize = 64;

/// The calls of a connection.
#[derive(Debug)]
pub struct Gateway {
    talk: Talk,
    calls: Bounded<u64, (u64, Thread, Arc<Request>)>,
    unclear: u64,
}

/// `/v3/kv/txn`, and the same under the names of earlier versions.
fn method(target: &str) -> Method {
    let path = target.split('?').next().unwrap_or_default();
    let Some((version, path)) = path.strip_prefix('/').and_then(|p| p.split_once('/')) else {
        return Method::Other;
    };
    if !matches!(version, "v3" | "v3beta" | "v3alpha") {
        return Method::Other;
    }
    match path {
        "kv/txn" => Method::Txn,
        "kv/range" => Method::Range,
        "kv/deleterange" => Method::Delete,
        "lease/grant" => Method::Grant,
        "lease/revoke" | "kv/lease/revoke" => Method::Revoke,
        "lease/keepalive" => Method::KeepAlive,
        "lease/timetolive" | "kv/lease/timetolive" => Method::TimeToLive,
        "watch" => Method::Watch,
        "lock/lock" => Method::Lock,
        "lock/unlock" => Method::Unlock,
        _ => Method::Other,
    }
}

impl Gateway {
    /// Calls of a connection, heard from its beginning or joined late.
    pub fn new(joined: bool) -> Self {
        Self { talk: Talk::new(joined), calls: Bounded::new(CALLS_AT_MOST), unclear: 0 }
    }

    /// What could not be used.
    pub fn ears(&self) -> Ears {
        Ears {
            malformed: self.talk.malformed,
            resumed: self.talk.resumed,
            unpaired: self.talk.unpaired,
            unclear: self.unclear,
            evicted: self.calls.evicted,
        }
    }

    /// Takes a piece.
    pub fn piece(&mut self, piece: &Piece<'_>, out: &mut Vec<Heard>) {
        let mut heard = Vec::new();
        let wants = |verb: &str, target: &str| verb == "POST" && method(target) != Method::Other;
        self.talk.piece(piece, wants, &mut heard);
        heard.into_iter().for_each(|heard| self.hear(heard, out));
    }

    /// Everything up to this time was heard.
    pub fn tick(&mut self, now: u64) {
        self.talk.tick(now);
    }

    /// The connection is closed: what is not answered will not be.
    pub fn closed(&mut self, time: u64, thread: Thread, out: &mut Vec<Heard>) {
        for (call, (asked, asker, request)) in self.calls.take(|_, _| true) {
            let what = What::Failed(Failure::Cancelled);
            out.push(Heard { time, thread, call, asked: (asked, asker), request, what });
        }
    }

    fn is_stream(&self, call: u64) -> bool {
        self.calls.get(&call).is_some_and(|(_, _, request)| {
            matches!(**request, Request::KeepAlive(_) | Request::Watch(_))
        })
    }

    fn hear(&mut self, heard: http1::Heard, out: &mut Vec<Heard>) {
        let http1::Heard { time, thread, request: call, what } = heard;
        let (body, status, over) = match what {
            http1::What::Asked { target, body, .. } => {
                let request = body.and_then(|body| json::request(method(&target), &body));
                let Some(request) = request.map(Arc::new) else {
                    self.unclear += 1;
                    return;
                };
                self.calls.insert(call, (time, thread, request.clone()));
                let asked = (time, thread);
                out.push(Heard { time, thread, call, asked, request, what: What::Asked });
                return;
            }
            http1::What::Chunk(chunk) => {
                // Answers of streams come chunk by chunk; of others the whole is meant.
                if !self.is_stream(call) {
                    return;
                }
                (Some(chunk), 200, false)
            }
            http1::What::Answered { status, body, chunked } => {
                (body.filter(|_| !(chunked && self.is_stream(call))), status, true)
            }
        };
        let Some((asked, asker, request)) = self.calls.get(&call).cloned() else { return };
        let answer = body.as_deref().and_then(|body| json::answer(&request, body));
        let what = match (answer, status) {
            (Some(answer), 200..=299) => Some(What::Answered(answer)),
            (_, 404) => Some(What::Failed(Failure::NotFound)),
            (_, 408 | 504) => Some(What::Failed(Failure::TimedOut)),
            (None, 200..=299) => None,
            _ => Some(What::Failed(Failure::Other)),
        };
        if over {
            self.calls.remove(&call);
        }
        if let Some(what) = what {
            out.push(Heard { time, thread, call, asked: (asked, asker), request, what });
        }
    }
}
