//! Decoding a validated value into a type: what [`serde_json::from_str`] gives, in less time.
//!
//! The scanner has checked the text, so [`Text`] looks only for where strings, numbers and brackets end. It gives up
//! at whatever it does not read exactly as `serde_json` does, and `serde_json` then decodes the value from the
//! beginning. It gives up at:
//! - any error, since only `serde_json`'s has a line and a column;
//! - half of a surrogate pair, a number that does not fit, more than 127 open brackets;
//! - strings with escapes that are read as bytes;
//! - keys that are read as anything but strings, enums or integers within `i64`;
//! - `RawValue`, and other types that `serde_json` marks by a name of its own.
//!
//! Every function is total: text that was not validated would be decoded into wrong values, or not at all, but
//! nothing panics, loops forever or reads outside of it.

use std::fmt;
use std::sync::LazyLock;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::number::{self, AnyNumber};
use crate::scan::{skip, text};

/// The nesting at which `serde_json` refuses to recurse any further.
const TOO_DEEP: u8 = 128;

/// Decodes a validated value: the value or the error of [`serde_json::from_str`].
#[inline]
pub(super) fn decode<'de, T: Deserialize<'de>>(json: &'de str) -> Result<T, serde_json::Error> {
    match decoded(json) {
        Some(value) => Ok(value),
        None => serde_json::from_str(json),
    }
}

/// `None` if `serde_json` must decode it.
fn decoded<'de, T: Deserialize<'de>>(json: &'de str) -> Option<T> {
    if *NUMBERS_KEEP_THEIR_TEXT {
        return None;
    }
    let mut text = Text { json, at: 0, depth: 0, failed: false, unescaped: String::new() };
    let value = T::deserialize(&mut text).ok()?;
    // A type that leaves a part of the text is an error to `serde_json`.
    (text.next() == 0 && text.at == json.len() && !text.failed).then_some(value)
}

/// Whether any crate in the build enables `serde_json/arbitrary_precision`.
static NUMBERS_KEEP_THEIR_TEXT: LazyLock<bool> = LazyLock::new(|| {
    serde_json::from_str::<serde_json::Number>("1.10")
        .is_ok_and(|number| number.to_string() == "1.10")
});

/// This attempt failed; `serde_json` decides whether there is an error.
#[derive(Debug)]
struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("left to serde_json")
    }
}

impl std::error::Error for Failed {}

impl de::Error for Failed {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Whether it is one of `serde_json`'s own types, which only its own deserializer supports.
fn is_of_serde_json(name: &str) -> bool {
    name.starts_with("$serde_json::")
}

/// The room, in bytes, that is made at once for a string with escapes.
const ROOM: usize = 512;

/// Deserializes values from validated text.
struct Text<'de> {
    json: &'de str,
    at: usize,
    /// How many arrays and objects are open.
    depth: u8,
    /// An error occurred, so the result does not count, even if the type's `Deserialize` ignored the error: `serde_json`
    /// would have gone on from another place in the text.
    failed: bool,
    /// The last string that had escapes.
    unescaped: String,
}

impl<'de> Text<'de> {
    #[inline]
    fn byte(&self) -> u8 {
        self.json.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// The next byte after any whitespace; NUL at the end.
    #[inline]
    fn next(&mut self) -> u8 {
        loop {
            match self.json.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                Some(&byte) => return byte,
                None => return 0,
            }
        }
    }

    /// Passes on the outcome of a step, and records a failure.
    #[inline]
    fn noted<T>(&mut self, outcome: Result<T, Failed>) -> Result<T, Failed> {
        self.failed |= outcome.is_err();
        outcome
    }

    #[cold]
    fn fail<T>(&mut self) -> Result<T, Failed> {
        self.failed = true;
        Err(Failed)
    }

    #[inline]
    fn string<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Failed> {
        let start = self.at + 1;
        let end = skip::text_end(self.json.as_bytes(), start);
        if self.json.as_bytes().get(end) != Some(&b'"') {
            return self.escaped_string(start, end, visitor);
        }
        self.at = end + 1;
        let visited = match self.json.get(start..end) {
            Some(inside) => visitor.visit_borrowed_str(inside),
            None => Err(Failed),
        };
        self.noted(visited)
    }

