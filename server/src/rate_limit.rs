//! Rate limit of one client: a token bucket of messages and one of bytes.

use std::time::Instant;

/// The most messages of a client that are refused before its buckets are full again; one more ends the
/// connection.
const MAX_VIOLATIONS: u32 = 20;

/// A rate of messages or of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many the client may send per second, on average. At 0 it may send `burst` in total.
    pub per_second: u32,
    /// How many may arrive at once; at 0 all are refused.
    pub burst: u32,
}

impl Rate {
    /// Parses `N`, with a burst of twice as many, or `N:BURST`; `None` for `0`, which means no limit.
    ///
    /// # Errors
    /// The text has neither form.
    pub fn parse(text: &str) -> Result<Option<Self>, &'static str> {
        let number = |text: &str| text.parse::<u32>().map_err(|_| "expected N or N:BURST");
        let (per_second, burst) = match text.split_once(':') {
            Some((per_second, burst)) => (number(per_second)?, number(burst)?.max(1)),
            None => (number(text)?, number(text)?.saturating_mul(2)),
        };
        Ok((per_second > 0).then_some(Self { per_second, burst }))
    }
}

/// The decision whether a message may be processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Granted,
    /// The client is over its limit; later messages may be granted.
    Refused,
    /// The client has been over its limit [`MAX_VIOLATIONS`] times: the connection ends.
    Exhausted,
}

/// The buckets of one client.
pub(crate) struct RateLimiter {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    violations: u32,
}

impl RateLimiter {
    pub(crate) fn new(messages: Option<Rate>, bytes: Option<Rate>, now: Instant) -> Self {
        let bucket = |rate| Bucket { rate, left: f64::from(rate.burst), filled: now };
        Self { messages: messages.map(bucket), bytes: bytes.map(bucket), violations: 0 }
    }

    /// Takes a message of `bytes` bytes from the buckets. Its bytes, which have arrived, are taken even if it is refused.
    /// Calls `now` only if there is a limit.
    pub(crate) fn try_acquire(&mut self, bytes: usize, now: impl FnOnce() -> Instant) -> Decision {
        if self.messages.is_none() && self.bytes.is_none() {
            return Decision::Granted;
        }
        let now = now();
        let mut buckets = [(self.messages.as_mut(), 1.0), (self.bytes.as_mut(), bytes as f64)];
        let (mut has_some, mut is_full) = (true, true);
        for bucket in buckets.iter_mut().filter_map(|(bucket, _)| bucket.as_mut()) {
            bucket.fill(now);
            // A message may be larger than the bucket; the debt is paid off afterwards.
            has_some &= bucket.left >= 1.0;
            is_full &= bucket.left >= f64::from(bucket.rate.burst);
        }
        if is_full {
            self.violations = 0;
        }
        if has_some {
            for (bucket, cost) in &mut buckets {
                bucket.iter_mut().for_each(|bucket| bucket.left -= *cost);
            }
            return Decision::Granted;
        }
        self.charge(bytes);
        self.violations += 1;
        if self.violations > MAX_VIOLATIONS { Decision::Exhausted } else { Decision::Refused }
    }

    /// Charges bytes that a message has cost beyond its own, known only after it was dispatched. Further
    /// messages are refused until the debt is paid off.
    pub(crate) fn charge(&mut self, bytes: usize) {
        if let Some(bucket) = &mut self.bytes {
            bucket.left -= bytes as f64;
        }
    }
}

struct Bucket {
    rate: Rate,
    left: f64,
    filled: Instant,
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        let filled = self.left + passed * f64::from(self.rate.per_second);
        self.left = filled.min(f64::from(self.rate.burst));
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Decision, Rate, RateLimiter};

    #[test]
    fn buckets_fill_with_time() {
        let began = Instant::now();
        let mut limiter = RateLimiter::new(Rate::parse("2:3").unwrap(), None, began);
        let mut at =
            |millis| limiter.try_acquire(1 << 40, || began + Duration::from_millis(millis));
        for granted in [0, 0, 0, 500, 1000, 5000, 5000, 5000] {
            assert_eq!(at(granted), Decision::Granted, "{granted}");
        }
        for _ in 0..20 {
            assert_eq!(at(5100), Decision::Refused);
        }
        // A message that is granted in between does not reset the violations.
        assert_eq!(at(5600), Decision::Granted);
        assert_eq!(at(5600), Decision::Exhausted);
        assert_eq!(at(9000), Decision::Granted);
        assert_eq!(at(8000), Decision::Granted, "a clock that goes back is harmless");

        let mut both =
            RateLimiter::new(Rate::parse("10").unwrap(), Rate::parse("100").unwrap(), began);
        assert_eq!(both.try_acquire(150, || began), Decision::Granted);
        assert_eq!(both.try_acquire(51, || began), Decision::Granted);
        assert_eq!(both.try_acquire(1, || began), Decision::Refused);
        // A refused message has been received, too.
        let mut twice = RateLimiter::new(None, Rate::parse("100").unwrap(), began);
        assert_eq!(twice.try_acquire(200, || began), Decision::Granted);
        assert_eq!(twice.try_acquire(200, || began), Decision::Refused);
        let later = |millis| began + Duration::from_millis(millis);
        assert_eq!(twice.try_acquire(0, || later(1900)), Decision::Refused);
        assert_eq!(twice.try_acquire(0, || later(2100)), Decision::Granted);
        let mut paid = RateLimiter::new(None, Rate::parse("100").unwrap(), began);
        paid.charge(298);
        assert_eq!(paid.try_acquire(1, || began), Decision::Refused);
        assert_eq!(paid.try_acquire(1, || began + Duration::from_millis(1000)), Decision::Granted);
        let mut none = RateLimiter::new(Rate::parse("0").unwrap(), None, began);
        assert_eq!(
            none.try_acquire(usize::MAX, || unreachable!("no limit needs the time")),
            Decision::Granted
        );

        assert_eq!(Rate::parse("7").unwrap(), Some(Rate { per_second: 7, burst: 14 }));
        for wrong in ["", "x", "-1", "1:", ":1", "1:x", "1:2:3", "4294967296"] {
            assert!(Rate::parse(wrong).is_err(), "{wrong}");
        }
    }
}
