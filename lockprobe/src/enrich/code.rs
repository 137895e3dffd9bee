//! What can be told from instructions alone, where a C library has no unwind tables (pure).
//!
//! musl is built without them. But a thread that sleeps will go on from where it sleeps, and what
//! its functions will do on their way back says where their return addresses lie.

use super::unwind::{Base, FramePointer, Step};
use iced_x86::{
    Code as Op, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    Mnemonic, OpAccess, OpKind, Register,
};
use std::collections::HashSet;

/// Instructions followed from one place.
const AT_MOST: usize = 512;
/// Largest frame believed in.
const LARGEST_FRAME: i64 = 1 << 20;
/// System calls that nobody comes back from: rt_sigreturn, exit, exit_group.
const FINAL_CALLS: [u64; 3] = [15, 60, 231];
/// Bytes of the longest call.
pub const LONGEST_CALL: usize = 7;

/// A piece of code.
#[derive(Clone, Copy, Debug)]
pub struct Code<'a> {
    /// Address of its first byte.
    pub start: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// How a function goes on from a place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It comes back to its caller.
    Back(Step),
    /// It never does.
    Never,
    /// It cannot be said.
    Unclear,
}

/// What has become of the registers that frames hang on.
#[derive(Clone, Copy)]
struct Registers {
    base: Base,
    /// How far the stack pointer is from the base.
    stack: i64,
    frame: FramePointer,
}

impl Code<'_> {
    fn at(&self, address: u64) -> Option<Instruction> {
        let offset = usize::try_from(address.checked_sub(self.start)?).ok()?;
        let bytes = self.bytes.get(offset..).filter(|bytes| !bytes.is_empty())?;
        let decoded = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
        (!decoded.is_invalid()).then_some(decoded)
    }

    /// How a function goes on from an address. Of two ways on, the one without a jump is followed
    /// first: what never returns is what compilers jump to.
    pub fn way_back(&self, from: u64) -> Way {
        let begin = Registers { base: Base::Stack, stack: 0, frame: FramePointer::Same };
        let (mut walk, mut clear) = (Walk::from(from, begin), true);
        let mut info = InstructionInfoFactory::new();
        while let Some((address, now)) = walk.next() {
            let Some(at) = self.at(address) else {
                clear = false;
                continue;
            };
            if at.flow_control() == FlowControl::Return {
                match now.returned() {
                    Some(step) => return Way::Back(step),
                    None => clear = false,
                }
                continue;
            }
            match now.after(&at, &mut info) {
                Some(then) => clear &= self.go_on(&mut walk, &at, then),
                None => clear = false,
            }
        }
        if clear && !walk.exhausted() { Way::Never } else { Way::Unclear }
    }

    /// First address and the one behind the last of what a function's first instruction leads to.
    pub fn reach(&self, start: u64, is_other: impl Fn(u64) -> bool) -> (u64, u64) {
        let (mut walk, mut reach) = (Walk::from(start, ()), (start, start));
        while let Some((address, ())) = walk.next() {
            if address < start || (address != start && is_other(address)) {
                continue;
            }
            let Some(at) = self.at(address) else { continue };
            reach.1 = reach.1.max(at.next_ip());
            if at.flow_control() != FlowControl::Return {
                self.go_on(&mut walk, &at, ());
            }
        }
        reach
    }

    /// Where an instruction leads to; false if that cannot be said.
    fn go_on<T: Copy>(&self, walk: &mut Walk<T>, at: &Instruction, state: T) -> bool {
        match at.flow_control() {
            FlowControl::UnconditionalBranch => walk.add(at.near_branch_target(), state),
            FlowControl::ConditionalBranch => {
                walk.add(at.near_branch_target(), state);
                walk.add(at.next_ip(), state);
            }
            FlowControl::Next if at.mnemonic() == Mnemonic::Hlt => {}
            FlowControl::Next if self.is_final(at) => {}
            // Padding behind a call: nobody comes back from it.
            FlowControl::Call | FlowControl::IndirectCall
                if at.mnemonic() != Mnemonic::Syscall
                    && self.at(at.next_ip()).is_some_and(|next| is_padding(&next)) => {}
            FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {
                walk.add(at.next_ip(), state);
            }
            FlowControl::Exception | FlowControl::Interrupt => {}
            _ => return false,
        }
        true
    }

    /// The instruction sets the number of a system call that nobody comes back from, and the next
    /// one makes it.
    fn is_final(&self, at: &Instruction) -> bool {
        at.mnemonic() == Mnemonic::Mov
            && at.op0_register().full_register() == Register::RAX
            && at.op0_kind() == OpKind::Register
            && is_immediate(at.op1_kind())
            && FINAL_CALLS.contains(&at.immediate(1))
            && self.at(at.next_ip()).is_some_and(|next| next.mnemonic() == Mnemonic::Syscall)
    }

    /// What the code calls directly, read from its beginning to its end.
    pub fn calls(&self) -> Vec<u64> {
        let decoder = Decoder::with_ip(64, self.bytes, self.start, DecoderOptions::NONE);
        let calls = decoder.into_iter().filter(Instruction::is_call_near);
        calls.map(|call| call.near_branch_target()).collect()
    }
}

