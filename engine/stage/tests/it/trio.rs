//! One filter and one transform, each in Rust, Go and Python: byte-equal documents, in 30,000 calls in bounded memory too.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io::Read;
use std::sync::{Arc, LazyLock};

use arrow_array::{
    ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int16Array, Int32Array,
    Int64Array, RecordBatch, StringViewArray, Time64MicrosecondArray, TimestampMicrosecondArray, UInt32Array,
};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tidemill_change::{
    Change, ChangeBatch, Column, Commit, Epoch, Kind, Lsn, NO_ROW, OldImage, Op, Relation, ReplicaIdentity, Staged,
    TableId,
};
use tidemill_encode::{Actions, Encoder, Encoding, IdRule, LongId, Nonfinite, Numbers};
use tidemill_stage::{Chain, Grants, Identity, Limits, Plugin, Stage};

use crate::digests::{hex, sources_of};
use crate::harness::{ENGINE, check, root};

mod wide;

struct Pair {
    filter: Arc<Plugin>,
    transform: Arc<Plugin>,
}

static RUST: LazyLock<Pair> = LazyLock::new(|| load("rust"));
static GO: LazyLock<Pair> = LazyLock::new(|| load("go"));
static PYTHON: LazyLock<Pair> = LazyLock::new(|| load("python"));

fn load(language: &str) -> Pair {
    let [filter, transform] = components(language);
    let plugin = |kind, bytes: &[u8]| Arc::new(Plugin::load(&ENGINE, &format!("{language}-{kind}"), bytes).unwrap());
    Pair { filter: plugin("filter", &filter), transform: plugin("transform", &transform) }
}

/// A language's filter and transform, as `scripts/components.sh` packs them.
fn components(language: &str) -> [Vec<u8>; 2] {
    let read = |file: String| std::fs::read(root().join("plugins/trio").join(file)).unwrap();
    match language {
        "rust" => ["filter", "transform"].map(|kind| read(format!("rust-{kind}.wasm"))),
        "go" => ["filter", "transform"].map(|kind| {
            let mut component = Vec::new();
            GzDecoder::new(&read(format!("go-{kind}.wasm.gz"))[..]).read_to_end(&mut component).unwrap();
            component
        }),
        _ => {
            let mut both = Vec::new();
            lzma_rs::xz_decompress(&mut &read("python.xz".to_owned())[..], &mut both).unwrap();
            let transform = both.split_off(16 + str::from_utf8(&both[..16]).unwrap().parse::<usize>().unwrap());
            let filter = both.split_off(16);
            [filter, transform]
        }
    }
}

#[test]
fn committed_components_are_made_of_these_sources() {
    let digests = std::fs::read_to_string(root().join("plugins/trio/DIGESTS")).unwrap();
    let lines: Vec<Vec<&str>> = digests.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines.iter().map(|line| line[0]).collect::<Vec<_>>(), ["go", "python", "rust"]);
    for line in lines {
        let sources: &[&str] = match line[0] {
            "rust" => &[
                "plugins/trio/rust",
                "plugins/Cargo.toml",
                "plugins/Cargo.lock",
                "plugins/.cargo",
                "sdk/rust",
                "wit/0.1",
            ],
            "go" => &["plugins/trio/go", "sdk/go", "scripts/component"],
            _ => &["plugins/trio/python", "sdk/python"],
        };
        // As `digest` in `scripts/components.sh`.
        let is_source = |path: &str| {
            ![".md", "_test.go"].iter().any(|end| path.ends_with(end))
                && !["/template/", "/tests/", "__pycache__"].iter().any(|part| path.contains(part))
        };
        assert_eq!(
            line[1],
            sources_of(sources, is_source),
            "the sources of trio in {} changed: run `make plugins`",
            line[0]
        );
        assert_eq!(components(line[0]).map(|component| hex(Sha256::digest(component))), line[2..]);
    }
}

