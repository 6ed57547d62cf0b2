//! Decoding large payloads of many doubles into owned types by `simd-json`, where it reads what `serde_json` reads.
//!
//! `simd-json` turns the text into a tape of nodes, with its numbers converted. Nearly all of them
//! equal the values that `serde_json` reads; [`Nodes`] fails at the others, and the payload is then
//! decoded again by [`decode`]. So the result, or the error, is that of `serde_json` at every size:
//! - `-0`, an integer on the tape, is a double to `serde_json`;
//! - `f32` is rounded from the text by `serde_json`, and would be from a double here;
//! - 128-bit integers, numbers and booleans as keys, strings read as bytes and `RawValue` have no
//!   node, nor have integers beyond 64 bits and doubles beyond their range;
//! - where any crate in the build enables `serde_json/arbitrary_precision`, or makes the numbers of
//!   `simd-json` approximate, the tape is not used at all.

use std::cell::Cell;
use std::sync::LazyLock;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use simd_json::{Buffers, INPUT_PADDING, Node, StaticNode, Tape, fill_tape_padded};

use super::decode::{Failed, NUMBERS_KEEP_THEIR_TEXT, decode, is_of_serde_json};

/// The payload size in bytes from which the tape is faster, the copy of the input included
/// (`profiles/README.md`).
const TAPE_FROM: usize = 1024;

/// The deepest nesting for which a tape is made: `serde_json` recurses no further either.
const MAX_DEPTH: usize = 127;

/// The largest payload, in bytes, whose scratch memory a thread keeps: some 20 times as much, for a
/// payload of small numbers only.
const SCRATCH_KEPT: usize = 64 << 10;

/// The parts of a payload that are looked at, so many bytes each.
const PARTS: usize = 4;
const PART: usize = 64;

/// The digits of a double that has all of its digits, at the least, and more than a time in milliseconds has.
const LONG: usize = 14;

/// Whether the payload is mostly of doubles with all their digits, as far as a look at some places tells: only those
/// does `simd-json` read faster.
fn has_long_numbers(json: &str) -> bool {
    let json = json.as_bytes();
    let part = |part: usize| json[json.len() / (PARTS + 1) * (part + 1)..].first_chunk();
    // No more than one: the second ends the look.
    (0..PARTS).filter(|&i| !part(i).is_some_and(has_long_number)).take(2).count() < 2
}

/// Without branches: those of a search byte by byte would be mispredicted.
fn has_long_number(part: &[u8; PART]) -> bool {
    let digits = part.map(|byte| u8::from(byte.is_ascii_digit()));
    let mut runs = 0;
    for (eight, place) in digits.as_chunks().0.iter().zip((0..).step_by(8)) {
        // Moves the lowest bit of each byte to the highest byte.
        runs |= u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56 << place;
    }
    // Each step leaves the starts of runs of as many digits as the sum of 1 and the shifts.
    for shift in [1, 2, 4, LONG - 8] {
        runs &= runs >> shift;
    }
    runs != 0
}

/// Decodes a validated object: the value and the error of [`serde_json::from_str`].
pub(super) fn owned<T: DeserializeOwned>(json: &str) -> Result<T, serde_json::Error> {
    if json.len() >= TAPE_FROM
        && has_long_numbers(json)
        && *ENGINES_AGREE
        && let Some(decoded) = by_tape(json)
    {
        return Ok(decoded);
    }
    decode(json)
}

/// Whether both engines read numbers alike in this build. Any crate in the build may enable
/// features of either engine, and these change how numbers are read in all crates.
static ENGINES_AGREE: LazyLock<bool> = LazyLock::new(|| {
    // Halfway cases and others that approximations miss; with `arbitrary_precision`, a decimal
    // keeps its text.
    const HARD: [(&str, f64); 4] = [
        ("[122.416294033786585]", 122.416_294_033_786_59),
        ("[9007199254740993.0]", 9_007_199_254_740_992.0),
        ("[2.2250738585072011e-308]", 2.225_073_858_507_201e-308),
        ("[1.7976931348623157e308]", f64::MAX),
    ];
    let exact = HARD.iter().all(|&(json, exact)| {
        let mut input = [json.as_bytes(), &[b' '; INPUT_PADDING]].concat();
        let mut tape = Tape(Vec::new());
        let filled = fill_tape_padded(&mut input, json.len(), &mut Buffers::default(), &mut tape);
        // `into`: with `simd-json`'s feature `ordered-float` the number has another type.
        #[allow(clippy::useless_conversion)]
        let read = tape.0.iter().find_map(|node| match *node {
            Node::Static(StaticNode::F64(number)) => Some(f64::from(number)),
            _ => None,
        });
        filled.is_ok() && read == Some(exact)
    });
    exact && !*NUMBERS_KEEP_THEIR_TEXT
});