/// A call ends where these bytes, the last before an address, end.
pub fn ends_with_call(bytes: &[u8]) -> bool {
    // What a call was compiled to is not known, and an instruction can only be read forward.
    (2..=LONGEST_CALL.min(bytes.len())).any(|length| {
        let last = &bytes[bytes.len() - length..];
        let call = Decoder::with_ip(64, last, 0, DecoderOptions::NONE).decode();
        let calls = matches!(
            call.code(),
            Op::Call_rel32_64 | Op::Call_rm64 // the far ones are of no use to anybody
        );
        calls && call.len() == length
    })
}

fn is_padding(at: &Instruction) -> bool {
    matches!(at.mnemonic(), Mnemonic::Nop | Mnemonic::Int3) || is_two_byte_nop(at)
}

/// `xchg %ax,%ax`.
fn is_two_byte_nop(at: &Instruction) -> bool {
    at.mnemonic() == Mnemonic::Xchg && at.op0_register() == at.op1_register()
}

fn is_immediate(kind: OpKind) -> bool {
    !matches!(kind, OpKind::Register | OpKind::Memory)
}

impl Registers {
    /// How the caller is found when the next instruction returns to it.
    fn returned(self) -> Option<Step> {
        let base = self.stack.checked_add(8)?;
        let sane = base.abs() < LARGEST_FRAME && (self.base == Base::Frame || base > 0);
        let frame_pointer = match self.frame {
            FramePointer::At(place) => FramePointer::At(place - base),
            other => other,
        };
        sane.then_some(Step { base: (self.base, base), ret: Some(-8), frame_pointer })
    }

    /// After an instruction; `None` when the stack pointer is lost.
    fn after(mut self, at: &Instruction, info: &mut InstructionInfoFactory) -> Option<Self> {
        if matches!(at.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            return Some(self); // what is called preserves both
        }
        let saved = |stack: i64| FramePointer::At(stack);
        match (at.mnemonic(), at.op0_register()) {
            (Mnemonic::Leave, _) => {
                self = self.onto_frame(0)?;
                (self.frame, self.stack) = (saved(0), 8);
            }
            (Mnemonic::Pop, Register::RBP) => {
                (self.frame, self.stack) = (saved(self.stack), self.stack + 8);
            }
            (Mnemonic::Mov, Register::RSP) if at.op1_register() == Register::RBP => {
                self = self.onto_frame(0)?;
            }
            (Mnemonic::Lea, Register::RSP) if at.memory_index() == Register::None => {
                let offset = at.memory_displacement64() as i64;
                match at.memory_base() {
                    Register::RSP => self.stack = self.stack.checked_add(offset)?,
                    Register::RBP => self = self.onto_frame(offset)?,
                    _ => return None,
                }
            }
            (Mnemonic::Add, Register::RSP) if is_immediate(at.op1_kind()) => {
                self.stack = self.stack.checked_add(at.immediate(1) as i64)?;
            }
            (Mnemonic::Sub, Register::RSP) if is_immediate(at.op1_kind()) => {
                self.stack = self.stack.checked_sub(at.immediate(1) as i64)?;
            }
            _ => return self.after_other(at, info),
        }
        (self.stack.abs() < LARGEST_FRAME).then_some(self)
    }

    fn after_other(mut self, at: &Instruction, info: &mut InstructionInfoFactory) -> Option<Self> {
        let moved = i64::from(at.stack_pointer_increment());
        let used = info.info(at);
        let writes = |register: Register| {
            used.used_registers().iter().any(|u| {
                let written = !matches!(u.access(), OpAccess::Read | OpAccess::CondRead);
                written && u.register().full_register() == register
            })
        };
        if writes(Register::RSP) && (moved == 0 || at.op0_register() == Register::RSP) {
            return None;
        }
        if writes(Register::RBP) {
            self.frame = FramePointer::Lost;
        }
        self.stack = self.stack.checked_add(moved)?;
        Some(self)
    }

