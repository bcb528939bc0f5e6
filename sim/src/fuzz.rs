//! Hostile bytes for every decoder: sound input, changed at random, and bytes that were never sound. A decoder may refuse
//! or accept; it may not panic, and not reserve memory that the bytes do not account for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use fastrand::Rng;
use in_mem::{Durability, Value, VersionedValue};
use in_mem_model::{RunId, Tag, Timestamp, Version, codec};
use in_mem_shard::core::effect::{EffectReader, EffectWriter};
use in_mem_shard::core::{CheckpointEntry, event, span};
use in_mem_wal::SimDisk;

use crate::crash::{PATH, Setup};
use crate::finding::Finding;

/// Most that the address space may grow over a whole run, in bytes: far more than the inputs, far less than what a length
/// that was believed would ask for.
const GROWTH_LIMIT_BYTES: f64 = 512.0 * 1024.0 * 1024.0;
/// Longest input that is made of nothing, in bytes.
const NOISE_BYTES: usize = 4_096;
/// Most changes to one input.
const CHANGES: usize = 8;

/// Reads bytes; says whether it took them.
type Reader = dyn Fn(&[u8]) -> bool;

struct Target {
    name: &'static str,
    sound: Vec<Vec<u8>>,
    /// What is tried.
    read: Box<Reader>,
    /// How much longer one input takes than reading a value.
    weight: u64,
}

fn changed(sound: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for _ in 0..rng.usize(1..=CHANGES) {
        let at = rng.usize(0..=bytes.len());
        let to = (at + rng.usize(0..=32)).min(bytes.len());
        match rng.u32(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.u32(0..8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xfb, 0xfc, 0xfd, 0xff][rng.usize(0..8)],
            2 => drop(bytes.drain(at..to)),
            3 => {
                let piece = bytes[at..to].to_vec();
                let place = rng.usize(0..=bytes.len());
                bytes.splice(place..place, piece);
            }
            4 => bytes
                .splice(at..at, (0..rng.usize(0..16)).map(|_| rng.u8(..)).collect::<Vec<_>>())
                .for_each(drop),
            _ => bytes.truncate(at.max(bytes.len() / 2)),
        }
    }
    bytes
}

fn values() -> Vec<Value> {
    let json = r#"{"a":[1,-2,3.5,"text",null,true,{"deep":[[[[{"x":"y"}]]]]}],"b":{"$bytes":"AAEC"},"n":18446744073709551615}"#;
    let parsed = Value::parse_json(json).unwrap_or(Value::Null);
    vec![Value::Null, Value::from(vec![7u8; 300]), Value::from("words"), parsed]
}

fn small_targets() -> Vec<Target> {
    let run = RunId::from_bytes([7; 16]);
    let encoded = |value: &Value| {
        let mut bytes = Vec::new();
        codec::encode_value(value, &mut bytes);
        bytes
    };
    let payload = |value: &Value| {
        let mut bytes = Vec::new();
        let mut effects = EffectWriter::new(&mut bytes, run);
        effects.put(Tag::Kv, b"key", value, Some(Timestamp(9)));
        effects.on(RunId::from_bytes([8; 16]));
        effects.delete(Tag::State, b"cell");
        bytes
    };
    let stored = |value: &Value| {
        let (mut body, mut scratch) = (Vec::new(), Vec::new());
        event::pack_body("kind", Some("stream"), Some(Timestamp(5)), value, &mut body);
        let head = event::ChainHead::default();
        let (stored, _) = event::seal(&head, Timestamp(6), Some(3), &body, &mut scratch);
        stored.as_bytes().unwrap_or_default().to_vec()
    };
    let entry = |value: &Value| {
        let mut bytes = Vec::new();
        let expires_at = Some(Timestamp(4));
        let (tag, key, version, timestamp) = (Tag::Kv, &b"key"[..], Version(3), Timestamp(2));
        CheckpointEntry { run, tag, key, version, timestamp, expires_at, value: value.clone() }
            .encode(&mut bytes);
        bytes
    };
    let spanned = |value: &Value| {
        let mut bytes = Vec::new();
        let mut head = span::SpanHead::new(span::SpanKind::ToolCall, "look up".into(), Timestamp(7));
        head.end = Some(Timestamp(9));
        span::pack_span(&head, value, value, None, &mut bytes);
        bytes
    };
    let each = |of: &dyn Fn(&Value) -> Vec<u8>| values().iter().map(of).collect::<Vec<_>>();
    let kept = |bytes: &[u8]| VersionedValue {
        value: Value::from(bytes),
        version: Version(1),
        timestamp: Timestamp(1),
        expires_at: None,
    };
    vec![
        Target {
            name: "value",
            sound: each(&encoded),
            read: Box::new(|bytes| codec::decode_value(bytes).is_ok()),
            weight: 1,
        },
        Target {
            name: "effects",
            sound: each(&payload),
            read: Box::new(move |bytes| {
                let mut effects = EffectReader::new(bytes, run);
                loop {
                    match effects.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => return true,
                        Err(_) => return false,
                    }
                }
            }),
            weight: 1,
        },
        Target {
            name: "event",
            sound: each(&stored),
            read: Box::new(|bytes| event::unpack(1, Version(1), Timestamp(1), &Value::from(bytes)).is_ok()),
            weight: 1,
        },
        Target {
            name: "span",
            sound: each(&spanned),
            read: Box::new(move |bytes| span::unpack_span("id", &kept(bytes)).is_ok()),
            weight: 1,
        },
        Target {
            name: "checkpoint-entry",
            sound: each(&entry),
            read: Box::new(|bytes| CheckpointEntry::decode(bytes).is_ok()),
            weight: 1,
        },
    ]
}

