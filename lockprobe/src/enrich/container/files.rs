//! What a container is called, from files that its runtime keeps: no socket of a runtime is used.
//!
//! Docker writes a container's settings below `/var/lib/docker`, containerd and CRI-O the bundle
//! they run below `/run`, podman a list below its storage. The files hold environments and more;
//! only the few fields below are ever parsed into anything. Where a runtime keeps its files
//! elsewhere, the name is unknown.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::cgroup::{Container, Runtime};
use crate::enrich::process::resource::value;
use crate::enrich::thread::read_bounded;

/// Largest file that is read.
const LARGEST: u64 = 4 << 20;
/// Containers in a list.
const MOST: usize = 4096;

/// What the files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Name of the container.
    pub name: Option<String>,
    /// Its pod, where it has one: UID, namespace, name.
    pub pod: Option<[String; 3]>,
}

/// Looks for a container below the root of the host's files. `cgroup` is the path of its group.
pub fn told(root: &Path, container: &Container, cgroup: &str) -> Option<Told> {
    let id = container.id.as_deref()?;
    match container.runtime {
        Some(Runtime::Docker) => docker(root, id),
        Some(Runtime::Containerd | Runtime::Crio) => bundle(root, id),
        Some(Runtime::Podman) => podman(root, id, cgroup),
        Some(Runtime::Lxc | Runtime::Nspawn) => None,
        None => docker(root, id).or_else(|| bundle(root, id)).or_else(|| podman(root, id, cgroup)),
    }
}

/// Names that Kubernetes gives its containers, as annotations and labels. Docker's are labels.
#[derive(Default, Deserialize)]
struct Kubernetes {
    #[serde(alias = "io.kubernetes.cri.container-name", alias = "io.kubernetes.container.name")]
    container: Option<String>,
    #[serde(alias = "io.kubernetes.cri.sandbox-name", alias = "io.kubernetes.pod.name")]
    pod: Option<String>,
    #[serde(alias = "io.kubernetes.cri.sandbox-namespace", alias = "io.kubernetes.pod.namespace")]
    namespace: Option<String>,
    #[serde(alias = "io.kubernetes.cri.sandbox-uid", alias = "io.kubernetes.pod.uid")]
    uid: Option<String>,
    #[serde(alias = "nerdctl/name")]
    nerdctl: Option<String>,
}

impl Kubernetes {
    fn told(self, name: Option<&str>) -> Told {
        let pod = match (self.uid, self.namespace, self.pod) {
            (Some(uid), Some(namespace), Some(pod)) => {
                Some([uid, namespace, pod]).map(|parts| parts.map(|part| value(&part)))
            }
            _ => None,
        };
        let pod = pod.and_then(|[uid, namespace, name]| Some([uid?, namespace?, name?]));
        let name = self.container.or(self.nerdctl).or(name.map(str::to_owned));
        Told { name: name.and_then(|name| value(&name)), pod }
    }
}

fn docker(root: &Path, id: &str) -> Option<Told> {
    #[derive(Deserialize)]
    struct Kept {
        #[serde(rename = "Name")]
        name: Option<String>,
        #[serde(rename = "Config")]
        config: Option<Config>,
    }
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "Labels")]
        labels: Option<Kubernetes>,
    }
    let file = root.join("var/lib/docker/containers").join(id).join("config.v2.json");
    let kept: Kept = json(&file)?;
    let labels = kept.config.and_then(|config| config.labels).unwrap_or_default();
    Some(labels.told(kept.name.as_deref().map(|name| name.trim_start_matches('/'))))
}

/// What the runtime was told to run (OCI runtime specification, `config.json`).
fn bundle(root: &Path, id: &str) -> Option<Told> {
    #[derive(Deserialize)]
    struct Kept {
        annotations: Option<Kubernetes>,
    }
    let containerd = root.join("run/containerd/io.containerd.runtime.v2.task");
    let crio = root.join("run/containers/storage/overlay-containers");
    let files = [
        containerd.join("k8s.io").join(id).join("config.json"),
        containerd.join("default").join(id).join("config.json"),
        crio.join(id).join("userdata/config.json"),
    ];
    let kept: Kept = files.iter().find_map(|file| json(file))?;
    Some(kept.annotations.unwrap_or_default().told(None))
}

fn podman(root: &Path, id: &str, cgroup: &str) -> Option<Told> {
    #[derive(Deserialize)]
    struct Kept {
        id: String,
        names: Option<Vec<String>>,
    }
    let storage = match cgroup.split('/').find_map(owner) {
        Some(user) => home(root, user)?.join(".local/share/containers/storage"),
        None => root.join("var/lib/containers/storage"),
    };
    ["containers.json", "volatile-containers.json"].iter().find_map(|list| {
        let kept: Vec<Kept> = json(&storage.join("overlay-containers").join(list))?;
        let mut kept = kept.into_iter().take(MOST);
        let name = kept.find(|kept| kept.id == id)?.names?.into_iter().next()?;
        Some(Told { name: value(&name), pod: None })
    })
}

/// The user of `user-1000.slice`.
fn owner(part: &str) -> Option<u32> {
    part.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok()
}

/// Home of a user of the host (passwd(5)).
fn home(root: &Path, user: u32) -> Option<PathBuf> {
    let passwd = read_bounded(root.join("etc/passwd"), LARGEST)?;
    let passwd = String::from_utf8_lossy(&passwd).into_owned();
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = users.find(|fields| fields.get(2).is_some_and(|id| *id == user.to_string()))?;
    let home = Path::new(found.get(5)?);
    let plain =
        |part| matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_));
    home.components().all(plain).then(|| root.join(home.strip_prefix("/").unwrap_or(home)))
}

