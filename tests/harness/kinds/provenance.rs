//! Signed charts: what `helm verify` says of a `.prov` and a keyring, we say too.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use meshscript::helm::provenance::{Keyring, verify};

use crate::harness::helm::{Answer, Helm, digest};

const FILE: &str = "web-1.2.0.tgz";

/// The first day of 2027, soon after the answers were recorded: keys expire.
const NOW: i64 = 1_798_761_600;

/// What helm accepts and we do not, with our words. The reason is in the head of `src/helm/provenance/mod.rs`.
const DIFFERENT: &[(&str, &str)] = &[("dsa all.gpg", "openpgp: signature made by unknown entity")];

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/provenance")
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("provenance/as_helm_verifies", as_helm),
        Trial::test("provenance/every_block_of_armored_keys_is_read", || {
            let expected = answer("rsa", "trusted.asc")?;
            let found = answer("rsa", "both.asc")?;
            if found == expected { Ok(()) } else { Err(found.into()) }
        }),
        Trial::test("provenance/cut_and_changed_bytes_are_no_defects", damaged),
    ]
}

fn as_helm() -> Result<(), Failed> {
    let expected = fs::read_to_string(folder().join("expected.txt"))?;
    let mut wrong = Vec::new();
    for line in expected.lines() {
        let (row, recorded) = line.split_once(": ").ok_or(line)?;
        let (provenance, ring) = row.split_once(' ').ok_or(line)?;
        let found = answer(provenance, ring)?;
        let ours = DIFFERENT.iter().find(|(other, _)| *other == row);
        let wanted = ours.map_or(recorded, |(_, ours)| ours);
        if found != wanted {
            wrong.push(format!("{row}\n  wanted {wanted}\n  found  {found}"));
        }
        if let Some(helm) = Helm::find() {
            let now = theirs(helm, provenance, ring)?;
            if now != recorded {
                wrong.push(format!("{row}\n  recorded {recorded}\n  helm     {now}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Our answer in helm's form.
fn answer(provenance: &str, ring: &str) -> Result<String, Failed> {
    let folder = folder();
    let Ok(keys) = fs::read(folder.join(ring)) else {
        return Ok(format!("failed to load keyring: open {ring}: no such file or directory"));
    };
    let keyring = match Keyring::read(&keys) {
        Ok(keyring) => keyring,
        Err(error) => {
            // Helm names the file in the middle.
            let text = error.to_string();
            let text = ["reading keybox", "reading armored keyring"]
                .iter()
                .find_map(|form| Some(format!("{form} {ring}{}", text.strip_prefix(form)?)))
                .unwrap_or(text);
            return Ok(format!("failed to load keyring: {text}"));
        }
    };
    let archive = fs::read(folder.join(FILE))?;
    let provenance = fs::read(folder.join(format!("{provenance}.prov")))?;
    Ok(match verify(&archive, &provenance, FILE, &keyring, NOW) {
        Ok(signed) => format!(
            "Signed by: {} / Using Key With Fingerprint: {} / Chart Hash Verified: {}",
            signed.by.join(" / Signed by: "),
            signed.fingerprint,
            signed.digest
        ),
        // Go counts the bytes that its decoder saw.
        Err(error) => error.to_string().replace("base64 data", "base64 data at input byte 0"),
    })
}

fn theirs(helm: &Helm, provenance: &str, ring: &str) -> Result<String, Failed> {
    let folder = folder();
    let (prov, keys) = (folder.join(format!("{provenance}.prov")), folder.join(ring));
    let bytes = |path: &Path| digest(&[&fs::read(path).unwrap_or_default()]);
    let question = ["verify", ring, &bytes(&folder.join(FILE)), &bytes(&prov), &bytes(&keys)];
    let answer = helm.remembered(&question, || ask(helm, &prov, &keys))?;
    let text = answer.unwrap_or_else(|error| error);
    let text = text.trim();
    Ok(text.strip_prefix("Error: ").unwrap_or(text).replace('\n', " / "))
}

fn ask(helm: &Helm, provenance: &Path, keys: &Path) -> std::io::Result<Answer> {
    let work = tempfile::tempdir()?;
    fs::copy(folder().join(FILE), work.path().join(FILE))?;
    fs::copy(provenance, work.path().join(format!("{FILE}.prov")))?;
    let ring = keys.file_name().unwrap_or_default();
    if keys.is_file() {
        fs::copy(keys, work.path().join(ring))?;
    }
    let arguments = ["verify".as_ref(), FILE.as_ref(), "--keyring".as_ref(), ring];
    helm.run_in(work.path(), work.path(), arguments)
}

/// Prefixes and changed bytes of a keyring and a signature are read without a crash, and none of them verifies as
/// signed by somebody else.
fn damaged() -> Result<(), Failed> {
    let folder = folder();
    let archive = fs::read(folder.join(FILE))?;
    let provenance = fs::read(folder.join("ed25519.prov"))?;
    for ring in ["all.gpg", "trusted.kbx"] {
        let keys = fs::read(folder.join(ring))?;
        for end in (0..keys.len()).step_by(11) {
            let _ = Keyring::read(&keys[..end]);
        }
        // A signature takes its time: not each byte is changed.
        for at in (0..keys.len()).step_by(61) {
            let mut changed = keys.clone();
            changed[at] ^= 0x55;
            if let Ok(ring) = Keyring::read(&changed)
                && let Ok(signed) = verify(&archive, &provenance, FILE, &ring, NOW)
                && signed.by != ["Elliptic <ed25519@example.com>"]
            {
                return Err(format!("byte {at}: signed by {:?}", signed.by).into());
            }
        }
    }
    let keyring = Keyring::read(&fs::read(folder.join("all.gpg"))?)?;
    for at in (0..provenance.len()).step_by(3) {
        let _ = verify(&archive, &provenance[..at], FILE, &keyring, NOW);
        let mut changed = provenance.clone();
        changed[at] ^= 0x01;
        let _ = verify(&archive, &changed, FILE, &keyring, NOW);
    }
    Ok(())
}
