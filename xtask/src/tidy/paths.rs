//! Paths a file names: `use` trees spread out, and paths written in full in the code.

use super::source::Source;

/// A path such as `crate::track::table`, and the line it stands on.
pub struct Named {
    pub line: usize,
    pub path: Vec<String>,
}

/// Every path of two or more segments that the file names outside its tests.
///
/// `self::` and `super::` are resolved against `module`, the file's own place below the crate.
pub fn named(source: &Source, module: &[String]) -> Vec<Named> {
    let mut found = Vec::new();
    let mut statement: Option<(usize, String)> = None;
    for (line, code) in source.product() {
        let opens = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "];
        let opened = opens.iter().find_map(|open| code.trim_start().strip_prefix(open));
        if let (None, Some(rest)) = (&statement, opened) {
            statement = Some((line, rest.to_owned()));
        } else if let Some((_, text)) = &mut statement {
            text.push_str(code);
        } else {
            found.extend(written(code).map(|path| Named { line, path }));
        }
        if statement.as_ref().is_some_and(|(_, text)| text.contains(';')) {
            let (line, text) = statement.take().expect("just seen");
            let tree = text.replace(char::is_whitespace, " ");
            let paths = spread(tree.split(';').next().unwrap_or_default());
            found.extend(paths.into_iter().map(|path| Named { line, path }));
        }
    }
    for named in &mut found {
        resolve(&mut named.path, module);
    }
    found
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
pub fn spread(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let tree = tree.split(" as ").next().unwrap_or_default();
        return vec![segments(tree)];
    };
    let body = rest.strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut start, mut paths) = (0, 0, Vec::new());
    // A comma after the last branch ends it like any other.
    for (at, c) in body.char_indices().chain([(body.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let branch = &body[start..at];
                start = at + 1;
                if !branch.trim().is_empty() {
                    let prefix = segments(head);
                    paths.extend(
                        spread(branch).into_iter().map(|tail| [prefix.clone(), tail].concat()),
                    );
                }
            }
            _ => {}
        }
    }
    paths
}

/// Paths in one line of code, such as `std::fs::read` in `let x = std::fs::read(y);`.
fn written(code: &str) -> impl Iterator<Item = Vec<String>> {
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    words.map(segments).filter(|path| path.len() > 1)
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn resolve(path: &mut Vec<String>, module: &[String]) {
    let (mut place, mut taken) = (module.to_vec(), 0);
    for segment in path.iter() {
        match segment.as_str() {
            "super" => drop(place.pop()),
            "self" => {}
            _ => break,
        }
        taken += 1;
    }
    if taken > 0 {
        place.insert(0, "crate".to_owned());
        path.splice(..taken, place);
    }
}
