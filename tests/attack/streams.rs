//! WebSocket and SPDY frames on exec, attach and portforward of a pod that runs.

use std::io::Write as _;
use std::time::Duration;

use super::random::{Random, damage};
use super::served::{Door, WELL};
use super::wire;

/// The pod that the streams lead into.
pub(crate) const POD: &str = "well";

const WORDS: &[&[u8]] = &[
    &[0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
    &[0x82, 0xFE, 0xFF, 0xFF],
    &[0x02, 0x80, 0, 0, 0, 0],
    &[0x80, 0x80, 0, 0, 0, 0],
    &[0x88, 0x82, 0, 0, 0, 0, 3, 0xE8],
    &[0x88, 0x81, 0, 0, 0, 0, 3],
    &[0x89, 0x80, 0, 0, 0, 0],
    &[0xF2, 0x80, 0, 0, 0, 0],
    &[0x80, 3, 0, 1, 0, 0xFF, 0xFF, 0xFF],
    &[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1],
    &[0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0],
    &[0x78, 0xF9, 0xE3, 0xC6, 0xA7, 0xC2],
];

fn web_socket(random: &mut Random, out: &mut Vec<u8>, payload: &[u8]) {
    let kind = if random.chance(85) { 0x82 } else { random.byte() };
    out.push(kind);
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..65_536 => {
            out.push(0xFE);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0xFF);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = random.bytes(4);
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// The head of a SPDY stream without compressed blocks that make sense, and with.
fn spdy(random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    for stream in 0..=random.below(6) as u32 {
        let mut payload = (stream * 2 + 1).to_be_bytes().to_vec();
        let kind = *random.pick(&[&1u16, &1, &1, &2, &3, &6, &7, &8, &9]);
        if kind == 1 {
            payload.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
            payload.extend_from_slice(&[0x78, 0xF9, 0xE3, 0xC6, 0xA7, 0xC2]);
            payload.extend(packed(random));
        } else {
            let length = random.below(20);
            payload.extend(random.bytes(length));
        }
        out.extend_from_slice(&[0x80, 3]);
        out.extend_from_slice(&kind.to_be_bytes());
        let length = payload.len() as u32;
        out.extend_from_slice(&(u32::from(random.byte() & 3) << 24 | length).to_be_bytes());
        out.extend(payload);
        if random.chance(40) {
            out.extend_from_slice(&(stream * 2 + 1).to_be_bytes());
            out.extend_from_slice(&[0, 0, 0, 4]);
            out.extend_from_slice(b"GET ");
        }
    }
    out
}

/// A header block, stored or packed; now and then one that unpacks to far more than it is.
fn packed(random: &mut Random) -> Vec<u8> {
    let mut block = Vec::new();
    let pairs: &[(&str, &str)] = match random.below(4) {
        0 => &[("streamtype", "error"), ("port", "8080"), ("requestid", "0")],
        1 => &[("streamtype", "data"), ("port", "8080"), ("requestid", "0")],
        2 => &[("streamtype", "data"), ("port", "99999"), ("requestid", "")],
        _ => &[],
    };
    block.extend_from_slice(&(pairs.len() as u32).to_be_bytes());
    for (name, value) in pairs {
        for text in [name, value] {
            block.extend_from_slice(&(text.len() as u32).to_be_bytes());
            block.extend_from_slice(text.as_bytes());
        }
    }
    if random.chance(15) {
        block = vec![0xFF; 1 << random.below(22)];
    }
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    if packer.write_all(&block).and_then(|()| packer.flush()).is_err() {
        return Vec::new();
    }
    packer.get_ref().clone()
}

/// One attack; what is wrong, if anything.
pub(crate) fn attack(random: &mut Random, door: &Door) -> Option<String> {
    let (target, protocol) = match random.below(7) {
        0 => ("exec?command=cat&stdin=true&stdout=true&stderr=true", "v5.channel.k8s.io"),
        1 => (
            "exec?command=sh&command=-c&command=yes&stdout=true&stdin=true&tty=true",
            "v4.channel.k8s.io",
        ),
        2 => ("attach?stdin=true&stdout=true", "v5.channel.k8s.io"),
        3 => ("portforward?ports=8080&ports=99999&ports=0", "v4.channel.k8s.io"),
        4 => ("portforward", "SPDY/3.1+portforward.k8s.io"),
        5 => ("portforward?ports=8080,8080,8080", "portforward.k8s.io"),
        _ => ("portforward", "SPDY/3.1"),
    };
    let bare = protocol == "SPDY/3.1";
    let upgrade = if bare { "SPDY/3.1" } else { "websocket" };
    let mut head = format!(
        "{} /api/v1/namespaces/{WELL}/pods/{POD}/{target} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: {upgrade}\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: {protocol}\r\n\r\n",
        if bare { "POST" } else { "GET" }
    )
    .into_bytes();
    if random.chance(10) {
        damage(random, &mut head, super::http1::WORDS);
    }
    let mut frames = Vec::new();
    for _ in 0..=random.below(8) {
        let payload = if protocol.starts_with("SPDY") {
            spdy(random)
        } else {
            let length = if random.chance(5) { 1 << random.below(18) } else { random.below(64) };
            let mut payload = random.bytes(length);
            if let Some(channel) = payload.first_mut() {
                *channel = *random.pick(&[&0, &0, &1, &2, &3, &4, &254, &255]);
            }
            payload
        };
        if bare {
            frames.extend(payload);
        } else {
            web_socket(random, &mut frames, &payload);
        }
    }
    if random.chance(50) {
        damage(random, &mut frames, WORDS);
    }
    let patience = Duration::from_millis(if random.chance(30) { 200 } else { 40 });
    let mut stream = door.place.tls(&door.as_admin, patience).ok()?;
    // Frames may come before the answer does.
    wire::talk(&mut stream, &[&head, &frames]);
    None
}
