use std::fmt;

use crate::Lsn;

/// A transaction's bucket ends after this many row messages …
pub const BUCKET_ROWS: u32 = 10_000;
/// … or after this many bytes of them, whichever comes first. Both are counted from the transaction's begin over all
/// of its rows, wanted or not, so that a bucket is a function of the WAL alone.
pub const BUCKET_BYTES: u64 = 16 << 20;
/// Rows past this bucket share its version: their requests go one at a time, in order.
pub const BUCKET_LAST: u16 = 511;

/// Rises when another cluster takes the source's place, so that its rows win over what is in the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(u8);

impl Epoch {
    /// The version's layout gives an epoch four bits.
    pub const LAST: Epoch = Epoch(15);

    pub fn new(epoch: u8) -> Option<Epoch> {
        (epoch <= Epoch::LAST.0).then_some(Epoch(epoch))
    }

    pub fn get(self) -> u8 {
        self.0
    }
}

/// The external version of an index or delete action: `epoch (4 bits) | commit LSN >> 3 (50 bits) | bucket (9 bits)`.
///
/// The layout lives in users' indices and never changes. Commit records are aligned to 8 bytes, so the shift loses
/// nothing; 50 bits hold 8 PiB of WAL; 63 bits in all keep the number positive for servers that read a signed long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

const LSN_BITS: u32 = 50;
const BUCKET_BITS: u32 = 9;

impl Version {
    /// The version of a change, or `None` where the LSN no longer fits: a database that wrote 8 PiB of WAL.
    pub fn new(epoch: Epoch, commit: Lsn, bucket: u16) -> Option<Version> {
        let lsn = commit.0 >> 3;
        if lsn >> LSN_BITS != 0 {
            return None;
        }
        let bucket = u64::from(bucket.min(BUCKET_LAST));
        Some(Version(u64::from(epoch.0) << (LSN_BITS + BUCKET_BITS) | lsn << BUCKET_BITS | bucket))
    }

    pub fn get(self) -> u64 {
        self.0
    }

    pub fn epoch(self) -> Epoch {
        Epoch((self.0 >> (LSN_BITS + BUCKET_BITS)) as u8 & 15)
    }

    /// The commit LSN, its lowest three bits as zero.
    pub fn commit(self) -> Lsn {
        Lsn((self.0 >> BUCKET_BITS & ((1 << LSN_BITS) - 1)) << 3)
    }

    pub fn bucket(self) -> u16 {
        (self.0 & u64::from(BUCKET_LAST)) as u16
    }
}

impl From<u64> for Version {
    /// Reads a version back from an index. Any number is one: what did not come from us shows in its parts.
    fn from(number: u64) -> Version {
        Version(number)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_what_lives_in_users_indices() {
        let version = Version::new(Epoch::new(1).unwrap(), Lsn(0x16_B374_D848), 3).unwrap();
        assert_eq!(version.get(), 1 << 59 | (0x16_B374_D848 >> 3) << 9 | 3);
        assert_eq!((version.epoch().get(), version.commit(), version.bucket()), (1, Lsn(0x16_B374_D848), 3));
    }

    #[test]
    fn the_order_is_epoch_then_commit_then_bucket() {
        let v = |e, l, b| Version::new(Epoch::new(e).unwrap(), Lsn(l), b).unwrap();
        assert!(v(0, 8, 511) < v(0, 16, 0) && v(0, (1 << 53) - 8, 511) < v(1, 0, 0) && v(0, 8, 1) < v(0, 8, 2));
    }

    #[test]
    fn the_limits_hold() {
        assert_eq!(Version::new(Epoch::LAST, Lsn((1 << 53) - 8), 511).unwrap().get(), (1 << 63) - 1);
        assert!(Version::new(Epoch::default(), Lsn(1 << 53), 0).is_none());
        assert_eq!(Version::new(Epoch::default(), Lsn(8), 600), Version::new(Epoch::default(), Lsn(8), BUCKET_LAST));
        assert!(Epoch::new(16).is_none());
    }
}
