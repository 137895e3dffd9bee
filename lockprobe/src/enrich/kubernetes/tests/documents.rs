//! Pods as the API server writes them, shortened in what nobody reads here.

use serde_json::{Value, json};

/// UID, container id and hash used throughout.
pub const UID: &str = "74c13223-5a00-11e9-b385-42010a80018d";
pub const ID: &str = "4563bdde6dad0288c08a37ca5854f0d142076156c5d1f77f0349e2b9c468a406";

/// A pod of a deployment, with a secret in each place that may have one.
pub fn pod() -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": "shop-7d4b9c6f5-x2x9k", "generateName": "shop-7d4b9c6f5-", "namespace": "prod",
            "uid": UID, "resourceVersion": "1001", "creationTimestamp": "2026-11-21T14:16:39Z",
            "labels": {"app.kubernetes.io/name": "shop", "pod-template-hash": "7d4b9c6f5", "empty": ""},
            "annotations": {
                "resource.opentelemetry.io/service.version": "1.2.3",
                "resource.opentelemetry.io/deployment.environment.name": "production",
                "resource.opentelemetry.io/process.pid": "1",
                "kubectl.kubernetes.io/last-applied-configuration": "{\"env\":\"SECRET\"}",
            },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-7d4b9c6f5",
                "uid": "8e0b9c5c-0000-4000-8000-000000000001", "controller": true,
                "blockOwnerDeletion": true,
            }],
            "managedFields": [{"manager": "kube-controller-manager", "operation": "Update",
                "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {}}}],
        },
        "spec": {
            "volumes": [{"name": "kube-api-access", "projected": {"sources": []}}],
            "containers": [{"name": "app", "image": "registry.example.org/shop:1.2.3",
                "env": [{"name": "PASSWORD", "value": "SECRET"}], "args": ["--token=SECRET"]}],
            "nodeName": "worker-1", "serviceAccountName": "default",
        },
        "status": {
            "phase": "Running", "qosClass": "Burstable", "hostIP": "192.0.2.7",
            "containerStatuses": [{"name": "app", "ready": true, "restartCount": 0,
                "state": {"running": {"startedAt": "2026-11-21T14:16:41Z"}},
                "image": "registry.example.org/shop:1.2.3",
                "imageID": "registry.example.org/shop@sha256:00",
                "containerID": format!("containerd://{ID}")}],
            "initContainerStatuses": [{"name": "setup", "containerID": "containerd://1234"},
                {"name": "waits", "state": {"waiting": {}}}],
        },
    })
}

/// The same with another name and UID.
pub fn another(number: u32) -> Value {
    let mut pod = pod();
    pod["metadata"]["name"] = json!(format!("other-{number}"));
    pod["metadata"]["uid"] = json!(format!("00000000-0000-4000-8000-{number:012}"));
    pod["metadata"]["resourceVersion"] = json!((1000 + number).to_string());
    pod["status"]["containerStatuses"][0]["containerID"] =
        json!(format!("containerd://{number:064}"));
    pod
}

/// A list.
pub fn list(version: &str, pods: &[Value]) -> String {
    let metadata = json!({"resourceVersion": version});
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": pods}).to_string()
}

/// An event, with the end of its line.
pub fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

/// What is sent now and then so that the version does not grow old.
pub fn bookmark(version: &str) -> String {
    let metadata = json!({"resourceVersion": version, "creationTimestamp": null});
    let (spec, status) = (json!({"containers": null}), json!({}));
    event(
        "BOOKMARK",
        &json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": status}),
    )
}

/// What is sent where a version is too old.
pub fn gone() -> String {
    event(
        "ERROR",
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "too old resource version: 1 (1002)", "reason": "Expired", "code": 410}),
    )
}
