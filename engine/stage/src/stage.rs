//! One stage of a chain, opened on one table: it runs a frame through its plugin, and where that fails it looks for the rows
//! that make it fail.
//!
//! A batch whose call traps or ends in no proper answer is cut in halves on new instances until the poison rows stand
//! alone: for p of them among n rows that takes at most 2·p·⌈log2 n⌉ + 2 calls. One of them is a second try of the whole where the
//! instance had answered before, since what failed it may have come together over many calls. A batch whose halves pass was
//! too large: from then on the stage's batches are no larger than what passed.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{Array, ArrayRef, UInt32Array, new_empty_array};
use arrow_select::concat::concat;
use arrow_select::take::take;
use tidemill_change::Reject;

use crate::abi::{Batch, Failure, Field, Schema, Source};
use crate::check::{self, Answer, Refused};
use crate::crossing;
use crate::error::{Error, Kind};
use crate::frame::Frame;
use crate::grants::Grants;
use crate::instance::{Failed, GuestPlan, Instance, NotOpened};
use crate::known::Known;
use crate::limits::DEADLINES_A_BATCH_MAX;
use crate::picked::Picked;
use crate::plan::{From, Given, Plan};
use crate::push::Scratch;
use crate::said::Heard;
use crate::shape::Shape;
use crate::{Limits, Plugin};

/// A stage as it is configured.
#[derive(Clone)]
pub struct Stage {
    /// What errors, dead letters and metrics call it.
    pub name: String,
    pub plugin: Arc<Plugin>,
    /// A JSON object: what the plugin gets at open.
    pub config: serde_json::Value,
    pub limits: Limits,
    pub grants: Grants,
}

impl fmt::Debug for Stage {
    /// Without the configuration, in which secrets stand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("name", &self.name).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Something that a plugin asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Required {
    Column(String),
    /// A column of the row as it was before its change.
    Old(String),
    /// What is known of the change itself.
    Fact(String),
}

impl fmt::Display for Required {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Required::Column(name) => f.write_str(name),
            Required::Old(name) => write!(f, "{name} as it was before"),
            Required::Fact(fact) => write!(f, "the change's {fact}"),
        }
    }
}

/// What a stage did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageStats {
    /// Calls of `process`.
    pub calls: u64,
    pub rows_in: u64,
    pub rows_out: u64,
    pub rejects: u64,
    /// Calls that ended in no answer; each cost an instance.
    pub failures: u64,
    /// Instances made anew in the place of those.
    pub restarts: u64,
    /// The most linear memory that an instance had.
    pub memory_bytes: usize,
    pub busy: Duration,
    /// What crossed to the guest, and what came back.
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// What the stages of a chain share while a batch runs.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) scratch: Scratch,
    pub(crate) heard: Heard,
}

/// A stage that was opened on a table.
#[derive(Debug)]
pub(crate) struct OpenStage {
    guest_plan: GuestPlan,
    plan: Plan,
    schema: Schema,
    config: String,
    /// None after a failed call, until the next one.
    instance: Option<Instance>,
    /// The last instance gave an answer before anything else.
    has_answered: bool,
    /// The largest batch that is tried.
    rows_max: usize,
    /// Rows that made the plugin fail since the last batch of which one passed.
    failed_in_a_row: usize,
}

/// A piece of a frame and what came of it.
#[derive(Debug)]
struct Part {
    from: usize,
    len: usize,
    answer: Answer,
    /// Why its one row made the plugin fail, where it did.
    failed: Option<String>,
}

impl OpenStage {
    pub(crate) fn open(stage: &Stage, input: &Shape, shared: &mut Shared) -> Result<OpenStage, Error> {
        let fail = |message: String| Error::new(Kind::Open, &stage.name, message);
        let schema = input.to_guest().map_err(fail)?;
        let config = stage.config.to_string();
        let heard = (stage.name.as_str(), &mut shared.heard);
        let (instance, guest_plan) =
            Instance::open(&stage.plugin, &stage.limits, &config, &schema, &stage.grants, heard).map_err(|error| {
                let broken = |how: String| {
                    Error::new(Kind::Broken, &stage.name, format!("its plugin `{}` {how}", stage.plugin.name()))
                };
                match error {
                    NotOpened::Refused(message) => fail(message),
                    NotOpened::Failed(failed) => broken(format!("failed at open: {}", failed.message)),
                    NotOpened::Misfit(message) => broken(format!("does not fit the contract: {message}")),
                }
            })?;
        let plan = Plan::check(&guest_plan, input, &stage.grants).map_err(fail)?;
        Ok(OpenStage {
            guest_plan,
            plan,
            schema,
            config,
            instance: Some(instance),
            has_answered: false,
            rows_max: usize::MAX,
            failed_in_a_row: 0,
        })
    }

