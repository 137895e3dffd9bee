//! What tests and demonstrations need from the system, as a list.

use std::path::Path;

use anyhow::Result;

use super::apt;
use crate::shell;

/// One need: the Debian package that fills it and how to see that it is filled.
struct Need {
    package: &'static str,
    /// A program on PATH or an absolute path; on other distributions the package has other names.
    proof: &'static str,
    why: &'static str,
}

const NEEDS: &[Need] = &[
    Need { package: "gcc", proof: "gcc", why: "live tests compile small C programs that lock" },
    Need { package: "libc6-dev", proof: "/usr/include/pthread.h", why: "their headers" },
    Need { package: "musl-tools", proof: "musl-gcc", why: "live tests watch locks of musl" },
    Need { package: "g++", proof: "g++", why: "live tests watch locks of C++" },
    Need { package: "golang-go", proof: "go", why: "live tests watch a Go program" },
    Need { package: "default-jdk-headless", proof: "javac", why: "live tests watch locks of Java" },
    Need { package: "git", proof: "git", why: "live tests watch its lock files" },
    Need { package: "nodejs", proof: "node", why: "live tests watch JavaScript" },
    Need { package: "npm", proof: "npm", why: "it installs clients of lock servers" },
    Need {
        package: "python3-venv",
        proof: "/usr/lib/python3.11/ensurepip/__init__.py",
        why: "clients of lock servers in Python have a place of their own",
    },
    Need { package: "redis-server", proof: "redis-server", why: "live tests watch its clients" },
    Need { package: "openssl", proof: "openssl", why: "it makes keys for those tests" },
    Need { package: "etcd-server", proof: "etcd", why: "live tests watch its clients" },
    Need { package: "etcd-client", proof: "etcdctl", why: "live tests watch it" },
    Need { package: "memcached", proof: "memcached", why: "live tests watch its clients" },
    Need {
        package: "libzookeeper-java",
        proof: "/usr/share/java/zookeeper.jar",
        why: "live tests watch clients of its server",
    },
    Need {
        package: "libcurator-recipes-java",
        proof: "/usr/share/java/curator-recipes.jar",
        why: "a client of ZooKeeper in Java",
    },
    Need {
        package: "postgresql-15",
        proof: "/usr/lib/postgresql/15/bin/postgres",
        why: "live tests watch its clients",
    },
    Need {
        package: "mariadb-server",
        proof: "/usr/sbin/mariadbd",
        why: "live tests watch its clients",
    },
    Need { package: "podman", proof: "podman", why: "live tests watch containers" },
    Need { package: "runc", proof: "runc", why: "podman runs them with it" },
    Need { package: "python3", proof: "/usr/bin/python3", why: "live tests watch locks of Python" },
    Need { package: "prometheus", proof: "promtool", why: "live tests have it read the endpoint" },
    Need { package: "systemd", proof: "systemd-analyze", why: "it checks the unit" },
    Need { package: "binutils", proof: "objcopy", why: "packages have no debug information" },
    Need { package: "lintian", proof: "lintian", why: "it checks the package" },
    Need { package: "dpkg-dev", proof: "dpkg-shlibdeps", why: "it tells what the package needs" },
];

impl Need {
    fn filled(&self) -> bool {
        if self.proof.starts_with('/') {
            Path::new(self.proof).exists()
        } else {
            shell::find(self.proof).is_some()
        }
    }
}

/// Installs what is absent; returns the names of what it installed.
pub fn install() -> Result<Vec<String>> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !need.filled()).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    for need in &missing {
        println!("setup: {} is missing ({})", need.package, need.why);
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    apt::install(&packages)?;
    Ok(packages.into_iter().map(str::to_owned).collect())
}
