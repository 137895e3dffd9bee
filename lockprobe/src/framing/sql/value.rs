//! Arguments of functions in SQL, as far as they are written out or given beside it.

use super::tokens::{Token, unescaped};
use crate::framing::{owner, shown};

/// What an argument is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// Another number.
    Real(f64),
    /// A text, or bytes.
    Text(Vec<u8>),
    /// NULL.
    Null,
    /// A parameter, numbered from 1.
    Place(usize),
    /// Something that has to be computed.
    Expression,
}

impl Value {
    /// The number it is, or is the text of.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
            _ => None,
        }
    }

    /// The same, written in SQL.
    pub fn written(&self) -> Option<String> {
        match self {
            Self::Integer(number) => Some(number.to_string()),
            Self::Real(number) => Some(number.to_string()),
            Self::Text(text) => Some(format!("'{}'", shown(text))),
            Self::Null => Some("null".into()),
            Self::Place(_) | Self::Expression => None,
        }
    }
}

/// A number that tells a text with these parameters from others.
pub fn number_with(sql: u64, parameters: &[Value]) -> u64 {
    if parameters.is_empty() {
        return sql;
    }
    let mut text = format!("{sql:x}");
    for value in parameters {
        text.push(' ');
        text.push_str(&value.written().unwrap_or_else(|| "?".into()));
    }
    owner(text.as_bytes()).0
}

/// Types that leave a value what it is.
const PLAIN_TYPES: [&str; 11] = [
    "int", "integer", "int2", "int4", "int8", "bigint", "smallint", "text", "varchar", "numeric",
    "unknown",
];

/// The value some tokens stand for.
pub fn value(tokens: &[Token<'_>]) -> Value {
    match tokens {
        [Token::Sign(b'('), inner @ .., Token::Sign(b')')] if closes_last(tokens) => value(inner),
        [head @ .., Token::Cast, kind] if kind.is_any(&PLAIN_TYPES) => value(head),
        [cast, Token::Sign(b'('), inner @ .., r#as, kind, Token::Sign(b')')]
            if cast.is("cast") && r#as.is("as") && kind.is_any(&PLAIN_TYPES) =>
        {
            value(inner)
        }
        [Token::Sign(b'-'), rest @ ..] => negative(rest),
        [Token::Sign(b'+'), rest @ ..] if matches!(rest, [Token::Number(_), ..]) => value(rest),
        // A character set before a text.
        [Token::Word([b'_', ..]), text @ (Token::Text { .. } | Token::Hex(_))] => single(text),
        [one] => single(one),
        _ => Value::Expression,
    }
}

fn closes_last(tokens: &[Token<'_>]) -> bool {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign(b'(') => depth += 1,
            Token::Sign(b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1 == tokens.len();
        }
    }
    false
}

fn negative(rest: &[Token<'_>]) -> Value {
    let rest = match rest {
        [head, Token::Cast, kind] if kind.is_any(&PLAIN_TYPES) => std::slice::from_ref(head),
        rest => rest,
    };
    let [Token::Number(digits)] = rest else { return Value::Expression };
    let Ok(digits) = std::str::from_utf8(digits) else { return Value::Expression };
    number(&format!("-{digits}"))
}

fn number(text: &str) -> Value {
    if let Ok(number) = text.parse() {
        return Value::Integer(number);
    }
    text.parse().map_or(Value::Expression, Value::Real)
}

fn single(token: &Token<'_>) -> Value {
    match *token {
        Token::Number(digits) => std::str::from_utf8(digits).map_or(Value::Expression, number),
        Token::Text { raw, quote, escapes } => {
            Value::Text(unescaped(raw, quote, escapes).into_owned())
        }
        Token::Hex(digits) => bytes(digits).map_or(Value::Expression, Value::Text),
        Token::Place(number) => Value::Place(number),
        Token::Word(_) if token.is("null") => Value::Null,
        _ => Value::Expression,
    }
}

fn bytes(digits: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(digits).ok()?;
    // An odd one stands for a byte of its own.
    let (first, rest) = text.split_at(text.len() % 2);
    let mut bytes = Vec::with_capacity(text.len() / 2 + 1);
    if !first.is_empty() {
        bytes.push(u8::from_str_radix(first, 16).ok()?);
    }
    for at in (0..rest.len()).step_by(2) {
        bytes.push(u8::from_str_radix(rest.get(at..at + 2)?, 16).ok()?);
    }
    Some(bytes)
}