    /// What rows look like behind this stage.
    pub(crate) fn shape(&self) -> &Shape {
        &self.plan.shape
    }

    /// What this stage's plugin asked for, by name.
    pub(crate) fn asked_for(&self) -> Vec<Required> {
        let requires = match &self.guest_plan {
            GuestPlan::Filter(plan) => &plan.requires,
            GuestPlan::Transform(plan) => &plan.requires,
        };
        let name = |fields: &[Field], place: u32| fields.get(place as usize).map(|field| field.name.clone());
        let word = |source: &Source| match source {
            Source::Field(place) => name(&self.schema.fields, *place).map(Required::Column),
            Source::Old(place) => name(&self.schema.old, *place).map(Required::Old),
            Source::Fact(fact) => Some(Required::Fact(format!("{fact:?}").to_lowercase())),
        };
        requires.iter().filter_map(word).collect()
    }

    /// The columns of the input that this stage's plugin asked for.
    pub(crate) fn requires(&self) -> impl Iterator<Item = usize> {
        self.plan.requires.iter().filter_map(|given| match given {
            Given::Input(place) => Some(*place),
            Given::Known(_) => None,
        })
    }

    /// The table's columns of which the old images are read or let out.
    pub(crate) fn old(&self) -> impl Iterator<Item = usize> {
        self.plan.known().filter_map(|known| match known {
            Known::Old(place) => Some(place),
            Known::Fact(_) => None,
        })
    }

    /// For each column that comes out what the list has for it, or none where this stage makes it.
    pub(crate) fn trace(&self, sources: &[Option<usize>]) -> Vec<Option<usize>> {
        let Some(outputs) = &self.plan.outputs else { return sources.to_vec() };
        let source = |from: &From| match from {
            From::Given(Given::Input(place)) => sources[*place],
            From::Given(Given::Known(_)) | From::Answer(_) => None,
        };
        outputs.iter().map(source).collect()
    }

    pub(crate) fn run(
        &mut self,
        stage: &Stage,
        frame: &mut Frame,
        shared: &mut Shared,
        stats: &mut StageStats,
    ) -> Result<(), Error> {
        let rows = frame.rows();
        frame.require(&stage.name, &self.plan.requires)?;
        self.plan.known().for_each(|known| frame.make(known));
        if rows == 0 {
            frame.apply(&self.plan, Picked::All, no_rows(&self.plan));
            return Ok(());
        }
        let begin = Instant::now();
        let parts = self.parts(stage, frame, shared, stats);
        stats.busy += begin.elapsed();
        let parts = parts?;
        // Rows that are only there to be named are the same ones once more.
        if !frame.removes() {
            self.count_failed(stage, &parts)?;
        }
        self.apply(stage, frame, parts, stats);
        stats.rows_in += rows as u64;
        stats.rows_out += frame.rows() as u64;
        Ok(())
    }

