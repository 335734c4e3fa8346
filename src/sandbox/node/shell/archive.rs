//! `tar`, as `kubectl cp` and people run it: packs files to standard output or a file, and unpacks them.

use std::io::{Cursor, Read as _};

use bytes::Bytes;

use super::evaluate::MAX_BYTES;
use super::io::Streams;
use super::{Around, absolute};
use crate::sandbox::node::files::Entry;

/// What the words of a command line ask for.
#[derive(Debug, Default)]
struct Order<'a> {
    /// `c`, `x` or `t`
    action: Option<char>,
    /// `-` and none at all are the standard streams.
    file: &'a str,
    folder: Option<&'a str>,
    names: Vec<&'a str>,
    verbose: bool,
    packed: bool,
}

fn order(arguments: &[String]) -> Result<Order<'_>, String> {
    let mut order = Order::default();
    let mut words = arguments.iter().map(String::as_str).enumerate();
    while let Some((at, word)) = words.next() {
        let letters = match word.strip_prefix("--") {
            Some(long) => {
                match long.split_once('=').unwrap_or((long, "")) {
                    ("create", _) => order.action = Some('c'),
                    ("extract", _) => order.action = Some('x'),
                    ("list", _) => order.action = Some('t'),
                    ("file", file) => order.file = file,
                    ("directory", folder) => order.folder = Some(folder),
                    ("no-same-permissions" | "no-same-owner" | "warning" | "numeric-owner", _) => {}
                    (other, _) => return Err(format!("unrecognized option '--{other}'")),
                }
                continue;
            }
            None if at == 0 => word.trim_start_matches('-'),
            None => match word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                Some(letters) => letters,
                None => {
                    order.names.push(word);
                    continue;
                }
            },
        };
        for letter in letters.chars() {
            let mut value = || {
                words
                    .next()
                    .map(|(_, word)| word)
                    .ok_or(format!("option requires an argument -- '{letter}'"))
            };
            match letter {
                'c' | 'x' | 't' => order.action = Some(letter),
                'f' => order.file = value()?,
                'C' => order.folder = Some(value()?),
                'v' => order.verbose = true,
                'z' => order.packed = true,
                'm' | 'o' | 'p' | 'h' => {}
                other => return Err(format!("invalid option -- '{other}'")),
            }
        }
    }
    Ok(order)
}

/// Runs `tar`.
pub(super) async fn tar(arguments: &[String], around: &Around, streams: &Streams) -> i32 {
    let fail = async |text: String| {
        streams.stderr.write(format!("tar: {text}\n")).await;
        1
    };
    let order = match order(arguments) {
        Ok(order) => order,
        Err(why) => return fail(why).await,
    };
    let folder =
        order.folder.map_or_else(|| around.folder.clone(), |path| absolute(&around.folder, path));
    let file = absolute(&around.folder, order.file);
    let streamed = matches!(order.file, "" | "-");
    if order.action == Some('c') {
        if order.names.iter().any(|name| name.starts_with('/')) {
            fail("Removing leading `/' from member names".to_owned()).await;
        }
        let (bytes, missing) = match pack(&order, &folder, around) {
            Ok(packed) => packed,
            Err(why) => return fail(why.to_string()).await,
        };
        if streamed {
            streams.stdout.write(bytes).await;
        } else if let Err(why) = around.write(&file, bytes) {
            return fail(format!("can't open '{}': {why}", order.file)).await;
        }
        for name in &missing {
            fail(format!("{name}: Cannot stat: No such file or directory")).await;
        }
        if !missing.is_empty() {
            fail("Exiting with failure status due to previous errors".to_owned()).await;
            return 2;
        }
        return 0;
    }
    let bytes = if streamed {
        streams.stdin.all(MAX_BYTES).await
    } else {
        match around.files.read(&file) {
            Ok(bytes) => bytes,
            Err(why) => return fail(format!("can't open '{}': {why}", order.file)).await,
        }
    };
    match order.action {
        Some('x' | 't') => match unpack(&order, &folder, around, &bytes) {
            Ok(names) => {
                streams.stdout.write(names).await;
                0
            }
            Err(why) => fail(why.to_string()).await,
        },
        _ => fail("must specify one of -c, -x, -t".to_owned()).await,
    }
}

/// The archive, and the names that are not there.
fn pack(order: &Order<'_>, folder: &str, around: &Around) -> std::io::Result<(Bytes, Vec<String>)> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut missing = Vec::new();
    for name in &order.names {
        let path = absolute(folder, name);
        let found = around.files.walk(&path);
        if found.is_empty() {
            missing.push((*name).to_owned());
        }
        for (at, entry) in found {
            let inside = format!("{name}{}", at.strip_prefix(path.as_str()).unwrap_or_default());
            let inside = match inside.trim_start_matches('/') {
                "" => ".",
                inside => inside,
            };
            let mut header = tar::Header::new_gnu();
            header.set_username("root")?;
            header.set_groupname("root")?;
            match entry {
                Entry::Directory { mode } => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(mode);
                    header.set_mtime(around.time.seconds());
                    header.set_size(0);
                    archive.append_data(&mut header, format!("{inside}/"), std::io::empty())?;
                }
                Entry::File { mode, bytes, seconds } => {
                    header.set_mode(mode);
                    header.set_mtime(seconds);
                    header.set_size(bytes.len() as u64);
                    archive.append_data(&mut header, inside, &bytes[..])?;
                }
            }
        }
    }
    let bytes = archive.into_inner()?;
    if !order.packed {
        return Ok((bytes.into(), missing));
    }
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(&bytes[..], flate2::Compression::fast())
        .read_to_end(&mut packed)?;
    Ok((packed.into(), missing))
}

/// Writes what an archive holds, or only tells its names.
fn unpack(
    order: &Order<'_>,
    folder: &str,
    around: &Around,
    bytes: &[u8],
) -> std::io::Result<String> {
    let mut plain = Vec::new();
    let bytes = if order.packed || bytes.starts_with(&[0x1f, 0x8b]) {
        let limit = MAX_BYTES as u64;
        flate2::read::GzDecoder::new(bytes).take(limit).read_to_end(&mut plain)?;
        &plain
    } else {
        bytes
    };
    let refused =
        |path: &str, why: &str| std::io::Error::other(format!("can't open '{path}': {why}"));
    let mut told = String::new();
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if order.action == Some('t') || order.verbose {
            told.push_str(&format!("{name}\n"));
        }
        if order.action == Some('t') {
            continue;
        }
        let path = absolute(folder, name.trim_start_matches('/'));
        let (mode, seconds) = (entry.header().mode()? & 0o7777, entry.header().mtime()?);
        match entry.header().entry_type() {
            tar::EntryType::Directory => {
                around.files.make_directory(&path, true).map_err(|why| refused(&name, why))?;
            }
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                if let Some((above, _)) = path.rsplit_once('/') {
                    around.files.make_directory(above, true).map_err(|why| refused(&name, why))?;
                }
                let written = around.files.write(&path, mode, bytes.into(), seconds);
                written.map_err(|why| refused(&name, why))?;
            }
            // Links lead nowhere here.
            _ => {}
        }
    }
    Ok(told)
}
