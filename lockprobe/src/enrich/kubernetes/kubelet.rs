//! Pods by the kubelet, which knows those of its node and tells no changes.

use std::time::Duration;

use super::api::{LONGEST_LIST, List};
use super::client::{Client, Failure};
use super::table::Pods;

/// Asks again and again until something fails. `began` is called once the first list is there.
pub async fn follow(
    client: &Client,
    interval: Duration,
    pods: &Pods,
    began: impl FnOnce(),
) -> Failure {
    let mut began = Some(began);
    loop {
        let listed = match client.get("/pods").await {
            Ok(answer) => answer.whole(LONGEST_LIST).await.and_then(|bytes| List::read(&bytes)),
            Err(failure) => Err(failure),
        };
        match listed {
            Ok(list) => pods.replace(list.pods),
            Err(failure) => return failure,
        }
        if let Some(began) = began.take() {
            began();
        }
        tokio::time::sleep(interval).await;
    }
}