/// The memory that `simd-json` works in: it unescapes strings within its input, so it needs a copy,
/// and may read past the end, so the copy is padded.
struct Scratch {
    input: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    fn new() -> Self {
        Self {
            input: Vec::new(),
            buffers: Buffers::with_max_depth(0, MAX_DEPTH),
            tape: Tape(Vec::new()),
        }
    }

    fn decode<T: DeserializeOwned>(&mut self, json: &str) -> Option<T> {
        self.input.clear();
        self.input.extend_from_slice(json.as_bytes());
        self.input.resize(json.len() + INPUT_PADDING, b' ');
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new()));
        let filled = fill_tape_padded(&mut self.input, json.len(), &mut self.buffers, &mut tape);
        if filled.is_err() {
            return None;
        }
        let mut nodes = Nodes { rest: &tape.0, failed: false };
        let decoded = T::deserialize(&mut nodes).ok().filter(|_| !nodes.failed);
        self.tape = tape.reset();
        decoded
    }
}

fn by_tape<T: DeserializeOwned>(json: &str) -> Option<T> {
    // `None` while `T`'s own `Deserialize` decodes another payload, and when a destructor decodes
    // one as its thread ends: then there is nothing to reuse.
    let kept = SCRATCH.try_with(Cell::take).ok().flatten();
    let mut scratch = kept.unwrap_or_else(|| Box::new(Scratch::new()));
    let decoded = scratch.decode(json);
    if json.len() <= SCRATCH_KEPT {
        // Not kept if the thread's locals are destroyed already.
        let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
    }
    decoded
}

/// Deserializes the nodes of a tape, from the first of `rest` on.
struct Nodes<'t, 'de> {
    rest: &'t [Node<'de>],
    /// An error occurred. A type's own `Deserialize` may have continued with a default, at a node
    /// where `serde_json` would not be.
    failed: bool,
}

impl<'de> Nodes<'_, 'de> {
    fn next(&mut self) -> Result<Node<'de>, Failed> {
        let (&node, rest) = self.rest.split_first().ok_or(Failed)?;
        self.rest = rest;
        Ok(node)
    }

    /// Passes on the outcome of a step over this tape, and records a failure.
    fn noted<T>(&mut self, outcome: Result<T, Failed>) -> Result<T, Failed> {
        self.failed |= outcome.is_err();
        outcome
    }

    fn visit<V: Visitor<'de>>(&mut self, node: Node<'de>, visitor: V) -> Result<V::Value, Failed> {
        match node {
            Node::String(text) => visitor.visit_borrowed_str(text),
            Node::Array { len, .. } => self.elements(len, visitor),
            Node::Object { len, .. } => self.members(len, visitor),
            Node::Static(StaticNode::Null) => visitor.visit_unit(),
            Node::Static(StaticNode::Bool(value)) => visitor.visit_bool(value),
            Node::Static(StaticNode::U64(number)) => visitor.visit_u64(number),
            // Positive integers are `U64`, so it was written `-0`.
            Node::Static(StaticNode::I64(0)) => Err(Failed),
            Node::Static(StaticNode::I64(number)) => visitor.visit_i64(number),
            // `into`: see `ENGINES_AGREE`.
            #[allow(clippy::useless_conversion)]
            Node::Static(StaticNode::F64(number)) => visitor.visit_f64(number.into()),
            // Integers beyond 64 bits, if a feature enables them.
            #[allow(unreachable_patterns)]
            Node::Static(_) => Err(Failed),
        }
    }

    fn elements<V: Visitor<'de>>(&mut self, left: usize, visitor: V) -> Result<V::Value, Failed> {
        let mut elements = Items { nodes: self, left };
        let value = visitor.visit_seq(&mut elements)?;
        // Elements that the visitor leaves are an error to `serde_json`.
        if elements.left == 0 { Ok(value) } else { Err(Failed) }
    }

    fn members<V: Visitor<'de>>(&mut self, left: usize, visitor: V) -> Result<V::Value, Failed> {
        let mut members = Items { nodes: self, left };
        let value = visitor.visit_map(&mut members)?;
        if members.left == 0 { Ok(value) } else { Err(Failed) }
    }

    /// Visits the next node if the type can be made from it.
    fn visit_if<V: Visitor<'de>>(
        &mut self,
        fits: impl FnOnce(&Node<'de>) -> bool,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let visited = self
            .next()
            .and_then(|node| if fits(&node) { self.visit(node, visitor) } else { Err(Failed) });
        self.noted(visited)
    }

    fn fail<T>(&mut self) -> Result<T, Failed> {
        self.noted(Err(Failed))
    }
}

