//! What a process says of itself in the words of OpenTelemetry, checked (pure).

use percent_encoding::percent_decode_str;

use super::RESERVED;
use crate::model::thread::printable;

/// Attributes taken of one text.
const MOST: usize = 64;
/// Bytes of a name.
const LONGEST_NAME: usize = 128;
/// Characters of a value.
const LONGEST_VALUE: usize = 256;

/// The text of OTEL_RESOURCE_ATTRIBUTES: `key=value,key=value`, percent-encoded. What is invalid is
/// left out; of two of a name the last counts, as in the SDKs.
pub fn attributes(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (name, value) in text.split(',').filter_map(pair) {
        if let Some(known) = found.iter_mut().find(|(known, _)| *known == name) {
            known.1 = value;
        } else if found.len() < MOST {
            found.push((name, value));
        }
    }
    found
}

fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let name = percent_decode_str(name.trim()).decode_utf8().ok()?;
    let value = percent_decode_str(value.trim().trim_matches('"')).decode_utf8().ok()?;
    Some((self::name(&name)?, self::value(&value)?))
}

/// A name that an attribute may have.
pub fn name(text: &str) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
    let good = (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(allowed);
    (good && !RESERVED.iter().any(|own| is_under(text, own))).then(|| text.to_owned())
}

/// `a.b` is under `a.b` and, if that ends in a dot, under `a.`.
fn is_under(name: &str, own: &str) -> bool {
    name == own || own.ends_with('.') && name.starts_with(own)
}

/// A value without control characters, cut to a bound; `None` when nothing is left.
pub fn value(text: &str) -> Option<String> {
    let text = printable(text.trim());
    let cut = text.char_indices().nth(LONGEST_VALUE).map_or(text.len(), |(at, _)| at);
    (!text.is_empty()).then(|| text[..cut].to_owned())
}

/// A W3C trace context: 55 characters, of a version that is known to begin like that
/// (<https://www.w3.org/TR/trace-context/>).
pub fn trace_parent(text: &str) -> Option<String> {
    let text = text.trim();
    let known = text.get(..55)?;
    let parts: Vec<&str> = known.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { return None };
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    let formed = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    // Later versions may have more behind a dash.
    let ends = text.len() == 55 || version != "00" && text.as_bytes()[55] == b'-';
    (formed && ends && version != "ff" && !zero(trace) && !zero(span)).then(|| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let pairs = attributes(text);
        pairs.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn attributes_are_decoded_and_invalid_parts_left_out() {
        #[rustfmt::skip]
        let table = [
            ("service.version=1.2,deployment.environment.name=prod", "service.version=1.2 | deployment.environment.name=prod"),
            (" a = b , c=d ", "a=b | c=d"),
            ("team=one%2Ctwo%3Dthree%20four", "team=one,two=three four"),
            ("city=K%C3%B6ln", "city=Köln"),
            ("a=1,a=2", "a=2"),
            ("a=\"quoted\"", "a=quoted"),
            ("bad=%ff%fe,good=1", "good=1"),
            ("novalue,=nothing,empty=,spaces=%20,ok=1", "ok=1"),
            ("na me=1,na\u{f6}me=2,a\u{1}=3,ok=1", "ok=1"),
            ("ok=a%0Ab%1b[2J", "ok=a\u{fffd}b\u{fffd}[2J"),
            ("process.pid=1,telemetry.sdk.name=x,service.instance.id=y,host.name=z,ok=1", "ok=1"),
            ("process.command_args=--password=x,ok=1", "ok=1"),
            ("", ""),
            (",,,==,", ""),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_too_much_is_bounded() {
        let many: Vec<String> = (0..1000).map(|i| format!("k{i}=v")).collect();
        assert_eq!(attributes(&many.join(",")).len(), MOST);
        let long = format!("{}=1,b={}", "a".repeat(129), "\u{e9}".repeat(300));
        let found = attributes(&long);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.chars().count(), LONGEST_VALUE);
    }

    #[test]
    fn trace_contexts_are_checked() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_parent(good).as_deref(), Some(good));
        assert_eq!(trace_parent(&format!(" {good}\n")).as_deref(), Some(good));
        let later = format!("cc{}", &good[2..]);
        assert_eq!(trace_parent(&format!("{later}-what")).as_deref(), Some(&*later));
        for bad in [
            "",
            "00",
            &good[..54],
            &format!("{good}-00"),
            &format!("{good}0"),
            &format!("{later}x"),
            &format!("ff{}", &good[2..]),
            &good.to_uppercase(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b77-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-\u{e9}",
        ] {
            assert_eq!(trace_parent(bad), None, "{bad:?}");
        }
    }
}