    /// The string from `start` on, whose first escape is at `escape` (or the end of text that was not validated).
    #[inline(never)]
    fn escaped_string<V: Visitor<'de>>(
        &mut self,
        start: usize,
        escape: usize,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.unescaped.clear();
        self.unescaped.reserve(self.json.len().saturating_sub(start).min(ROOM));
        self.unescaped.push_str(self.json.get(start..escape).unwrap_or_default());
        let Some(end) = text::push_to_quote(self.json, escape, &mut self.unescaped) else {
            return self.fail();
        };
        self.at = end + 1;
        let visited = visitor.visit_str(&self.unescaped);
        self.noted(visited)
    }

    /// Visits the number at this place and skips it; `read` is how the type wants it.
    #[inline]
    fn visit_number<V: Visitor<'de>>(
        &mut self,
        read: impl FnOnce(&'de str, usize) -> Option<(AnyNumber, usize)>,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        if !matches!(self.next(), b'-' | b'0'..=b'9') {
            return self.fail();
        }
        let Some((number, end)) = read(self.json, self.at) else { return self.fail() };
        self.at = end;
        let visited = match number {
            AnyNumber::Unsigned(number) => visitor.visit_u64(number),
            AnyNumber::Signed(number) => visitor.visit_i64(number),
            AnyNumber::Double(number) => visitor.visit_f64(number),
        };
        self.noted(visited)
    }

    /// The text of the number at this place, which it skips.
    fn number_text(&mut self) -> Option<&'de str> {
        self.next();
        let start = self.at;
        self.at = skip::value(self.json.as_bytes(), start);
        self.json.get(start..self.at)
    }

    /// Visits the items of the array or object at this place and skips its end.
    #[inline]
    fn container<T>(
        &mut self,
        end: u8,
        visit: impl FnOnce(Items<'_, 'de>) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        self.depth += 1;
        if self.depth >= TOO_DEEP {
            return self.fail();
        }
        self.at += 1;
        let value = visit(Items { text: self, end, first: true })?;
        self.depth -= 1;
        // Items that the visitor leaves are an error to `serde_json`.
        if self.next() != end {
            return self.fail();
        }
        self.at += 1;
        Ok(value)
    }

    #[inline]
    fn elements<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Failed> {
        let value = self.container(b']', |items| visitor.visit_seq(items));
        self.noted(value)
    }

    #[inline]
    fn members<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Failed> {
        let value = self.container(b'}', |items| visitor.visit_map(items));
        self.noted(value)
    }
}

macro_rules! numbers {
    ($($deserialize:ident)*) => {$(
        #[inline]
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
            self.visit_number(number::any, visitor)
        }
    )*};
}

macro_rules! strings {
    ($($deserialize:ident)*) => {$(
        #[inline]
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
            if self.next() == b'"' { self.string(visitor) } else { self.fail() }
        }
    )*};
}

macro_rules! by_text {
    ($($deserialize:ident: $number:ty => $visit:ident)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
            let number: Option<$number> = self.number_text().and_then(|text| text.parse().ok());
            let visited = number.ok_or(Failed).and_then(|number| visitor.$visit(number));
            self.noted(visited)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Text<'de> {
    type Error = Failed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        match self.next() {
            b'"' => self.string(visitor),
            b'[' => self.elements(visitor),
            b'{' => self.members(visitor),
            b't' | b'f' => self.deserialize_bool(visitor),
            b'n' => self.deserialize_unit(visitor),
            _ => self.visit_number(number::any, visitor),
        }
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let value = self.next() == b't';
        match self.byte() {
            b't' => self.at += "true".len(),
            b'f' => self.at += "false".len(),
            _ => return self.fail(),
        }
        let visited = visitor.visit_bool(value);
        self.noted(visited)
    }

    numbers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f64);
    by_text!(deserialize_i128: i128 => visit_i128 deserialize_u128: u128 => visit_u128);
    strings!(deserialize_char deserialize_str deserialize_string deserialize_identifier);

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.visit_number(number::any_single, visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        if self.next() == b'[' {
            return self.elements(visitor);
        }
        let string = skip::string(self.json.as_bytes(), self.at);
        if self.byte() != b'"' || string.escaped {
            return self.fail();
        }
        self.at = string.end + 1;
        let inside = self.json.as_bytes().get(string.start..string.end).ok_or(Failed);
        let visited = inside.and_then(|inside| visitor.visit_borrowed_bytes(inside));
        self.noted(visited)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let visited = if self.next() == b'n' {
            self.at += "null".len();
            visitor.visit_none()
        } else {
            visitor.visit_some(&mut *self)
        };
        self.noted(visited)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        if self.next() != b'n' {
            return self.fail();
        }
        self.at += "null".len();
        let visited = visitor.visit_unit();
        self.noted(visited)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.deserialize_unit(visitor)
    }

    #[inline]
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

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        if self.next() == b'[' { self.elements(visitor) } else { self.fail() }
    }

    #[inline]
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

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        if self.next() == b'{' { self.members(visitor) } else { self.fail() }
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        match self.next() {
            b'{' if !is_of_serde_json(name) => self.members(visitor),
            b'[' if !is_of_serde_json(name) => self.elements(visitor),
            _ => self.fail(),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let visited = match self.next() {
            b'"' => visitor.visit_enum(Variant { text: self, has_value: false }),
            b'{' => self.container(b'}', |items| {
                visitor.visit_enum(Variant { text: items.text, has_value: true })
            }),
            _ => Err(Failed),
        };
        self.noted(visited)
    }

    #[inline]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.next();
        self.at = skip::value(self.json.as_bytes(), self.at);
        let visited = visitor.visit_unit();
        self.noted(visited)
    }
}

