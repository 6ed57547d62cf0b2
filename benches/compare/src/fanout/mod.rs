//! One publish to many observers, while observers subscribe and unsubscribe.

mod latency;
mod rooms;

pub use latency::{publishing, subscribing};

use crate::bench::{Contender, Plan, Row};
use crate::report::Section;
use rooms::{Closures, Locked, Room, Sharded, Swapped, Typed, Unsynchronised, filled};

const SIZES: [usize; 5] = [16, 256, 4096, 65_536, 1 << 20];

pub fn publish(plan: &Plan) -> Section {
    let rows = sizes(plan, "publish", &SIZES).map(|(name, size)| publish_row(plan, name, size));
    Section {
        title: "Fan-out, ns per delivery",
        size: "observers",
        note: "Every observer adds to a counter in a cache line of its own, which it holds itself. \
               Typed: observers of one type in the subject. Closures, and all peers: closures of \
               any type. The list of `Arc`s is nobody's but the publisher's: the limit.",
        rows: rows.collect(),
    }
}

pub fn churn(plan: &Plan) -> Section {
    let sizes = sizes(plan, "churn", &[1, 16, 256, 4096, 65_536, 1 << 20]);
    Section {
        title: "Subscribe and unsubscribe, ns for both",
        size: "observers",
        note: "The newest of them comes and goes; nobody publishes.",
        rows: sizes.map(|(name, size)| churn_row(plan, name, size)).collect(),
    }
}

fn sizes(plan: &Plan, what: &str, sizes: &[usize]) -> impl Iterator<Item = (String, usize)> {
    let rows: Vec<_> = sizes.iter().map(|&size| (format!("{what} {size}"), size)).collect();
    rows.into_iter().filter(|(name, _)| plan.wants(name))
}

fn publish_row(plan: &Plan, name: String, size: usize) -> Row {
    let list = Unsynchronised::filled(size);
    let (typed, _typed) = filled::<Typed>(size);
    let (closures, _closures) = filled::<Closures>(size);
    let (locked, _) = filled::<Locked>(size);
    let swapped = Swapped::filled(size as u64);
    let (sharded, _) = filled::<Sharded>(size);
    let contenders = vec![
        Contender::new(Unsynchronised::NAME, || list.publish(1)),
        Contender::new(Typed::NAME, || typed.publish(1)),
        Contender::new(Closures::NAME, || closures.publish(1)),
        Contender::new(Locked::NAME, || locked.publish(1)),
        Contender::new(Swapped::NAME, || swapped.publish(1)),
        Contender::new(Sharded::NAME, || sharded.publish(1)),
    ];
    plan.race(name, size, size * size, contenders)
}

fn churn_row(plan: &Plan, name: String, size: usize) -> Row {
    let (typed, _typed) = filled::<Typed>(size);
    let (closures, _closures) = filled::<Closures>(size);
    let (locked, _) = filled::<Locked>(size);
    let swapped = Swapped::filled(size as u64);
    let (sharded, _) = filled::<Sharded>(size);
    let contenders = vec![
        Contender::new(Typed::NAME, || typed.leave(typed.join())),
        Contender::new(Closures::NAME, || closures.leave(closures.join())),
        Contender::new(Locked::NAME, || locked.leave(locked.join())),
        Contender::new(Swapped::NAME, || swapped.leave(swapped.join())),
        Contender::new(Sharded::NAME, || sharded.leave(sharded.join())),
    ];
    plan.race(name, 1, size, contenders)
}