const fn is_number(node: &Node<'_>) -> bool {
    !matches!(node, Node::Static(StaticNode::Null | StaticNode::Bool(_))) && is_static(node)
}

const fn is_static(node: &Node<'_>) -> bool {
    matches!(node, Node::Static(_))
}

const fn is_string(node: &Node<'_>) -> bool {
    matches!(node, Node::String(_))
}

const fn is_array(node: &Node<'_>) -> bool {
    matches!(node, Node::Array { .. })
}

const fn is_object(node: &Node<'_>) -> bool {
    matches!(node, Node::Object { .. })
}

macro_rules! only {
    ($($deserialize:ident)* : $fits:expr) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
            self.visit_if($fits, visitor)
        }
    )*};
}

macro_rules! by_text {
    ($($deserialize:ident)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Failed> {
            self.fail()
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Nodes<'_, 'de> {
    type Error = Failed;

    only!(deserialize_any: |_| true);
    only!(deserialize_bool: |node| matches!(node, Node::Static(StaticNode::Bool(_))));
    only!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f64: is_number);
    only!(deserialize_f32: |node| {
        is_number(node) && !matches!(node, Node::Static(StaticNode::F64(_)))
    });
    only!(deserialize_char deserialize_str deserialize_string deserialize_identifier: is_string);
    only!(deserialize_unit: |node| matches!(node, Node::Static(StaticNode::Null)));
    only!(deserialize_seq: is_array);
    only!(deserialize_map: is_object);
    by_text!(deserialize_i128 deserialize_u128 deserialize_bytes deserialize_byte_buf);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let visited = match self.rest {
            [Node::Static(StaticNode::Null), rest @ ..] => {
                self.rest = rest;
                visitor.visit_none()
            }
            _ => visitor.visit_some(&mut *self),
        };
        self.noted(visited)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        if is_of_serde_json(name) {
            return self.fail();
        }
        let visited = visitor.visit_newtype_struct(&mut *self);
        self.noted(visited)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        if is_of_serde_json(name) {
            return self.fail();
        }
        self.visit_if(|node| is_array(node) || is_object(node), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let visited = match self.rest.first() {
            Some(Node::String(_)) => visitor.visit_enum(Variant { nodes: self, has_value: false }),
            Some(Node::Object { len: 1, .. }) => {
                self.rest = &self.rest[1..];
                visitor.visit_enum(Variant { nodes: self, has_value: true })
            }
            _ => Err(Failed),
        };
        self.noted(visited)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let inside = match self.next() {
            Ok(Node::Array { count, .. } | Node::Object { count, .. }) => count,
            Ok(_) => 0,
            Err(failed) => return self.noted(Err(failed)),
        };
        let rest = self.rest.get(inside..).ok_or(Failed);
        self.rest = self.noted(rest)?;
        let visited = visitor.visit_unit();
        self.noted(visited)
    }
}

/// The elements of an array or the members of an object that are left.
struct Items<'a, 't, 'de> {
    nodes: &'a mut Nodes<'t, 'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for &mut Items<'_, '_, 'de> {
    type Error = Failed;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failed> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let element = seed.deserialize(&mut *self.nodes);
        self.nodes.noted(element).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for &mut Items<'_, '_, 'de> {
    type Error = Failed;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failed> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let key = seed.deserialize(Key(&mut *self.nodes));
        self.nodes.noted(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failed> {
        let value = seed.deserialize(&mut *self.nodes);
        self.nodes.noted(value)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A member's key. A key that is read as a number or boolean is left to `serde_json`.
struct Key<'a, 't, 'de>(&'a mut Nodes<'t, 'de>);

impl Key<'_, '_, '_> {
    fn fail<T>(self) -> Result<T, Failed> {
        self.0.fail()
    }
}

impl<'de> Deserializer<'de> for Key<'_, '_, 'de> {
    type Error = Failed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.0.visit_if(is_string, visitor)
    }

    by_text!(deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_u128 deserialize_f32 deserialize_f64 deserialize_bytes deserialize_byte_buf);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        if is_of_serde_json(name) { self.fail() } else { visitor.visit_newtype_struct(self) }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        char str string unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A variant: its name alone, or with a value.
struct Variant<'a, 't, 'de> {
    nodes: &'a mut Nodes<'t, 'de>,
    has_value: bool,
}

impl<'de> EnumAccess<'de> for Variant<'_, '_, 'de> {
    type Error = Failed;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Failed> {
        let name = seed.deserialize(&mut *self.nodes);
        Ok((self.nodes.noted(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_, 'de> {
    type Error = Failed;

    fn unit_variant(self) -> Result<(), Failed> {
        if self.has_value { de::Deserialize::deserialize(self.nodes) } else { Ok(()) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failed> {
        if self.has_value { seed.deserialize(self.nodes) } else { self.nodes.fail() }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failed> {
        if self.has_value { self.nodes.deserialize_seq(visitor) } else { self.nodes.fail() }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        if self.has_value {
            self.nodes.deserialize_struct("", fields, visitor)
        } else {
            self.nodes.fail()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use serde::Deserialize;
    use serde::de::{DeserializeOwned, Deserializer};
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::{ENGINES_AGREE, LONG, PART, by_tape, has_long_number, has_long_numbers};

    #[derive(Debug, Deserialize, PartialEq)]
    enum Shape {
        Empty,
        Circle(f64),
        Line(f64, f64),
        Box { x: i8, y: Option<u64> },
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct All {
        text: String,
        shapes: Vec<Shape>,
        by_name: BTreeMap<String, (bool, Option<i64>, ())>,
        #[serde(default)]
        absent: u8,
    }

    const ALL: &str = r#"{"text":"a\u00e9\n","ignored":[{"deep":[-0,{}]},1e99],
        "shapes":["Empty",{"Circle":0.1},{"Line":[122.416294033786585,-2e-7]},{"Box":{"x":-7,"y":null}}],
        "by_name":{"k\"":[true,-9223372036854775808,null],"":[false,null,null]}}"#;

    /// Decodes from the tape, if it can, what `serde_json` decodes.
    fn decoded<T: DeserializeOwned + PartialEq + Debug>(json: &str) -> bool {
        let Some(decoded) = by_tape::<T>(json) else { return false };
        assert_eq!(decoded, serde_json::from_str(json).unwrap(), "{json}");
        true
    }

    #[test]
    fn long_numbers_are_found() {
        let points = |number: &str| format!("[{}]", [number; 60].join(","));
        assert!(has_long_numbers(&points("122.416294033786585")));
        assert!(has_long_numbers(&points("-0.00012345678901234")));
        assert!(!has_long_numbers(&points("1790000001926,true,\"0123456789012\"")));
        assert!(!has_long_numbers(&points("122.4162,33.5")));
        let text = "the quick brown fox ".repeat(60);
        assert!(!has_long_numbers(&format!("{text}122.416294033786585{text}")));
        let run = |from: usize, length: usize| {
            let is_in = |at| (from..from + length).contains(&at);
            std::array::from_fn::<u8, PART, _>(|at| if is_in(at) { b'7' } else { b',' })
        };
        for from in 0..=PART - LONG {
            assert!(has_long_number(&run(from, LONG)), "from {from}");
            assert!(!has_long_number(&run(from, LONG - 1)), "from {from}");
        }
        assert!(has_long_number(&run(0, PART)));
    }

    #[test]
    fn the_tape_is_used_where_both_engines_agree() {
        // Otherwise the tape is not used, and the test says why.
        if !*ENGINES_AGREE {
            println!("not tried: a feature of this build changes the numbers of one engine");
            return;
        }
        assert!(decoded::<All>(ALL));
        assert!(decoded::<Value>(
            r#"{"a":[0,1,-1,0.5,-0.0,18446744073709551615,true,null,"x",{}]}"#
        ));
    }

    #[test]
    fn values_that_serde_json_reads_differently_are_left_to_it() {
        assert!(!decoded::<Value>(r#"{"n":-0}"#));
        assert!(!decoded::<Value>(r#"{"n":18446744073709551616}"#));
        assert!(!decoded::<BTreeMap<String, f32>>(r#"{"n":0.1}"#));
        assert!(decoded::<BTreeMap<String, f32>>(r#"{"n":3}"#));
        assert!(!decoded::<BTreeMap<String, i128>>(r#"{"n":3}"#));
        assert!(!decoded::<BTreeMap<u8, u8>>(r#"{"7":3}"#));
        assert!(by_tape::<BTreeMap<String, Box<RawValue>>>(r#"{"n": 3}"#).is_none());
        assert!(by_tape::<Value>(r#"{"n":"\ud800"}"#).is_none());
    }

    #[test]
    fn a_type_that_swallows_errors_gets_none_of_the_tape() {
        fn lenient<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
            Ok(Vec::deserialize(from).unwrap_or_default())
        }
        #[derive(Debug, Deserialize, PartialEq)]
        struct Lenient {
            #[serde(deserialize_with = "lenient")]
            bytes: Vec<u8>,
        }
        assert!(decoded::<Lenient>(r#"{"bytes":[1,2]}"#));
        // The next node would be mistaken for a key, and the one after it for its value.
        assert!(by_tape::<Lenient>(r#"{"bytes":[1,300,"x",5]}"#).is_none());
        assert!(serde_json::from_str::<Lenient>(r#"{"bytes":[1,300,"x",5]}"#).is_err());
    }
}