/// The elements of an array or the members of an object, from this place on.
struct Items<'a, 'de> {
    text: &'a mut Text<'de>,
    end: u8,
    first: bool,
}

impl Items<'_, '_> {
    /// Goes to the next item and returns its first byte; `None` at the end.
    #[inline]
    fn next(&mut self) -> Result<Option<u8>, Failed> {
        let mut byte = self.text.next();
        // After a failure there is no next item: a visitor that goes on would go on for ever.
        if byte == self.end || self.text.failed {
            return Ok(None);
        }
        if !self.first {
            if byte != b',' {
                return self.text.fail();
            }
            self.text.at += 1;
            byte = self.text.next();
        }
        self.first = false;
        Ok(Some(byte))
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Failed;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failed> {
        if self.next()?.is_none() {
            return Ok(None);
        }
        let element = seed.deserialize(&mut *self.text);
        self.text.noted(element).map(Some)
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Failed;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failed> {
        match self.next()? {
            None => Ok(None),
            Some(b'"') => {
                let key = seed.deserialize(Key(&mut *self.text));
                self.text.noted(key).map(Some)
            }
            Some(_) => self.text.fail(),
        }
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failed> {
        self.text.colon()?;
        let value = seed.deserialize(&mut *self.text);
        self.text.noted(value)
    }
}

impl Text<'_> {
    /// Skips the colon that follows a key.
    #[inline]
    fn colon(&mut self) -> Result<(), Failed> {
        if self.next() != b':' {
            return self.fail();
        }
        self.at += 1;
        Ok(())
    }
}

/// A member's key, with its quote at this place.
struct Key<'a, 'de>(&'a mut Text<'de>);

impl<'de> Key<'_, 'de> {
    /// A key that is an integer as JSON writes it, within the range of `i64`.
    fn integer<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let string = skip::string(self.0.json.as_bytes(), self.0.at);
        let Some(inside) = self.0.json.get(string.start..string.end) else { return self.0.fail() };
        self.0.at = string.end + 1;
        let digits = inside.strip_prefix('-').unwrap_or(inside).as_bytes();
        let is_json = matches!(digits, [b'1'..=b'9', ..]) || inside == "0";
        let number = inside.parse::<i64>().ok().filter(|_| is_json);
        let visited = match (number, number.and_then(|number| u64::try_from(number).ok())) {
            (_, Some(number)) => visitor.visit_u64(number),
            (Some(number), None) => visitor.visit_i64(number),
            (None, None) => Err(Failed),
        };
        self.0.noted(visited)
    }
}

macro_rules! integer_keys {
    ($($deserialize:ident)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
            self.integer(visitor)
        }
    )*};
}

macro_rules! no_keys {
    ($($deserialize:ident)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Failed> {
            self.0.fail()
        }
    )*};
}

