//! The trace a lock call is part of, as the program says that makes it.

/// A span of another program's, told in the form of W3C Trace Context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Its trace.
    pub trace: u128,
    /// The span in it.
    pub span: u64,
    /// Whether that trace is recorded at all.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`, version 00 or what a later one may add to it
    /// (<https://www.w3.org/TR/trace-context/#traceparent-header>). Anything else is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let version = digits(parts.next()?, 2)?;
        let (trace, span) = (digits(parts.next()?, 32)?, digits(parts.next()?, 16)?);
        let flags = digits(parts.next()?, 2)?;
        let more = parts.next().is_some();
        if version == 0xff || (version == 0 && more) || trace == 0 || span == 0 {
            return None;
        }
        Some(Self { trace, span: span as u64, sampled: flags & 1 == 1 })
    }
}

/// So many hexadecimal digits, small ones as the form wants them.
fn digits(text: &str, length: usize) -> Option<u128> {
    let all = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (all && text.len() == length).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_traceparent_is_read_as_its_specification_has_it() {
        let read = |text: &str| TraceContext::parse(text);
        let expected = TraceContext {
            trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span: 0x00f0_67aa_0ba9_02b7,
            sampled: true,
        };
        assert_eq!(read(&format!("00-{TRACE}-00f067aa0ba902b7-01")), Some(expected));
        assert_eq!(read(&format!(" 00-{TRACE}-00f067aa0ba902b7-03\n")), Some(expected));
        assert_eq!(read(&format!("cc-{TRACE}-00f067aa0ba902b7-01-new")), Some(expected));
        let unsampled = TraceContext { sampled: false, ..expected };
        assert_eq!(read(&format!("00-{TRACE}-00f067aa0ba902b7-00")), Some(unsampled));
    }

    #[test]
    fn whatever_is_none_is_none() {
        for text in [
            String::new(),
            "00".into(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}0-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-+0f067aa0ba902b7-01"),
            format!("0-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "\u{e9}".repeat(16)),
        ] {
            assert_eq!(TraceContext::parse(&text), None, "{text}");
        }
    }
}
