//! Numbers of JSON, decoded and navigated, against exact parsers: `str::parse` of a float gives the
//! nearest one, and integers are read with 128 bits. The other tests check that the result for a value does
//! not depend on its surroundings.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Write as _};
use std::str::FromStr;

use pondwire::{Payload, Value as Lazy};
use pondwire_test_support::{Random, cases};
use serde::Deserialize;
use serde::de::{
    DeserializeOwned, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

/// Whether a crate of this build turned on `serde_json/arbitrary_precision`, as CI does with
/// `--features serde_json/arbitrary_precision`, and then says so in the environment.
fn arbitrary_precision() -> bool {
    let shown = serde_json::from_str::<Value>("1.10").unwrap().to_string();
    let on = shown == "1.10";
    if let Ok(expected) = std::env::var("PONDWIRE_ARBITRARY_PRECISION") {
        assert_eq!(on, expected == "1", "the build is not the one that was asked for");
    }
    on
}

/// The number that `deserialize_any` passes to a visitor that accepts every form.
#[derive(Clone, Debug, PartialEq)]
enum Given {
    Unsigned(u64),
    Signed(i64),
    /// The bits of a double.
    Double(u64),
    /// With `arbitrary_precision`.
    Text(String),
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Given;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Given, E> {
                Ok(Given::Unsigned(number))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Given, E> {
                Ok(Given::Signed(number))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Given, E> {
                Ok(Given::Double(number.to_bits()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
                let (_, text): (String, String) = map.next_entry()?.expect("a number's text");
                Ok(Given::Text(text))
            }
        }
        from.deserialize_any(Any)
    }
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Untagged {
    Unsigned(u64),
    Signed(i64),
    Double(f64),
}

#[derive(Debug, Deserialize, PartialEq)]
struct One<T> {
    n: T,
}

/// The text of a number, read without a JSON decoder.
#[derive(Clone, Copy)]
struct Exact<'a>(&'a str);

impl Exact<'_> {
    fn is_integer(self) -> bool {
        !self.0.contains(['.', 'e', 'E'])
    }

    fn integer<T: FromStr>(self) -> Option<T> {
        if self.is_integer() && self.0 != "-0" { self.0.parse().ok() } else { None }
    }

    fn double(self) -> Option<f64> {
        self.0.parse().ok().filter(|number: &f64| number.is_finite())
    }

    fn single(self) -> Option<f32> {
        self.0.parse().ok().filter(|number: &f32| number.is_finite())
    }

    fn given(self, arbitrary_precision: bool) -> Option<Given> {
        if let Some(number) = self.integer() {
            Some(Given::Unsigned(number))
        } else if let Some(number) = self.integer() {
            Some(Given::Signed(number))
        } else if arbitrary_precision {
            Some(Given::Text(self.text()))
        } else {
            self.double().map(|number| Given::Double(number.to_bits()))
        }
    }

    /// As `serde_json` writes it: `1E5` as `1e+5`.
    fn text(self) -> String {
        match self.0.split_once(['e', 'E']) {
            Some((front, exponent)) if exponent.starts_with(['+', '-']) => {
                format!("{front}e{exponent}")
            }
            Some((front, exponent)) => format!("{front}e+{exponent}"),
            None => self.0.to_owned(),
        }
    }
}

fn check<T: DeserializeOwned + PartialEq + Debug>(value: Lazy<'_>, expected: Option<T>) {
    match (value.decode::<T>(), expected) {
        (Ok(ours), Some(exact)) => assert_eq!(ours, exact, "{value:?}"),
        (Err(_), None) => {}
        (ours, exact) => panic!("{value:?}: {ours:?} instead of {exact:?}"),
    }
}

/// Decodes one number as every type.
fn check_number(text: &str, arbitrary_precision: bool) {
    let exact = Exact(text);
    let json = format!(r#"{{"n":{text}}}"#);
    let payload = Payload::from_json(&json).unwrap_or_else(|error| panic!("{text}: {error}"));
    let value = payload.get("n").unwrap();
    let bits = exact.double().map(f64::to_bits);
    assert_eq!(value.as_f64().map(f64::to_bits), bits, "{text}");
    assert_eq!(value.as_u64(), exact.integer(), "{text}");
    assert_eq!(value.as_i64(), exact.integer(), "{text}");
    assert_eq!(value.decode::<f64>().ok().map(f64::to_bits), bits, "{text}");
    let whole = payload.decode::<One<f64>>();
    assert_eq!(whole.ok().map(|one| one.n.to_bits()), bits, "{text}");
    let single = value.decode::<f32>().ok().map(f32::to_bits);
    assert_eq!(single, exact.single().map(f32::to_bits), "{text}");
    check::<u8>(value, exact.integer());
    check::<i16>(value, exact.integer());
    check::<u32>(value, exact.integer());
    check::<i64>(value, exact.integer());
    check::<u64>(value, exact.integer());
    check::<u128>(value, exact.integer());
    // The one type into which `-0` goes.
    check::<i128>(value, if text == "-0" { Some(0) } else { exact.integer() });
    let given = exact.given(arbitrary_precision);
    let untagged = match &given {
        Some(Given::Unsigned(number)) => Some(Untagged::Unsigned(*number)),
        Some(Given::Signed(number)) => Some(Untagged::Signed(*number)),
        Some(Given::Double(bits)) => Some(Untagged::Double(f64::from_bits(*bits))),
        Some(Given::Text(_)) | None => None,
    };
    check(value, untagged);
    let tree = value.decode::<Value>();
    match &given {
        Some(Given::Unsigned(number)) => assert_eq!(tree.unwrap(), Value::from(*number)),
        Some(Given::Signed(number)) => assert_eq!(tree.unwrap(), Value::from(*number)),
        Some(Given::Double(bits)) => {
            assert_eq!(tree.unwrap().as_f64().map(f64::to_bits), Some(*bits), "{text}");
        }
        Some(Given::Text(digits)) => assert_eq!(tree.unwrap().to_string(), *digits),
        None => assert!(tree.is_err(), "{text}"),
    }
    check(value, given);
}

/// Decodes many numbers in one payload of some 10 KB, without those that would fail the whole payload.
fn check_together(texts: &[String], arbitrary_precision: bool) {
    // Between them one with all its digits.
    let texts = texts.iter().flat_map(|text| [text, "122.416294033786585"]);
    let (texts, expected): (Vec<&str>, Vec<Given>) =
        texts.filter_map(|text| Some((text, Exact(text).given(arbitrary_precision)?))).unzip();
    let json = format!(r#"{{"n":[{}]}}"#, texts.join(","));
    let payload = Payload::from_json(&json).unwrap();
    assert_eq!(payload.decode::<One<Vec<Given>>>().unwrap().n, expected);
    let doubles: Vec<&str> =
        texts.into_iter().filter(|text| Exact(text).double().is_some()).collect();
    let json = format!(r#"{{"n":[{}]}}"#, doubles.join(","));
    let decoded = Payload::from_json(&json).unwrap().decode::<One<Vec<f64>>>().unwrap();
    for (decoded, text) in decoded.n.iter().zip(doubles) {
        assert_eq!(decoded.to_bits(), Exact(text).double().unwrap().to_bits(), "{text}");
    }
}

fn digits(random: &mut Random, count: usize) -> String {
    (0..count).map(|_| char::from(b'0' + random.below(10) as u8)).collect()
}

/// Digits without a leading zero.
fn integer(random: &mut Random, count: usize) -> String {
    let mut text = digits(random, count);
    text.replace_range(..1, ["1", "2", "5", "9"][random.below(4)]);
    text
}

/// `number` / 10^`places`.
fn shifted(number: u128, places: usize) -> String {
    let mut text = format!("{number:0>width$}", width = places + 1);
    if places > 0 {
        text.insert(text.len() - places, '.');
    }
    text
}

/// The decimals of a number exactly halfway between two floats of `bits` bits, or very close to it.
fn between(random: &mut Random, bits: u32) -> String {
    let odd = u128::from(random.next() >> (64 - bits) | 1 << (bits - 1)) * 2 + 1;
    let places = random.below(((127 - bits as usize) * 100) / 233);
    let mut text = shifted(odd * 5_u128.pow(places as u32), places);
    match random.below(4) {
        0 => {
            text += if text.contains('.') { "" } else { "." };
            text.extend(std::iter::repeat_n('0', random.below(30)));
            text.push('1');
        }
        1 => {
            // Odd unless there are no decimal places, so that it ends in 5 or in an odd digit.
            let last = text.pop().expect("a digit");
            text.push(char::from(last as u8 - 1));
            text += if text.contains('.') { "9" } else { ".9" };
        }
        2 => write!(text, "e{}", random.below(500) as i32 - 300).unwrap(),
        _ => {}
    }
    text
}

/// The ends of the ranges, and forms that decoders handle separately.
const EDGES: [&str; 44] = [
    "0",
    "-0",
    "0.0",
    "-0.0",
    "0e0",
    "-0E-7",
    "0e99999999999999999999",
    "-0e-99999999999999999999",
    "1e400",
    "-1e400",
    "1e-400",
    "-1e-400",
    "1e99999999999999999999",
    "-1e-99999999999999999999",
    "1.0",
    "1E2",
    "1e+2",
    "100e-2",
    "1.10",
    "122.416294033786585",
    "1234567890.1234567891",
    "1.7976931348623157e308",
    "1.7976931348623158e308",
    "1.797693134862315807e308",
    "1.797693134862315808e308",
    "1.7976931348623159e308",
    "2.2250738585072014e-308",
    "2.2250738585072011e-308",
    "4.9406564584124654e-324",
    "2.4703282292062327e-324",
    "2.4703282292062328e-324",
    "2.47032822920623272e-324",
    "3.4028235677973366e38",
    "3.4028235677973365e38",
    "3.4028234663852886e38",
    "1e39",
    "7.006492321624085e-46",
    "7.006492321624086e-46",
    "1.00000005960464477540",
    "16777217",
    "16777217.0",
    "9007199254740993",
    "340282366920938463463374607431768211456",
    "-170141183460469231731687303715884105729",
];

fn number(random: &mut Random) -> String {
    let sign = ["", "-"][random.below(2)];
    let text = match random.below(12) {
        0 | 1 => {
            let double = f64::from_bits(random.next() >> 1);
            let double = if double.is_finite() { double } else { 0.1 };
            if random.below(2) == 0 { format!("{double}") } else { format!("{double:e}") }
        }
        2 => format!("{}", (random.next() >> random.below(64)) as f64 / 1000.0),
        3 => {
            let (front, back) = (1 + random.below(24), random.below(24));
            let mut text = integer(random, front);
            if back > 0 {
                text = text + "." + &digits(random, back);
            }
            if random.below(2) == 0 {
                write!(text, "E{}", random.below(700) as i32 - 350).unwrap();
            }
            text
        }
        4 => between(random, 53),
        5 => between(random, 24),
        // Small ones: few digits before many zeros.
        6 => {
            let (zeros, count) = (random.below(330), 1 + random.below(20));
            format!("0.{}{}", "0".repeat(zeros), digits(random, count))
        }
        7 => {
            let power = 1_u128 << random.below(128);
            format!("{}", power.wrapping_add(random.below(5) as u128).wrapping_sub(2))
        }
        8 => {
            let power = 10_u128.pow(random.below(39) as u32);
            format!("{}", power + random.below(3) as u128 - 1)
        }
        9 => format!("{}", random.next() >> random.below(64)),
        10 => {
            let count = if random.below(50) == 0 { 800 } else { 60 };
            let (front, back) = (1 + random.below(count), 1 + random.below(count));
            let exponent = random.below(2 * count) as i32 - count as i32;
            let front = integer(random, front);
            format!("{front}.{}e{exponent}", digits(random, back))
        }
        _ => return (*random.pick(&EDGES)).to_owned(),
    };
    format!("{sign}{text}")
}

#[test]
fn every_number_is_the_nearest_of_its_type() {
    let arbitrary_precision = arbitrary_precision();
    for text in EDGES {
        check_number(text, arbitrary_precision);
    }
    let mut random = Random::from_env("every_number");
    let count = cases(100_000);
    // Once alone, once among many.
    let mut many: Vec<String> = Vec::new();
    for _ in 0..count {
        let text = number(&mut random);
        check_number(&text, arbitrary_precision);
        many.push(text);
        if many.len() == 300 {
            check_together(&many, arbitrary_precision);
            many.clear();
        }
    }
    check_together(&many, arbitrary_precision);
    println!("every_number: {count} numbers, arbitrary_precision {arbitrary_precision}");
}

/// Numbers that once gave different results in payloads of different sizes.
#[test]
fn known_numbers_read_the_same_at_every_size() {
    let arbitrary_precision = arbitrary_precision();
    let beside = |n: &str, filler: usize| format!(r#"{{"note":"{}","n":{n}}}"#, "7".repeat(filler));
    for filler in [0, 90, 1000, 1024, 5000, 70_000] {
        let json = beside("122.416294033786585", filler);
        let payload = Payload::from_json(&json).unwrap();
        let expected = One { n: 122.416_294_033_786_59 };
        assert_eq!(payload.decode::<One<f64>>().unwrap(), expected);
        assert_eq!(payload.get("n").unwrap().decode::<f64>().unwrap(), expected.n);
        assert_eq!(payload.get("n").unwrap().as_f64(), Some(expected.n));

        let json = beside("-0", filler);
        let payload = Payload::from_json(&json).unwrap();
        assert!(payload.decode::<One<u64>>().is_err());
        assert!(payload.decode::<One<i64>>().is_err());
        let zero = payload.decode::<One<f64>>().unwrap().n;
        assert!(zero == 0.0 && zero.is_sign_negative());
        let zero = payload.decode::<Value>().unwrap()["n"].to_string();
        assert_eq!(zero, if arbitrary_precision { "-0" } else { "-0.0" });

        for (text, shortest) in [("1234567890.1234567891", "1234567890.1234567"), ("1.10", "1.1")] {
            let json = beside(text, filler);
            let payload = Payload::from_json(&json).unwrap();
            let digits = if arbitrary_precision { text } else { shortest };
            assert_eq!(payload.decode::<One<Number>>().unwrap().n.to_string(), digits);
            assert_eq!(payload.decode::<Value>().unwrap()["n"].to_string(), digits);
            assert_eq!(payload.get("n").unwrap().decode::<Number>().unwrap().to_string(), digits);
        }
    }
}

/// `simd-json` shares no code with what reads numbers here.
#[test]
fn doubles_are_those_of_simd_json() {
    use simd_json::prelude::*;

    let mut random = Random::from_env("doubles_of_simd_json");
    let count = cases(100_000);
    let mut compared = 0;
    for _ in 0..count {
        let text = number(&mut random);
        let mut bytes = format!("[{text}]").into_bytes();
        // It refuses integers beyond 64 bits, and reads `-0` as an integer.
        let Ok(theirs) = simd_json::to_tape(&mut bytes) else { continue };
        let Some(theirs) = theirs.as_value().get_idx(0).and_then(|number| number.as_f64()) else {
            continue;
        };
        let payload = format!(r#"{{"n":{text}}}"#);
        let ours = Payload::from_json(&payload).unwrap().get("n").unwrap().as_f64();
        assert_eq!(ours.map(|double| double + 0.0), Some(theirs + 0.0), "{text}");
        compared += 1;
    }
    println!("doubles_of_simd_json: {compared} of {count} numbers");
    assert!(compared > count / 2);
}

/// The kind of value that a type requests from `serde`: an index into [`ASKED`].
#[derive(Debug, PartialEq)]
struct Calls<const ASKED: usize>(String);

const ASKED: [&str; 24] = [
    "any",
    "bool",
    "i8",
    "u64",
    "i64",
    "u128",
    "i128",
    "f32",
    "f64",
    "char",
    "str",
    "string",
    "bytes",
    "byte_buf",
    "option",
    "unit",
    "newtype",
    "seq",
    "tuple",
    "map",
    "struct",
    "enum",
    "identifier",
    "ignored",
];

/// Records every visitor call as text, nested values included.
struct Listener;

macro_rules! record {
    ($($visit:ident: $type:ty),+) => {$(
        fn $visit<E: Error>(self, value: $type) -> Result<String, E> {
            Ok(format!("{} {value:?}", stringify!($visit)))
        }
    )+};
}

impl<'de> Visitor<'de> for Listener {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    record! {
        visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_u128: u128,
        visit_f32: f32, visit_f64: f64, visit_char: char, visit_str: &str, visit_bytes: &[u8]
    }

    fn visit_none<E: Error>(self) -> Result<String, E> {
        Ok("visit_none".to_owned())
    }

    fn visit_unit<E: Error>(self) -> Result<String, E> {
        Ok("visit_unit".to_owned())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        Ok(format!("some {}", from.deserialize_any(Self)?))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        Ok(format!("newtype {}", from.deserialize_any(Self)?))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<String, A::Error> {
        let mut calls = "[".to_owned();
        while let Some(Calls(element)) = from.next_element::<Calls<0>>()? {
            calls += &format!("{element},");
        }
        Ok(calls + "]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<String, A::Error> {
        let mut calls = "{".to_owned();
        while let Some(Calls(key)) = from.next_key::<Calls<0>>()? {
            calls += &format!("{key}: {},", from.next_value::<Calls<0>>()?.0);
        }
        Ok(calls + "}")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, from: A) -> Result<String, A::Error> {
        let (Calls(name), inside) = from.variant::<Calls<0>>()?;
        Ok(format!("variant {name} {}", inside.newtype_variant::<Calls<0>>()?.0))
    }
}

impl<'de, const INDEX: usize> Deserialize<'de> for Calls<INDEX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let calls = match ASKED[INDEX] {
            "any" => from.deserialize_any(Listener),
            "bool" => from.deserialize_bool(Listener),
            "i8" => from.deserialize_i8(Listener),
            "u64" => from.deserialize_u64(Listener),
            "i64" => from.deserialize_i64(Listener),
            "u128" => from.deserialize_u128(Listener),
            "i128" => from.deserialize_i128(Listener),
            "f32" => from.deserialize_f32(Listener),
            "f64" => from.deserialize_f64(Listener),
            "char" => from.deserialize_char(Listener),
            "str" => from.deserialize_str(Listener),
            "string" => from.deserialize_string(Listener),
            "bytes" => from.deserialize_bytes(Listener),
            "byte_buf" => from.deserialize_byte_buf(Listener),
            "option" => from.deserialize_option(Listener),
            "unit" => from.deserialize_unit(Listener),
            "newtype" => from.deserialize_newtype_struct("N", Listener),
            "seq" => from.deserialize_seq(Listener),
            "tuple" => from.deserialize_tuple(2, Listener),
            "map" => from.deserialize_map(Listener),
            "struct" => from.deserialize_struct("S", &["a"], Listener),
            "enum" => from.deserialize_enum("E", &["a"], Listener),
            "identifier" => from.deserialize_identifier(Listener),
            "ignored" => from.deserialize_ignored_any(Listener),
            other => unreachable!("{other}"),
        };
        calls.map(Self)
    }
}

/// Values of every kind, and values for which decoders are known to differ.
const VALUES: [&str; 33] = [
    "null",
    "true",
    "0",
    "-0",
    "-0.0",
    "7",
    "-7",
    "1.5",
    "16777217",
    "1.00000005960464477540",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "1e39",
    "1e400",
    r#""""#,
    r#""a""#,
    r#""\u0061\ud83d\ude00\n""#,
    r#""\ud800""#,
    r#""7""#,
    "[]",
    "[1,2]",
    "[1,-0,2]",
    "{}",
    r#"{"a":1}"#,
    r#"{"a":null}"#,
    r#"{"a":1,"a":2}"#,
    r#"{"a":1,"b":2}"#,
    r#"{"7":1,"-0":2}"#,
    r#"{"true":1}"#,
    r#"{"\ud800":1}"#,
    r#"{"$serde_json::private::Number":"1.50"}"#,
    r#"{"$serde_json::private::RawValue":"[1]"}"#,
];

/// Decodes `value` alone, in a small payload and in a large one, in every way, and returns the one result
/// that all of them must give. Error texts hold a line and a column, where the value is last.
fn wherever<T: DeserializeOwned + Debug>(value: &str) -> String {
    let shown = |result: Result<T, serde_json::Error>| match result {
        Ok(value) => format!("{value:?}"),
        // The rest of a number read in part (`1.5` into `i128`) gives one of two errors.
        Err(error) => error
            .to_string()
            .split(" at line ")
            .next()
            .unwrap()
            .replace("expected `,` or `}`", "trailing characters"),
    };
    let alone = shown(serde_json::from_str(value));
    for filler in [0, 990, 4000] {
        for json in [
            format!(r#"{{"n":{value},"note":"{}"}}"#, "\\n".repeat(filler / 2)),
            format!(r#"{{"note":["{}",-0,0.1],"n":{value}}}"#, "f".repeat(filler)),
            format!(r#"{{"note":["{}",0.1],"n":{value}}}"#, "7".repeat(filler)),
        ] {
            let payload = Payload::from_json(&json).unwrap();
            let inside = |whole: Result<One<T>, _>| shown(whole.map(|one| one.n));
            assert_eq!(inside(payload.decode()), alone, "{payload:?}");
            assert_eq!(shown(payload.get("n").unwrap().decode()), alone, "{payload:?}");
        }
    }
    alone
}

fn wherever_asked<const INDEX: usize>() {
    for value in VALUES {
        wherever::<Calls<INDEX>>(value);
    }
}

/// A type receives the same visitor calls wherever its value stands and whatever kind it requests. The
/// deserializer must make all of these calls in the same way as `serde_json`.
#[test]
fn decoding_a_value_does_not_depend_on_its_surroundings() {
    macro_rules! each {
        ($($index:literal)+) => {
            [$(wherever_asked::<$index> as fn()),+]
        };
    }
    let each = each!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23);
    assert_eq!(each.len(), ASKED.len());
    each.iter().for_each(|asked| asked());
    for value in VALUES {
        wherever::<Value>(value);
        wherever::<IgnoredAny>(value);
        wherever::<Box<RawValue>>(value);
        wherever::<Option<u8>>(value);
        wherever::<Option<Option<i64>>>(value);
        wherever::<()>(value);
        wherever::<Untagged>(value);
        wherever::<(u64, u64)>(value);
        wherever::<BTreeMap<i64, Given>>(value);
        wherever::<BTreeMap<u128, f32>>(value);
        wherever::<BTreeMap<bool, IgnoredAny>>(value);
        wherever::<BTreeMap<char, Option<u8>>>(value);
        wherever::<BTreeMap<Option<String>, Value>>(value);
        wherever::<Externally>(value);
        wherever::<Internally>(value);
        wherever::<Flattened>(value);
    }
}

#[expect(dead_code, reason = "only its `Debug` output is read")]
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Externally {
    A(Option<f64>),
    B { n: i128 },
}

#[expect(dead_code, reason = "only its `Debug` output is read")]
#[derive(Debug, Deserialize)]
#[serde(tag = "tag")]
enum Internally {
    A { n: f32 },
}

#[expect(dead_code, reason = "only its `Debug` output is read")]
#[derive(Debug, Deserialize)]
struct Flattened {
    #[serde(flatten)]
    rest: BTreeMap<String, Given>,
}

/// The verdicts that the documentation states.
#[test]
fn documented_verdicts() {
    fn reads<T: DeserializeOwned + Debug>(value: &str) -> String {
        wherever::<T>(value)
    }
    let arbitrary_precision = arbitrary_precision();
    assert_eq!(reads::<i128>("-0"), "0");
    for verdict in [reads::<u128>("-0"), reads::<i64>("-0"), reads::<i8>("-0")] {
        assert!(verdict.contains("invalid") || verdict.contains("out of range"), "{verdict}");
    }
    assert_eq!(reads::<f32>("1e39"), "number out of range");
    assert_eq!(reads::<f32>("1.00000005960464477540"), "1.0000001");
    assert_eq!(reads::<f64>("1e400"), "number out of range");
    assert_eq!(reads::<IgnoredAny>("1e400"), "IgnoredAny");
    assert_eq!(reads::<Box<RawValue>>("1.10"), "RawValue(1.10)");
    assert_eq!(reads::<Given>("-0") == "Text(\"-0\")", arbitrary_precision);
    // `serde` reads untagged, internally tagged and flattened types through a buffer.
    let single = reads::<Internally>(r#"{"tag":"A","n":1.00000005960464477540}"#);
    let infinite = reads::<Internally>(r#"{"tag":"A","n":1e39}"#);
    assert_eq!(reads::<Internally>(r#"{"tag":"A","n":7}"#), "A { n: 7.0 }");
    let zero = reads::<Internally>(r#"{"tag":"A","n":-0}"#);
    let decimal = reads::<Untagged>("1.5");
    if arbitrary_precision {
        assert!(single.starts_with("invalid type: map"), "{single}");
        assert!(infinite.starts_with("invalid type: map"), "{infinite}");
        assert!(zero.starts_with("invalid type: map"), "{zero}");
        assert!(decimal.starts_with("data did not match"), "{decimal}");
        assert_eq!(reads::<Value>("1e400"), "Number(1e+400)");
    } else {
        assert_eq!((&*single, &*infinite), ("A { n: 1.0 }", "A { n: inf }"));
        assert_eq!((&*zero, &*decimal), ("A { n: -0.0 }", "Double(1.5)"));
        assert_eq!(reads::<Value>("1e400"), "number out of range");
    }
    for integer in ["7", "18446744073709551616"] {
        assert!(reads::<Buffered>(integer).starts_with("data did not match"), "{integer}");
    }
    // Half of a surrogate pair is an error where it is read as text.
    assert_eq!(reads::<String>(r#""\ud800""#), "unexpected end of hex escape");
    assert_eq!(reads::<Value>(r#"{"\ud800":1}"#), "unexpected end of hex escape");
    assert_eq!(reads::<IgnoredAny>(r#""\ud800""#), "IgnoredAny");
    assert_eq!(reads::<Calls<12>>(r#""\ud800""#), r#"Calls("visit_bytes [237, 160, 128]")"#);
    // A map keeps the last of duplicate keys, as `get` does; a struct refuses duplicates.
    assert_eq!(reads::<BTreeMap<String, u8>>(r#"{"a":1,"a":2}"#), r#"{"a": 2}"#);
    assert!(reads::<One<u8>>(r#"{"n":1,"n":2}"#).contains("duplicate field"));
    assert_eq!(reads::<BTreeMap<i64, u8>>(r#"{"7":1,"-7":2}"#), "{-7: 2, 7: 1}");
}

#[expect(dead_code, reason = "only its `Debug` output is read")]
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Buffered {
    Integer(i128),
}

/// A text without escapes can be borrowed, at every size of the payload.
#[test]
fn text_without_escapes_is_borrowed_from_the_frame() {
    for filler in [0, 5000] {
        let json = format!(r#"{{"note":"{}","n":"ab","m":"\u0061"}}"#, "7".repeat(filler));
        let payload = Payload::from_json(&json).unwrap();
        let inside = payload.decode::<One<&str>>().unwrap().n;
        assert!(json.as_bytes().as_ptr_range().contains(&inside.as_ptr()));
        assert_eq!(payload.get("n").unwrap().decode::<&str>().unwrap(), "ab");
        assert!(payload.get("m").unwrap().decode::<&str>().is_err(), "it has an escape");
        assert_eq!(payload.get("m").unwrap().decode::<String>().unwrap(), "a");
        let raw: &RawValue = payload.get("m").unwrap().decode().unwrap();
        assert_eq!(raw.get(), r#""\u0061""#);
    }
}
