//! The live part of the demo: shops being shops, at a steady pace, from a seed.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_postgres::Client;

use super::shop;

/// A transaction holds at most this many statements.
const STATEMENTS_MAX: u64 = 12;
/// One transaction begins in each tick of each session, so this and the two sessions set the pace.
const TICK: Duration = Duration::from_millis(10);

/// What was done, in rows, for the report.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Done {
    pub(crate) transactions: u64,
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
    pub(crate) keys_changed: u64,
    pub(crate) left_filter: u64,
    pub(crate) entered_filter: u64,
}

impl Done {
    pub(crate) fn changes(&self) -> u64 {
        self.inserted + self.updated + self.deleted + self.keys_changed + self.left_filter + self.entered_filter
    }

    pub(crate) fn add(&mut self, other: &Done) {
        self.transactions += other.transactions;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.keys_changed += other.keys_changed;
        self.left_filter += other.left_filter;
        self.entered_filter += other.entered_filter;
    }
}

/// A small generator: the demo needs variety, not secrecy.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Runs one session's transactions for `length`, telling what it did through `progress`.
///
/// Sessions work on ids of their own (`id % sessions == session`), so that none waits for another's row locks; a change of
/// key keeps to that, too.
pub(crate) async fn run(
    client: &mut Client,
    session: u64,
    rows: u64,
    length: Duration,
    progress: watch::Sender<Done>,
) -> Result<Done, tokio_postgres::Error> {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (session + 1) << 7);
    let mut done = Done::default();
    let insert = client.prepare(&shop::insert_product()).await?;
    let end = Instant::now() + length;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while Instant::now() < end {
        ticks.tick().await;
        let transaction = client.transaction().await?;
        for _ in 0..1 + dice.roll(STATEMENTS_MAX) {
            let id = (1 + dice.roll(rows.max(2)) / 2 * 2 + session) as i64;
            step(&transaction, &insert, &mut dice, id, &mut done).await?;
        }
        transaction.commit().await?;
        done.transactions += 1;
        progress.send_replace(done);
    }
    Ok(done)
}

async fn step(
    transaction: &tokio_postgres::Transaction<'_>,
    insert: &tokio_postgres::Statement,
    dice: &mut Dice,
    id: i64,
    done: &mut Done,
) -> Result<(), tokio_postgres::Error> {
    let price = dice.roll(90_000) as i64 + 99;
    match dice.roll(20) {
        0..=2 => done.inserted += transaction.execute(insert, &[]).await?,
        3..=4 => {
            let order = "INSERT INTO orders VALUES (nextval('order_ids'), 'live customer', $1, 1, $2::bigint / 100.0, false, clock_timestamp())";
            done.inserted += transaction.execute(order, &[&id, &price]).await?;
        }
        5..=6 => done.deleted += transaction.execute("DELETE FROM products WHERE id = $1", &[&id]).await?,
        7 => {
            // To an id of the same session that nothing else uses.
            let key = "UPDATE products SET id = id + 1000000000, updated_at = clock_timestamp() WHERE id = $1";
            done.keys_changed += transaction.execute(key, &[&id]).await?;
        }
        8..=10 => {
            let leave = "UPDATE products SET in_stock = false, quantity = 0 WHERE id = $1 AND in_stock";
            done.left_filter += transaction.execute(leave, &[&id]).await?;
        }
        11..=12 => {
            let enter = "UPDATE products SET in_stock = true, quantity = 25 WHERE id = $1 AND NOT in_stock";
            done.entered_filter += transaction.execute(enter, &[&id]).await?;
        }
        13 => {
            let text = "UPDATE products SET description = 'Now in “' || name || '”: ' || description WHERE id = $1 AND length(description) < 4000";
            done.updated += transaction.execute(text, &[&id]).await?;
        }
        14 => {
            let pay = "UPDATE orders SET paid = NOT paid WHERE id = $1";
            done.updated += transaction.execute(pay, &[&id]).await?;
        }
        _ => {
            let price_change =
                "UPDATE products SET price = $2::bigint / 100.0, updated_at = clock_timestamp() WHERE id = $1";
            done.updated += transaction.execute(price_change, &[&id, &price]).await?;
        }
    }
    Ok(())
}
