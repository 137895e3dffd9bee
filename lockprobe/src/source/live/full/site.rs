//! Where in a function a probe costs least, chosen by a decoder of instructions (pure).
//!
//! A probe on an instruction that the kernel can emulate takes one trap; on any other the kernel
//! has the thread step over a copy of it, which takes several, very dear ones in a virtual machine.
//! What can be emulated is in arch/x86/kernel/uprobes.c (branch_setup_xol_ops, push_setup_xol_ops).

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};

/// Most instructions looked at in a function.
const AT_MOST: usize = 4096;
/// Most instructions from the beginning among which a site is chosen.
const NEAR: usize = 24;

/// Which argument of a function is the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// The first.
    First,
    /// The second.
    Second,
}

impl Argument {
    fn register(self) -> Register {
        match self {
            Self::First => Register::RDI,
            Self::Second => Register::RSI,
        }
    }
}

/// An instruction of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Bytes from the beginning of the function.
    pub offset: u64,
    /// The kernel emulates it.
    pub emulated: bool,
    /// Bytes from the stack pointer to the return address there.
    pub frame: u64,
}

/// The first instruction that the kernel emulates, that every call of the function comes by
/// exactly once, and where the argument is still in its register; else the entry.
pub fn choose(code: &[u8], address: u64, argument: Argument) -> Site {
    let targets = targets(code, address);
    let mut info = InstructionInfoFactory::new();
    let mut frame = 0;
    for instruction in instructions(code, address).take(NEAR) {
        let at = instruction.ip();
        // A jump back to here or before would pass more than once.
        if targets.iter().any(|&target| (address..=at).contains(&target)) {
            break;
        }
        let offset = at - address;
        let Some(bytes) = code.get(offset as usize..) else { break };
        if is_emulated(&instruction, bytes) {
            return Site { offset, emulated: true, frame };
        }
        if instruction.flow_control() != FlowControl::Next {
            break;
        }
        let used = info.info(&instruction);
        let writes = |register: Register| {
            used.used_registers().iter().any(|u| {
                let written = !matches!(u.access(), OpAccess::Read | OpAccess::CondRead);
                written && u.register().full_register() == register
            })
        };
        if writes(argument.register()) {
            break;
        }
        if writes(Register::RSP) {
            let Some(grown) = stack_growth(&instruction) else { break };
            frame += grown;
        }
    }
    entry(code, address)
}

/// The first instruction, whatever it is.
pub fn entry(code: &[u8], address: u64) -> Site {
    let first = instructions(code, address).next();
    let emulated = first.is_some_and(|instruction| is_emulated(&instruction, code));
    Site { offset: 0, emulated, frame: 0 }
}

/// Where the first instruction that jumps for good goes to: a function that is only a way into
/// another one.
pub fn goes_on_at(code: &[u8], address: u64) -> Option<u64> {
    let jump = instructions(code, address).take(NEAR).find(|i| i.is_jmp_short_or_near())?;
    Some(jump.near_branch_target())
}

/// What a function calls directly.
pub fn calls(code: &[u8], address: u64) -> Vec<u64> {
    let calls = instructions(code, address).filter(Instruction::is_call_near);
    let mut calls: Vec<u64> = calls.map(|call| call.near_branch_target()).collect();
    calls.sort_unstable();
    calls.dedup();
    calls
}

/// Whether a function begins as those of glibc do that deal with every kind of mutex: it reads the
/// kind at offset 16 of its argument, and keeps the bits of the kind and of elision
/// (PTHREAD_MUTEX_TYPE_ELISION in nptl/pthreadP.h).
pub fn begins_with_the_kind(code: &[u8], address: u64) -> bool {
    let mut read = false;
    for i in instructions(code, address).take(6) {
        read |= i.mnemonic() == Mnemonic::Mov
            && i.memory_base() == Register::RDI
            && i.memory_displacement64() == 16;
        let masks = i.mnemonic() == Mnemonic::And && matches!(i.op1_kind(), OpKind::Immediate32);
        if read && masks && i.immediate32() == 0x17f {
            return true;
        }
    }
    false
}

fn instructions(code: &[u8], address: u64) -> impl Iterator<Item = Instruction> {
    let decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    decoder.into_iter().take(AT_MOST).take_while(|i| !i.is_invalid())
}

fn targets(code: &[u8], address: u64) -> Vec<u64> {
    let jumps = instructions(code, address)
        .filter(|i| i.is_jcc_short_or_near() || i.is_jmp_short_or_near() || i.is_loop());
    jumps.map(|jump| jump.near_branch_target()).collect()
}

