//! Carries out what the delivery machine says: requests go out, answers and dead letters come to it.

use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use tidemill_change::{BUCKET_LAST, Lsn, Version};
use tidemill_settle::{Command, Failure, GroupId, ItemRef, Pause, PauseKind, RequestId, Response, Slice};

use super::{Came, StreamTask};
use crate::deliver::{Answer, SinkError};
use crate::pipeline::observe::age_us;

impl StreamTask {
    /// Does what the machine said, until it says no more.
    pub(super) async fn carry_out(&mut self) {
        if self.unprepared && self.halted.is_none() {
            self.prepare().await;
        }
        let mut letters = match self.halted {
            None => std::mem::take(&mut self.unwritten),
            Some(_) => Vec::new(),
        };
        loop {
            while let Some(command) = self.delivery.next_command() {
                match command {
                    Command::Send { request, slices, bytes, .. } => self.send(request, &slices, bytes),
                    Command::DeadLetter { item, error } => letters.push((item, error)),
                    // A late request of unknown outcome is outlived by the tombstone: see `index.gc_deletes`.
                    Command::ReadBack { .. } => {}
                    Command::Settled { group, counts } => {
                        self.parts.observed.settled(&counts);
                        self.parts.letters.count_settled(&counts);
                        if let Some(reason) = self.parts.letters.too_many_rejects() {
                            self.halt(reason);
                        }
                        if let Some(part_of) = self.groups.get(&group).map(|group| group.part_of) {
                            self.settled(part_of, counts.total());
                        }
                    }
                    Command::GroupDone(group) => self.done(group).await,
                    Command::Pause(pause) => self.paused(&pause),
                    Command::Resumed => tracing::info!(stream = self.parts.name, "the sink takes documents again"),
                }
            }
            if letters.is_empty() {
                return;
            }
            self.write_letters(std::mem::take(&mut letters)).await;
        }
    }

    fn send(&mut self, request: RequestId, slices: &[Slice], bytes: u64) {
        let body = self.body(slices);
        self.parts.observed.request(bytes);
        let sink = self.parts.sink.clone();
        self.in_flight.push(Box::pin(async move { Came::Answer(request, sink.bulk(body).await) }));
    }

    /// The lines of a request. The common case, one piece of one body, is not copied.
    fn body(&self, slices: &[Slice]) -> Bytes {
        let piece = |slice: &Slice| {
            let encoded = &self.groups[&slice.group].encoded;
            let first = &encoded.actions[slice.start as usize];
            let last = &encoded.actions[(slice.start + slice.len - 1) as usize];
            encoded.body.slice(first.start..last.end)
        };
        if let [slice] = slices {
            return piece(slice);
        }
        let mut body = BytesMut::new();
        for slice in slices {
            body.extend_from_slice(&piece(slice));
        }
        body.freeze()
    }

    pub(super) fn answered(&mut self, request: RequestId, answer: Result<Answer, SinkError>) {
        let now = self.parts.clock.now();
        match answer {
            Ok(answer) => {
                let response = Response {
                    status: answer.status,
                    retry_after: answer.retry_after,
                    body: &answer.body,
                    items_left_out: false,
                };
                let wal_end = Lsn(self.parts.wal_end.load(Ordering::Relaxed));
                if let Some(horizon) = Version::new(self.parts.epoch, wal_end, BUCKET_LAST) {
                    self.delivery.set_horizon(horizon);
                }
                let answer = tidemill_settle::read(&response, self.delivery.sent(request));
                self.note(&answer);
                self.delivery.answered(now, request, answer);
            }
            Err(error) => {
                self.last_error = Some(error.to_string());
                tracing::warn!(stream = self.parts.name, %error, "a request failed; it is sent again");
                let failure = if error.is_unreachable() { Failure::NotSent } else { Failure::Unknown };
                self.delivery.failed(now, request, failure);
                self.watching.soon();
                if error.is_untrusted() {
                    self.halt(error.to_string());
                }
            }
        }
    }

    /// Keeps the last trouble's words for `status`.
    fn note(&mut self, answer: &tidemill_settle::Answer) {
        match answer {
            tidemill_settle::Answer::Items(_) if !self.delivery.is_failing() => self.last_error = None,
            tidemill_settle::Answer::RetryWhole { trouble, .. } => self.last_error = Some(trouble.to_string()),
            tidemill_settle::Answer::Unknown(unknown) => {
                tracing::warn!(stream = self.parts.name, reason = %unknown, "an answer could not be read; the lines are sent again");
                self.last_error = Some(unknown.to_string());
            }
            _ => {}
        }
    }

    fn paused(&mut self, pause: &Pause) {
        if pause.kind == PauseKind::SinkFull {
            tracing::error!(stream = self.parts.name, reason = %pause, "the stream waits");
        } else {
            tracing::error!(stream = self.parts.name, reason = %pause, "stream paused");
        }
        if pause.kind == PauseKind::IndexMissing {
            self.watching.soon();
        }
        self.last_error = Some(pause.to_string());
    }

    async fn done(&mut self, id: GroupId) {
        let Some(group) = self.groups.remove(&id) else { return };
        if let Err(error) = self.parts.letters.superseded_by(&group.encoded).await {
            self.halt(error);
        }
        self.parts.observed.acknowledged(group.committed_us.iter().map(|&at| age_us(at)));
    }

    async fn write_letters(&mut self, letters: Vec<(ItemRef, tidemill_settle::SinkError)>) {
        // An index that was made anew takes other fields than the one before.
        self.watching.soon();
        let written = letters.iter().filter_map(|(item, error)| {
            let group = self.groups.get(&item.group)?;
            let action = &group.encoded.actions[item.index as usize];
            Some(self.parts.letters.of_action(&group.encoded, action, &group.batches, error))
        });
        let written: Vec<_> = written.collect();
        if let Err(error) = self.parts.letters.store(written).await {
            self.unwritten.extend(letters);
            return self.halt(error);
        }
        let now = self.parts.clock.now();
        for (item, _) in letters {
            self.delivery.dead_lettered(now, item);
        }
        if let Some(reason) = self.parts.letters.full().await {
            self.halt(reason);
        }
    }
}
