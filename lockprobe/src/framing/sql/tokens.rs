//! SQL cut into words and values, as tolerantly as the letters allow.

use std::borrow::Cow;
use std::ops::Range;

/// Whose SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// PostgreSQL: `$1`, `"name"`, `$$text$$`, nested comments.
    Postgres,
    /// MySQL and MariaDB: `?`, `` `name` ``, `"text"`, `# comment`, backslashes in texts.
    Mysql,
}

/// The smallest part that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A name or a keyword.
    Word(&'a [u8]),
    /// A name in quotes.
    Name(&'a [u8]),
    /// A text, as it stands between its quotes.
    Text {
        /// With doubled quotes and escapes.
        raw: &'a [u8],
        /// The quote.
        quote: u8,
        /// Whether a backslash escapes.
        escapes: bool,
    },
    /// Hexadecimal digits that stand for bytes.
    Hex(&'a [u8]),
    /// Digits, perhaps with a point and an exponent.
    Number(&'a [u8]),
    /// A parameter: its number from 1 on, 0 where they are counted by place.
    Place(usize),
    /// `::`
    Cast,
    /// Anything else.
    Sign(u8),
}

impl Token<'_> {
    /// Whether it is this keyword.
    pub fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(own) if own.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Whether it is one of these keywords.
    pub fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }
}

/// What a text means: escapes and doubled quotes undone.
pub fn unescaped(raw: &[u8], quote: u8, escapes: bool) -> Cow<'_, [u8]> {
    if !raw.iter().any(|&byte| byte == quote || (escapes && byte == b'\\')) {
        return Cow::Borrowed(raw);
    }
    let mut text = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if escapes => match bytes.next() {
                Some(b'n') => text.push(b'\n'),
                Some(b't') => text.push(b'\t'),
                Some(b'r') => text.push(b'\r'),
                Some(b'0') => text.push(0),
                Some(other) => text.push(other),
                None => {}
            },
            _ if byte == quote => {
                bytes.next();
                text.push(quote);
            }
            _ => text.push(byte),
        }
    }
    Cow::Owned(text)
}

/// A statement on its way into tokens, each with where it stands.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    sql: &'a [u8],
    at: usize,
    flavour: Flavour,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

impl<'a> Tokens<'a> {
    /// Begins.
    pub fn new(sql: &'a [u8], flavour: Flavour) -> Self {
        Self { sql, at: 0, flavour }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.sql.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &'a [u8] {
        &self.sql[self.at.min(self.sql.len())..]
    }

    fn skip_blank(&mut self) {
        let mysql = self.flavour == Flavour::Mysql;
        while self.at < self.sql.len() {
            match (self.peek(0), self.peek(1)) {
                (byte, _) if byte.is_ascii_whitespace() || byte == 0 => self.at += 1,
                // To MySQL, `--` begins a comment only before a blank.
                (b'-', b'-') if !mysql || self.peek(2) <= b' ' => self.skip_line(),
                (b'#', _) if mysql => self.skip_line(),
                // What stands in such a comment is carried out.
                (b'/', b'*') if mysql && matches!(self.peek(2), b'!' | b'M') => {
                    self.at += 2;
                    while matches!(self.peek(0), b'!' | b'M' | b'0'..=b'9') {
                        self.at += 1;
                    }
                }
                (b'*', b'/') if mysql => self.at += 2,
                (b'/', b'*') => self.skip_comment(!mysql),
                _ => return,
            }
        }
    }

    fn skip_line(&mut self) {
        let end = self.rest().iter().position(|&byte| byte == b'\n');
        self.at = end.map_or(self.sql.len(), |end| self.at + end + 1);
    }