    /// Runs the frame in pieces: one, unless something fails. They come in the order of their rows.
    fn parts(
        &mut self,
        stage: &Stage,
        frame: &Frame,
        shared: &mut Shared,
        stats: &mut StageStats,
    ) -> Result<Vec<Part>, Error> {
        let fatal = |message: String| Error::new(Kind::Fatal, &stage.name, message);
        let rows = frame.rows();
        let step = self.rows_max.min(rows);
        // The next piece is the last of the list.
        let mut waiting: Vec<(usize, usize)> =
            (0..rows).step_by(step).map(|from| (from, step.min(rows - from))).rev().collect();
        let (mut parts, mut poison, mut deadlines) = (Vec::with_capacity(waiting.len()), 0, 0);
        let mut was_worn = false;
        while let Some((from, len)) = waiting.pop() {
            match self.call(stage, frame, (from, len), shared, stats)? {
                Ok(answer) => parts.push(Part { from, len, answer, failed: None }),
                Err(failed) => {
                    stats.failures += 1;
                    deadlines += usize::from(failed.is_deadline);
                    if deadlines > DEADLINES_A_BATCH_MAX {
                        let how = format!("again and again ({deadlines} calls of one batch)");
                        let way_out = "mend it, or raise `limits.deadline`";
                        let plugin = stage.plugin.name();
                        return Err(fatal(format!(
                            "its plugin `{plugin}` passes its deadline {how}: {way_out}: {}",
                            failed.message
                        )));
                    }
                    if self.has_answered && !was_worn {
                        was_worn = true;
                        waiting.push((from, len));
                        continue;
                    }
                    if len > 1 {
                        let left = len.div_ceil(2);
                        waiting.push((from + left, len - left));
                        waiting.push((from, left));
                        continue;
                    }
                    poison += 1;
                    if poison > stage.limits.failing_rows {
                        let max = stage.limits.failing_rows;
                        let how = format!("more than {max} rows of one batch: mend it, or raise `limits.failing_rows`");
                        let plugin = stage.plugin.name();
                        return Err(fatal(format!("its plugin `{plugin}` fails on {how}: {}", failed.message)));
                    }
                    let why = Some(failed.message.clone());
                    parts.push(Part { from, len, answer: refuse(&self.plan, failed), failed: why });
                }
            }
        }
        if poison == 0 && parts.len() > 1 {
            self.rows_max = parts.iter().map(|part| part.len).max().unwrap_or(self.rows_max);
        }
        Ok(parts)
    }

    /// A plugin that fails for row after row is broken, also where a batch is a single row: the stream pauses before its rows
    /// fill the dead letters.
    fn count_failed(&mut self, stage: &Stage, parts: &[Part]) -> Result<(), Error> {
        let Some(last) = parts.iter().map(|part| part.failed.as_ref()).reduce(Option::and).flatten() else {
            self.failed_in_a_row = 0;
            return Ok(());
        };
        self.failed_in_a_row += parts.len();
        if self.failed_in_a_row < stage.limits.failing_in_a_row {
            return Ok(());
        }
        // After `resume` it is counted anew.
        let rows = std::mem::take(&mut self.failed_in_a_row);
        let plugin = stage.plugin.name();
        let way_out = "mend it, or raise `limits.failing_in_a_row`";
        let message =
            format!("its plugin `{plugin}` fails for {rows} rows in a row and none passes: {way_out}: {last}");
        Err(Error::new(Kind::Fatal, &stage.name, message))
    }

    /// One call. The outer error ends the batch.
    fn call(
        &mut self,
        stage: &Stage,
        frame: &Frame,
        (from, len): (usize, usize),
        shared: &mut Shared,
        stats: &mut StageStats,
    ) -> Result<Result<Answer, Failed>, Error> {
        if self.instance.is_none() {
            self.reopen(stage, shared)?;
            stats.restarts += 1;
        }
        let instance = self.instance.as_mut().expect("made above");
        let mut columns = Vec::with_capacity(self.plan.requires.len());
        for place in &self.plan.requires {
            let (array, rows) = frame.column(*place, from, len);
            if let Err(failed) = shared.scratch.columns(array, &rows, &mut columns) {
                return Ok(Err(failed));
            }
        }
        let pushed: Vec<_> = columns.iter().map(|column| column.pushed()).collect();
        stats.calls += 1;
        stats.bytes_in += crossing::pushed_bytes(&pushed);
        let result = instance.process(Batch { rows: len as u32, columns: &pushed });
        stats.memory_bytes = stats.memory_bytes.max(instance.memory_bytes());
        if let Ok(Ok(answer)) = &result {
            stats.bytes_out += crossing::answer_bytes(answer);
        }
        shared.heard.take(&stage.name, instance.said());
        shared.scratch.give_back(columns);
        let checked = match result {
            Ok(Ok(answer)) => check::answer(answer, len, &self.plan).map_err(Failed::answer),
            Ok(Err(Failure::Retry(message))) => return Err(Error::new(Kind::Retry, &stage.name, message)),
            Ok(Err(Failure::Fatal(message))) => return Err(Error::new(Kind::Fatal, &stage.name, message)),
            Err(failed) => Err(failed),
        };
        match checked {
            Ok(_) => self.has_answered = true,
            // Its memory is in an unknown state.
            Err(_) => self.instance = None,
        }
        Ok(checked)
    }

