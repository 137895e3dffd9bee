//! Statements: what each does with transactions, prepared statements, functions and rows.

use super::calls::{Call, Line, calls};
use super::tokens::{Flavour, Token, Tokens, unescaped};
use super::value::{Value, value};

/// Most statements in one text.
const STATEMENTS_AT_MOST: usize = 64;
/// Most tokens of one statement.
const TOKENS_AT_MOST: usize = 4096;

/// What a statement does beside what it calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Head {
    /// BEGIN, START TRANSACTION; in MySQL that ends the one before.
    Begin,
    /// COMMIT, END.
    Commit,
    /// ROLLBACK, ABORT.
    Rollback,
    /// SAVEPOINT.
    Savepoint(Vec<u8>),
    /// ROLLBACK TO.
    RollbackTo(Vec<u8>),
    /// RELEASE SAVEPOINT.
    Release(Vec<u8>),
    /// DISCARD ALL.
    DiscardAll,
    /// DEALLOCATE: a prepared statement, or all.
    Deallocate(Option<Vec<u8>>),
    /// PREPARE: what is called is called later.
    Prepare(Vec<u8>),
    /// EXECUTE.
    Execute(Vec<u8>, Vec<Value>),
    /// Anything else.
    Other,
}

/// A statement locks rows, or a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowLocks {
    /// Of which table, if that is plain.
    pub table: Option<String>,
    /// The whole table.
    pub whole: bool,
    /// Others may do the same.
    pub shared: bool,
    /// Neither alone nor together: a mode of which only the server knows what it excludes.
    pub other: bool,
    /// It does not wait.
    pub nowait: bool,
    /// It leaves out what others have: a queue.
    pub skip: bool,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement<F> {
    /// What it does with transactions and the like.
    pub head: Head,
    /// What it calls.
    pub calls: Vec<Call<F>>,
    /// What it locks.
    pub locks: Option<RowLocks>,
    /// It holds code that is not looked at, and speaks of locks there.
    pub hidden: bool,
}

/// Every statement of a text, up to a bound.
pub fn statements<F>(
    sql: &[u8],
    flavour: Flavour,
    function: &impl Fn(&[u8]) -> Option<F>,
) -> Vec<Statement<F>> {
    let mut statements = Vec::new();
    let empty = || Line { sql, tokens: Vec::new(), ranges: Vec::new() };
    let mut line = empty();
    let mut depth = 0usize;
    for (token, range) in Tokens::new(sql, flavour) {
        match token {
            Token::Sign(b'(') => depth += 1,
            Token::Sign(b')') => depth = depth.saturating_sub(1),
            Token::Sign(b';') if depth == 0 => {
                let done = std::mem::replace(&mut line, empty());
                if !done.tokens.is_empty() {
                    statements.push(statement(done, function));
                }
                if statements.len() == STATEMENTS_AT_MOST {
                    return statements;
                }
                continue;
            }
            _ => {}
        }
        if line.tokens.len() < TOKENS_AT_MOST {
            line.tokens.push(token);
            line.ranges.push(range);
        }
    }
    if !line.tokens.is_empty() {
        statements.push(statement(line, function));
    }
    statements
}

fn statement<F>(mut line: Line<'_>, function: &impl Fn(&[u8]) -> Option<F>) -> Statement<F> {
    let head = head(&line.tokens);
    if let Head::Prepare(_) = head {
        // From where the statement itself begins.
        let body = line.tokens.iter().position(|token| token.is_any(&["as", "from"]));
        let body = body.map_or(line.tokens.len(), |at| at + 1);
        line.tokens.drain(..body);
        line.ranges.drain(..body);
    }
    let first = line.tokens.first().copied();
    let explained = first.is_some_and(|token| token.is_any(&["explain", "describe", "create"]));
    let silent = explained || line.tokens.is_empty();
    let hidden = first.is_some_and(|token| token.is("do"))
        && line.tokens.iter().any(|token| match token {
            Token::Text { raw, .. } => raw.windows(9).any(|w| w.eq_ignore_ascii_case(b"_advisory")),
            _ => false,
        });
    let (calls, locks) = match silent {
        true => (Vec::new(), None),
        false => (calls(&line, function), row_locks(&line.tokens)),
    };
    Statement { head, calls, locks, hidden }
}

