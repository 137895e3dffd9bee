//! Licences: every expression must be met by the allow list alone.

use anyhow::{Context as _, Result};
use spdx::{Expression, LicenseReq, Licensee, ParseMode};

use super::{Dependency, strings};

pub(super) fn check(rules: &toml::Table, dependencies: &[Dependency]) -> Result<Vec<String>> {
    let allowed: Vec<Licensee> = strings(rules, "licenses", "allow")
        .into_iter()
        .map(|name| Licensee::parse(name).with_context(|| format!("deny.toml: licence {name}")))
        .collect::<Result<_>>()?;
    let judged = dependencies.iter().filter(|dependency| !dependency.private);
    Ok(judged.filter_map(|dependency| judge(&allowed, dependency)).collect())
}

/// What is wrong with one crate's licence, if anything.
fn judge(allowed: &[Licensee], dependency: &Dependency) -> Option<String> {
    let Dependency { name, version, licence, .. } = dependency;
    let Some(licence) = licence else {
        return Some(format!("{name} {version}: no licence expression"));
    };
    // Lax: old crates write `MIT/Apache-2.0`.
    let Ok(expression) = Expression::parse_mode(licence, ParseMode::LAX) else {
        return Some(format!("{name} {version}: licence `{licence}` is no SPDX expression"));
    };
    let met = |asked: &LicenseReq| allowed.iter().any(|one| one.satisfies(asked));
    (!expression.evaluate(met)).then(|| format!("{name} {version}: licence `{licence}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(licence: Option<&str>) -> Option<String> {
        let allowed = [Licensee::parse("MIT").unwrap(), Licensee::parse("Zlib").unwrap()];
        let licence = licence.map(str::to_owned);
        judge(&allowed, &Dependency { name: "x".into(), licence, ..Dependency::default() })
    }

    #[test]
    fn alternatives_need_one_and_conjunctions_all() {
        assert_eq!(verdict(Some("GPL-3.0-only OR MIT")), None);
        assert_eq!(verdict(Some("MIT/Apache-2.0")), None);
        assert_eq!(verdict(Some("MIT AND Zlib")), None);
        assert!(verdict(Some("MIT AND GPL-3.0-only")).is_some());
        assert!(verdict(Some("Apache-2.0")).is_some());
        assert!(verdict(Some("my own")).is_some());
        assert!(verdict(None).is_some());
    }
}