    /// A new instance in the place of one that failed. It must say what the first one said.
    fn reopen(&mut self, stage: &Stage, shared: &mut Shared) -> Result<(), Error> {
        let fatal = |message: String| Error::new(Kind::Fatal, &stage.name, message);
        let name = stage.plugin.name();
        let heard = (stage.name.as_str(), &mut shared.heard);
        let (instance, plan) =
            Instance::open(&stage.plugin, &stage.limits, &self.config, &self.schema, &stage.grants, heard)
                .map_err(|error| match error {
                    NotOpened::Refused(why) | NotOpened::Misfit(why) => why,
                    NotOpened::Failed(failed) => failed.message,
                })
                .map_err(|why| fatal(format!("its plugin `{name}` was opened before and now is not: {why}")))?;
        if plan != self.guest_plan {
            let how = "gives another plan than before for the same configuration";
            return Err(fatal(format!("its plugin `{name}` {how}")));
        }
        self.instance = Some(instance);
        self.has_answered = false;
        Ok(())
    }

    /// Puts the pieces together and lays them over the frame.
    fn apply(&self, stage: &Stage, frame: &mut Frame, mut parts: Vec<Part>, stats: &mut StageStats) {
        for part in &mut parts {
            let refused = without_refused(&mut part.answer, part.len);
            stats.rejects += refused.len() as u64;
            let rows = refused.into_iter();
            let rejects =
                rows.map(|refused| reject(stage, frame.source_row(part.from + refused.row as usize), refused));
            let rejects: Vec<_> = rejects.collect();
            frame.rejects.extend(rejects);
        }
        if let [part] = parts.as_mut_slice() {
            let picked = std::mem::replace(&mut part.answer.picked, Picked::All);
            return frame.apply(&self.plan, picked, std::mem::take(&mut part.answer.made));
        }
        let mut picked = Vec::with_capacity(frame.rows());
        for part in &mut parts {
            let from = part.from as u32;
            match std::mem::replace(&mut part.answer.picked, Picked::All).into_rows() {
                None => picked.extend(from..from + part.len as u32),
                Some(rows) => picked.extend(rows.iter().map(|row| from + row)),
            }
        }
        let made = (0..self.plan.made.len()).map(|place| {
            let pieces: Vec<&dyn Array> = parts.iter().map(|part| part.answer.made[place].as_ref()).collect();
            concat(&pieces).expect("pieces of one column have one type")
        });
        frame.apply(&self.plan, Picked::Rows(picked), made.collect());
    }
}

/// The made columns of no row.
fn no_rows(plan: &Plan) -> Vec<ArrayRef> {
    plan.made.iter().map(|column| new_empty_array(column.field.data_type())).collect()
}

/// The answer that stands for a row that makes the plugin fail.
fn refuse(plan: &Plan, failed: Failed) -> Answer {
    let refused = Refused { row: 0, code: failed.code.to_owned(), message: failed.message };
    Answer { picked: Picked::none(), made: no_rows(plan), refused: vec![refused] }
}

/// Takes the refused rows out of what comes out, and gives them.
pub(crate) fn without_refused(answer: &mut Answer, rows: usize) -> Vec<Refused> {
    let refused = std::mem::take(&mut answer.refused);
    if refused.is_empty() {
        return refused;
    }
    let is_refused = |row: u32| refused.binary_search_by_key(&row, |refused| refused.row).is_ok();
    let picked = std::mem::replace(&mut answer.picked, Picked::All);
    let picked = picked.into_rows().unwrap_or_else(|| (0..rows as u32).collect());
    let stay: Vec<u32> = (0..picked.len() as u32).filter(|at| !is_refused(picked[*at as usize])).collect();
    answer.picked = Picked::Rows(stay.iter().map(|at| picked[*at as usize]).collect());
    if !answer.made.is_empty() {
        let stay = UInt32Array::from(stay);
        let taken = answer.made.iter().map(|made| take(made, &stay, None).expect("places of rows that are there"));
        answer.made = taken.collect();
    }
    refused
}

fn reject(stage: &Stage, row: u32, refused: Refused) -> Reject {
    Reject {
        row,
        code: refused.code,
        message: refused.message,
        stage: stage.name.clone(),
        plugin_sha256: stage.plugin.sha256().to_owned(),
    }
}
