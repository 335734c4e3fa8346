//! Attacks on TLS itself: records that are cut, of wrong versions and lengths, handshakes that break off, plain HTTP.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::random::{Random, damage};
use super::wire::{self, Place};

const PATIENCE: Duration = Duration::from_millis(60);

const WORDS: &[&[u8]] = &[
    &[0x16, 3, 1],
    &[0x16, 3, 3, 0x40, 0],
    &[0x16, 3, 4, 0xFF, 0xFF],
    &[0x14, 3, 3, 0, 1, 1],
    &[0x15, 3, 3, 0, 2, 1, 0],
    &[0x15, 3, 3, 0, 2, 2, 0x50],
    &[0x17, 3, 3, 0, 0],
    &[0x18, 3, 3, 0, 3, 1, 0x40, 0],
    &[1, 0xFF, 0xFF, 0xFF],
    &[0, 0x2B, 0, 3, 2, 3, 0],
    &[0, 0x29, 0xFF, 0xFF],
    &[0, 0x10, 0, 5, 0, 3, 2, b'h', b'2'],
    &[0, 0, 0, 0],
    b"GET / HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

/// One attack; what the server sent back.
pub(crate) fn attack(random: &mut Random, place: &Place) -> io::Result<Vec<u8>> {
    match random.below(6) {
        0 => plain(random, place),
        1 => junk(random, place),
        2 | 3 => hello(random, place),
        _ => broken_handshake(random, place),
    }
}

/// HTTP where TLS is spoken.
fn plain(random: &mut Random, place: &Place) -> io::Result<Vec<u8>> {
    let text: &[u8] = random.pick(&[
        &b"GET /api/v1/secrets HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        b"GET / HTTP/1.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"POST /api/v1/namespaces HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n{",
        b"CONNECT 127.0.0.1:6443 HTTP/1.1\r\n\r\n",
    ]);
    let mut text = text.to_vec();
    if random.chance(50) {
        damage(random, &mut text, WORDS);
    }
    send(random, place, &text)
}

fn junk(random: &mut Random, place: &Place) -> io::Result<Vec<u8>> {
    let length = 1 << random.below(16);
    let mut text = vec![*random.pick(&[&0x14, &0x15, &0x16, &0x17, &0x80]), 3, random.byte()];
    text.extend_from_slice(&random.bytes(length));
    send(random, place, &text)
}

/// A real ClientHello with some damage.
fn hello(random: &mut Random, place: &Place) -> io::Result<Vec<u8>> {
    let protocols: &[&[u8]] = if random.chance(50) { &[b"h2", b"http/1.1"] } else { &[] };
    let mut client = place.client(&place.config(None, protocols));
    let mut text = Vec::new();
    client.write_tls(&mut text)?;
    damage(random, &mut text, WORDS);
    if random.chance(20) {
        let again = text.clone();
        text.extend_from_slice(&again);
    }
    send(random, place, &text)
}

fn send(random: &mut Random, place: &Place, text: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = place.bare(PATIENCE)?;
    let cut = random.below(text.len() + 1);
    if random.chance(30) {
        stream.set_read_timeout(Some(Duration::from_millis(1)))?;
        return Ok(wire::talk(&mut stream, &[text]));
    }
    if random.chance(30) {
        let _ = stream.write_all(text);
        let _ = stream.shutdown(Shutdown::Write);
        return Ok(wire::listen(&mut stream));
    }
    Ok(wire::talk(&mut stream, &[&text[..cut], &text[cut..]]))
}

/// A handshake of a real client whose bytes are damaged on the way from a certain one on.
fn broken_handshake(random: &mut Random, place: &Place) -> io::Result<Vec<u8>> {
    let mut client = place.client(&place.config(None, &[b"http/1.1"]));
    let stream = place.bare(Duration::from_millis(300))?;
    let mut noisy = Noisy { stream, left: random.below(900), random };
    // What comes of it is the server's decision.
    while client.is_handshaking() {
        match client.complete_io(&mut noisy) {
            Ok((0, 0)) | Err(_) => break,
            Ok(_) => {}
        }
    }
    let _ = client
        .writer()
        .write_all(b"GET /api/v1/secrets HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let _ = client.complete_io(&mut noisy);
    let mut answer = Vec::new();
    let _ = client.reader().read_to_end(&mut answer);
    Ok(answer)
}

struct Noisy<'a> {
    stream: TcpStream,
    /// Bytes that go through as they are.
    left: usize,
    random: &'a mut Random,
}

impl Read for Noisy<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Noisy<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() <= self.left {
            self.left -= bytes.len();
            return self.stream.write(bytes);
        }
        let mut changed = bytes.to_vec();
        let at = self.left + self.random.below(bytes.len() - self.left);
        changed[at] ^= 1 << self.random.below(8);
        self.left = self.random.below(900);
        self.stream.write_all(&changed)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
