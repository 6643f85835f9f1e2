//! Does what its configuration says with the parts of WASI that are granted, and tells what came of it as its refusal to open;
//! where it is to do nothing, it opens and keeps every row.
//!
//! ```json
//! { "do": "env" | "read" | "create" | "remove" | "hoard" | "time" | "random" | "print" | "sleep" | "nothing" | "waver", "path": "…" }
//! { "do": "dice" }
//! { "do": "slow", "row": 7, "ms": 900 }
//! { "do": "obey", "row": 7, "path": "…" }
//! ```
//!
//! To waver is to open with another plan each time, and to trap. With dice it traps in three calls of eight, whatever rows they
//! bring. Slow is a call that brings the row with this `id`: it works until so much time has passed. To
//! obey is to loop at open where a file says `loop`, and to trap at such a call.

#![cfg_attr(target_arch = "wasm32", allow(unsafe_code, reason = "what wit-bindgen generates"))]

#[cfg(target_arch = "wasm32")]
mod deeds {
    wit_bindgen::generate!({ path: "wit", world: "outsider", generate_all });

    use self::wasi::cli::{environment, stdout};
    use self::wasi::clocks::{monotonic_clock, wall_clock};
    use self::wasi::filesystem::preopens;
    use self::wasi::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
    use self::wasi::random::random;

    pub(crate) fn chance() -> u64 {
        random::get_random_u64()
    }

    /// Works, and does not sleep.
    pub(crate) fn spin(ms: u64) {
        let until = monotonic_clock::now() + ms * 1_000_000;
        while monotonic_clock::now() < until {}
    }

    pub(crate) fn deed(what: &str, path: &str) -> String {
        match what {
            "env" => format!("{:?}", environment::get_environment()),
            "read" => format!("{:?}", read(path)),
            "create" => format!("{:?}", open(path, OpenFlags::CREATE, DescriptorFlags::WRITE).map(drop)),
            "remove" => format!("{:?}", folder().and_then(|folder| folder.unlink_file_at(path))),
            "hoard" => hoard(path),
            "time" => wall_clock::now().seconds.to_string(),
            "random" => random::get_random_u64().to_string(),
            "print" => {
                let stdout = stdout::get_stdout();
                let printed = path.as_bytes().chunks(4096).map(|bytes| stdout.blocking_write_and_flush(bytes).is_ok());
                format!("{} lines", printed.filter(|ok| *ok).count())
            }
            "sleep" => {
                monotonic_clock::subscribe_duration(3_600_000_000_000).block();
                "slept".to_owned()
            }
            other => format!("`{other}` is no deed"),
        }
    }

    pub(crate) fn order(path: &str) -> String {
        read(path).unwrap_or_default()
    }

    fn folder() -> Result<Descriptor, ErrorCode> {
        preopens::get_directories().into_iter().next().map(|(folder, _)| folder).ok_or(ErrorCode::NoEntry)
    }

    fn open(path: &str, open: OpenFlags, flags: DescriptorFlags) -> Result<Descriptor, ErrorCode> {
        folder()?.open_at(PathFlags::SYMLINK_FOLLOW, path, open, flags)
    }

    fn read(path: &str) -> Result<String, ErrorCode> {
        let (bytes, _) = open(path, OpenFlags::empty(), DescriptorFlags::READ)?.read(4096, 0)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Opens a file again and again, and closes none.
    fn hoard(path: &str) -> String {
        let opened = (0..100_000).map_while(|_| open(path, OpenFlags::empty(), DescriptorFlags::READ).ok());
        let opened: Vec<_> = opened.collect();
        format!("{} files", opened.len())
    }
}

#[cfg(target_arch = "wasm32")]
mod plugin {
    use tidemill_sdk::{Batch, Column, Config, Error, Fact, Failure, Filter, FilterPlan, Keep, Verdict};

    enum Outsider {
        Honest,
        Wavers,
        Dices,
        Slow { id: Column<i64>, row: i64, ms: u64 },
        Obeys { id: Column<i64>, row: i64 },
    }

    impl Filter for Outsider {
        fn open(config: Config<'_>, plan: &mut FilterPlan<'_>) -> Result<Outsider, Error> {
            let config = config.value()?;
            let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
            match text("do").as_str() {
                "nothing" => Ok(Outsider::Honest),
                "waver" => {
                    let facts = [Fact::Op, Fact::Lsn, Fact::Namespace, Fact::Table];
                    let chance = super::deeds::chance();
                    for (_, fact) in facts.into_iter().enumerate().filter(|(bit, _)| chance >> bit & 1 == 1) {
                        plan.require_fact::<str>(fact)?;
                    }
                    Ok(Outsider::Wavers)
                }
                "dice" => Ok(Outsider::Dices),
                "slow" => {
                    let (row, ms) = (config["row"].as_i64().unwrap_or(-1), config["ms"].as_u64().unwrap_or(0));
                    Ok(Outsider::Slow { id: plan.require("id")?, row, ms })
                }
                "obey" => {
                    while super::deeds::order(&text("path")) == "loop" {}
                    Ok(Outsider::Obeys { id: plan.require("id")?, row: config["row"].as_i64().unwrap_or(-1) })
                }
                what => Err(super::deeds::deed(what, &text("path")).into()),
            }
        }

        fn process(&mut self, batch: &Batch<'_>) -> Result<Verdict, Failure> {
            match self {
                Outsider::Honest => {}
                Outsider::Wavers => panic!("asked to trap"),
                Outsider::Dices => assert!(super::deeds::chance() & 7 > 2, "the dice say so"),
                Outsider::Obeys { id, row } => {
                    assert!(batch.column(*id).values().all(|id| id != *row), "asked to trap");
                }
                Outsider::Slow { id, row, ms } => {
                    if batch.column(*id).values().any(|id| id == *row) {
                        super::deeds::spin(*ms);
                    }
                }
            }
            Ok(Verdict { keep: Keep::All, rejects: Vec::new() })
        }
    }

    tidemill_sdk::filter!(Outsider);
}
