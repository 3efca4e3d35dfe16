//! Decimal numbers of any size, for the few quantities that 64 bits do not hold.

use std::cmp::Ordering;

const BASE: u64 = 1_000_000_000;
const LIMB_DIGITS: usize = 9;

/// Sums of numbers further apart than this many digits are the larger one: nobody adds a grain to 10^2000, but a hostile
/// exponent must not cost memory.
const WIDEST: i64 = 2_000;

/// `sign * limbs * 10^exponent`; little-endian limbs of nine digits, none of them a leading zero.
#[derive(Clone, Debug)]
pub(super) struct Decimal {
    negative: bool,
    limbs: Vec<u32>,
    pub(super) exponent: i32,
}

impl Decimal {
    pub(super) fn from_int(value: i64, exponent: i32) -> Decimal {
        let mut limbs = Vec::new();
        let mut rest = value.unsigned_abs();
        while rest > 0 {
            limbs.push((rest % BASE) as u32);
            rest /= BASE;
        }
        Decimal { negative: value < 0, limbs, exponent }
    }

    /// From ASCII digits.
    pub(super) fn from_digits(negative: bool, digits: &str, exponent: i32) -> Decimal {
        let limbs = digits
            .as_bytes()
            .rchunks(LIMB_DIGITS)
            .map(|chunk| chunk.iter().fold(0, |n, digit| n * 10 + u32::from(digit - b'0')))
            .collect();
        let mut decimal = Decimal { negative, limbs, exponent };
        decimal.trim();
        decimal
    }

