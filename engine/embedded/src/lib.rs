//! Tidemill's embedded index: a small search index that speaks as much of the Elasticsearch and OpenSearch HTTP API as
//! Tidemill's demo and tests need: `_bulk` with external versions, `_search` with scrolling, `_count`, `_doc`, `_mget`, index
//! creation, mappings and settings. It answers as real servers answer, errors included; what it does not have it refuses by
//! name. **It is for demos and tests**: one node, one shard, no replicas, no security.
//!
//! ```text
//! http ─► routes ─► bulk, search ─► index ─► document (by its mapping) ─► log          (durable, the documents)
//!                                     └────► inverted (tantivy, in memory, made when somebody searches)
//! ```
//!
//! With a directory, an answered write survives the death of the process; without one, everything is in memory. Searches see
//! what was there at the last refresh, which happens when asked for, and at a search once the last one is a second old.
//!
//! What it costs (`cargo run -p tidemill-embedded --example rate`, 2 cores shared with other builds, dev profile, documents of
//! 400 bytes): 60,000 to 110,000 documents/s in. A million of them keep about 230 MB of memory for what is known of each, the
//! documents themselves on top where there is no directory, and 160 MB more for the inverted index, which is made when somebody
//! first searches for more than everything, at 30,000 documents/s: two seconds for 100,000 documents, half a minute for
//! a million, and again after every start. Writes go on meanwhile, other such searches wait. Sorting reads every document found.
//!
//! ```no_run
//! # async fn example() -> Result<(), tidemill_embedded::Error> {
//! let server = tidemill_embedded::Server::bind(tidemill_embedded::Options::default()).await?;
//! let address = server.addr();
//! server.run(std::future::pending()).await?;
//! # Ok(()) }
//! ```

mod bulk;
mod date;
mod document;
mod error;
mod field;
mod http;
mod index;
mod inverted;
mod json;
mod log;
mod mapping;
mod node;
mod query;
mod routes;
mod search;
mod select;
mod server;
mod settings;
mod state;

pub use error::Error;
pub use server::{Options, Server, serve};
