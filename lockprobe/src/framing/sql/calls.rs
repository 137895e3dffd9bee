//! Calls of functions in a statement: with what, and where their results are to be found.

use std::ops::Range;

use super::tokens::Token;
use super::value::{Value, value};

/// Most tokens of one argument that are looked at.
const ARGUMENT_AT_MOST: usize = 64;
/// Most calls in one statement.
const CALLS_AT_MOST: usize = 64;

/// Where the result of a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// This column of each row.
    Column(usize),
    /// Nowhere, but it is carried out, once.
    Alone,
    /// Somewhere inside: perhaps it is not even carried out.
    Inside,
}

/// A part of arguments as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Text, in lower case where that means the same, one blank where there are any.
    Text(String),
    /// A parameter.
    Place(usize),
}

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call<F> {
    /// Of which function.
    pub function: F,
    /// With what.
    pub arguments: Vec<Value>,
    /// The first argument, where it has to be computed: as it is written.
    pub written: Vec<Written>,
    /// Where its result is.
    pub spot: Spot,
}

/// Tokens of one statement, and where they stand.
pub struct Line<'a> {
    pub sql: &'a [u8],
    pub tokens: Vec<Token<'a>>,
    pub ranges: Vec<Range<usize>>,
}

/// Words after an expression that go on with it.
const OPERATORS: [&str; 22] = [
    "is", "and", "or", "xor", "in", "like", "ilike", "between", "collate", "not", "div", "mod",
    "at", "isnull", "notnull", "similar", "regexp", "rlike", "sounds", "over", "filter", "member",
];
/// Words that end the list of columns.
const AFTER_COLUMNS: [&str; 11] = [
    "from",
    "where",
    "group",
    "having",
    "limit",
    "union",
    "for",
    "order",
    "into",
    "except",
    "intersect",
];

/// Where the list of columns is, and where each of them begins.
#[derive(Default)]
struct Columns {
    starts: Vec<usize>,
    end: usize,
    /// From this column on they cannot be counted.
    star: Option<usize>,
}

