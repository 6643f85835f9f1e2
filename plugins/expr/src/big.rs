//! Natural numbers of any size, for `numeric`: limbs of nine decimal digits, the least significant first.

use std::cmp::Ordering;

const BASE: u64 = 1_000_000_000;
const DIGITS: usize = 9;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Big(Vec<u32>);

impl Big {
    /// Of decimal digits, two runs of which stand one behind the other.
    pub(crate) fn read(whole: &[u8], fraction: &[u8]) -> Big {
        let all: Vec<u8> = whole.iter().chain(fraction).map(|digit| digit - b'0').collect();
        let limb = |digits: &[u8]| digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(*digit));
        Big(all.rchunks(DIGITS).map(limb).collect()).trimmed()
    }

    fn trimmed(mut self) -> Big {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// Decimal digits; none for zero.
    pub(crate) fn digits(&self) -> String {
        let mut digits = String::new();
        for (place, limb) in self.0.iter().rev().enumerate() {
            let text = if place == 0 { format!("{limb}") } else { format!("{limb:09}") };
            digits.push_str(&text);
        }
        digits
    }

    pub(crate) fn power_of_ten(exponent: usize) -> Big {
        let mut limbs = vec![0; exponent / DIGITS];
        limbs.push(10u32.pow((exponent % DIGITS) as u32));
        Big(limbs)
    }

    pub(crate) fn shifted(&self, digits: usize) -> Big {
        if digits == 0 { self.clone() } else { self.times(&Big::power_of_ten(digits)) }
    }

    pub(crate) fn plus(&self, other: &Big) -> Big {
        let mut limbs = Vec::with_capacity(self.0.len().max(other.0.len()) + 1);
        let mut carry = 0;
        for place in 0..self.0.len().max(other.0.len()) {
            let sum = u64::from(self.limb(place)) + u64::from(other.limb(place)) + carry;
            limbs.push((sum % BASE) as u32);
            carry = sum / BASE;
        }
        limbs.push(carry as u32);
        Big(limbs).trimmed()
    }

    /// Less one that is not above it.
    pub(crate) fn minus(&self, other: &Big) -> Big {
        let mut limbs = Vec::with_capacity(self.0.len());
        let mut borrow = 0;
        for place in 0..self.0.len() {
            let (from, less) = (u64::from(self.limb(place)), u64::from(other.limb(place)) + borrow);
            borrow = u64::from(from < less);
            limbs.push((from + borrow * BASE - less) as u32);
        }
        Big(limbs).trimmed()
    }

    fn limb(&self, place: usize) -> u32 {
        self.0.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn times(&self, other: &Big) -> Big {
        let mut limbs = vec![0u32; self.0.len() + other.0.len() + 1];
        for (i, a) in self.0.iter().enumerate() {
            let mut carry = 0;
            for (j, b) in other.0.iter().enumerate() {
                let sum = u64::from(*a) * u64::from(*b) + u64::from(limbs[i + j]) + carry;
                limbs[i + j] = (sum % BASE) as u32;
                carry = sum / BASE;
            }
            limbs[i + other.0.len()] = carry as u32;
        }
        Big(limbs).trimmed()
    }

    fn times_small(&self, by: u32) -> Big {
        self.times(&Big(vec![by]).trimmed())
    }

    /// The quotient and what is left, by one that is not zero (Knuth's algorithm D).
    pub(crate) fn divided(&self, by: &Big) -> (Big, Big) {
        if *self < *by {
            return (Big::default(), self.clone());
        }
        if let [by] = by.0.as_slice() {
            return self.divided_small(*by);
        }
        let top = by.0.last().expect("the divisor is not zero");
        let scale = (BASE / (u64::from(*top) + 1)) as u32;
        let (mut rest, by) = (self.times_small(scale), by.times_small(scale));
        let (n, m) = (by.0.len(), rest.0.len().max(self.0.len()) - by.0.len());
        rest.0.resize(n + m + 1, 0);
        let mut quotient = vec![0; m + 1];
        for place in (0..=m).rev() {
            quotient[place] = divide_step(&mut rest.0, &by.0, place);
        }
        let (rest, _) = rest.trimmed().divided_small(scale);
        (Big(quotient).trimmed(), rest)
    }

    fn divided_small(&self, by: u32) -> (Big, Big) {
        let (mut limbs, mut rest) = (vec![0; self.0.len()], 0);
        for (place, limb) in self.0.iter().enumerate().rev() {
            let part = rest * BASE + u64::from(*limb);
            limbs[place] = (part / u64::from(by)) as u32;
            rest = part % u64::from(by);
        }
        (Big(limbs).trimmed(), Big(vec![rest as u32]).trimmed())
    }
}

/// One limb of the quotient: guessed by the first limbs, then put right.
fn divide_step(rest: &mut [u32], by: &[u32], place: usize) -> u32 {
    let n = by.len();
    let first = u64::from(rest[place + n]) * BASE + u64::from(rest[place + n - 1]);
    let (mut guess, mut left) = (first / u64::from(by[n - 1]), first % u64::from(by[n - 1]));
    while guess >= BASE || guess * u64::from(by[n - 2]) > left * BASE + u64::from(rest[place + n - 2]) {
        guess -= 1;
        left += u64::from(by[n - 1]);
        if left >= BASE {
            break;
        }
    }
    let (mut borrow, mut carry) = (0i64, 0u64);
    for (at, limb) in by.iter().chain(&[0]).enumerate() {
        let product = guess * u64::from(*limb) + carry;
        carry = product / BASE;
        let less = i64::from(rest[place + at]) - borrow - (product % BASE) as i64;
        borrow = i64::from(less < 0);
        rest[place + at] = (less + borrow * BASE as i64) as u32;
    }
    if borrow > 0 {
        guess -= 1;
        let mut carry = 0;
        for (at, limb) in by.iter().chain(&[0]).enumerate() {
            let sum = u64::from(rest[place + at]) + u64::from(*limb) + carry;
            rest[place + at] = (sum % BASE) as u32;
            carry = sum / BASE;
        }
    }
    guess as u32
}

impl Ord for Big {
    fn cmp(&self, other: &Big) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

impl PartialOrd for Big {
    fn partial_cmp(&self, other: &Big) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quotient times divisor and the rest give the dividend again, for numbers of every length and many shapes.
    #[test]
    fn division_is_multiplication_the_other_way_round() {
        let mut seed = 1u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match seed >> 61 {
                0 => 0,
                1 => (BASE - 1) as u32,
                _ => ((seed >> 20) % BASE) as u32,
            }
        };
        for round in 0..20_000 {
            let a = Big((0..round % 7).map(|_| next()).collect()).trimmed();
            let b = Big((0..1 + round % 4).map(|_| next()).collect()).trimmed();
            if b.is_zero() {
                continue;
            }
            let (quotient, rest) = a.divided(&b);
            assert!(rest < b, "{a:?} by {b:?}");
            assert_eq!(quotient.times(&b).plus(&rest), a, "{a:?} by {b:?}");
        }
    }
}
