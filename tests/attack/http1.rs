//! Requests of HTTP/1.1 as no client should send them.

use super::random::{Random, damage};

pub(crate) const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b"%00",
    b"%2e%2e/",
    b"%2F",
    b"//",
    b"?",
    b"#",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/9.9",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Content-Length: 5, 6\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: upgrade, close\r\n",
    b"Connection: keep-alive\r\n",
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    b"Upgrade: websocket\r\n",
    b"Upgrade: SPDY/3.1\r\n",
    b" folded: line\r\n",
    b"Host: a\r\nHost: b\r\n",
    b"Authorization: Bearer \r\n",
    b"Authorization: bearer x\r\n",
    b"X-Remote-User: admin\r\nX-Remote-Group: system:masters\r\n",
    b"Impersonate-User: kubernetes-admin\r\nImpersonate-Group: system:masters\r\n",
    b"X-Forwarded-For: 127.0.0.1\r\n",
    b"X-HTTP-Method-Override: GET\r\n",
    b"FFFFFFFFFFFFFFFF\r\n",
    b"7fffffffffffffff;a=b\r\n",
    b"0\r\n\r\n",
    b"0\r\nTrailer: x\r\n\r\n",
    b"GET /api/v1/secrets HTTP/1.1\r\nhost: x\r\n\r\n",
];

const METHODS: &[&str] = &[
    "GET", "GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE",
    "PROPFIND", "get", "", "GE T", "PRI",
];

/// What a request is made of before it is damaged.
pub(crate) struct Parts {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// The bytes of a request, or of several, in one of the ways that go wrong in servers.
pub(crate) fn bytes(random: &mut Random, parts: &Parts) -> Vec<u8> {
    let mut text = match random.below(10) {
        0 => chunked(random, parts),
        1 => smuggled(random, parts),
        2 => many_headers(random, parts),
        3 => pipelined(random, parts),
        4 => long_line(random, parts),
        _ => plain(random, parts),
    };
    if random.chance(70) {
        damage(random, &mut text, WORDS);
    }
    text
}

fn head(random: &mut Random, parts: &Parts, framing: &str) -> Vec<u8> {
    let method = if random.chance(85) { parts.method.as_str() } else { random.pick(METHODS) };
    let path = match random.below(12) {
        0 => format!("https://127.0.0.1{}", parts.path),
        1 => format!("{}/../..{}", parts.path, parts.path),
        2 => parts.path.trim_start_matches('/').to_owned(),
        3 => format!("/{}", parts.path),
        4 => parts.path.replace('/', "%2f"),
        5 => "*".to_owned(),
        _ => parts.path.clone(),
    };
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: sandbox\r\n{framing}");
    for (name, value) in &parts.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if random.chance(60) {
        text.push_str("connection: close\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn plain(random: &mut Random, parts: &Parts) -> Vec<u8> {
    let length = match random.below(8) {
        0 => parts.body.len() + random.below(50),
        1 => random.below(parts.body.len() + 1),
        _ => parts.body.len(),
    };
    let mut text = head(random, parts, &format!("content-length: {length}\r\n"));
    text.extend_from_slice(&parts.body);
    text
}

fn chunked(random: &mut Random, parts: &Parts) -> Vec<u8> {
    let mut text = head(random, parts, "transfer-encoding: chunked\r\n");
    let mut rest = parts.body.as_slice();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((random.below(200) + 1).min(rest.len()));
        let said = if random.chance(95) { piece.len() } else { random.next() as usize };
        text.extend_from_slice(format!("{said:x}\r\n").as_bytes());
        text.extend_from_slice(piece);
        text.extend_from_slice(b"\r\n");
        rest = after;
    }
    text.extend_from_slice(random.pick(&[
        &b"0\r\n\r\n"[..],
        b"0\r\na: b\r\n\r\n",
        b"",
        b"0\r\n",
        b"-1\r\n",
    ]));
    text
}

/// Two lengths, and a second request within the first one's body.
fn smuggled(random: &mut Random, parts: &Parts) -> Vec<u8> {
    let inner = plain(random, parts);
    let framing = random.pick(&[
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "content-length: 4\r\ncontent-length: 40\r\n",
        "transfer-encoding: xchunked\r\ncontent-length: 4\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\ncontent-length: 4\r\n",
        "content-length: +4\r\n",
        "content-length: 0x4\r\n",
    ]);
    let mut text = head(random, parts, framing);
    text.extend_from_slice(b"0\r\n\r\n");
    text.extend_from_slice(&inner);
    text
}

fn many_headers(random: &mut Random, parts: &Parts) -> Vec<u8> {
    let count = 1 << random.below(11);
    let length = 1 << random.below(10);
    let mut framing = String::new();
    for at in 0..count {
        framing.push_str(&format!("x-{at}: {}\r\n", "v".repeat(length)));
    }
    head(random, parts, &framing)
}

fn pipelined(random: &mut Random, parts: &Parts) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..=random.below(60) {
        text.extend_from_slice(
            format!("{} {} HTTP/1.1\r\nhost: x\r\n", parts.method, parts.path).as_bytes(),
        );
        for (name, value) in &parts.headers {
            text.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        text.extend_from_slice(b"content-length: 0\r\n\r\n");
    }
    text
}

fn long_line(random: &mut Random, parts: &Parts) -> Vec<u8> {
    let length = 1 << random.below(20);
    let path = match random.below(3) {
        0 => format!("{}{}", parts.path, "/a".repeat(length / 2)),
        1 => format!("{}?labelSelector={}", parts.path, "a,".repeat(length / 2)),
        _ => format!("{}?{}", parts.path, "a=b&".repeat(length / 4)),
    };
    head(
        random,
        &Parts { path, method: parts.method.clone(), headers: Vec::new(), body: Vec::new() },
        "",
    )
}

/// What of an answer lets somebody in: a status that is neither a refusal of the request nor of the person.
pub(crate) fn grants(answer: &[u8]) -> Option<String> {
    let mut from = 0;
    while let Some(at) = answer[from..].windows(7).position(|seven| seven == b"HTTP/1.") {
        let line = &answer[from + at..];
        from += at + 7;
        let Some(code) = line.get(9..12).and_then(|code| std::str::from_utf8(code).ok()) else {
            continue;
        };
        let Ok(code) = code.parse::<u16>() else { continue };
        if line.get(8) == Some(&b' ') && (code == 101 || code / 100 == 2 || code / 100 == 5) {
            let end = line.len().min(400);
            return Some(String::from_utf8_lossy(&line[..end]).into_owned());
        }
    }
    None
}
