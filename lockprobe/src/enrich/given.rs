//! Names that the user gives to locks: a pattern, and what the locks it matches are called.

use std::collections::HashMap;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

use crate::model::{LockDescription, LockId};

/// Most locks remembered; beyond, the rules are asked anew.
const AT_MOST: usize = 65_536;

/// One rule: `PATTERN=NAME`.
#[derive(Clone, Debug)]
pub struct GivenName {
    pattern: GlobMatcher,
    name: Arc<str>,
}

impl GivenName {
    /// Reads a rule. The last `=` divides, since a name has none and a pattern may.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "write it like 'cache.c:*=cache' or 'flock:*index.lock=git index'";
        let (pattern, name) =
            text.rsplit_once('=').ok_or_else(|| format!("there is no `=` in it; {example}"))?;
        if pattern.is_empty() || name.trim().is_empty() {
            return Err(format!("pattern and name must not be empty; {example}"));
        }
        Self::new(pattern, name)
    }

    /// Locks that match the pattern are called this.
    pub fn new(pattern: &str, name: &str) -> Result<Self, String> {
        let glob = GlobBuilder::new(pattern).build().map_err(|e| e.kind().to_string())?;
        Ok(Self { pattern: glob.compile_matcher(), name: name.trim().into() })
    }

    /// A pattern may speak of the name lockprobe found, of the identity, or of the call site.
    fn matches(&self, lock: &LockDescription) -> bool {
        self.pattern.is_match(&*lock.name)
            || self.pattern.is_match(lock.identity())
            || lock.call_site.as_ref().is_some_and(|site| self.pattern.is_match(site.to_string()))
    }
}

/// The rules, first match first, and what they came to.
#[derive(Default)]
pub struct GivenNames {
    rules: Vec<GivenName>,
    known: HashMap<LockId, [Arc<LockDescription>; 2]>,
}

impl GivenNames {
    /// Applies these rules.
    pub fn new(rules: Vec<GivenName>) -> Self {
        Self { rules, known: HashMap::new() }
    }

    /// The description with the name the user wants, or as it is.
    pub fn apply(&mut self, lock: &Arc<LockDescription>) -> Arc<LockDescription> {
        if self.rules.is_empty() {
            return lock.clone();
        }
        // What is known of a lock may grow: then it is another description.
        if let Some([found, given]) = self.known.get(&lock.id)
            && Arc::ptr_eq(found, lock)
        {
            return given.clone();
        }
        let given = match self.rules.iter().find(|rule| rule.matches(lock)) {
            Some(rule) => Arc::new(LockDescription {
                name: rule.name.clone(),
                ..LockDescription::clone(lock)
            }),
            None => lock.clone(),
        };
        if self.known.len() >= AT_MOST {
            self.known.clear();
        }
        self.known.insert(lock.id, [lock.clone(), given.clone()]);
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CallSite, LockKind};

    fn lock(name: &str) -> Arc<LockDescription> {
        let site = CallSite {
            function: "process_batch".into(),
            source: Some(("/src/worker.c".into(), 42)),
            module: "worker".into(),
            offset: 0x10,
        };
        Arc::new(LockDescription {
            id: LockId::Private { pid: 7, image: 0, address: 0x1000 },
            kind: LockKind::PthreadMutex,
            name: name.into(),
            confirmed: true,
            call_site: Some(site),
            address: None,
        })
    }

    fn given(rules: &[&str], name: &str) -> String {
        let rules = rules.iter().map(|text| GivenName::parse(text).unwrap()).collect();
        GivenNames::new(rules).apply(&lock(name)).name.to_string()
    }

    #[test]
    fn the_first_rule_that_matches_gives_the_name() {
        assert_eq!(given(&[], "queue.0"), "queue.0");
        assert_eq!(given(&["other*=x", "queue*=jobs", "*=rest"], "queue.0"), "jobs");
        assert_eq!(given(&["futex:7:*=seven"], "queue.0"), "seven");
        assert_eq!(given(&["worker.c:42 *=the batch lock"], "queue.0"), "the batch lock");
        assert_eq!(given(&["a=b=c"], "a=b"), "c");
    }

    #[test]
    fn a_lock_whose_description_grew_is_judged_anew() {
        let mut names = GivenNames::new(vec![GivenName::parse("queue*=jobs").unwrap()]);
        assert_eq!(&*names.apply(&lock("futex:7:0x1000")).name, "futex:7:0x1000");
        assert_eq!(&*names.apply(&lock("queue")).name, "jobs");
    }

    #[test]
    fn what_is_no_rule_is_refused_with_an_example() {
        for text in ["", "=", "a=", "=b", "no rule"] {
            assert!(GivenName::parse(text).unwrap_err().contains("cache.c"), "{text}");
        }
        assert!(GivenName::parse("[a=b").is_err());
    }
}
