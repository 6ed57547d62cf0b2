//! The loop by which everything is measured.

use std::fmt::Debug;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A sample lasts at least this long, so that the time for reading the clock does not matter.
const SAMPLE: Duration = Duration::from_millis(1);

/// The options of a run.
pub struct Plan {
    pub rounds: usize,
    /// The name of the only row to run.
    pub only: Option<String>,
}

/// One way to do the work of a row.
pub struct Contender<'a> {
    name: &'static str,
    passes: Box<dyn FnMut(u32) -> Duration + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender whose `pass` does the row's work once; the loop around it is compiled together
    /// with it.
    pub fn new<T>(name: &'static str, mut pass: impl FnMut() -> T + 'a) -> Self {
        let passes = Box::new(move |count| {
            let start = Instant::now();
            for _ in 0..count {
                black_box(pass());
            }
            start.elapsed()
        });
        Self { name, passes }
    }

    /// A contender of whose pass only a part counts: `run`, and not `restore` after it.
    pub fn partly<C>(
        name: &'static str,
        mut context: C,
        mut run: impl FnMut(&mut C) + 'a,
        mut restore: impl FnMut(&mut C) + 'a,
    ) -> Self
    where
        C: 'a,
    {
        let passes = Box::new(move |count| {
            let mut spent = Duration::ZERO;
            for _ in 0..count {
                let start = Instant::now();
                run(&mut context);
                spent += start.elapsed();
                restore(&mut context);
            }
            spent
        });
        Self { name, passes }
    }

    /// [`new`](Self::new) for a pass with one right result.
    ///
    /// # Panics
    /// The pass returns another result: its time could not be compared.
    pub fn checked<T: PartialEq + Debug + 'a>(
        name: &'static str,
        expected: &T,
        mut pass: impl FnMut() -> Option<T> + 'a,
    ) -> Self {
        assert_eq!(pass().as_ref(), Some(expected), "{name}");
        Self::new(name, pass)
    }

    fn time(&mut self, passes: u32) -> Duration {
        (self.passes)(passes)
    }

    /// Finds the number of passes in a sample; this also warms up.
    fn calibrate(&mut self) -> u32 {
        let mut passes = 1;
        while self.time(passes) < SAMPLE {
            passes *= 2;
        }
        passes
    }
}

/// The medians of one row, in the contenders' order.
pub struct Row {
    pub name: String,
    /// The mean size of a message.
    pub bytes: usize,
    /// The name of each contender, and its nanoseconds per message.
    pub times: Vec<(&'static str, f64)>,
}

impl Plan {
    pub fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }

    /// Lets the contenders take turns, every one in every round. A pass works on `messages`
    /// messages of `bytes` bytes in total.
    pub fn race(
        &self,
        name: String,
        messages: usize,
        bytes: usize,
        mut contenders: Vec<Contender<'_>>,
    ) -> Row {
        eprintln!("{name}");
        let passes: Vec<u32> = contenders.iter_mut().map(Contender::calibrate).collect();
        let mut samples = vec![Vec::with_capacity(self.rounds); contenders.len()];
        for _ in 0..self.rounds {
            for ((contender, &passes), samples) in
                contenders.iter_mut().zip(&passes).zip(&mut samples)
            {
                samples.push(contender.time(passes));
            }
        }
        let median = |samples: &mut Vec<Duration>| {
            samples.sort_unstable();
            samples[samples.len() / 2].as_nanos() as f64
        };
        let times = contenders
            .iter()
            .zip(&passes)
            .zip(&mut samples)
            .map(|((contender, &passes), samples)| {
                (contender.name, median(samples) / f64::from(passes) / messages as f64)
            })
            .collect();
        Row { name, bytes: bytes / messages, times }
    }
}