/// A small generator: the same rows everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Null in one of seven rows.
    fn maybe<T>(&mut self, value: impl FnOnce(&mut Random) -> T) -> Option<T> {
        (self.below(7) != 0).then(|| value(self))
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

fn name(random: &mut Random) -> String {
    let parts = [
        "",
        "a",
        "shoe",
        "Ünïcödé ",
        "鞋",
        "👟",
        "e\u{301}",
        " ",
        "\"quoted\\",
        "\u{1}",
        "without ",
        "ß",
        "\n",
        "\u{ffff}",
    ];
    if random.below(4) == 0 {
        // Of any plane.
        let plane = random.below(17) as u32;
        return char::from_u32((plane << 16) | (0xe000 + random.below(0x2000) as u32))
            .into_iter()
            .chain(['é'])
            .collect();
    }
    (0..random.below(9)).map(|_| random.one(&parts)).collect()
}

fn price(random: &mut Random) -> String {
    match random.below(12) {
        0 => "NaN".to_owned(),
        1 => random.one(&["Infinity", "-Infinity", "0", "-0.00"]).to_owned(),
        2 => format!("{}.{:030}", random.next(), random.next()),
        _ => format!("{}.{:02}", random.below(100_000), random.below(100)),
    }
}

fn at(random: &mut Random) -> i64 {
    match random.below(20) {
        0 => i64::MAX,
        1 => i64::MIN,
        2 => random.one(&[0, -1, 1, 86_400_000_000, -86_400_000_000]),
        _ => random.below(8_000_000_000_000_000) as i64 - 4_000_000_000_000_000,
    }
}

fn score(random: &mut Random) -> f64 {
    match random.below(20) {
        0 => random.one(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e300, -1e9, 999_999_999.99]),
        1 => 666.0,
        _ => (random.below(2_000_000_000) as f64 - 1e9) / random.one(&[1.0, 3.0, 1000.0, 7e9]),
    }
}

fn quantity(random: &mut Random) -> i64 {
    if random.below(30) == 0 { random.one(&[i64::MIN, i64::MAX, 0]) } else { random.below(200) as i64 }
}

fn float(random: &mut Random) -> f32 {
    match random.below(10) {
        0 => random.one(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MAX, f32::MIN_POSITIVE, 0.1]),
        _ => random.next() as i32 as f32 / 7.0,
    }
}

fn whole(random: &mut Random) -> i64 {
    random.one(&[0, -1, i64::MIN, i64::MAX, random.0 as i64])
}

fn bytes(random: &mut Random) -> Vec<u8> {
    (0..random.below(40)).map(|_| random.next() as u8).collect()
}

