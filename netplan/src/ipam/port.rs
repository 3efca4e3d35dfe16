//! Node ports.

use std::str::FromStr;

use orlop_core::Entropy;

use super::service::{random_scan, static_band};

/// A range of node ports with its static band (KEP-3668): as [`super::ServiceRange`], with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    base: u16,
    size: u32,
}

/// Why a Service gets no node port. The texts are what an API client sees.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Nothing is left.
    #[error("range is full")]
    Full,
    /// Another Service port has it.
    #[error("provided port is already allocated")]
    Allocated,
    /// It lies outside of the range.
    #[error("provided port is not in the valid range. The range of valid ports is {0}")]
    NotInRange(PortRange),
}

/// A text that is no port range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortRangeError {
    /// A part is not a number.
    #[error("{0:?} is not a number")]
    Number(String),
    /// Two notations at once.
    #[error("unable to parse port range: {0}")]
    Mixed(String),
    /// The end lies before the start.
    #[error("end port cannot be less than start port: {0}")]
    Backwards(String),
    /// It would end behind the last port.
    #[error("the port range cannot be greater than 65535: {0}")]
    TooLarge(String),
}

const BAND: (u128, u128, u128) = (16, 32, 128);

impl Default for PortRange {
    /// 30000-32767.
    fn default() -> PortRange {
        PortRange { base: 30000, size: 2768 }
    }
}

impl PortRange {
    /// The first port.
    pub fn base(&self) -> u16 {
        self.base
    }

    /// How many ports.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// How many ports at the range's start are kept for explicit requests.
    pub fn static_band(&self) -> u32 {
        static_band(u128::from(self.size), BAND) as u32
    }

    /// Whether the port lies within.
    pub fn contains(&self, port: i32) -> bool {
        let base = i64::from(self.base);
        (base..base + i64::from(self.size)).contains(&i64::from(port))
    }

    /// Whether a certain port can be given.
    ///
    /// # Errors
    /// [`PortError::NotInRange`], [`PortError::Allocated`].
    pub fn check(&self, port: i32, taken: impl Fn(u16) -> bool) -> Result<u16, PortError> {
        match u16::try_from(port) {
            Ok(port) if self.contains(port.into()) && taken(port) => Err(PortError::Allocated),
            Ok(port) if self.contains(port.into()) => Ok(port),
            _ => Err(PortError::NotInRange(*self)),
        }
    }

    /// A free port: at random above the static band, then in it.
    ///
    /// # Errors
    /// [`PortError::Full`].
    pub fn allocate(&self, taken: impl Fn(u16) -> bool, entropy: &mut Entropy) -> Result<u16, PortError> {
        let first = u128::from(self.base);
        let end = first + u128::from(self.size);
        let dynamic = first + u128::from(self.static_band());
        let mut search = |from: u128, end: u128| {
            let last = end.checked_sub(1)?;
            random_scan(from, last, entropy, |n| !taken(n as u16)).map(|n| n as u16)
        };
        search(dynamic, end).or_else(|| search(first, dynamic)).ok_or(PortError::Full)
    }
}

impl std::fmt::Display for PortRange {
    /// `30000-32767`; nothing for an empty range.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.size {
            0 => Ok(()),
            size => write!(f, "{}-{}", self.base, u32::from(self.base) + size - 1),
        }
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    /// `30000-32767`, `30000+2767` or a single port. Nothing is the empty range.
    fn from_str(text: &str) -> Result<PortRange, PortRangeError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(PortRange { base: 0, size: 0 });
        }
        let number = |part: &str| part.parse::<i64>().map_err(|_| PortRangeError::Number(part.to_owned()));
        let (base, end) = match (text.split_once('-'), text.split_once('+')) {
            (None, None) => (number(text)?, number(text)?),
            (Some((base, end)), None) => (number(base)?, number(end)?),
            (None, Some((base, more))) => {
                let base = number(base)?;
                (base, base.saturating_add(number(more)?))
            }
            (Some(_), Some(_)) => return Err(PortRangeError::Mixed(text.to_owned())),
        };
        if base > 65535 || end > 65535 {
            return Err(PortRangeError::TooLarge(text.to_owned()));
        }
        if end < base {
            return Err(PortRangeError::Backwards(text.to_owned()));
        }
        let base = u16::try_from(base).map_err(|_| PortRangeError::Number(text.to_owned()))?;
        Ok(PortRange { base, size: (end - i64::from(base) + 1) as u32 })
    }
}
