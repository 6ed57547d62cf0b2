//! How much one client may send: a bucket of messages and a bucket of bytes, which fill with time.

use std::time::Instant;

/// How many messages a client may have refused before its buckets are full again; one more, and the
/// connection ends.
const FORGIVEN: u32 = 20;

/// So many in each second, and at most `burst` of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    pub(crate) burst: u32,
}

impl Rate {
    /// `N`, of which twice as much may come at once, or `N:BURST`; `None` for `0`.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, &'static str> {
        let number = |text: &str| text.parse::<u32>().map_err(|_| "expected N or N:BURST");
        let (per_second, burst) = match text.split_once(':') {
            Some((per_second, burst)) => (number(per_second)?, number(burst)?.max(1)),
            None => (number(text)?, number(text)?.saturating_mul(2)),
        };
        Ok((per_second > 0).then_some(Self { per_second, burst }))
    }
}

/// Whether a message may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Granted,
    /// There were too many; there may be more later.
    Refused,
    /// It goes on and on.
    Exhausted,
}

/// What one client may send still.
pub(crate) struct Allowance {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    refused: u32,
}

impl Allowance {
    pub(crate) fn new(messages: Option<Rate>, bytes: Option<Rate>, now: Instant) -> Self {
        let bucket = |rate| Bucket { rate, left: f64::from(rate.burst), filled: now };
        Self { messages: messages.map(bucket), bytes: bytes.map(bucket), refused: 0 }
    }

    /// Takes a message from what is left. Does not ask for the time where there is no limit.
    pub(crate) fn spend(&mut self, bytes: usize, now: impl FnOnce() -> Instant) -> Verdict {
        if self.messages.is_none() && self.bytes.is_none() {
            return Verdict::Granted;
        }
        let now = now();
        let mut buckets = [(self.messages.as_mut(), 1.0), (self.bytes.as_mut(), bytes as f64)];
        let (mut has_some, mut is_full) = (true, true);
        for bucket in buckets.iter_mut().filter_map(|(bucket, _)| bucket.as_mut()) {
            bucket.fill(now);
            // A message may be larger than the bucket: it is paid for afterwards.
            has_some &= bucket.left >= 1.0;
            is_full &= bucket.left >= f64::from(bucket.rate.burst);
        }
        if is_full {
            self.refused = 0;
        }
        if has_some {
            for (bucket, cost) in &mut buckets {
                bucket.iter_mut().for_each(|bucket| bucket.left -= *cost);
            }
            return Verdict::Granted;
        }
        self.refused += 1;
        if self.refused > FORGIVEN { Verdict::Exhausted } else { Verdict::Refused }
    }

    /// Takes bytes that a message has cost beside its own, known only when it has been obeyed: the
    /// next ones wait until they are paid for.
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
