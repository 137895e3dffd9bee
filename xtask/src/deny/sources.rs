//! Sources: crates of the registry and of this workspace, nothing else.

use super::{Dependency, strings};

pub(super) fn check(rules: &toml::Table, dependencies: &[Dependency]) -> Vec<String> {
    let allowed = strings(rules, "sources", "allow-registry");
    let stranger = |dependency: &Dependency| {
        let source = dependency.source.as_deref()?;
        let known = source.strip_prefix("registry+").is_some_and(|url| allowed.contains(&url));
        let Dependency { name, version, .. } = dependency;
        (!known).then(|| format!("{name} {version}: comes from {source}"))
    };
    dependencies.iter().filter_map(stranger).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_and_other_registries_are_strangers() {
        let rules = "[sources]\nallow-registry = ['sparse:a']".parse().unwrap();
        let from = |source: Option<&str>| {
            let source = source.map(str::to_owned);
            check(&rules, &[Dependency { source, ..Dependency::default() }]).len()
        };
        assert_eq!(from(None), 0);
        assert_eq!(from(Some("registry+sparse:a")), 0);
        assert_eq!(from(Some("registry+sparse:b")), 1);
        assert_eq!(from(Some("git+sparse:a")), 1);
    }
}
