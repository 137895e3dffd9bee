//! Comments before and after a statement, in which clients say what trace it is part of.
//!
//! The form is that of sqlcommenter: `/*key='value',traceparent='00-...-01'*/`
//! (<https://google.github.io/sqlcommenter/spec/>).

use crate::model::{RemoteAct, RemoteStep, TraceContext};

/// Longest comment that is looked at.
const LONGEST: usize = 4096;

/// A statement without what blanks and comment stand before and after it. A comment within it is
/// left: what looks like one may be part of a text.
pub fn bare(sql: &[u8]) -> &[u8] {
    let (_, body, _) = split(sql);
    body
}

/// The trace that the statement says it is part of.
pub fn context(sql: &[u8]) -> Option<TraceContext> {
    let (before, _, after) = split(sql);
    of_comment(after).or_else(|| of_comment(before))
}

/// What was asked for by the steps from here on is part of the trace the statement tells.
pub fn trace(context: Option<TraceContext>, from: usize, out: &mut Vec<RemoteStep>) {
    let Some(context) = context else { return };
    let asked = |step: &&RemoteStep| matches!(step.act, RemoteAct::Asked { .. });
    let traced = |step: &RemoteStep| RemoteStep { act: RemoteAct::Traced(context), ..step.clone() };
    let more: Vec<_> = out.iter().skip(from).filter(asked).map(traced).collect();
    out.extend(more);
}

/// Comment before, statement, comment after.
fn split(sql: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b';' | 0);
    let close = sql.iter().rposition(|byte| !end(byte)).map_or(0, |last| last + 1);
    let open = sql.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(close).min(close);
    let (mut before, mut body, mut after) = (&sql[..0], &sql[open..close], &sql[..0]);
    // A text that a statement ends with ends with a quote, so this is no part of one.
    if body.ends_with(b"*/")
        && let Some(at) = body.windows(2).rposition(|two| two == b"/*")
    {
        (body, after) = (&body[..at], &body[at..]);
    }
    if body.starts_with(b"/*")
        && let Some(at) = body.windows(2).position(|two| two == b"*/")
    {
        (before, body) = (&body[..at + 2], &body[at + 2..]);
    }
    (before, body.trim_ascii(), after)
}

fn of_comment(comment: &[u8]) -> Option<TraceContext> {
    const KEY: &[u8] = b"traceparent='";
    let comment = &comment[..comment.len().min(LONGEST)];
    let at = comment.windows(KEY.len()).position(|part| part == KEY)?;
    // Not the end of another key.
    let before = comment[..at].last()?;
    if !matches!(before, b'*' | b',') && !before.is_ascii_whitespace() {
        return None;
    }
    let value = comment[at + KEY.len()..].split(|&byte| byte == b'\'').next()?;
    TraceContext::parse(std::str::from_utf8(value).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'";

    fn span(sql: &str) -> Option<u64> {
        context(sql.as_bytes()).map(|context| context.span)
    }

    #[test]
    fn the_comment_of_a_statement_tells_its_trace() {
        let told = Some(0xc532_cb40_98ac_3dd2);
        for sql in [
            format!("SELECT pg_advisory_lock(1) /*{PARENT}*/"),
            format!(
                "SELECT pg_advisory_lock(1) /*action='%2Fa',{PARENT},tracestate='a%3D1'*/;\n\0"
            ),
            format!("/* a='b', {PARENT} */ SELECT pg_advisory_lock(1)"),
            format!("SELECT 'x' /*{PARENT}*/"),
        ] {
            assert_eq!(span(&sql), told, "{sql}");
            assert!(!bare(sql.as_bytes()).windows(2).any(|two| two == b"/*"), "{sql}");
        }
    }

    #[test]
    fn what_is_no_such_comment_tells_nothing() {
        for sql in [
            String::new(),
            "/*".into(),
            "*/".into(),
            "/*/".into(),
            format!("SELECT '/*{PARENT}*/'"),
            format!("SELECT '/*{PARENT}*/' , 1"),
            format!("SELECT 1 /*x{PARENT}*/"),
            format!("SELECT 1 -- {PARENT}"),
            "SELECT 1 /*traceparent='00-nonsense-01'*/".into(),
            "SELECT 1 /*traceparent='".into(),
        ] {
            assert_eq!(span(&sql), None, "{sql}");
        }
    }

    #[test]
    fn a_bare_statement_is_the_same_in_every_trace() {
        let sql = |parent: &str| format!("  SELECT 1 FROM t FOR UPDATE /*{parent}*/;");
        let (one, other) = (sql("a='1'"), sql(PARENT));
        assert_eq!(bare(one.as_bytes()), b"SELECT 1 FROM t FOR UPDATE");
        assert_eq!(bare(one.as_bytes()), bare(other.as_bytes()));
        assert_eq!(bare(b"/*only*/"), b"");
    }
}
