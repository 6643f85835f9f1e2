//! Against real servers: getting in, the catalog, publications, slots and streams, reading rows.

mod catalog;
mod entry;
mod rows;
mod server;
mod stream;
