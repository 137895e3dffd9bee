//! One frame further up, by the rules of the unwind tables.

/// What the frame's base is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The stack pointer.
    Stack,
    /// The frame pointer.
    Frame,
}

/// What became of the caller's frame pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramePointer {
    /// It is in its register still.
    Same,
    /// It lies this far from the frame's base.
    At(i64),
    /// It is lost.
    Lost,
}

/// How to leave a frame at one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The frame's base (canonical frame address): from what, and how far.
    pub base: (Base, i64),
    /// Where the return address lies from there; `None` when it is in a register, which no stack
    /// shows (leaf functions of aarch64).
    pub ret: Option<i64>,
    /// The caller's frame pointer.
    pub frame_pointer: FramePointer,
}

/// The registers unwinding needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Instruction pointer, a return address in all but the first frame.
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer, where known.
    pub fp: Option<u64>,
}

/// A piece of stack.
#[derive(Clone, Copy, Debug)]
pub struct Stack<'a> {
    /// Address of its first byte.
    pub start: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl Stack<'_> {
    /// The eight bytes at an address.
    pub fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.start)?).ok()?;
        let bytes = self.bytes.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }
}

/// Bits of a code address; above them lie pointer authentication codes on aarch64.
const CODE_BITS: u64 = if cfg!(target_arch = "aarch64") { (1 << 48) - 1 } else { u64::MAX };

/// The caller's registers, and how far above the start of the stack its return address lies.
pub fn caller(at: Registers, step: &Step, stack: &Stack<'_>) -> Option<(Registers, u64)> {
    let from = match step.base.0 {
        Base::Stack => at.sp,
        Base::Frame => at.fp?,
    };
    let base = from.checked_add_signed(step.base.1)?;
    if base <= at.sp {
        return None; // a stack only shrinks on the way up
    }
    let slot = base.checked_add_signed(step.ret?)?;
    let pc = stack.word(slot)? & CODE_BITS;
    let fp = match step.frame_pointer {
        FramePointer::Same => at.fp,
        FramePointer::At(offset) => base.checked_add_signed(offset).and_then(|a| stack.word(a)),
        FramePointer::Lost => None,
    };
    (pc != 0).then_some((Registers { pc, sp: base, fp }, slot - stack.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(base: (Base, i64)) -> Step {
        Step { base, ret: Some(-8), frame_pointer: FramePointer::At(-16) }
    }

    #[test]
    fn frames_are_left_by_stack_and_by_frame_pointer() {
        let bytes: Vec<u8> = (0..8u64).flat_map(|i| (i + 1).to_le_bytes()).collect();
        let stack = Stack { start: 0x1000, bytes: &bytes };
        let at = Registers { pc: 1, sp: 0x1000, fp: Some(0x1010) };
        let (up, slot) = caller(at, &step((Base::Stack, 24)), &stack).unwrap();
        assert_eq!((up, slot), (Registers { pc: 3, sp: 0x1018, fp: Some(2) }, 16));
        let (up, slot) = caller(at, &step((Base::Frame, 16)), &stack).unwrap();
        assert_eq!((up, slot), (Registers { pc: 4, sp: 0x1020, fp: Some(3) }, 24));
    }

    #[test]
    fn nonsense_ends_the_walk() {
        let bytes = [0u8; 64];
        let stack = Stack { start: 0x1000, bytes: &bytes };
        let at = Registers { pc: 1, sp: 0x1000, fp: None };
        assert_eq!(caller(at, &step((Base::Stack, 24)), &stack), None, "return to zero");
        assert_eq!(caller(at, &step((Base::Stack, -8)), &stack), None, "downwards");
        assert_eq!(caller(at, &step((Base::Stack, 4096)), &stack), None, "outside");
        assert_eq!(caller(at, &step((Base::Frame, 16)), &stack), None, "no frame pointer");
        assert_eq!(caller(at, &step((Base::Stack, i64::MAX)), &stack), None, "far outside");
        let leaf = Step { ret: None, ..step((Base::Stack, 8)) };
        assert_eq!(caller(at, &leaf, &stack), None, "in a register");
    }
}
