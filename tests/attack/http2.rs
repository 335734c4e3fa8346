//! HTTP/2 frame by frame, right and wrong: settings, windows, floods of continuations, resets and pings, broken HPACK.

use super::http1::Parts;
use super::random::{Random, damage};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const WORDS: &[&[u8]] = &[
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"\x00\x00\x00\x04\x01\x00\x00\x00\x00",
    b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\xff\xff",
    b"\x00\x00\x04\x08\x00\x00\x00\x00\x01\x00\x00\x00\x00",
    b"\x3f\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x00\x7f\xff\xff\xff\xff\x0f",
    b"\x82\x87\x84\x41",
];

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A header that is not put into the table.
fn literal(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0);
    for text in [name, value] {
        let length = text.len();
        if length < 127 {
            out.push(length as u8);
        } else {
            out.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                out.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            out.push(rest as u8);
        }
        out.extend_from_slice(text.as_bytes());
    }
}

fn block(random: &mut Random, parts: &Parts) -> Vec<u8> {
    let mut out = Vec::new();
    literal(&mut out, ":method", &parts.method);
    literal(&mut out, ":scheme", "https");
    literal(&mut out, ":path", &parts.path);
    literal(&mut out, ":authority", "sandbox");
    for (name, value) in &parts.headers {
        literal(&mut out, &name.to_lowercase(), value);
    }
    match random.below(14) {
        0 => literal(&mut out, ":path", "/again"),
        1 => literal(&mut out, "Upper-Case", "x"),
        2 => literal(&mut out, "connection", "keep-alive"),
        3 => literal(&mut out, "transfer-encoding", "chunked"),
        4 => literal(&mut out, "content-length", "18446744073709551615"),
        5 => literal(&mut out, "content-length", "3"),
        6 => literal(&mut out, "x", &"y".repeat(1 << random.below(15))),
        7 => literal(&mut out, "cookie", &"a=b; ".repeat(1 << random.below(10))),
        8 => literal(&mut out, ":protocol", "websocket"),
        9 => literal(&mut out, "te", "trailers\r\n"),
        _ => {}
    }
    out
}

/// A whole connection of a client: its preface, and frames.
pub(crate) fn bytes(random: &mut Random, parts: &Parts) -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    settings(random, &mut out);
    let mut stream = 1;
    for _ in 0..=random.below(6) {
        part(random, parts, &mut out, &mut stream);
    }
    if random.chance(50) {
        damage(random, &mut out, WORDS);
    }
    out
}

fn settings(random: &mut Random, out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    if random.chance(60) {
        for _ in 0..=random.below(6) {
            payload.extend_from_slice(&(random.below(10) as u16).to_be_bytes());
            let value = match random.below(6) {
                0 => 0,
                1 => u32::MAX,
                2 => 0x7fff_ffff,
                3 => 0x00ff_ffff,
                4 => 1,
                _ => random.next() as u32,
            };
            payload.extend_from_slice(&value.to_be_bytes());
        }
    }
    frame(out, SETTINGS, 0, 0, &payload);
}

fn part(random: &mut Random, parts: &Parts, out: &mut Vec<u8>, stream: &mut u32) {
    match random.below(14) {
        0..=4 => {
            let block = block(random, parts);
            let bare = parts.body.is_empty();
            frame(out, HEADERS, END_HEADERS | if bare { END_STREAM } else { 0 }, *stream, &block);
            for piece in parts.body.chunks(random.below(4_000) + 1) {
                frame(out, DATA, 0, *stream, piece);
            }
            if !bare {
                frame(out, DATA, if random.chance(90) { END_STREAM } else { 0 }, *stream, &[]);
            }
            *stream += 2;
        }
        5 => {
            // A block without end.
            let block = block(random, parts);
            frame(out, HEADERS, END_STREAM, *stream, &block);
            for _ in 0..1 << random.below(13) {
                let mut more = Vec::new();
                literal(&mut more, "x", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy");
                frame(out, CONTINUATION, 0, *stream, if random.chance(50) { &more } else { &[] });
            }
            *stream += 2;
        }
        6 => {
            // Streams that are taken back at once.
            let block = block(random, parts);
            for _ in 0..1 << random.below(11) {
                frame(out, HEADERS, END_HEADERS | END_STREAM, *stream, &block);
                frame(out, RESET, 0, *stream, &8u32.to_be_bytes());
                *stream += 2;
            }
        }
        7 => {
            // More streams than are allowed at once, none of them ended.
            let block = block(random, parts);
            for _ in 0..1 << random.below(11) {
                frame(out, HEADERS, END_HEADERS, *stream, &block);
                *stream += 2;
            }
        }
        8 => {
            for _ in 0..1 << random.below(13) {
                let kind = if random.chance(50) { PING } else { SETTINGS };
                frame(out, kind, 0, 0, if kind == PING { &[7; 8] } else { &[] });
            }
        }
        9 => {
            let by = random.pick(&[&0u32, &1, &0x7fff_ffff, &u32::MAX]).to_be_bytes();
            let of = if random.chance(50) { 0 } else { *stream };
            frame(out, WINDOW, 0, of, &by);
        }
        10 => {
            let dependency = stream.to_be_bytes();
            frame(out, PRIORITY, 0, *stream, &[dependency.as_slice(), &[255]].concat());
        }
        11 => frame(out, GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0]),
        12 => {
            let payload = random.bytes(40);
            frame(
                out,
                if random.chance(50) { PUSH } else { random.byte() },
                random.byte(),
                *stream,
                &payload,
            );
        }
        _ => {
            // HPACK that is none.
            let length = random.below(60);
            let mut block = random.bytes(length);
            let words = random.pick(&[
                &b"\x3f\xe1\xff\xff\x0f"[..],
                b"\xff\xff\xff\xff\x7f",
                b"\xbe\xbe\xbe",
                b"\x40\x7f\xff\xff",
            ]);
            block.extend_from_slice(words);
            frame(out, HEADERS, END_HEADERS | END_STREAM, *stream, &block);
            *stream += 2;
        }
    }
}

/// What of the frames that came back lets somebody in: a response whose status begins with 2 or 5.
pub(crate) fn grants(mut answer: &[u8]) -> Option<String> {
    while let Some((head, rest)) = answer.split_at_checked(9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = rest.get(..length)?;
        answer = &rest[length..];
        if head[3] != HEADERS {
            continue;
        }
        let skip = payload.iter().take_while(|byte| (0x20..0x40).contains(*byte)).count();
        let block = &payload[skip..];
        // `:status` is index 8 of the static table, whole values are 8 to 14.
        let granted = match block.first() {
            Some(0x88..=0x8a | 0x8e) => true,
            Some(0x48 | 0x08 | 0x18) => match block.get(1..3) {
                // As it is, or with the first character in Huffman's code: five bits, 2 and 5 are `00010` and `011011`.
                Some([length, first]) if length & 0x80 == 0 => matches!(*first, b'2' | b'5'),
                Some([_, first]) => first >> 3 == 0b00010 || first >> 2 == 0b01_1011,
                _ => false,
            },
            _ => false,
        };
        if granted {
            return Some(format!(
                "HTTP/2 headers {block:02x?}, then {}",
                String::from_utf8_lossy(&answer[..answer.len().min(300)])
            ));
        }
    }
    None
}
