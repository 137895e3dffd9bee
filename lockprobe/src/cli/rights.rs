//! Rights that the file of the program carries: taken up at the start.

use rustix::thread::{capabilities, set_capabilities};

/// Takes up the capabilities that are permitted and not in effect.
///
/// Ambient ones (systemd) and those of root are in effect from the start. In a container a user other
/// than root has what `setcap` wrote to the file. Marked as effective there, the program could not be
/// run at all where one of them is withheld (capabilities(7), "Capability-dumb binaries"), not even to
/// replay a recording; so the file only permits them.
pub fn take_up() {
    let Ok(mut sets) = capabilities(None) else { return };
    if sets.effective != sets.permitted {
        sets.effective = sets.permitted;
        // What is missing then is told where it is needed.
        let _ = set_capabilities(None, sets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_permitted_is_in_effect() {
        let mut sets = capabilities(None).unwrap();
        let permitted = sets.permitted;
        sets.effective = sets.effective.difference(sets.effective);
        // Of this thread alone; it ends with the test.
        set_capabilities(None, sets).unwrap();
        take_up();
        assert_eq!(capabilities(None).unwrap().effective, permitted);
    }
}