    /// The stack pointer is put this far from the frame pointer.
    fn onto_frame(self, offset: i64) -> Option<Self> {
        let same = self.frame == FramePointer::Same;
        same.then_some(Self { base: Base::Frame, stack: offset, ..self })
    }
}

/// Ways not yet followed: each address once, a bounded number in all.
struct Walk<T> {
    open: Vec<(u64, T)>,
    seen: HashSet<u64>,
}

impl<T: Copy> Walk<T> {
    fn from(address: u64, state: T) -> Self {
        Self { open: vec![(address, state)], seen: HashSet::from([address]) }
    }

    fn next(&mut self) -> Option<(u64, T)> {
        self.open.pop()
    }

    fn add(&mut self, address: u64, state: T) {
        if !self.exhausted() && self.seen.insert(address) {
            self.open.push((address, state));
        }
    }

    fn exhausted(&self) -> bool {
        self.seen.len() >= AT_MOST
    }
}

#[cfg(test)]
mod tests {
    use super::super::unwind::{Registers as At, Stack, caller};
    use super::*;

    /// Pieces of musl 1.2.3 as Debian 12 builds it, and where they lie in the file.
    #[rustfmt::skip]
    const PIECES: &[(u64, &str)] = &[
        // __timedwait_cp, behind its call of __syscall_cp
        (0x67e39, "\
            5e5f89c283f8da745e83fafc0f847c00000083fa920f848c00000031c083fa83ba7d0000000f44c2\
            488b54241864482b1425280000000f85850000004883c4205b5d415c415d415ec3660f1f440000b8\
            16000000ebd29031dbe977ffffff660f1f8400000000004883ec084c89e131d24531c96a004989d8\
            4c89eebfca000000e8b2feffff89c2585983fafc75848b051770040085c00f95c00fb6c0c1e002e9\
            84ffffff0f1f0083fafc74e289d0f7d8e973ffffff6690b86e000000e967ffffffe8b12ffbff90"),
        // __timedwait, behind its call of __timedwait_cp
        (0x67f4e, "\
            8b7c240431f64189c4e8143a0000488b44240864482b04252800000075104883c4104489e05b5d41\
            5c415d415ec3e82f2ffbff66"),
        // __wait, all of it
        (0x67fb0, "\
            4989f04189d1b864000000eb0a0f1f00f39083e80174194d85c07407418b1085d275158b174439ca\
            74e6c30f1f4400004d85c074070f1f00f041ff0041544963d141bcca00000055bdca0000005331db\
            85c90f95c3c1e3074863dbeb140f1f004531d24889e84889de0f054883f8da741f8b074439c874e8\
            4d85c07404f041ff085b5d415cc3662e0f1f84000000000031f64c89e00f05ebd80f1f8000000000"),
        // __syscall_cp_c, behind its call of __syscall_cp_asm and behind its own system call
        (0x68b91, "\
            5a594883f8fc75394983fc0374338b433c85c074620fb643403c01745a64488b0425000000000fb6\
            504084d274520fb6504184d2754ac640400148c7c083ffffff4883c4085b415c415d415ec366904d\
            89c24c89e04d89c84c89ef4c8b4c24304c89f60f054883c4085b415c415d415ec3660f1f44000048\
            c7c0fcffffffebc14883cfffe8060d0000660f1f440000"),
        // __pthread_once_full and pthread_once
        (0x6b450, "\
            4155ba0100000041544989f4554889fd5331db4883ec2864488b042528000000488944241831c089\
            d8f00fb1550083f802746c7f3385c0743783f80175e9ba03000000f00fb15500ba03000000b90100\
            000031f64889efe804cbffffba01000000ebc40f1f44000083f80374dbebb8904989e54889ea488d\
            3543ffffff4c89efe89bd8ffff41ffd431f64c89efe89ed8ffffb80200000087450083f803742148\
            8b44241864482b042528000000753b4883c42831c05b5d415c415dc30f1f400041b8ca000000baff\
            ffff7fbe810000004889ef4c89c00f054883f8da75c1be010000004c89c00f05ebb5e871f9faff90\
            8b0783f8027409e904ffffff0f1f400031c0c3"),
        // sem_timedwait, behind its call of __timedwait_cp
        (0x6c46a, "\
            be010000004c89f789c5e807c9ffff85ed75334889dfe84b00000085c075a731c0488b5424186448\
            2b14252800000075234883c4205b5d415c415d415ec30f1f840000000000e80beffaff8928b8ffff\
            ffffebcde8ede9faff"),
        // __syscall_cp_asm
        (0x777bf, "\
            8b0785c075244989fb4889f04889d74889ce4c89c24d89ca4c8b4424084c8b4c24104c895c24080f\
            05c3e92213ffff"),
        // clone
        (0x77786, "\
            31c0b0384989fb4889d74c89c24d89c84c8b5424084d89d94883e6f04883ee0848890e0f0585c075\
            0f31ed5f41ffd189c731c0b03c0f05f4c3"),
        // restore_rt
        (0x77618, "\
            48c7c00f0000000f05"),
    ];
    const START: u64 = 0x67d80;

