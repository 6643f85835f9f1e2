//! Removes documents that no change names one by one: those of a truncated table, and those without a row after a backfill.

use std::collections::HashSet;

use bytes::BytesMut;
use futures_util::StreamExt;
use tidemill_change::{Lsn, Version};
use tidemill_encode::{ActionKind, Encoded, matches};

use super::{PartOf, StreamTask};
use crate::deliver::{ScrolledId, SinkError};

/// The documents of one table: those of an index, or of all indices of the stream that match, whose ids begin so.
#[derive(Clone, Debug)]
pub(crate) struct Documents {
    pub(crate) index: String,
    pub(crate) is_pattern: bool,
    pub(crate) prefix: String,
    /// The table, as dead letters have it.
    pub(crate) table: String,
}

/// Which documents of an index are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Those with a lower version, but these ids.
    OlderBut(HashSet<String>),
}

impl Which {
    fn means(&self, id: &ScrolledId, version: Version) -> bool {
        match self {
            Which::All => true,
            Which::OlderBut(ids) => id._version.is_some_and(|stored| stored < version.get()) && !ids.contains(&id._id),
        }
    }
}

impl StreamTask {
    /// TRUNCATE: what precedes it settles, then each document that is there is deleted at the truncate's version.
    pub(super) async fn empty(&mut self, truncate: &tidemill_change::Truncate, part_of: PartOf) {
        let Some(version) = Version::new(self.parts.epoch, truncate.commit.lsn, truncate.bucket) else {
            return self.halt("the WAL is past what a version can hold".to_owned());
        };
        for table in &truncate.tables {
            let Some(documents) = self.parts.documents.get(table).cloned() else { continue };
            self.until_idle().await;
            for documents in self.by_index(&documents) {
                if let Err(error) = self.delete_patiently(&documents, version, &Which::All, part_of).await {
                    let index = documents.index;
                    return self.fail(format!("TRUNCATE could not be carried out on index `{index}`: {error}"));
                }
                if let Err(error) = self.parts.letters.superseded_under(&documents, version).await {
                    return self.fail(error);
                }
            }
            if let Err(error) = self.parts.letters.superseded_under(&documents, version).await {
                return self.fail(error);
            }
        }
    }

    /// The documents of a table, index by index: where a stage names the indices, those that are known.
    pub(super) fn by_index(&self, documents: &Documents) -> Vec<Documents> {
        if !documents.is_pattern {
            return vec![documents.clone()];
        }
        let known = self.watching.names().filter(|name| matches(&documents.index, name));
        known.map(|name| Documents { index: name.to_owned(), is_pattern: false, ..documents.clone() }).collect()
    }

    /// As [`StreamTask::delete_all`], again from the beginning for as long as the sink is away: what is gone is not found
    /// a second time.
    pub(super) async fn delete_patiently(
        &mut self,
        documents: &Documents,
        version: Version,
        which: &Which,
        part_of: PartOf,
    ) -> Result<(), SinkError> {
        let mut patience = self.patience();
        loop {
            match self.delete_all(documents, version, which, part_of).await {
                Err(error) if error.is_transient() => self.wait_for_sink(&error, &mut patience).await,
                done => {
                    self.waits = None;
                    return done;
                }
            }
        }
    }

    async fn delete_all(
        &mut self,
        documents: &Documents,
        version: Version,
        which: &Which,
        part_of: PartOf,
    ) -> Result<(), SinkError> {
        let Documents { index, prefix, .. } = documents;
        self.parts.sink.refresh(index).await?;
        let (mut scroll, mut ids) = self.parts.sink.scroll(index).await?;
        while !ids.is_empty() {
            ids.retain(|id| id._id.starts_with(prefix.as_str()));
            ids.retain(|id| id._version.is_some_and(is_ours) && which.means(id, version));
            let encoded = deletes(&ids, version);
            let parts = encoded.actions.len() as u32;
            match part_of {
                PartOf::Span(span) => {
                    if let Err(error) = self.ledger.expect(span, parts) {
                        self.fail(error.to_string());
                    }
                }
                PartOf::Backfill { table, .. } => {
                    if let Some(reading) = self.reading.get_mut(&table) {
                        reading.outstanding += u64::from(parts);
                    }
                }
            }
            self.offer(encoded, part_of, Vec::new()).await;
            self.until_idle().await;
            (scroll, ids) = self.parts.sink.scroll_on(&scroll).await?;
        }
        self.parts.sink.end_scroll(&scroll).await;
        Ok(())
    }

    /// Delivers until all that was offered has settled.
    pub(super) async fn until_idle(&mut self) {
        loop {
            self.carry_out().await;
            self.tell();
            if self.delivery.is_idle() {
                return;
            }
            let wake = self.wake();
            tokio::select! {
                Some(wish) = self.wishes.recv() => self.wish(&wish),
                Some(came) = self.in_flight.next() => self.came(came),
                () = tokio::time::sleep_until(wake) => self.delivery.tick(self.parts.clock.now()),
            }
        }
    }
}

/// Whether a change can have given this version: WAL begins with its second segment, so what lies below was counted by the
/// sink for somebody who wrote there without a version.
fn is_ours(stored: u64) -> bool {
    const WAL_BEGINS: Lsn = Lsn(16 << 20);
    Version::from(stored).commit() >= Lsn(WAL_BEGINS.0 - 8)
}

/// Deletes at one version, as the encoder would have made them.
pub(super) fn deletes(ids: &[ScrolledId], version: Version) -> Encoded {
    let (mut body, mut actions) = (BytesMut::new(), Vec::with_capacity(ids.len()));
    for (key, id) in ids.iter().enumerate() {
        let start = body.len();
        let mut meta = serde_json::json!({
            "_index": id._index, "_id": id._id, "version": version.get(), "version_type": "external_gte",
        });
        if let Some(routing) = &id._routing {
            meta["routing"] = routing.as_str().into();
        }
        body.extend_from_slice(serde_json::json!({ "delete": meta }).to_string().as_bytes());
        body.extend_from_slice(b"\n");
        actions.push(tidemill_encode::Action {
            kind: ActionKind::Delete,
            serial: false,
            // There is no change behind it.
            batch: u32::MAX,
            change: 0,
            // An id stands once in a scroll, and nothing else is under way meanwhile.
            key: key as u64,
            version,
            start,
            end: body.len(),
        });
    }
    let counts = tidemill_encode::Counts::default();
    Encoded { body: body.freeze(), actions, rejected: Vec::new(), counts, indices: Vec::new() }
}