fn head(tokens: &[Token<'_>]) -> Head {
    let Some(first) = tokens.first() else { return Head::Other };
    let second = tokens.get(1);
    let is_second = |words: &[&str]| second.is_some_and(|token| token.is_any(words));
    if first.is("begin") || (first.is("start") && is_second(&["transaction"])) {
        return Head::Begin;
    }
    if first.is_any(&["commit", "end"]) {
        return Head::Commit;
    }
    if first.is_any(&["rollback", "abort"]) {
        let to = tokens.iter().position(|token| token.is("to"));
        return to.map_or(Head::Rollback, |to| Head::RollbackTo(name_after(tokens, to)));
    }
    if first.is("savepoint") {
        return Head::Savepoint(name_after(tokens, 0));
    }
    if first.is("release") {
        return Head::Release(name_after(tokens, 0));
    }
    if first.is("discard") && is_second(&["all"]) {
        return Head::DiscardAll;
    }
    if first.is("deallocate") {
        let name = name_after(tokens, 0);
        return Head::Deallocate((!name.eq_ignore_ascii_case(b"all")).then_some(name));
    }
    if first.is("prepare") && !is_second(&["transaction"]) {
        return Head::Prepare(name_after(tokens, 0));
    }
    if first.is("execute") {
        return Head::Execute(name_after(tokens, 0), given(tokens));
    }
    Head::Other
}

/// The name after a keyword, `SAVEPOINT` and `PREPARE` between them passed over.
fn name_after(tokens: &[Token<'_>], at: usize) -> Vec<u8> {
    let mut rest = tokens.iter().skip(at + 1).filter(|t| !t.is_any(&["savepoint", "prepare"]));
    match rest.next() {
        Some(Token::Word(name)) => name.to_ascii_lowercase(),
        Some(Token::Name(name)) => unescaped(name, b'"', false).into_owned(),
        _ => Vec::new(),
    }
}

/// Values in parentheses after the name.
fn given(tokens: &[Token<'_>]) -> Vec<Value> {
    match tokens {
        [_, _, Token::Sign(b'('), inner @ .., Token::Sign(b')')] if inner.len() <= 256 => {
            inner.split(|token| *token == Token::Sign(b',')).map(value).collect()
        }
        _ => Vec::new(),
    }
}

fn row_locks(tokens: &[Token<'_>]) -> Option<RowLocks> {
    if tokens[0].is("lock") && tokens.len() > 1 {
        return Some(table_lock(tokens));
    }
    // The last words of a query.
    let start = tokens.len().saturating_sub(24);
    let tail = &tokens[start..];
    let is = |at: usize, words: &[&str]| tail.get(at).is_some_and(|token| token.is_any(words));
    let at = (0..tail.len()).rev().find(|&at| {
        (is(at, &["for"]) && is(at + 1, &["update", "no", "share", "key"]))
            || (is(at, &["lock"]) && is(at + 1, &["in"]) && is(at + 2, &["share"]))
    })?;
    let words = &tail[at..];
    let has = |word: &str| words.iter().any(|token| token.is(word));
    if !tokens[0].is_any(&["select", "with", "values", "table"]) && tokens[0] != Token::Sign(b'(') {
        return None;
    }
    let from = tokens.iter().position(|token| token.is("from"));
    Some(RowLocks {
        table: from.and_then(|from| table(&tokens[from + 1..])),
        whole: false,
        shared: has("share"),
        other: false,
        nowait: has("nowait"),
        skip: has("skip"),
    })
}

/// LOCK [TABLE] [ONLY] name ... [IN mode MODE] [NOWAIT]; LOCK TABLES name READ | WRITE.
fn table_lock(tokens: &[Token<'_>]) -> RowLocks {
    let words = ["table", "tables", "only"];
    let start = tokens.iter().skip(1).position(|token| !token.is_any(&words));
    let has = |word: &str| tokens.iter().any(|token| token.is(word));
    let exclusive = (has("exclusive") && !has("row") && !has("update"))
        || has("write")
        || !tokens.iter().any(|token| token.is_any(&["in", "read"]));
    let shared = !exclusive && (has("read") || (has("share") && !has("row") && !has("access")));
    RowLocks {
        table: start.and_then(|start| table(&tokens[start + 1..])),
        whole: true,
        shared,
        other: !exclusive && !shared,
        nowait: has("nowait"),
        skip: false,
    }
}

/// A name, perhaps with that of its schema.
fn table(tokens: &[Token<'_>]) -> Option<String> {
    let name = |at: usize| match tokens.get(at) {
        Some(Token::Word(name)) => Some(String::from_utf8_lossy(name).to_ascii_lowercase()),
        Some(Token::Name(name)) => Some(String::from_utf8_lossy(name).into_owned()),
        _ => None,
    };
    let own = name(0)?;
    match tokens.get(1) {
        Some(Token::Sign(b'.')) => name(2),
        _ => Some(own),
    }
}
