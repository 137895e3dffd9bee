//! What users say of locks that servers keep, on the command line.

use clap::Args;

use crate::framing::Rules;

/// Which keys are locks, and what else is told.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Locks that servers keep")]
pub struct RuleArgs {
    /// Keys of Redis and memcached like this are called after locks: a word of the key, or with `*`
    /// the whole key; beside lock, mutex, lease, leader, semaphore; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub lock_pattern: Vec<String>,
    /// Keys of Redis and memcached like this are never locks; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub ignore_pattern: Vec<String>,
    /// Show rows that statements lock by their words too (SELECT ... FOR UPDATE), of PostgreSQL and
    /// MySQL
    #[arg(long)]
    pub row_locks: bool,
    /// Show tables that LOCK TABLE locks too, of PostgreSQL
    #[arg(long)]
    pub table_locks: bool,
}

impl RuleArgs {
    /// The rules, beside those that are there anyway.
    pub fn rules(&self) -> Rules {
        let (lock, ignore) = (&self.lock_pattern, &self.ignore_pattern);
        Rules::beside(lock, ignore, self.row_locks, self.table_locks)
    }
}
