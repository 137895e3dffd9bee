//! The Huffman code of HPACK.

/// Bits of the code of each byte, RFC 7541 appendix B. The code is canonical: among codes of one
/// length, and from length to length, they follow each other in the order of the bytes.
const BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// Longest code.
const LONGEST: usize = 30;

struct Code {
    /// The first code of each length, and how many there are.
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    /// Where the bytes of each length begin in `bytes`.
    start: [usize; LONGEST + 1],
    bytes: [u8; 256],
}

const CODE: Code = code();

const fn code() -> Code {
    let mut code = Code {
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        start: [0; LONGEST + 1],
        bytes: [0; 256],
    };
    let (mut next, mut placed, mut bits) = (0, 0, 1);
    while bits <= LONGEST {
        next *= 2;
        code.first[bits] = next;
        code.start[bits] = placed;
        let mut byte = 0;
        while byte < 256 {
            if BITS[byte] as usize == bits {
                code.bytes[placed] = byte as u8;
                placed += 1;
                next += 1;
                code.count[bits] += 1;
            }
            byte += 1;
        }
        bits += 1;
    }
    code
}

/// Decodes, each byte handed on; false: this is no Huffman code.
pub fn decode(coded: &[u8], mut each: impl FnMut(u8)) -> bool {
    let (mut word, mut bits) = (0u32, 0);
    for coded in coded {
        for shift in (0..8).rev() {
            word = word << 1 | u32::from(coded >> shift & 1);
            bits += 1;
            if bits > LONGEST {
                return false;
            }
            let at = word.wrapping_sub(CODE.first[bits]);
            if at < CODE.count[bits] {
                each(CODE.bytes[CODE.start[bits] + at as usize]);
                (word, bits) = (0, 0);
            }
        }
    }
    // What is left are ones, less than a byte of them.
    bits < 8 && word + 1 == 1 << bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(coded: &[u8]) -> Option<String> {
        let mut bytes = Vec::new();
        decode(coded, |byte| bytes.push(byte)).then(|| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn what_clients_sent_is_decoded() {
        let txn = b"\x60\xa9\x24\x88\x2d\x9d\xcb\x65\x71\xaf\x9b\x8b\x1b\xfc\xd5";
        assert_eq!(text(txn).as_deref(), Some("/etcdserverpb.KV/Txn"));
        let lock = b"\x63\xbb\x34\x1c\x9d\x6b\x8d\x7c\xe7\x27\x56\x33\x9c\x9d\x7f";
        assert_eq!(text(lock).as_deref(), Some("/v3lockpb.Lock/Lock"));
        // RFC 7541, C.4.1.
        let host = b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(text(host).as_deref(), Some("www.example.com"));
        assert_eq!(text(b"").as_deref(), Some(""));
    }

    #[test]
    fn the_code_is_complete_but_for_its_end_mark() {
        let used: u64 = BITS.iter().map(|bits| 1u64 << (LONGEST - usize::from(*bits))).sum();
        assert_eq!(used, (1 << LONGEST) - 1);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(text(b"\xff\xff\xff\xff"), None);
        assert_eq!(text(b"\x60\xa9\x00"), None);
    }
}
