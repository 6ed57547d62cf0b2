//! Parsing a received frame into a checked message.

use std::hint::black_box;

use crate::bench::{Contender, Plan};
use crate::peers::{Peer, PondsocketCommon, Pondwire, SerdeJson, SimdJson, SonicRs};
use crate::report::Section;
use crate::workloads::{self, Line};

pub fn section(plan: &Plan) -> Section {
    let rows = workloads::all()
        .into_iter()
        .filter(|workload| plan.wants(&workload.name))
        .map(|workload| {
            let (bytes, lines) = (workload.bytes(), &workload.lines);
            let contenders = vec![
                contender::<Pondwire>(lines),
                contender::<PondsocketCommon>(lines),
                contender::<SerdeJson>(lines),
                contender::<SimdJson>(lines),
                contender::<SonicRs>(lines),
            ];
            plan.race(workload.name, lines.len(), bytes, contenders)
        })
        .collect();
    Section {
        size: "bytes",
        title: "Parse, ns per message",
        note: "Unchecked bytes in; action, event, channel name, request id and payload out, the \
               whole frame validated. pondwire: borrowed views. pondsocket-common: its own \
               messages, the UTF-8 check included. serde_json: struct + `&RawValue`. simd-json: \
               tape with reused buffers, on a copy, as it writes into its input. sonic-rs: struct \
               + `LazyValue`. The general JSON crates do not look into a presence payload.",
        rows,
    }
}

/// Counts the lines that the peer accepts, which must be all of them.
fn contender<P: Peer + 'static>(lines: &[Line]) -> Contender<'_> {
    let mut peer = P::default();
    Contender::checked(P::NAME, &lines.len(), move || {
        Some(lines.iter().filter(|line| peer.parse(black_box(line))).count())
    })
}
