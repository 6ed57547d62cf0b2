//! Parsing a received frame into a checked message.

use std::hint::black_box;

use crate::bench::{Contender, Plan};
use crate::peers::{Peer, PondsocketCommon, Pondwire, SerdeJson, SimdJson, SonicRs};
use crate::report::Section;
use crate::workloads::{self, Line};

pub fn section(plan: &Plan) -> Section {
    let rows = workloads::rows(plan, |lines| {
        vec![
            contender::<Pondwire>(lines),
            contender::<PondsocketCommon>(lines),
            contender::<SerdeJson>(lines),
            contender::<SimdJson>(lines),
            contender::<SonicRs>(lines),
        ]
    });
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

/// The same beside C++ simdjson, if it was installed.
pub fn beside_simdjson(plan: &Plan) -> Section {
    let rows = workloads::rows(plan, |lines| {
        let mut contenders = simdjson(lines);
        if !contenders.is_empty() {
            contenders.insert(0, contender::<Pondwire>(lines));
        }
        contenders
    });
    Section {
        size: "bytes",
        title: "Parse beside C++ simdjson, ns per message",
        note: "The same, with each of simdjson's implementations: `westmere` is SSE4.2, `haswell` \
               AVX2 and `icelake` AVX-512. The input is padded, so simdjson needs no copy. The DOM \
               validates the whole frame and builds a tape. On-Demand skips the payload without \
               validating it: `{\"a\":01}` passes.",
        rows,
    }
}

#[cfg(cpp_simdjson)]
fn simdjson(lines: &[Line]) -> Vec<Contender<'_>> {
    use crate::peers::cpp_simdjson::{haswell, icelake, westmere};

    let mut contenders = vec![];
    if westmere::is_supported() {
        contenders.push(contender::<westmere::Dom>(lines));
        contenders.push(contender::<westmere::OnDemand>(lines));
    }
    if haswell::is_supported() {
        contenders.push(contender::<haswell::Dom>(lines));
        contenders.push(contender::<haswell::OnDemand>(lines));
    }
    if icelake::is_supported() {
        contenders.push(contender::<icelake::Dom>(lines));
        contenders.push(contender::<icelake::OnDemand>(lines));
    }
    contenders
}

#[cfg(not(cpp_simdjson))]
fn simdjson(_: &[Line]) -> Vec<Contender<'_>> {
    vec![]
}

/// Counts the lines that the peer accepts, which must be all of them.
fn contender<P: Peer + 'static>(lines: &[Line]) -> Contender<'_> {
    let mut peer = P::default();
    Contender::checked(P::NAME, &lines.len(), move || {
        Some(lines.iter().filter(|line| peer.parse(black_box(line))).count())
    })
}
