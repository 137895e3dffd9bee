//! What differs between processors: system call numbers, and where the kernel keeps user registers.

use super::load::{Constant, Members};
use crate::source::Error;

/// One kind of processor.
pub struct Machine {
    /// Structure of the kernel's that has the registers, at the start of `pt_regs` or that itself.
    pub structure: &'static str,
    /// Constant, member, and how far behind its beginning, in bytes.
    registers: [(&'static str, &'static str, u64); 10],
    /// Constant and number.
    calls: [(&'static str, u64); 25],
}

/// arch/x86/entry/syscalls/syscall_64.tbl; arch/x86/include/asm/ptrace.h.
const X86_64: Machine = Machine {
    structure: "pt_regs",
    registers: [
        ("REG_NR", "orig_ax", 0),
        ("REG_ARG0", "di", 0),
        ("REG_ARG1", "si", 0),
        ("REG_ARG2", "dx", 0),
        ("REG_ARG3", "r10", 0),
        ("REG_ARG4", "r8", 0),
        ("REG_IP", "ip", 0),
        ("REG_SP", "sp", 0),
        ("REG_BP", "bp", 0),
        // r15, r14, r13, r12, bp, bx, which a callee preserves.
        ("REG_SAVED", "r15", 0),
    ],
    calls: [
        ("NR_FUTEX", 202),
        ("NR_FUTEX_WAIT", 455),
        ("NR_FUTEX_WAKE", 454),
        ("NR_FUTEX_REQUEUE", 456),
        ("NR_FLOCK", 73),
        ("NR_FCNTL", 72),
        ("NR_SEMOP", 65),
        ("NR_SEMTIMEDOP", 220),
        ("NR_SEMCTL", 66),
        ("NR_EXIT", 60),
        ("NR_EXIT_GROUP", 231),
        ("NR_KILL", 62),
        ("NR_TKILL", 200),
        ("NR_TGKILL", 234),
        ("NR_SIGQUEUE", 129),
        ("NR_TGSIGQUEUE", 297),
        ("NR_PIDFD_SIGNAL", 424),
        ("NR_READ", 0),
        ("NR_WRITE", 1),
        ("NR_SENDTO", 44),
        ("NR_RECVFROM", 45),
        ("NR_READV", 19),
        ("NR_WRITEV", 20),
        ("NR_SENDMSG", 46),
        ("NR_RECVMSG", 47),
    ],
};

/// include/uapi/asm-generic/unistd.h; arch/arm64/include/uapi/asm/ptrace.h. The number of the call
/// is in x8, which the kernel leaves as it was.
const AARCH64: Machine = Machine {
    structure: "user_pt_regs",
    registers: [
        ("REG_NR", "regs", 8 * 8),
        ("REG_ARG0", "regs", 0),
        ("REG_ARG1", "regs", 8),
        ("REG_ARG2", "regs", 2 * 8),
        ("REG_ARG3", "regs", 3 * 8),
        ("REG_ARG4", "regs", 4 * 8),
        ("REG_IP", "pc", 0),
        ("REG_SP", "sp", 0),
        ("REG_BP", "regs", 29 * 8),
        // x19 to x24, which a callee preserves.
        ("REG_SAVED", "regs", 19 * 8),
    ],
    calls: [
        ("NR_FUTEX", 98),
        ("NR_FUTEX_WAIT", 455),
        ("NR_FUTEX_WAKE", 454),
        ("NR_FUTEX_REQUEUE", 456),
        ("NR_FLOCK", 32),
        ("NR_FCNTL", 25),
        ("NR_SEMOP", 193),
        ("NR_SEMTIMEDOP", 192),
        ("NR_SEMCTL", 191),
        ("NR_EXIT", 93),
        ("NR_EXIT_GROUP", 94),
        ("NR_KILL", 129),
        ("NR_TKILL", 130),
        ("NR_TGKILL", 131),
        ("NR_SIGQUEUE", 138),
        ("NR_TGSIGQUEUE", 240),
        ("NR_PIDFD_SIGNAL", 424),
        ("NR_READ", 63),
        ("NR_WRITE", 64),
        ("NR_SENDTO", 206),
        ("NR_RECVFROM", 207),
        ("NR_READV", 65),
        ("NR_WRITEV", 66),
        ("NR_SENDMSG", 211),
        ("NR_RECVMSG", 212),
    ],
};

/// The processor this program is built for.
pub const HERE: Machine = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };

impl Machine {
    /// The constants of the programs.
    pub fn constants(&self, get: &Members<'_>) -> Result<Vec<Constant>, Error> {
        let mut constants = self.calls.to_vec();
        for (name, member, further) in self.registers {
            constants.push((name, get(self.structure, member)? + further));
        }
        Ok(constants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The constants of a machine whose kernel has these members.
    fn constants(machine: &Machine, members: &[(&str, u64)]) -> Vec<Constant> {
        let get = |structure: &str, member: &str| {
            assert_eq!(structure, machine.structure);
            Ok(members.iter().find(|m| m.0 == member).expect(member).1)
        };
        machine.constants(&get).unwrap()
    }

    fn value(constants: &[Constant], name: &str) -> u64 {
        constants.iter().find(|c| c.0 == name).expect(name).1
    }

    #[test]
    fn x86_64_is_as_its_kernels_have_it() {
        // struct pt_regs: r15 to bx, then what the call clobbers, orig_ax, ip, cs, flags, sp.
        let names = [
            "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx",
            "si", "di", "orig_ax", "ip", "cs", "flags", "sp",
        ];
        let members: Vec<_> = names.iter().copied().zip((0..).step_by(8)).collect();
        let constants = constants(&X86_64, &members);
        let registers = ["REG_NR", "REG_ARG0", "REG_ARG3", "REG_IP", "REG_SP", "REG_BP"];
        assert_eq!(registers.map(|r| value(&constants, r)), [120, 112, 56, 128, 152, 32]);
    }

    #[test]
    fn aarch64_is_as_its_kernels_have_it() {
        let constants = constants(&AARCH64, &[("regs", 0), ("sp", 248), ("pc", 256)]);
        let registers = ["REG_NR", "REG_ARG0", "REG_ARG3", "REG_IP", "REG_SP", "REG_BP"];
        assert_eq!(registers.map(|r| value(&constants, r)), [64, 0, 24, 256, 248, 232]);
        // Six registers from here on are preserved ones: x19 to x28.
        assert!((19..=23).contains(&(value(&constants, "REG_SAVED") / 8)));
        let calls = ["NR_FUTEX", "NR_EXIT", "NR_EXIT_GROUP", "NR_TGKILL", "NR_FLOCK"];
        assert_eq!(calls.map(|c| value(&constants, c)), [98, 93, 94, 131, 32]);
    }

    #[test]
    fn both_say_the_same_things() {
        let names = |m: &Machine| (m.calls.map(|c| c.0), m.registers.map(|r| r.0));
        assert_eq!(names(&X86_64), names(&AARCH64));
        for machine in [&X86_64, &AARCH64] {
            let numbers: std::collections::BTreeSet<u64> =
                machine.calls.iter().map(|c| c.1).collect();
            assert_eq!(numbers.len(), machine.calls.len(), "a number given twice");
        }
    }

    #[test]
    fn the_numbers_are_those_of_the_c_library() {
        let here = |name| HERE.calls.iter().find(|c| c.0 == name).expect(name).1 as i64;
        for (name, number) in [
            ("NR_FUTEX", libc::SYS_futex),
            ("NR_FLOCK", libc::SYS_flock),
            ("NR_FCNTL", libc::SYS_fcntl),
            ("NR_SEMOP", libc::SYS_semop),
            ("NR_SEMTIMEDOP", libc::SYS_semtimedop),
            ("NR_SEMCTL", libc::SYS_semctl),
            ("NR_EXIT", libc::SYS_exit),
            ("NR_EXIT_GROUP", libc::SYS_exit_group),
            ("NR_KILL", libc::SYS_kill),
            ("NR_TKILL", libc::SYS_tkill),
            ("NR_TGKILL", libc::SYS_tgkill),
            ("NR_SIGQUEUE", libc::SYS_rt_sigqueueinfo),
            ("NR_TGSIGQUEUE", libc::SYS_rt_tgsigqueueinfo),
            ("NR_PIDFD_SIGNAL", libc::SYS_pidfd_send_signal),
            ("NR_READ", libc::SYS_read),
            ("NR_WRITE", libc::SYS_write),
            ("NR_SENDTO", libc::SYS_sendto),
            ("NR_RECVFROM", libc::SYS_recvfrom),
            ("NR_READV", libc::SYS_readv),
            ("NR_WRITEV", libc::SYS_writev),
            ("NR_SENDMSG", libc::SYS_sendmsg),
            ("NR_RECVMSG", libc::SYS_recvmsg),
        ] {
            assert_eq!(here(name), number, "{name}");
        }
    }
}