fn json(random: &mut Random) -> String {
    // Without blanks, since Go's own encoder leaves them out of what is put into a document.
    let texts = ["{}", "null", "\"鞋\"", "1e400", "-0.00", r#"{"a":[1,null,{"\u0000":"👟"}],"b":""}"#, "[[],[true]]"];
    random.one(&texts).to_owned()
}

/// One column of each type that crosses, some types twice.
const COLUMNS: [(&str, u32); 16] = [
    ("id", 20),
    ("price", 1700),
    ("name", 25),
    ("active", 16),
    ("at", 1184),
    ("score", 701),
    ("quantity", 20),
    ("small", 21),
    ("count", 23),
    ("ref", 26),
    ("ratio", 700),
    ("raw", 17),
    ("born", 1082),
    ("seen", 1114),
    ("hour", 1083),
    ("data", 3802),
];

fn images(random: &mut Random, ids: &[i64]) -> Vec<ArrayRef> {
    let mut each = || ids.iter().map(|_| random.next()).map(Random).collect::<Vec<_>>().into_iter();
    vec![
        Arc::new(Int64Array::from_iter_values(ids.iter().copied())),
        Arc::new(each().map(|mut r| r.maybe(price)).collect::<StringViewArray>()),
        Arc::new(each().map(|mut r| r.maybe(name)).collect::<StringViewArray>()),
        Arc::new(each().map(|mut r| r.maybe(|r| r.below(4) != 0)).collect::<BooleanArray>()),
        Arc::new(each().map(|mut r| r.maybe(at)).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        Arc::new(each().map(|mut r| r.maybe(score)).collect::<Float64Array>()),
        Arc::new(each().map(|mut r| r.maybe(quantity)).collect::<Int64Array>()),
        Arc::new(each().map(|mut r| r.maybe(|r| whole(r) as i16)).collect::<Int16Array>()),
        Arc::new(each().map(|mut r| r.maybe(|r| whole(r) as i32)).collect::<Int32Array>()),
        Arc::new(each().map(|mut r| r.maybe(|r| whole(r) as u32)).collect::<UInt32Array>()),
        Arc::new(each().map(|mut r| r.maybe(float)).collect::<Float32Array>()),
        Arc::new(each().map(|mut r| r.maybe(bytes)).collect::<BinaryViewArray>()),
        Arc::new(each().map(|mut r| r.maybe(|r| r.below(60_000) as i32 - 30_000)).collect::<Date32Array>()),
        Arc::new(each().map(|mut r| r.maybe(at)).collect::<TimestampMicrosecondArray>()),
        Arc::new(each().map(|mut r| r.maybe(|r| r.below(86_400_000_001) as i64)).collect::<Time64MicrosecondArray>()),
        Arc::new(each().map(|mut r| r.maybe(json)).collect::<StringViewArray>()),
    ]
}

/// Of five changes three insert, one updates and one deletes; what was before is told in full.
fn rows(seed: u64, changes: u32) -> Arc<ChangeBatch> {
    let columns = COLUMNS.map(|(name, oid)| Column {
        name: name.to_owned(),
        type_oid: oid,
        type_modifier: -1,
        kind: Kind::from_oid(oid),
        identity: true,
    });
    let relation = Arc::new(Relation::new(TableId(1), "public", "things", ReplicaIdentity::Full, columns.into()));
    let first = i64::from(changes) * (seed as i64 % 1000);
    let (mut new, mut old) = (Vec::new(), Vec::new());
    let mut change = |ordinal: u32| {
        let id = first + i64::from(ordinal);
        let op = match ordinal % 5 {
            3 => Op::Update,
            4 => Op::Delete,
            _ => Op::Insert,
        };
        let place = |images: &mut Vec<i64>, is_told: bool| match is_told {
            true => {
                images.push(id);
                images.len() as u32 - 1
            }
            false => NO_ROW,
        };
        let (row, before) = (place(&mut new, op != Op::Delete), place(&mut old, op != Op::Insert));
        let old_image = if op == Op::Insert { OldImage::None } else { OldImage::Full };
        Change { op, old_image, bucket: 0, commit: 0, ordinal, row, old: before }
    };
    let changes: Vec<Change> = (0..changes).map(&mut change).collect();
    let mut random = Random(seed);
    let mut batch = |ids: &[i64]| RecordBatch::try_new(Arc::clone(relation.arrow()), images(&mut random, ids)).unwrap();
    let (rows, old) = (batch(&new), batch(&old));
    Arc::new(ChangeBatch::new(relation, vec![Commit { lsn: Lsn(8), xid: 1, time_us: 0 }], changes, rows, old))
}

/// What the transform is told to be.
fn kind(kind: &str) -> Value {
    json!({ "kind": kind })
}

fn labels() -> Value {
    json!({ "kind": "labels", "labels": { "prefix": "№ ", "twice": true } })
}

/// The filter, then the transform as each of these, with little memory: growth past it would be a failure of a call.
fn chain(pair: &Pair, transforms: &[Value], memory_mib: usize) -> Chain {
    let stage = |plugin: &Arc<Plugin>, name: &str, config| Stage {
        name: name.to_owned(),
        plugin: Arc::clone(plugin),
        config,
        limits: Limits { memory_bytes: memory_mib << 20, ..Limits::default() },
        grants: Grants { identity: Some(Identity { index: Some("things-*".into()) }), ..Grants::default() },
    };
    let mut stages = vec![stage(&pair.filter, "filter", json!({ "at_least": 20, "without": "without" }))];
    let kinds = transforms.iter().map(|config| (config["kind"].as_str().unwrap(), config.clone()));
    stages.extend(kinds.map(|(kind, config)| stage(&pair.transform, kind, config)));
    Chain::new(stages)
}

fn encoder() -> Encoder {
    let key = HashMap::from([(TableId(1), vec!["id".to_owned()])]);
    Encoder::new(Encoding {
        index: "things".parse().unwrap(),
        id: IdRule::Key(key.clone()),
        routing: None,
        pipeline: None,
        numbers: Numbers::Exact,
        nonfinite: Nonfinite::String,
        long_id: LongId::Refuse,
        actions: Actions::default(),
        epoch: Epoch::default(),
        exclusive: [TableId(1)].into(),
        keys: Some(key),
    })
}

/// What reaches the index, and the rows that do not.
fn answer(staged: Staged) -> (String, Vec<(u32, String, String)>) {
    check(&staged);
    let rejects = staged.rejects.iter().map(|r| (r.row, r.code.clone(), own(&r.code, &r.message))).collect();
    let encoded = encoder().encode(&[staged]).unwrap();
    (String::from_utf8(encoded.body.to_vec()).unwrap(), rejects)
}

/// A reject's message; around that of an error without a code of its own a language may say more: its type, its place.
fn own(code: &str, message: &str) -> String {
    let own = "`quantity` has no magnitude";
    if code == "failed" && message.contains(own) { own.to_owned() } else { message.to_owned() }
}

#[track_caller]
fn assert_same<T: PartialEq + Debug>(language: &str, seed: u64, rust: &[T], other: &[T]) {
    for (at, (rust, other)) in rust.iter().zip(other).enumerate() {
        assert_eq!(rust, other, "seed {seed}: {language} differs from Rust at {at}");
    }
    assert_eq!(rust.len(), other.len(), "seed {seed}: {language} has another number of them");
}

/// Runs the same rows through all three, in large batches and in others of all sizes, since bitmaps end within a byte, and looks
/// that in the documents of each large one, and among its rejects' codes, there are these.
#[track_caller]
fn compare(transforms: &[Value], large: &[u32], parts: &[&str], codes: &[&str]) {
    let mut rust = chain(&RUST, transforms, 64);
    let mut others = [("Go", chain(&GO, transforms, 128)), ("Python", chain(&PYTHON, transforms, 128))];
    for (seed, size) in (1..).zip(large.iter().copied().chain([0, 1, 7, 8, 129])) {
        let batch = rows(seed, size);
        let (documents, rejects) = answer(rust.run(Arc::clone(&batch)).unwrap());
        let lines: Vec<&str> = documents.lines().collect();
        for (language, chain) in &mut others {
            let (theirs, their_rejects) = answer(chain.run(Arc::clone(&batch)).unwrap());
            assert_same(language, seed, &lines, &theirs.lines().collect::<Vec<_>>());
            assert_same(language, seed, &rejects, &their_rejects);
        }
        if large.contains(&size) {
            // Few rows are dropped, and some become two documents.
            assert!(lines.len() > size as usize / 5 * 2, "only {} lines", lines.len());
            for code in codes {
                assert!(rejects.iter().any(|reject| reject.1 == *code), "no row was rejected as `{code}`");
            }
            let missing: Vec<_> = parts.iter().filter(|part| !documents.contains(**part)).collect();
            assert!(missing.is_empty(), "no document has {missing:?}");
        }
    }
    for (language, chain) in &others {
        chain.stats().for_each(|(stage, stats)| assert_eq!(stats.failures, 0, "{language}'s {stage}"));
    }
}

#[test]
fn three_languages_make_the_same_documents() {
    let parts = [
        "-1\"",
        "…",
        "👟",
        "never\"",
        " ∞\"",
        " -∞\"",
        "\"cents\":null",
        "\"early\":true",
        "NaN",
        "\"things-unknown\"",
        "\"routing\":\"r6\"",
        "insert public.things",
        "update public.things",
        "\"lsn\":\"0/8\"",
        "{\"delete\":{",
        "\"was\":1",
    ];
    compare(&[labels()], &[10_000; 3], &parts, &["empty", "price", "score", "failed"]);
}

/// One stage makes them, the next reads them and makes others.
#[test]
fn three_languages_read_and_make_the_same_lists() {
    let parts = [
        "\"words\":null",
        "\"words\":[null]",
        "\"words\":[null,\"",
        "\"codes\":[null,[",
        ",111,104,115]",
        "\"total\":0",
        "\"total\":null",
        "\"prices\":[null,\"NaN\"]",
        "\"prices\":[null,-0.00]",
        "\"prices\":null",
        "\"flags\":[null,null]",
        "\"flags\":[true,false]",
        "\"moments\":[]",
        "\"moments\":[\"infinity\"]",
        "\"scores\":[666",
        "\"raws\":[\"\",\"\"]",
        "\"all\":[{}]",
        "\"all\":[[[],[true]]]",
        "\"deep\":[[[[[[[null]]]]]]]",
        "\"deep\":[[[[[[[[20]]]]]]]]",
    ];
    compare(&[kind("lists"), kind("turned")], &[4_000], &parts, &["words"]);
}

/// Whole documents, that are named by the key: what a deleted row had is known without the row.
#[test]
fn three_languages_write_the_same_json() {
    let parts = [
        "0-1\"",
        "\"_index\":\"things-even\"",
        "\"routing\":\"r6\"",
        "{\"delete\":{\"_index\":\"things-odd\"",
        "\"name\":null,",
        "\\u0001",
        "\\n",
        "\\\"quoted\\\\",
        "\"price\":\"-Infinity\"",
        "\"price\":-0.00,",
        "\"words\":[\"\"]",
        "\"members\":null,\"data\":1e400}",
        "\"members\":null,\"data\":null}",
        "\"members\":2,\"data\":{\"a\":[1,null,{\"\\u0000\":\"👟\"}],\"b\":\"\"}}",
    ];
    compare(&[kind("documents")], &[4_000], &parts, &["price"]);
}

/// How a pair is soaked.
struct Soak {
    memory_mib: usize,
    /// The size of the batches before, which fill memory as far as a collector lets it.
    warm_up_rows: u32,
    /// One that leaks may be replaced some times when its memory is used up, as long as no document shows it.
    replaced_max: u64,
}

/// 30,000 calls of each of the pair in little memory, then some with lists and some with documents: each answer byte by byte what
/// Rust's first was.
fn soak(pair: &Pair, soak: &Soak) {
    soak_as(pair, soak, &[labels()], 30_000);
    soak_as(pair, soak, &[kind("lists"), kind("turned")], 2_000);
    soak_as(pair, soak, &[kind("documents")], 2_000);
}

fn soak_as(pair: &Pair, soak: &Soak, transforms: &[Value], calls: u64) {
    let Soak { memory_mib, warm_up_rows, replaced_max } = *soak;
    let mut chain = chain(pair, transforms, memory_mib);
    let large = rows(99, warm_up_rows);
    for _ in 0..100 {
        chain.run(Arc::clone(&large)).unwrap();
    }
    let memory = |chain: &Chain| chain.stats().map(|(_, stats)| stats.memory_bytes).collect::<Vec<_>>();
    let warm = memory(&chain);
    let batches: Vec<_> = (0..50).map(|seed| rows(seed, 5)).collect();
    // What Rust makes of each at first is what everybody makes of it each time.
    let mut first = self::chain(&RUST, transforms, 64);
    let answers: Vec<_> = batches.iter().map(|batch| answer(first.run(Arc::clone(batch)).unwrap())).collect();
    // Updates and deletes make two calls of a batch: the other asks for names.
    let mut run = 0;
    while chain.stats().any(|(_, stats)| stats.calls < calls) {
        let at = run % batches.len();
        assert!(
            answer(chain.run(Arc::clone(&batches[at])).unwrap()) == answers[at],
            "batch {at} in round {}",
            run / batches.len()
        );
        run += 1;
    }
    for ((stage, stats), warm) in chain.stats().zip(warm) {
        assert!(stats.failures <= replaced_max && stats.restarts == stats.failures, "{stage}: {stats:?}");
        // 1 MiB is 35 bytes a call.
        assert!(
            replaced_max > 0 || stats.memory_bytes <= warm + (1 << 20),
            "{stage} grew from {warm} bytes: {stats:?}"
        );
    }
}

#[test]
fn thirty_thousand_calls_of_rust() {
    soak(&RUST, &Soak { memory_mib: 8, warm_up_rows: 1000, replaced_max: 0 });
}

#[test]
fn thirty_thousand_calls_of_go() {
    soak(&GO, &Soak { memory_mib: 128, warm_up_rows: 10_000, replaced_max: 0 });
}

#[test]
fn thirty_thousand_calls_of_python() {
    // componentize-py 0.25 does not free the lists of bytes that an export returned.
    soak(&PYTHON, &Soak { memory_mib: 64, warm_up_rows: 100, replaced_max: 3 });
}