fn sound_database(setup: &mut Setup) -> Result<(SimDisk, Vec<u8>), in_mem::Error> {
    let disk = SimDisk::new(3);
    let db = setup.open(&disk, PATH, Some(1))?;
    let run = db.begin_run("fuzzed")?;
    for n in 0..40 {
        run.kv().put(format!("key/{}", n % 10), n)?;
        run.events().append("noted", n)?;
        if n == 20 {
            db.checkpoint()?;
        }
    }
    db.sync()?;
    let bundle = db.export(run.id())?;
    db.close()?;
    Ok((disk, bundle))
}

/// Whole directories, and bundles: inputs that take a database to read.
fn large_targets() -> Result<Vec<Target>, in_mem::Error> {
    let mut setup = Setup::new(3, Durability::Strict, true);
    setup.segment_bytes = 16 << 10;
    let (disk, bundle) = sound_database(&mut setup)?;
    let mut targets = Vec::new();
    for path in disk.files() {
        let Some(sound) = disk.contents(&path) else { continue };
        let name = match path.extension().and_then(|e| e.to_str()) {
            Some("wal") => "directory-segment",
            Some("ckpt") => "directory-checkpoint",
            _ if path.ends_with("MANIFEST") => "directory-manifest",
            _ => continue,
        };
        let (disk, path, mut setup) = (disk.kill(), path.clone(), Setup::new(3, Durability::Strict, true));
        setup.segment_bytes = 16 << 10;
        let read = move |bytes: &[u8]| {
            let disk = disk.kill();
            disk.put(&path, bytes.to_vec());
            setup.open(&disk, PATH, None).is_ok()
        };
        if name == "directory-segment" {
            // Behind its checksums a segment is whatever somebody wrote: what a plain change never comes to.
            let read = mended(read.clone());
            targets.push(Target { name: "mended-segment", sound: vec![sound.clone()], read, weight: 400 });
        }
        targets.push(Target { name, sound: vec![sound], read: Box::new(read), weight: 400 });
    }
    let db = setup.open(&SimDisk::new(4), PATH, Some(1))?;
    let read = move |bytes: &[u8]| db.import(bytes, true).is_ok();
    targets.push(Target { name: "bundle", sound: vec![bundle], read: Box::new(read), weight: 400 });
    Ok(targets)
}