    fn trim(&mut self) {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    pub(super) fn signum(&self) -> i32 {
        match (self.is_zero(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    pub(super) fn negate(&mut self) {
        self.negative = !self.negative;
    }

    /// The digits without sign and exponent.
    pub(super) fn digits(&self) -> String {
        let mut out = String::new();
        for (i, limb) in self.limbs.iter().rev().enumerate() {
            if i == 0 {
                out.push_str(&limb.to_string());
            } else {
                out.push_str(&format!("{limb:09}"));
            }
        }
        if out.is_empty() { "0".to_owned() } else { out }
    }

    /// Multiplies the unscaled number.
    pub(super) fn multiply(&mut self, factor: u32) {
        let mut carry = 0;
        for limb in &mut self.limbs {
            let n = u64::from(*limb) * u64::from(factor) + carry;
            *limb = (n % BASE) as u32;
            carry = n / BASE;
        }
        if carry > 0 {
            self.limbs.push(carry as u32);
        }
    }

    /// Divides the unscaled number, and answers the remainder.
    fn divide(&mut self, divisor: u32) -> u32 {
        let mut rest = 0;
        for limb in self.limbs.iter_mut().rev() {
            let n = rest * BASE + u64::from(*limb);
            *limb = (n / u64::from(divisor)) as u32;
            rest = n % u64::from(divisor);
        }
        self.trim();
        rest as u32
    }

    /// Takes as many factors out of the unscaled number as it has, at most `most`, and answers how many.
    pub(super) fn remove_factors(&mut self, factor: u32, most: u32) -> u32 {
        let mut count = 0;
        if factor == 10 {
            // Zeros by the limb, or a million of them would be a million divisions of a million digits.
            let zeros = self.limbs.iter().take_while(|limb| **limb == 0).count();
            let limbs = zeros.min(most as usize / LIMB_DIGITS);
            self.limbs.drain(..limbs);
            count = (limbs * LIMB_DIGITS) as u32;
        }
        while count < most && !self.is_zero() {
            let mut smaller = self.clone();
            if smaller.divide(factor) != 0 {
                break;
            }
            *self = smaller;
            count += 1;
        }
        count
    }

    /// The same number (exactly, if `exponent` is not above the present one, else rounded away from zero).
    pub(super) fn rescaled(mut self, exponent: i32) -> Decimal {
        let down = i64::from(self.exponent) - i64::from(exponent);
        self.exponent = exponent;
        if self.is_zero() || down == 0 {
            return self;
        }
        if down > 0 {
            let whole = down / LIMB_DIGITS as i64;
            (0..down % LIMB_DIGITS as i64).for_each(|_| self.multiply(10));
            self.limbs.splice(0..0, std::iter::repeat_n(0, usize::try_from(whole).unwrap_or(0)));
            return self;
        }
        let up = usize::try_from(-down).unwrap_or(usize::MAX);
        let whole = (up / LIMB_DIGITS).min(self.limbs.len());
        let mut inexact = self.limbs.drain(..whole).any(|limb| limb != 0);
        if whole == up / LIMB_DIGITS {
            (0..up % LIMB_DIGITS).for_each(|_| inexact |= self.divide(10) != 0);
        }
        if inexact {
            let mut at = 0;
            loop {
                match self.limbs.get_mut(at) {
                    None => {
                        self.limbs.push(1);
                        break;
                    }
                    Some(limb) if u64::from(*limb) + 1 < BASE => {
                        *limb += 1;
                        break;
                    }
                    Some(limb) => *limb = 0,
                }
                at += 1;
            }
        }
        self
    }

    /// Whether rounding to `exponent` would change the number.
    pub(super) fn is_multiple_of_power(&self, exponent: i32) -> bool {
        let rounded = self.clone().rescaled(exponent.max(self.exponent));
        rounded.cmp(self) == Ordering::Equal
    }

    /// The exponent of the first digit: between 10^magnitude and 10^(magnitude + 1).
    fn magnitude(&self) -> i64 {
        let Some(top) = self.limbs.last() else { return i64::MIN };
        let digits = (self.limbs.len() - 1) * LIMB_DIGITS + top.ilog10() as usize;
        i64::try_from(digits).unwrap_or(i64::MAX) + i64::from(self.exponent)
    }

    fn cmp_absolute(&self, other: &Decimal) -> Ordering {
        let order = self.magnitude().cmp(&other.magnitude());
        if order != Ordering::Equal || self.is_zero() {
            return order;
        }
        // Equal magnitudes: the exponents differ by no more than the numbers have digits.
        let exponent = self.exponent.min(other.exponent);
        let (a, b) = (self.clone().rescaled(exponent), other.clone().rescaled(exponent));
        a.limbs.len().cmp(&b.limbs.len()).then_with(|| a.limbs.iter().rev().cmp(b.limbs.iter().rev()))
    }

    pub(super) fn cmp(&self, other: &Decimal) -> Ordering {
        match (self.signum(), other.signum()) {
            (1, 1) => self.cmp_absolute(other),
            (-1, -1) => other.cmp_absolute(self),
            (a, b) => a.cmp(&b),
        }
    }

    pub(super) fn add(&self, other: &Decimal) -> Decimal {
        if self.is_zero() || other.is_zero() {
            return if self.is_zero() { other.clone() } else { self.clone() };
        }
        if self.magnitude().abs_diff(other.magnitude()) > WIDEST as u64
            || i64::from(self.exponent).abs_diff(i64::from(other.exponent)) > 2 * WIDEST as u64
        {
            return if self.cmp_absolute(other).is_lt() { other.clone() } else { self.clone() };
        }
        let exponent = self.exponent.min(other.exponent);
        let (a, b) = (self.clone().rescaled(exponent), other.clone().rescaled(exponent));
        if a.negative == b.negative {
            return Decimal { limbs: add_limbs(&a.limbs, &b.limbs), ..a };
        }
        let (large, small) = if a.cmp_absolute(&b).is_lt() { (b, a) } else { (a, b) };
        let mut difference = Decimal { limbs: subtract_limbs(&large.limbs, &small.limbs), ..large };
        difference.trim();
        difference
    }

    /// Rounded away from zero to a multiple of `10^exponent`, in units of it; `None` where 64 bits do not hold it.
    pub(super) fn to_int(&self, exponent: i32) -> Option<i64> {
        if self.magnitude() > i64::from(exponent) + 19 {
            return None;
        }
        let rounded = self.clone().rescaled(exponent);
        let absolute =
            rounded.limbs.iter().rev().fold(0_i128, |n, limb| n * i128::from(BASE) + i128::from(*limb));
        i64::try_from(if self.negative { -absolute } else { absolute }).ok()
    }
}

fn add_limbs(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut sum = Vec::with_capacity(a.len().max(b.len()) + 1);
    let mut carry = 0;
    for i in 0..a.len().max(b.len()) {
        let n = u64::from(a.get(i).copied().unwrap_or(0)) + u64::from(b.get(i).copied().unwrap_or(0)) + carry;
        sum.push((n % BASE) as u32);
        carry = n / BASE;
    }
    sum.extend((carry > 0).then_some(carry as u32));
    sum
}

fn subtract_limbs(large: &[u32], small: &[u32]) -> Vec<u32> {
    let mut borrow = 0;
    large
        .iter()
        .enumerate()
        .map(|(i, limb)| {
            let take = i64::from(small.get(i).copied().unwrap_or(0)) + borrow;
            let n = i64::from(*limb) - take;
            borrow = i64::from(n < 0);
            (n + borrow * BASE as i64) as u32
        })
        .collect()
}