fn columns(tokens: &[Token<'_>]) -> Columns {
    let mut columns = Columns::default();
    if !tokens.first().is_some_and(|token| token.is("select")) {
        return columns;
    }
    let first = if tokens.get(1).is_some_and(|token| token.is_any(&["all"])) { 2 } else { 1 };
    columns.starts.push(first);
    columns.end = tokens.len();
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(first) {
        match token {
            Token::Sign(b'(' | b'[') => depth += 1,
            Token::Sign(b')' | b']') => depth = depth.saturating_sub(1),
            Token::Sign(b',') if depth == 0 => columns.starts.push(at + 1),
            // `*` or `t.*`, not a product.
            Token::Sign(b'*')
                if depth == 0
                    && columns.star.is_none()
                    && (columns.starts.contains(&at)
                        || matches!(tokens[at - 1], Token::Sign(b'.'))) =>
            {
                columns.star = Some(columns.starts.len() - 1);
            }
            Token::Word(_) if depth == 0 && token.is_any(&AFTER_COLUMNS) => {
                columns.end = at;
                break;
            }
            _ => {}
        }
    }
    columns
}

/// Every call of the functions that matter.
pub fn calls<F>(line: &Line<'_>, function: &impl Fn(&[u8]) -> Option<F>) -> Vec<Call<F>> {
    let tokens = &line.tokens;
    let columns = columns(tokens);
    let mut calls = Vec::new();
    let mut places = 0;
    for at in 0..tokens.len() {
        if let Token::Place(0) = tokens[at] {
            places += 1;
        }
        let name = match tokens[at] {
            Token::Word(name) | Token::Name(name) => name,
            _ => continue,
        };
        if tokens.get(at + 1) != Some(&Token::Sign(b'(')) || calls.len() == CALLS_AT_MOST {
            continue;
        }
        let Some(function) = function(name) else { continue };
        let Some(start) = start(tokens, at) else { continue };
        let Some(end) = closing(tokens, at + 1) else { continue };
        let inside = at + 2..end;
        let (arguments, first) = arguments(line, inside, places);
        let written = match arguments.first() {
            Some(Value::Expression) => written(line, first, places),
            _ => Vec::new(),
        };
        let spot = spot(tokens, &columns, start, end);
        calls.push(Call { function, arguments, written, spot });
    }
    calls
}

/// Where a call begins; nothing if it is of somebody else's function of the same name.
fn start(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    if at < 2 || tokens[at - 1] != Token::Sign(b'.') {
        return Some(at);
    }
    let own =
        matches!(tokens[at - 2], Token::Name(b"pg_catalog")) || tokens[at - 2].is("pg_catalog");
    own.then(|| at - 2)
}

fn closing(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Sign(b'(') => depth += 1,
            Token::Sign(b')') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The arguments, and which tokens the first one is made of.
fn arguments(line: &Line<'_>, inside: Range<usize>, places: usize) -> (Vec<Value>, Range<usize>) {
    let mut arguments = Vec::new();
    let mut first = inside.clone();
    if inside.is_empty() {
        return (arguments, first);
    }
    let (mut start, mut depth, mut number) = (inside.start, 0usize, places);
    for at in inside.start..=inside.end {
        let token = &line.tokens[at];
        match token {
            Token::Sign(b'(' | b'[') => depth += 1,
            Token::Sign(b')' | b']') if at < inside.end => depth = depth.saturating_sub(1),
            _ => {}
        }
        if at < inside.end && (depth > 0 || *token != Token::Sign(b',')) {
            continue;
        }
        if arguments.is_empty() {
            first.end = at;
        }
        let own = &line.tokens[start..at];
        let counted = own.iter().filter(|token| **token == Token::Place(0)).count();
        arguments.push(match value(&own[..own.len().min(ARGUMENT_AT_MOST)]) {
            _ if own.len() > ARGUMENT_AT_MOST => Value::Expression,
            Value::Place(0) => Value::Place(number + 1),
            other => other,
        });
        number += counted;
        start = at + 1;
    }
    (arguments, first)
}

fn written(line: &Line<'_>, range: Range<usize>, mut places: usize) -> Vec<Written> {
    let mut parts = Vec::new();
    let mut text = String::new();
    for at in range.start..range.end.min(range.start + ARGUMENT_AT_MOST) {
        let is_word = |at: usize| matches!(line.tokens[at], Token::Word(_) | Token::Number(_));
        if at > range.start && is_word(at) && is_word(at - 1) {
            text.push(' ');
        }
        match line.tokens[at] {
            Token::Place(number) => {
                places += usize::from(number == 0);
                parts.push(Written::Text(std::mem::take(&mut text)));
                parts.push(Written::Place(if number == 0 { places } else { number }));
            }
            Token::Word(word) => {
                text.push_str(&String::from_utf8_lossy(word).to_ascii_lowercase());
            }
            _ => text.push_str(&String::from_utf8_lossy(&line.sql[line.ranges[at].clone()])),
        }
    }
    parts.push(Written::Text(text));
    parts
}

fn spot(tokens: &[Token<'_>], columns: &Columns, start: usize, end: usize) -> Spot {
    // MySQL's DO, which has no result; PostgreSQL's is followed by a text.
    if tokens[0].is("do") && start == 1 {
        return Spot::Alone;
    }
    let whole = match after_casts(tokens, end + 1) {
        None | Some(Token::Sign(b',') | Token::Name(_) | Token::Text { .. }) => true,
        Some(word @ Token::Word(_)) => !word.is_any(&OPERATORS),
        Some(_) => false,
    };
    if let Some(column) = columns.starts.iter().position(|&own| own == start) {
        let counted = columns.star.is_none_or(|star| column < star);
        return if whole && counted { Spot::Column(column) } else { Spot::Inside };
    }
    let from = columns.end;
    let is_first = start == from + 1 && tokens.get(from).is_some_and(|token| token.is("from"));
    let conditional = tokens[end..].iter().any(|token| token.is_any(&["where", "join", "limit"]));
    match (is_first && whole && !conditional, &columns.starts[..], columns.star) {
        (true, [_], Some(0)) => Spot::Column(0),
        (true, ..) => Spot::Alone,
        _ => Spot::Inside,
    }
}

/// What stands after `::type` and the like.
fn after_casts<'a>(tokens: &'a [Token<'a>], mut at: usize) -> Option<&'a Token<'a>> {
    while tokens.get(at) == Some(&Token::Cast) {
        at += 2;
    }
    tokens.get(at)
}
