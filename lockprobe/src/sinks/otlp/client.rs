//! The connection to a collector: one attempt at a time, over either protocol.

use std::error::Error;
use std::time::Duration;

use prost::bytes::Bytes;

use super::grpc::Grpc;
use super::http::Http;
use super::settings::Protocol;
use super::target::Target;

/// A collector may not ask for a longer pause than this.
pub const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// What came of one attempt.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// The collector has the batch, but for so many of it.
    Taken {
        /// What it did not take.
        rejected: u64,
        /// Why.
        message: String,
    },
    /// It does not want the batch, now or later.
    Refused(String),
    /// Not now: worth another attempt, after this delay if the collector asked for one.
    Away {
        /// What happened.
        why: String,
        /// How long to wait.
        delay: Option<Duration>,
    },
}

/// The answer of each of the three services: they differ in names alone
/// (`ExportTraceServiceResponse` and its like).
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExportResponse {
    /// What was not taken.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// What was not taken of a batch.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PartialSuccess {
    /// How many.
    #[prost(int64, tag = "1")]
    pub rejected: i64,
    /// Why, or a warning.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

impl From<ExportResponse> for Answer {
    fn from(response: ExportResponse) -> Self {
        let partial = response.partial_success.unwrap_or_default();
        Self::Taken {
            rejected: partial.rejected.try_into().unwrap_or(0),
            message: printable(&partial.error_message),
        }
    }
}

/// A collector.
pub struct Client {
    name: String,
    timeout: Duration,
    way: Way,
}

enum Way {
    Grpc(Box<Grpc>),
    Http(Box<Http>),
}

impl Client {
    /// Not connected yet: a collector that is away is no error.
    ///
    /// # Errors
    /// Certificates that make no sense.
    pub fn new(target: &Target) -> anyhow::Result<Self> {
        let way = match target.protocol {
            Protocol::Grpc => Way::Grpc(Box::new(Grpc::new(target)?)),
            Protocol::Http => Way::Http(Box::new(Http::new(target)?)),
        };
        Ok(Self { name: target.name.clone(), timeout: target.timeout, way })
    }

    /// The collector's address, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One attempt.
    pub async fn export(&mut self, batch: Bytes) -> Answer {
        let attempt = async {
            match &mut self.way {
                Way::Grpc(grpc) => grpc.export(batch).await,
                Way::Http(http) => http.export(batch).await,
            }
        };
        let answer = tokio::time::timeout(self.timeout, attempt).await;
        let answer = answer.unwrap_or_else(|_| Answer::Away {
            why: format!("no answer within {:?}", self.timeout),
            delay: None,
        });
        // After a failure the connection may be half dead, which only a new one finds out soon.
        if matches!(answer, Answer::Away { .. })
            && let Way::Grpc(grpc) = &mut self.way
        {
            grpc.hang_up();
        }
        answer
    }
}

/// Why, at the bottom of it.
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    printable(&error.to_string())
}

/// A remote text, short and harmless enough for a terminal.
pub fn printable(text: &str) -> String {
    let text: String = text.chars().take(200).collect();
    crate::model::thread::printable(&text)
}
