use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Exception, Items, Outcome, Sent, Unknown, Verdict, judge};
use crate::action::ActionKind;

/// Reads the body of a 2xx answer in one pass, item by item, without a tree.
pub(super) fn read<'s>(
    body: &[u8],
    items_left_out: bool,
    sent: impl Iterator<Item = Sent<'s>>,
) -> Result<Items, Unknown> {
    // Of what is skipped the JSON reader checks no encoding: a body with spoilt bytes would pass for an answer.
    let body = str::from_utf8(body).map_err(|_| Unknown::Unreadable)?;
    let mut reader = Reader { sent, next: 0, items: Items::default(), unknown: None };
    let mut deserializer = serde_json::Deserializer::from_str(body);
    let head = BodySeed(&mut reader).deserialize(&mut deserializer).and_then(|head| deserializer.end().map(|()| head));
    if let Some(unknown) = reader.unknown {
        return Err(unknown);
    }
    match head {
        Ok(Head { errors: Some(_), items_seen: true }) if reader.sent.next().is_none() => Ok(reader.items),
        Ok(Head { errors: Some(_), items_seen: true }) => Err(Unknown::ItemCount),
        Ok(Head { errors: Some(false), items_seen: false }) if items_left_out => Ok(reader.items),
        _ => Err(Unknown::Unreadable),
    }
}

struct Reader<I> {
    sent: I,
    next: u32,
    items: Items,
    /// Set where the reading was broken off for a better reason than bad JSON.
    unknown: Option<Unknown>,
}

struct Head {
    errors: Option<bool>,
    items_seen: bool,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Errors,
    Items,
    #[serde(other)]
    Other,
}

struct BodySeed<'r, I>(&'r mut Reader<I>);

impl<'de, 's, I: Iterator<Item = Sent<'s>>> DeserializeSeed<'de> for BodySeed<'_, I> {
    type Value = Head;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Head, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, 's, I: Iterator<Item = Sent<'s>>> Visitor<'de> for BodySeed<'_, I> {
    type Value = Head;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer to a bulk request")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head, A::Error> {
        let mut head = Head { errors: None, items_seen: false };
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Errors => head.errors = Some(map.next_value()?),
                Key::Items if head.items_seen => return Err(A::Error::duplicate_field("items")),
                Key::Items => {
                    map.next_value_seed(ItemsSeed(self.0))?;
                    head.items_seen = true;
                }
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(head)
    }
}

struct ItemsSeed<'r, I>(&'r mut Reader<I>);

impl<'de, 's, I: Iterator<Item = Sent<'s>>> DeserializeSeed<'de> for ItemsSeed<'_, I> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, 's, I: Iterator<Item = Sent<'s>>> Visitor<'de> for ItemsSeed<'_, I> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element::<Item<'de>>()? {
            if let Err(unknown) = self.0.take(item) {
                self.0.unknown = Some(unknown);
                return Err(A::Error::custom("the items are not those of the request"));
            }
        }
        Ok(())
    }
}

/// An item: an object whose one key is the operation.
struct Item<'a> {
    kind: Option<ActionKind>,
    body: ItemBody<'a>,
}

#[derive(Deserialize)]
struct ItemBody<'a> {
    status: u16,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    /// Empty where the answer was filtered.
    #[serde(borrow, default, rename = "_id")]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Operation {
    Index,
    Delete,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Item<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Item<'de>, D::Error> {
        deserializer.deserialize_map(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item with one operation")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item<'de>, A::Error> {
        let kind = match map.next_key::<Operation>()? {
            Some(Operation::Index) => Some(ActionKind::Index),
            Some(Operation::Delete) => Some(ActionKind::Delete),
            Some(Operation::Other) => None,
            None => return Err(A::Error::custom("an item without an operation")),
        };
        let body = map.next_value()?;
        match map.next_key::<IgnoredAny>()? {
            None => Ok(Item { kind, body }),
            Some(_) => Err(A::Error::custom("an item with two operations")),
        }
    }
}

impl<'s, I: Iterator<Item = Sent<'s>>> Reader<I> {
    fn take(&mut self, item: Item<'_>) -> Result<(), Unknown> {
        let sent = self.sent.next().ok_or(Unknown::ItemCount)?;
        let other_id = sent.id.is_some_and(|id| !item.body.id.is_empty() && id != item.body.id);
        if item.kind != Some(sent.kind) || other_id {
            return Err(Unknown::OtherItem);
        }
        let outcome = match judge(sent.kind, item.body.status, item.body.error) {
            Verdict::Settled => None,
            Verdict::Exception(outcome) => Some(outcome),
            Verdict::Pause(pause) => {
                self.items.pause.get_or_insert(pause);
                Some(Outcome::Pause)
            }
            Verdict::Full(error) => {
                self.items.full.get_or_insert(error);
                Some(Outcome::SinkFull)
            }
            Verdict::Odd => return Err(Unknown::OddItem),
        };
        if let Some(outcome) = outcome {
            self.items.exceptions.push(Exception { index: self.next, outcome });
        }
        self.next += 1;
        Ok(())
    }
}