    fn musl() -> Vec<u8> {
        // Between the pieces lies what no thread is let run into.
        let mut bytes = vec![0xcc; 0x10000];
        for (at, piece) in PIECES {
            let digits = piece.as_bytes().chunks(2).map(|d| std::str::from_utf8(d).unwrap());
            for (i, digit) in digits.enumerate() {
                bytes[(at - START) as usize + i] = u8::from_str_radix(digit, 16).unwrap();
            }
        }
        bytes
    }

    /// The return addresses in a stack whose first word lies at 0x1000, and where they lie.
    fn callers(ip: u64, words: &[u64]) -> Vec<(u64, u64)> {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let stack = Stack { start: 0x1000, bytes: &bytes };
        let (code, mut found) = (musl(), Vec::new());
        let mut at = At { pc: ip, sp: stack.start, fp: None };
        while let Way::Back(step) = (Code { start: START, bytes: &code }).way_back(at.pc) {
            let Some((up, slot)) = caller(at, &step, &stack) else { break };
            found.push((slot, up.pc));
            at = up;
        }
        found
    }

    #[test]
    fn stacks_of_sleeping_threads_are_left_by_what_the_code_will_do() {
        // As seen in a thread asleep in sem_wait. Two of the words are addresses of code that
        // nobody returns to: what is to be run if the thread is cancelled.
        let heap = 0x563d_79f8_00a0;
        #[rustfmt::skip]
        let semaphore = [
            0x68b91, 0x7f00_9dd3_ab74, 0, 0, 0, u64::MAX, heap, 0x80,
            0x67e39, 0, 0, 0, 0, 0, 0xd81a_c586_9a57_00fb, heap, 0, 0,
            0x6c3c0, 0x7f00_9dd3_aa80, 0x6c46a, 0x6c3c0, heap + 4, 0, 0xd81a_c586_9a57_00fb, 0, 0,
            0x7f00_9dd3_ab20, 0x7fff_d32b_0140, 0x7f00_9dd3_ab38, 0x563d_79f7_d1be,
        ];
        let found = callers(0x777e8, &semaphore);
        let expected = [(0, 0x68b91), (64, 0x67e39), (160, 0x6c46a), (240, 0x563d_79f7_d1be)];
        assert_eq!(found, expected);
        // As seen in a thread asleep in pthread_mutex_lock, which no signal cancels.
        #[rustfmt::skip]
        let mutex = [
            0, 0, 0xffff_ffff_8000_0010, heap + 4, 0x80,
            0x67e39, 0, 0, 0, 0, 0, 0xd81a_c586_9a57_00fb, 0x80, heap + 4, 0x8000_0010, 0, 0,
            0x67f4e, 0, 0xd81a_c586_9a57_00fb, 0, 0, 0x80, 0, heap, 0x6ace1,
        ];
        assert_eq!(callers(0x68bf6, &mutex), [(40, 0x67e39), (136, 0x67f4e), (200, 0x6ace1)]);
    }