/// Gives a segment with its checksums put right, header and records, as far as the lengths lead.
fn mended(read: impl Fn(&[u8]) -> bool + 'static) -> Box<Reader> {
    const HEADER: usize = in_mem_wal::SEGMENT_HEADER_BYTES as usize;
    Box::new(move |bytes| {
        let mut bytes = bytes.to_vec();
        if bytes.len() < HEADER {
            return read(&bytes);
        }
        bytes[12..16].fill(0);
        let crc = crc32fast::hash(&bytes[..HEADER]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let (mut at, mut before) = (HEADER, None);
        while let Some(head) = bytes.get(at..at + in_mem_wal::HEADER_BYTES) {
            let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            let end = at + (in_mem_wal::HEADER_BYTES + len).next_multiple_of(8);
            if head[8] == 0 || end > bytes.len() {
                break;
            }
            if let Some(before) = before {
                bytes[at + 24..at + 28].copy_from_slice(&u32::to_le_bytes(before));
            }
            let crc = crc32fast::hash(&bytes[at + 4..end]);
            bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
            (at, before) = (end, Some(crc));
        }
        read(&bytes)
    })
}

/// The names of all decoders.
///
/// # Errors
/// The database that sound input comes from could not be made.
pub fn names() -> in_mem::Result<Vec<&'static str>> {
    Ok(targets()?.iter().map(|target| target.name).collect())
}

/// Gives one input to a decoder, for a fuzzer that is guided by what the input reaches.
///
/// # Panics
/// There is no decoder of this name; and where the decoder panics, which is what is looked for.
pub fn feed(name: &str, bytes: &[u8]) {
    thread_local! {
        static TARGETS: Vec<Target> = targets().expect("sound input can be made");
    }
    TARGETS.with(|targets| {
        let target = targets.iter().find(|target| target.name == name).expect("a decoder of this name");
        (target.read)(bytes);
    });
}

/// Writes the sound inputs of every decoder into a folder of its name: what a guided fuzzer begins with.
///
/// # Errors
/// They could not be made or written.
pub fn write_seeds(to: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    for target in targets()? {
        let dir = to.join(target.name);
        std::fs::create_dir_all(&dir)?;
        for (number, sound) in target.sound.iter().enumerate() {
            std::fs::write(dir.join(format!("sound-{number}")), sound)?;
        }
    }
    Ok(())
}

fn targets() -> in_mem::Result<Vec<Target>> {
    let mut targets = small_targets();
    targets.extend(large_targets()?);
    Ok(targets)
}

/// The largest that the address space has been, in bytes; 0 where the system does not say.
fn peak_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<f64>().ok()).unwrap_or(0.0)
        * 1024.0
}

/// Gives each decoder `inputs` inputs; those that take a database get fewer.
pub fn run(inputs: u64, seed: u64) -> Vec<Finding> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut findings = Vec::new();
    let mut violations = Vec::new();
    let mut targets = small_targets();
    match large_targets() {
        Ok(large) => targets.extend(large),
        Err(error) => violations.push(error.to_string()),
    }
    let before = peak_bytes();
    for target in &targets {
        let mut rng = Rng::with_seed(seed);
        let (start, count) = (Instant::now(), (inputs / target.weight).max(20));
        let (mut longest, mut taken) = (Duration::ZERO, 0);
        // A decoder that refuses everything would hold out against anything.
        if target.sound.iter().any(|sound| !(target.read)(sound)) {
            violations.push(format!("{}: sound input was refused", target.name));
        }
        for number in 0..count {
            let bytes = if number % 16 == 0 {
                (0..rng.usize(0..NOISE_BYTES)).map(|_| rng.u8(..)).collect()
            } else {
                changed(&target.sound[rng.usize(0..target.sound.len())], &mut rng)
            };
            let began = Instant::now();
            match catch_unwind(AssertUnwindSafe(|| (target.read)(&bytes))) {
                Ok(took) => taken += u64::from(took),
                Err(_) => violations.push(format!("{}: input {number} of seed {seed} panicked", target.name)),
            }
            longest = longest.max(began.elapsed());
        }
        let note = format!(
            "{taken} taken, {:.1} s, the longest {:.1} ms",
            start.elapsed().as_secs_f64(),
            longest.as_secs_f64() * 1e3
        );
        let (name, asked) = (format!("fuzz.{}", target.name), (inputs / target.weight) as f64);
        findings.push(Finding::at_least(&name, count as f64, asked, "inputs").note(note));
    }
    std::panic::set_hook(hook);
    findings.push(Finding {
        at_most: Some(GROWTH_LIMIT_BYTES),
        ..Finding::shown("fuzz.address-space-growth", peak_bytes() - before, "bytes")
    });
    findings.push(Finding::violations("fuzz.violations", &violations));
    findings
}
