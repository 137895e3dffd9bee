//! Which agent processes are: rules as the user writes them.

use super::Selector;

/// Names the agent that processes are: `gen_ai.agent.*`.
///
/// The texts may hold `${env:NAME}`, a variable of the process; a text whose variable is not set
/// says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentRule {
    /// Whose.
    pub selector: Selector,
    /// Glob on the names of their threads: one of them must match.
    pub thread: Option<String>,
    /// `gen_ai.agent.name`.
    pub name: Option<String>,
    /// `gen_ai.agent.id`.
    pub id: Option<String>,
    /// `gen_ai.agent.version`.
    pub version: Option<String>,
}