    #[test]
    fn a_frame_pointer_is_followed_through_what_saves_it() {
        let code = musl();
        let way = Code { start: START, bytes: &code }.way_back(0x6801b);
        let base = (Base::Stack, 32);
        let frame_pointer = FramePointer::At(-24);
        assert_eq!(way, Way::Back(Step { base, ret: Some(-8), frame_pointer }));
        let of = |bytes: &[u8]| Code { start: 0, bytes }.way_back(0);
        let step = |base, frame_pointer| Way::Back(Step { base, ret: Some(-8), frame_pointer });
        #[rustfmt::skip]
        let table: &[(&str, &[u8], Way)] = &[
            ("leave; ret", &[0xc9, 0xc3], step((Base::Frame, 16), FramePointer::At(-16))),
            ("mov %rbp,%rsp; pop %rbp; ret", &[0x48, 0x89, 0xec, 0x5d, 0xc3],
                step((Base::Frame, 16), FramePointer::At(-16))),
            ("lea -8(%rbp),%rsp; pop %rbx; pop %rbp; ret", &[0x48, 0x8d, 0x65, 0xf8, 0x5b, 0x5d, 0xc3],
                step((Base::Frame, 16), FramePointer::At(-16))),
            ("lea 24(%rsp),%rsp; ret", &[0x48, 0x8d, 0x64, 0x24, 0x18, 0xc3], step((Base::Stack, 32), FramePointer::Same)),
            ("xor %ebp,%ebp; ret", &[0x31, 0xed, 0xc3], step((Base::Stack, 8), FramePointer::Lost)),
            ("xor %ebp,%ebp; leave; ret", &[0x31, 0xed, 0xc9, 0xc3], Way::Unclear),
            ("and $-16,%rsp; ret", &[0x48, 0x83, 0xe4, 0xf0, 0xc3], Way::Unclear),
            ("push %rax; ret: to nobody's caller", &[0x50, 0xc3], Way::Unclear),
            ("pop %rsp; ret", &[0x5c, 0xc3], Way::Unclear),
            ("jmp *%rax", &[0xff, 0xe0], Way::Unclear),
            ("call *%rax; ret", &[0xff, 0xd0, 0xc3], step((Base::Stack, 8), FramePointer::Same)),
            ("call *%rax; nop; ret", &[0xff, 0xd0, 0x90, 0xc3], Way::Never),
            ("jmp to itself", &[0xeb, 0xfe], Way::Never),
            ("exit", &[0xb8, 60, 0, 0, 0, 0x0f, 0x05, 0xc3], Way::Never),
            ("getpid", &[0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3], step((Base::Stack, 8), FramePointer::Same)),
            ("je +1; ret; pop %rax; ret", &[0x74, 1, 0xc3, 0x58, 0xc3], step((Base::Stack, 8), FramePointer::Same)),
            ("nothing", &[], Way::Unclear),
        ];
        for (story, bytes, way) in table {
            assert_eq!(of(bytes), *way, "{story}");
        }
    }

    #[test]
    fn where_a_thread_began_and_where_a_signal_came_nobody_returns_to() {
        let code = musl();
        let code = Code { start: START, bytes: &code };
        assert_eq!(code.way_back(0x777b5), Way::Never, "clone");
        assert_eq!(code.way_back(0x77618), Way::Never, "a signal's return");
    }

    #[test]
    fn functions_reach_as_far_as_their_code_does() {
        let code = musl();
        let code = Code { start: START, bytes: &code };
        assert_eq!(code.reach(0x67fb0, |_| false), (0x67fb0, 0x68049));
        // __pthread_once_full; behind it begins pthread_once, which jumps to it.
        let (start, end) = code.reach(0x6b450, |at| at == 0x6b540);
        assert!(start == 0x6b450 && (0x6b500..=0x6b540).contains(&end), "{end:#x}");
        let once = &code.bytes[(0x6b450 - START) as usize..][..0xf0];
        assert!(Code { start: 0x6b450, bytes: once }.calls().contains(&0x67fb0), "calls __wait");
    }

    #[test]
    fn calls_are_known_from_behind() {
        let table: &[(&[u8], bool)] = &[
            (&[0x90, 0x90, 0xe8, 1, 2, 3, 4], true),
            (&[0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0], true),
            (&[0x90, 0x90, 0x90, 0x90, 0x41, 0xff, 0xd7], true),
            (&[0x90, 0x90, 0x90, 0x90, 0xff, 0x53, 0x18], true),
            (&[0x90, 0xff, 0x15, 1, 2, 3, 4], true),
            (&[0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xe0], false),
            (&[0x90, 0x90, 0xe9, 1, 2, 3, 4], false),
            (&[0xc3, 0x66, 0x90, 0x0f, 0x1f, 0x40, 0x00], false),
            (&[0xd0], false),
            (&[], false),
        ];
        for (bytes, calls) in table {
            assert_eq!(ends_with_call(bytes), *calls, "{bytes:x?}");
        }
    }

    #[test]
    fn rubbish_is_followed_for_a_bounded_time() {
        let mut state = 1u64;
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..256)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Half of it is what moves the stack pointer and what jumps.
                    let often = [0x74, 0xeb, 0x5d, 0xc9, 0x48, 0x83, 0xec, 0x55, 0xe8, 0x81];
                    if state >> 63 == 0 {
                        often[(state >> 40) as usize % 10]
                    } else {
                        (state >> 33) as u8
                    }
                })
                .collect();
            let code = Code { start: u64::MAX - 300, bytes: &bytes };
            if let Way::Back(step) = code.way_back(u64::MAX - 300 + (state >> 60)) {
                assert!(step.base.1.abs() < LARGEST_FRAME);
            }
            let (start, end) = code.reach(u64::MAX - 300, |_| false);
            assert!(start <= end);
            code.calls();
            ends_with_call(&bytes[..(state >> 61) as usize]);
        }
    }
}