fn is_emulated(instruction: &Instruction, bytes: &[u8]) -> bool {
    // The kernel leaves branches with this prefix alone.
    if bytes.first() == Some(&0x66) {
        return false;
    }
    match instruction.code() {
        Code::Push_r64 => match instruction.len() {
            1 => true,
            2 => bytes.first() == Some(&0x41),
            _ => false,
        },
        Code::Nopd | Code::Nopq => bytes.first() == Some(&0x90),
        Code::Jmp_rel8_64 | Code::Jmp_rel32_64 | Code::Call_rel32_64 => true,
        _ => instruction.is_jcc_short_or_near(),
    }
}

/// By how much an instruction moves the stack pointer down; `None` if it does anything else to it.
fn stack_growth(instruction: &Instruction) -> Option<u64> {
    if instruction.mnemonic() == Mnemonic::Sub
        && instruction.op0_register() == Register::RSP
        && matches!(
            instruction.op1_kind(),
            OpKind::Immediate8to64 | OpKind::Immediate32to64 | OpKind::Immediate8
        )
    {
        return u64::try_from(instruction.immediate(1) as i64).ok();
    }
    u64::try_from(-i64::from(instruction.stack_pointer_increment())).ok().filter(|&n| n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0x8c370;

    #[test]
    fn the_branch_before_the_kinds_part_is_taken_rather_than_the_push_behind_it() {
        // pthread_mutex_lock of Debian 12: mov, mov, and, and, jne, push.
        let code = [
            0x8b, 0x47, 0x10, 0x89, 0xc2, 0x81, 0xe2, 0x7f, 0x01, 0x00, 0x00, 0x83, 0xe0, 0x7c,
            0x0f, 0x85, 0xac, 0x00, 0x00, 0x00, 0x53, 0x48, 0x83, 0xec, 0x10, 0xc3,
        ];
        let site = choose(&code, AT, Argument::First);
        assert_eq!(site, Site { offset: 0xe, emulated: true, frame: 0 });
        assert!(begins_with_the_kind(&code, AT));
        assert_eq!(entry(&code, AT), Site { offset: 0, emulated: false, frame: 0 });
    }

    #[test]
    fn a_jump_for_good_is_a_site_and_says_where_it_goes() {
        // pthread_mutex_unlock of Debian 12: mov $1,%esi; jmp.
        let code = [0xbe, 1, 0, 0, 0, 0xe9, 0xf6, 0xfe, 0xff, 0xff];
        assert_eq!(choose(&code, AT, Argument::First).offset, 5);
        assert_eq!(goes_on_at(&code, AT), Some(AT + 10 - 0x10a));
        // The second argument is overwritten before it.
        let second = choose(&code, AT, Argument::Second);
        assert_eq!(second, Site { offset: 0, emulated: false, frame: 0 });
    }

    #[test]
    fn the_return_address_is_found_behind_what_was_pushed() {
        // endbr64; sub $0x18,%rsp; mov %rdi,%rbx; push %r12.
        let code =
            [0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 0x18, 0x48, 0x89, 0xfb, 0x41, 0x54, 0xc3];
        let site = choose(&code, AT, Argument::First);
        assert_eq!(site, Site { offset: 11, emulated: true, frame: 0x18 });
    }

    #[test]
    fn an_instruction_in_a_loop_is_no_site() {
        // mov (%rdi),%eax; test $2,%al; jne +5; lock cmpxchg %edx,(%rdi); jne back to the test.
        let code =
            [0x8b, 0x07, 0xa8, 0x02, 0x75, 0x07, 0xf0, 0x0f, 0xb1, 0x17, 0x75, 0xf6, 0xc3, 0xc3];
        assert_eq!(
            choose(&code, AT, Argument::First),
            Site { offset: 0, emulated: false, frame: 0 }
        );
    }

    #[test]
    fn nothing_is_chosen_behind_a_changed_argument_or_in_rubbish() {
        // mov %rsi,%rdi; push %rbx.
        let code = [0x48, 0x89, 0xf7, 0x53, 0xc3];
        assert!(!choose(&code, AT, Argument::First).emulated);
        for length in 0..8 {
            let rubbish = vec![0xff; length];
            assert_eq!(choose(&rubbish, AT, Argument::First).offset, 0);
            assert_eq!(goes_on_at(&rubbish, AT), None);
            assert!(calls(&rubbish, AT).is_empty() && !begins_with_the_kind(&rubbish, AT));
        }
    }
}