/// Parses a regular file that is not too large. One of a user's may be anything: it is opened
/// without waiting, and never by a link.
fn json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY;
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let about = file.metadata().ok()?;
    if !about.is_file() || about.len() > LARGEST {
        return None;
    }
    serde_json::from_reader(BufReader::new(file.take(LARGEST))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4563bdde6dad0288c08a37ca5854f0d142076156c5d1f77f0349e2b9c468a406";

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path.replace("ID", ID));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.replace("ID", ID)).unwrap();
    }

    fn ask(root: &Path, runtime: Option<Runtime>, cgroup: &str) -> Option<Told> {
        let container = Container { id: Some(ID.into()), runtime, ..Container::default() };
        told(root, &container, cgroup)
    }

    fn named(name: &str) -> Option<Told> {
        Some(Told { name: Some(name.into()), pod: None })
    }

    fn in_pod(name: &str) -> Option<Told> {
        let pod = ["uid-1", "shop", "web-0"].map(str::to_owned);
        Some(Told { name: Some(name.into()), pod: Some(pod) })
    }

    #[test]
    fn names_are_found_in_the_files_of_each_runtime() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(ask(root, None, ""), None);
        write(
            root,
            "var/lib/containers/storage/overlay-containers/containers.json",
            r#"[{"id":"other","names":["no"]},{"id":"ID","names":["lpa"],"image":"","metadata":"{}"}]"#,
        );
        assert_eq!(ask(root, Some(Runtime::Podman), "/libpod_parent/libpod-ID"), named("lpa"));
        assert_eq!(ask(root, Some(Runtime::Docker), ""), None, "another's files do not count");
        write(
            root,
            "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
            r#"{"process":{"env":["PASSWORD=x"]},"annotations":{"io.kubernetes.cri.container-name":"app",
                "io.kubernetes.cri.container-type":"container","io.kubernetes.cri.sandbox-id":"s",
                "io.kubernetes.cri.sandbox-name":"web-0","io.kubernetes.cri.sandbox-namespace":"shop",
                "io.kubernetes.cri.sandbox-uid":"uid-1"}}"#,
        );
        assert_eq!(ask(root, Some(Runtime::Containerd), ""), in_pod("app"));
        assert_eq!(ask(root, None, ""), in_pod("app"), "by cgroupfs the runtime is not told");
        write(
            root,
            "var/lib/docker/containers/ID/config.v2.json",
            r#"{"ID":"ID","Name":"/eager_hopper","Config":{"Env":["PASSWORD=x"],"Labels":{}}}"#,
        );
        assert_eq!(ask(root, Some(Runtime::Docker), ""), named("eager_hopper"));
    }

    #[test]
    fn cri_o_and_docker_name_pods_too() {
        let root = tempfile::tempdir().unwrap();
        let labels = r#"{"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"web-0",
            "io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"uid-1","x":"y"}"#;
        write(
            root.path(),
            "run/containers/storage/overlay-containers/ID/userdata/config.json",
            &format!(r#"{{"annotations":{labels}}}"#),
        );
        write(
            root.path(),
            "var/lib/docker/containers/ID/config.v2.json",
            &format!(r#"{{"Name":"/k8s_app_web-0","Config":{{"Labels":{labels}}}}}"#),
        );
        assert_eq!(ask(root.path(), Some(Runtime::Crio), ""), in_pod("app"));
        assert_eq!(ask(root.path(), Some(Runtime::Docker), ""), in_pod("app"));
    }

    #[test]
    fn a_user_s_own_containers_are_in_the_user_s_home() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let list = r#"[{"id":"ID","names":["mine\u001b[2J"]}]"#;
        write(
            root,
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n",
        );
        let at = "home/ada/.local/share/containers/storage/overlay-containers/";
        write(root, &format!("{at}volatile-containers.json"), list);
        let cgroup = "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope";
        assert_eq!(ask(root, Some(Runtime::Podman), cgroup), named("mine\u{fffd}[2J"));
        assert_eq!(ask(root, Some(Runtime::Podman), "/user.slice/user-1001.slice/x"), None);
        assert_eq!(ask(root, Some(Runtime::Podman), "/machine.slice/libpod-ID.scope"), None);
        write(root, "etc/passwd", "ada:x:1000:1000::/home/../../../etc:/bin/sh\n");
        assert_eq!(ask(root, Some(Runtime::Podman), cgroup), None);
    }

    #[test]
    fn files_that_make_no_sense_say_nothing() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let at = "var/lib/containers/storage/overlay-containers/containers.json";
        for text in ["", "{", "[]", "[{}]", r#"[{"id":"ID"}]"#, r#"[{"id":"ID","names":[]}]"#, "7"]
        {
            write(root, at, text);
            assert_eq!(ask(root, Some(Runtime::Podman), ""), None, "{text}");
        }
        let elsewhere = root.join("elsewhere");
        std::fs::write(&elsewhere, format!(r#"[{{"id":"{ID}","names":["x"]}}]"#)).unwrap();
        std::fs::remove_file(root.join(at)).unwrap();
        std::os::unix::fs::symlink(&elsewhere, root.join(at)).unwrap();
        assert_eq!(ask(root, Some(Runtime::Podman), ""), None, "a link is not followed");
        std::fs::remove_file(root.join(at)).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join(at), 0o600.into()).unwrap();
        assert_eq!(ask(root, Some(Runtime::Podman), ""), None, "nobody waits for a pipe");
    }
}