impl<'de> Deserializer<'de> for Key<'_, 'de> {
    type Error = Failed;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.0.string(visitor)
    }

    integer_keys!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64);
    no_keys!(deserialize_bool deserialize_i128 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_bytes deserialize_byte_buf);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        if is_of_serde_json(name) { self.0.fail() } else { visitor.visit_newtype_struct(self) }
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
struct Variant<'a, 'de> {
    text: &'a mut Text<'de>,
    has_value: bool,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Failed;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Failed> {
        // `serde_json` reads the name in `{"A":…}` as a key, and that in `"A"` as a value.
        let name = if !self.has_value {
            seed.deserialize(&mut *self.text)
        } else if self.text.next() == b'"' {
            seed.deserialize(Key(&mut *self.text))
        } else {
            Err(Failed)
        };
        let name = self.text.noted(name)?;
        if self.has_value {
            self.text.colon()?;
        }
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Failed;

    fn unit_variant(self) -> Result<(), Failed> {
        if self.has_value { Deserialize::deserialize(self.text) } else { Ok(()) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failed> {
        if self.has_value { seed.deserialize(self.text) } else { self.text.fail() }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failed> {
        if self.has_value { self.text.deserialize_seq(visitor) } else { self.text.fail() }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        if self.has_value {
            self.text.deserialize_struct("", fields, visitor)
        } else {
            self.text.fail()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use serde::Deserialize;
    use serde::de::{DeserializeOwned, IgnoredAny};
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    enum Shape {
        Empty,
        Circle(f64),
        Line(f64, f32),
        Box { x: i8, y: Option<u64> },
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Unit;

    #[derive(Debug, Deserialize, PartialEq)]
    struct All {
        text: String,
        shapes: Vec<Shape>,
        by_name: BTreeMap<String, (bool, Option<i64>, Unit)>,
        by_number: BTreeMap<i16, char>,
        wide: (i128, u128),
        #[serde(default)]
        absent: u8,
    }

    const ALL: &str = r#" {"text" : "a\u00e9\n\ud83d\ude00", "ignored":[{"deep]":[-0,{"a\"}":"\ud800"}]},1e999],
        "shapes":["Empty" ,{"Empty":null},{"Circle":0.1 },{ "Line" : [122.416294033786585,-2e-7]},{"Box":{"x":-7,"y":null}}],
        "by_name":{"k\"":[true,-9223372036854775808,null] , "":[ false,null,null ]},
        "by_number":{"-7":"x","0":"\u4e2d"},"wide":[-0,340282366920938463463374607431768211455]}"#;

    /// Whether it is decoded here; as by `serde_json` if so.
    fn here<T: DeserializeOwned + PartialEq + Debug>(json: &str) -> bool {
        let Some(value) = decoded::<T>(json) else { return false };
        assert_eq!(value, serde_json::from_str(json).unwrap(), "{json}");
        true
    }

    /// Says why nothing is decoded here, if a feature of this build is the reason.
    fn is_used() -> bool {
        if *NUMBERS_KEEP_THEIR_TEXT {
            println!("not tried: serde_json/arbitrary_precision is enabled in this build");
        }
        !*NUMBERS_KEEP_THEIR_TEXT
    }

    #[test]
    fn types_of_all_kinds_are_decoded_here() {
        if !is_used() {
            return;
        }
        assert!(here::<All>(ALL));
        assert!(here::<Value>(
            r#"[0,-0,1,-1,0.5,-0.0,18446744073709551615,18446744073709551616,-9223372036854775808,
            -9223372036854775809,9007199254740993,9007199254740993.0,1e22,1e23,1.5e-22,1e-23,0e99999,2.5E+3,
            1234567890123456789012e-30,4.9e-324,true,null,"x",{},[ ]]"#
        ));
        assert!(here::<Vec<f32>>("[0.1,1e-50,16777217,1.00000005960464477540,-0]"));
        assert!(here::<BTreeMap<String, IgnoredAny>>(r#"{"a":1e400,"b":{"c":[[]]},"d":"\ud800"}"#));
        let borrowed: BTreeMap<&str, &[u8]> = decoded(r#"{"a":"bytes"}"#).unwrap();
        assert_eq!(borrowed["a"], b"bytes");
    }

    #[test]
    fn other_values_are_left_to_serde_json() {
        assert!(!here::<Value>("1e400"));
        assert!(!here::<Value>(r#"{"a":"\ud800"}"#));
        assert!(!here::<f32>("1e39"));
        assert!(!here::<u8>("256"));
        assert!(!here::<u64>("-0"));
        assert!(!here::<i128>("1.5"));
        assert!(!here::<u128>("-1"));
        assert!(!here::<(u8, u8)>("[1,2,3]"));
        assert!(!here::<BTreeMap<bool, u8>>(r#"{"true":1}"#));
        for key in ["01", "+1", "-0", "1.0", " 1", "1 ", "", "-", "9223372036854775808"] {
            assert!(!here::<BTreeMap<u64, u8>>(&format!("{{\"{key}\":1}}")), "{key}");
        }
        assert!(decoded::<Box<RawValue>>(r#"{"n": 3}"#).is_none());
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(here::<Value>(&nested(127)) || !is_used());
        assert!(!here::<Value>(&nested(128)));
        assert!(here::<IgnoredAny>(&nested(50_000)) || !is_used());
    }

    #[test]
    fn a_type_that_swallows_errors_gets_what_serde_json_gives() {
        fn lenient<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
            Ok(Vec::deserialize(from).unwrap_or_default())
        }
        #[derive(Debug, Deserialize, PartialEq)]
        struct Lenient {
            #[serde(deserialize_with = "lenient")]
            bytes: Vec<u8>,
        }
        assert!(here::<Lenient>(r#"{"bytes":[1,2]}"#) || !is_used());
        assert!(!here::<Lenient>(r#"{"bytes":[1,300,"x",5]}"#));
        assert!(decode::<Lenient>(r#"{"bytes":[1,300,"x",5]}"#).is_err());
        assert!(decode::<Lenient>(r#"{"bytes":7}"#).unwrap().bytes.is_empty());
    }

    /// Reads nothing of its deserializer.
    #[derive(Debug, PartialEq)]
    struct Nothing;

    impl<'de> Deserialize<'de> for Nothing {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }

    /// The elements that are numbers of a byte.
    #[derive(Debug, PartialEq)]
    struct Bytes(Vec<u8>);

    impl<'de> Deserialize<'de> for Bytes {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Skipping;
            impl<'de> Visitor<'de> for Skipping {
                type Value = Bytes;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a list")
                }

                fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Bytes, A::Error> {
                    let elements = std::iter::from_fn(|| list.next_element().transpose());
                    Ok(Bytes(elements.filter_map(Result::ok).collect()))
                }
            }
            from.deserialize_seq(Skipping)
        }
    }

    /// The name of a variant, which is ignored.
    #[derive(Debug, PartialEq)]
    struct AnyVariant;

    impl<'de> Deserialize<'de> for AnyVariant {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Named;
            impl<'de> Visitor<'de> for Named {
                type Value = AnyVariant;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a variant")
                }

                fn visit_enum<A: EnumAccess<'de>>(self, from: A) -> Result<AnyVariant, A::Error> {
                    let (IgnoredAny, value) = from.variant()?;
                    value.newtype_variant::<IgnoredAny>().map(|_| AnyVariant)
                }
            }
            from.deserialize_enum("AnyVariant", &[], Named)
        }
    }

    /// The value, or the error's text, is that of `serde_json`.
    fn same<T: DeserializeOwned + PartialEq + Debug>(json: &str) {
        let shown =
            |decoded: Result<T, serde_json::Error>| decoded.map_err(|error| error.to_string());
        assert_eq!(shown(decode(json)), shown(serde_json::from_str(json)), "{json}");
    }

    #[test]
    fn types_with_habits_of_their_own_get_what_serde_json_gives() {
        for json in ["1", "\"\"", "[]", "{\"a\":1}", "null"] {
            same::<Nothing>(json);
            same::<Option<Nothing>>(json);
            same::<Vec<Nothing>>(json);
            same::<BTreeMap<String, Nothing>>(json);
        }
        for json in ["[1,\"x\",3]", "[\"x\"]", "[300,2]", "[1,2]"] {
            same::<Bytes>(json);
        }
        for json in [r#"{"\ud800":1}"#, r#"{"A":1}"#, r#"{"A":1,"B":2}"#, "{}", r#""A""#, "[]"] {
            same::<AnyVariant>(json);
        }
    }

    /// `serde_json` rounds negative integers beyond `i64` to a double first.
    #[test]
    fn singles_are_rounded_as_serde_json_rounds_them() {
        for json in [
            "-9223372586610589697",
            "-9810058543669755948",
            "-18446744073709551615",
            "-18446744073709551616",
            "9223372586610589697",
            "18446744073709551616",
            "340282356779733661637539395458142568448",
            "340282356779733661637539395458142568447",
            "1.00000005960464477540",
            "-1e-46",
        ] {
            same::<f32>(json);
            same::<f64>(json);
        }
    }

    /// Whatever the text is, nothing panics or loops forever.
    #[test]
    fn decoding_is_total() {
        const PIECES: [&str; 20] = [
            "{",
            "}",
            "[",
            "]",
            "\"",
            ",",
            ":",
            "\\",
            "\\u",
            "d8",
            "1",
            "-",
            ".",
            "e",
            "t",
            "n",
            " ",
            "é",
            "\"a\"",
            "99999999999999999999",
        ];
        let mut state = 1_u64;
        for length in 0..30 {
            for _ in 0..1000 {
                let text: String = (0..length)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        PIECES[(state >> 33) as usize % PIECES.len()]
                    })
                    .collect();
                let _ = decoded::<Value>(&text);
                let _ = decoded::<IgnoredAny>(&text);
                let _ = decoded::<All>(&text);
                let _ = decoded::<Vec<Shape>>(&text);
                let _ = decoded::<BTreeMap<i16, f32>>(&text);
                let _ = decoded::<Option<&[u8]>>(&text);
            }
        }
    }
}
