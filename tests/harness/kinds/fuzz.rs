//! Cases of the kind `fuzz`: inputs that fuzzing found, by target. Each is replayed; a panic fails, and so does an input that needs
//! more than some seconds: what is cheap to send must be cheap to refuse.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

#[path = "../../fuzz/bodies.rs"]
mod bodies;
#[path = "../../fuzz/patch_bodies.rs"]
mod patch_bodies;
#[path = "../../fuzz/server_bodies.rs"]
mod server_bodies;

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn trials() -> Vec<Trial> {
    ["template", "chart", "values", "yaml", "archive", "request", "patch", "protobuf", "frames"]
        .into_iter()
        .map(|target| Trial::test(format!("fuzz/{target}"), move || replay(target)))
        .collect()
}

fn replay(target: &str) -> Result<(), Failed> {
    let folder = crate::harness::folder("fuzz").join(target);
    let mut n_inputs = 0;
    for entry in fs::read_dir(&folder)?.flatten() {
        n_inputs += 1;
        let began = Instant::now();
        run(target, &entry.path())?;
        let took = began.elapsed();
        if took > LIMIT {
            return Err(format!("{} took {took:.1?}", entry.path().display()).into());
        }
    }
    if n_inputs == 0 {
        return Err(format!("no input in {}", folder.display()).into());
    }
    Ok(())
}

fn run(target: &str, path: &Path) -> Result<(), Failed> {
    let data = fs::read(path)?;
    let text = String::from_utf8_lossy(&data);
    match target {
        "template" => bodies::template(&text),
        "chart" => bodies::chart(&text),
        "values" => bodies::values(&text),
        "yaml" => bodies::yaml(&text),
        "archive" => bodies::archive(&data),
        "request" => server_bodies::request(&data),
        "patch" => patch_bodies::patch(&text),
        "protobuf" => server_bodies::protobuf(&data),
        "frames" => server_bodies::frames(&data),
        other => return Err(format!("there is no target `{other}`").into()),
    }
    Ok(())
}