    fn skip_comment(&mut self, nested: bool) {
        let mut depth = 1;
        self.at += 2;
        while depth > 0 && self.at < self.sql.len() {
            match (self.peek(0), self.peek(1)) {
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                }
                (b'/', b'*') if nested => {
                    depth += 1;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
    }

    /// What is between quotes, from the opening one on.
    fn quoted(&mut self, quote: u8, escapes: bool) -> &'a [u8] {
        self.at += 1;
        let start = self.at;
        while self.at < self.sql.len() {
            let byte = self.peek(0);
            if (byte == b'\\' && escapes) || (byte == quote && self.peek(1) == quote) {
                self.at += 2;
            } else if byte == quote {
                self.at += 1;
                return &self.sql[start..self.at - 1];
            } else {
                self.at += 1;
            }
        }
        self.at = self.sql.len();
        &self.sql[start..]
    }

    fn text(&mut self, quote: u8, escapes: bool) -> Token<'a> {
        Token::Text { raw: self.quoted(quote, escapes), quote, escapes }
    }

    fn run(&mut self, is: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let end = rest.iter().position(|&byte| !is(byte)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn word(&mut self) -> Token<'a> {
        let mysql = self.flavour == Flavour::Mysql;
        match (self.peek(0) | 0x20, self.peek(1)) {
            (b'e', b'\'') if !mysql => {
                self.at += 1;
                self.text(b'\'', true)
            }
            (b'n', b'\'') => {
                self.at += 1;
                self.text(b'\'', mysql)
            }
            (b'x', b'\'') if mysql => {
                self.at += 1;
                Token::Hex(self.quoted(b'\'', false))
            }
            _ => Token::Word(self.run(|byte| is_word(byte) || byte == b'$')),
        }
    }

    fn number(&mut self) -> Token<'a> {
        if self.peek(0) == b'0' && self.peek(1) == b'x' && self.flavour == Flavour::Mysql {
            self.at += 2;
            return Token::Hex(self.run(|byte| byte.is_ascii_hexdigit()));
        }
        let digits = self.run(|byte| byte.is_ascii_digit() || byte == b'.');
        if self.peek(0) | 0x20 == b'e' && (self.peek(1).is_ascii_digit() || self.peek(1) == b'-') {
            let start = self.at - digits.len();
            self.at += 2;
            self.run(|byte| byte.is_ascii_digit());
            return Token::Number(&self.sql[start..self.at]);
        }
        Token::Number(digits)
    }

    /// `$1`, or a text between `$tag$` and the same.
    fn dollar(&mut self) -> Token<'a> {
        self.at += 1;
        if self.peek(0).is_ascii_digit() {
            let digits = self.run(|byte| byte.is_ascii_digit());
            let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            return Token::Place(number.unwrap_or(usize::MAX));
        }
        let start = self.at - 1;
        self.run(is_word);
        if self.peek(0) != b'$' {
            return Token::Sign(b'$');
        }
        self.at += 1;
        let tag = &self.sql[start..self.at];
        let body = self.at;
        let end = self.rest().windows(tag.len()).position(|window| window == tag);
        let raw = end.map_or(self.rest(), |end| &self.sql[body..body + end]);
        self.at = end.map_or(self.sql.len(), |end| body + end + tag.len());
        Token::Text { raw, quote: 0, escapes: false }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (Token<'a>, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_blank();
        if self.at >= self.sql.len() {
            return None;
        }
        let start = self.at;
        let mysql = self.flavour == Flavour::Mysql;
        let token = match self.peek(0) {
            b'\'' => self.text(b'\'', mysql),
            b'"' if mysql => self.text(b'"', true),
            b'"' => Token::Name(self.quoted(b'"', false)),
            b'`' if mysql => Token::Name(self.quoted(b'`', false)),
            b'$' if !mysql => self.dollar(),
            b'?' if mysql => {
                self.at += 1;
                Token::Place(0)
            }
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() => self.number(),
            b':' if self.peek(1) == b':' => {
                self.at += 2;
                Token::Cast
            }
            byte if is_word(byte) => self.word(),
            byte => {
                self.at += 1;
                Token::Sign(byte)
            }
        };
        Some((token, start..self.at.min(self.sql.len())))
    }
}
