use std::borrow::Cow;

use super::{BuildError, PathMatch, Pattern, PatternError};

type Params = &'static [(&'static str, &'static str)];

fn params<'a>(found: &'a PathMatch<'_>) -> Vec<(&'a str, &'a str)> {
    found.params().collect()
}

#[test]
fn paths_match_segment_by_segment() {
    // (pattern, path, parameters when it matches)
    let cases: &[(&str, &str, Option<Params>)] = &[
        ("/chat", "/chat", Some(&[])),
        ("/chat", "/Chat", None),
        ("/chat", "/chats", None),
        ("/chat", "/cha", None),
        ("/chat", "/chat/7", None),
        ("/chat/:id", "/chat/7", Some(&[("id", "7")])),
        ("/chat/:id", "/chat/", None),
        ("/chat/:id", "/chat", None),
        ("/chat/:id", "/chat/7/8", None),
        ("/chat/:id", "/chat/日本", Some(&[("id", "日本")])),
        ("/chat/:id", "/chat/:id", Some(&[("id", ":id")])),
        (":a/:b", "x/y", Some(&[("a", "x"), ("b", "y")])),
        (":a/:b", "/y", None),
        ("/:a_1/x/:B", "/p/x/q", Some(&[("a_1", "p"), ("B", "q")])),
        ("/room-:id", "/room-7", Some(&[("id", "7")])),
        ("/room-:id", "/room-room-7", Some(&[("id", "room-7")])),
        ("/room-:id", "/room-", None),
        ("/room-:id", "/Room-7", None),
        ("room:id", "room7", Some(&[("id", "7")])),
        ("/日-:id", "/日-本", Some(&[("id", "本")])),
        (
            "/:a/:b/:c/:d/:e",
            "/1/2/3/4/5",
            Some(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")]),
        ),
    ];
    for &(text, path, expected) in cases {
        let pattern = Pattern::new(text).unwrap();
        let found = pattern.matches(path);
        assert_eq!(found.as_ref().map(params).as_deref(), expected, "{text} with {path}");
    }
}

#[test]
fn slashes_are_folded_in_patterns_and_paths() {
    for text in ["chat/:id", "/chat/:id", "chat/:id/", "//chat///:id//"] {
        let pattern = Pattern::new(text).unwrap();
        for path in ["chat/7", "/chat/7", "/chat/7/", "//chat///7//", "/chat/7/?q=/"] {
            let found = pattern.matches(path);
            let found = found.unwrap_or_else(|| panic!("{text} with {path}"));
            assert_eq!(params(&found), [("id", "7")]);
        }
        assert!(pattern.matches("/cha//t/7").is_none());
        assert!(pattern.matches("chat7").is_none());
    }
    for text in ["", "/", "//"] {
        let pattern = Pattern::new(text).unwrap();
        for path in ["", "/", "///"] {
            assert!(pattern.matches(path).is_some(), "{text} with {path}");
        }
        assert!(pattern.matches("/a").is_none());
    }
}

#[test]
fn a_wildcard_matches_the_remaining_segments() {
    // (pattern, path, the wildcard's match and the parameters when it matches)
    type Case = (&'static str, &'static str, Option<(&'static str, Params)>);
    let cases: &[Case] = &[
        ("*", "", Some(("", &[]))),
        ("*", "a/b", Some(("a/b", &[]))),
        ("*", "/", Some(("", &[]))),
        ("/*", "/a/b", Some(("a/b", &[]))),
        ("/*", "a", Some(("a", &[]))),
        ("/files/*", "/files/a//b/", Some(("a//b", &[]))),
        ("/files/*", "/files/", Some(("", &[]))),
        ("/files/*", "/files", Some(("", &[]))),
        ("/files/*", "/filesx/a", None),
        ("/files/*", "/", None),
        ("/:user/*", "/7/a?b/c", Some(("a", &[("user", "7")]))),
        ("/a/*/b", "/a/b", Some(("", &[]))),
        ("/a/*/b", "/a/x/b", Some(("x", &[]))),
        ("/a/*/b", "/a/x/b/y/b/", Some(("x/b/y", &[]))),
        ("/a/*/b", "/a/x", None),
        ("/a/*/b", "/a", None),
        ("/a/*/a", "/a", None),
        ("/a/*/a", "/a/a", Some(("", &[]))),
        ("*/:x", "a", Some(("", &[("x", "a")]))),
        ("*/:x", "", None),
        ("/:a/*/p-:b/:c", "/1/2/3/p-4/5", Some(("2/3", &[("a", "1"), ("b", "4"), ("c", "5")]))),
        ("/:a/*/:b/:c", "/1/2", None),
    ];
    for &(text, path, expected) in cases {
        let pattern = Pattern::new(text).unwrap();
        let found = pattern.matches(path);
        let found = found.as_ref().map(|found| (found.wildcard().unwrap(), params(found)));
        let expected = expected.map(|(wildcard, params)| (wildcard, params.to_vec()));
        assert_eq!(found, expected, "{text} with {path}");
    }
    assert_eq!(Pattern::new("/a").unwrap().matches("/a").unwrap().wildcard(), None);
}

#[test]
fn segments_are_decoded_after_the_path_is_split() {
    let cases: &[(&str, &str, Option<Params>)] = &[
        ("/chat/:id", "/chat/a%2Fb", Some(&[("id", "a/b")])),
        ("/chat/:id", "/chat%2F7", None),
        ("/chat/:id", "/%63h%61t/7", Some(&[("id", "7")])),
        ("/chat/:id", "/chat/a+b%20c%2b", Some(&[("id", "a+b c+")])),
        ("/chat/:id", "/chat/%e6%97%a5%E6%9C%AC", Some(&[("id", "日本")])),
        ("/chat/:id", "/chat/%2541", Some(&[("id", "%41")])),
        ("/chat/:id", "/chat/%3F?x", Some(&[("id", "?")])),
        ("/chat/:id", "/chat/%00%2e%2e", Some(&[("id", "\0..")])),
        // Malformed escapes stand for themselves, bytes that are not UTF-8 become U+FFFD.
        ("/chat/:id", "/chat/100%", Some(&[("id", "100%")])),
        ("/chat/:id", "/chat/%4", Some(&[("id", "%4")])),
        ("/chat/:id", "/chat/%zz%4g%+1%%41", Some(&[("id", "%zz%4g%+1%A")])),
        ("/chat/:id", "/chat/%F", Some(&[("id", "%F")])),
        ("/chat/:id", "/chat/a%FFb%C3", Some(&[("id", "a\u{FFFD}b\u{FFFD}")])),
        ("/chat/:id", "/chat/%é", Some(&[("id", "%é")])),
        ("/room-:id", "/room%2D7", Some(&[("id", "7")])),
        ("/room-:id", "/r%6Fom-", None),
        ("/room-:id", "/r%6Fam-7", None),
        // A pattern is written like a path.
        ("/caf%C3%A9", "/café", Some(&[])),
        ("/café", "/caf%C3%A9", Some(&[])),
        ("/100%25", "/100%", Some(&[])),
        ("/a%3Aid", "/a:id", Some(&[])),
        ("/%2A", "/*", Some(&[])),
        ("/%2A", "/a", None),
        ("/%3A:id", "/:7", Some(&[("id", "7")])),
        ("/a%2Fb", "/a/b", None),
        ("/a%2Fb", "/a%2fb", Some(&[])),
    ];
    for &(text, path, expected) in cases {
        let pattern = Pattern::new(text).unwrap();
        let found = pattern.matches(path);
        assert_eq!(found.as_ref().map(params).as_deref(), expected, "{text} with {path}");
    }
    let pattern = Pattern::new("/f/*/raw").unwrap();
    assert_eq!(pattern.matches("/f/a%20b/c%2Fd/r%61w").unwrap().wildcard(), Some("a b/c/d"));
}

#[test]
fn a_query_is_split_off_and_decoded_when_looked_up() {
    let pattern = Pattern::new("/chat/:id").unwrap();
    let found = pattern.matches("/chat/7?a=1&b&a=2&&c==%20+%2B?&=x&d+%64=%26%3D&%=%zz").unwrap();
    assert_eq!((found.path(), found.param("id")), ("/chat/7", Some("7")));
    assert_eq!(found.query_string(), Some("a=1&b&a=2&&c==%20+%2B?&=x&d+%64=%26%3D&%=%zz"));
    let query = |name| found.query(name);
    assert_eq!(query("a").as_deref(), Some("1"));
    assert_eq!(query("b").as_deref(), Some(""));
    assert_eq!(query("c").as_deref(), Some("=  +?"));
    assert_eq!(query("").as_deref(), Some("x"));
    assert_eq!(query("d d").as_deref(), Some("&="));
    assert_eq!(query("%").as_deref(), Some("%zz"));
    assert_eq!((query("d"), query("A"), query("d+%64")), (None, None, None));
    let pairs =
        [("a", "1"), ("b", ""), ("a", "2"), ("c", "=  +?"), ("", "x"), ("d d", "&="), ("%", "%zz")];
    let found: Vec<_> = found.query_pairs().collect();
    assert_eq!(found, pairs.map(|(name, value)| (name.into(), value.into())));
    assert_eq!(pattern.matches("/chat/7?").unwrap().query_string(), Some(""));
    let without = pattern.matches("/chat/7").unwrap();
    assert_eq!((without.query_string(), without.query_pairs().count()), (None, 0));
    assert!(pattern.matches("/chat?/7").is_none(), "the query is no part of the path");
}

#[test]
fn malformed_patterns_are_refused_with_a_reason() {
    let cases = [
        ("/a/*/b/*", PatternError::Wildcard),
        ("*/*", PatternError::Wildcard),
        ("/a*", PatternError::Wildcard),
        ("/**", PatternError::Wildcard),
        ("/:a*", PatternError::Wildcard),
        ("/:", PatternError::ParamName),
        ("/a:/b", PatternError::ParamName),
        ("/:a:b", PatternError::ParamName),
        ("/:a-b", PatternError::ParamName),
        ("/:a%41", PatternError::ParamName),
        ("/:id.json", PatternError::ParamName),
        ("/:ü", PatternError::ParamName),
        ("/:a/x-:a", PatternError::DuplicateParam),
        ("/:a/*/:b/:a", PatternError::DuplicateParam),
        ("/a?b", PatternError::Query),
        ("/100%", PatternError::Encoding),
        ("/%4", PatternError::Encoding),
        ("/%zz-:id", PatternError::Encoding),
        ("/%FF", PatternError::Encoding),
    ];
    for (text, error) in cases {
        assert_eq!(Pattern::new(text), Err(error), "{text}");
        assert_eq!(text.parse::<Pattern>().unwrap_err().to_string(), error.to_string());
    }
}

#[test]
fn values_borrow_from_the_path_unless_they_are_encoded() {
    let pattern = Pattern::new("/chat/:id/*/:last").unwrap();
    let path = String::from("/chat/42/rest/of/it?q=1&r=%31");
    let found = pattern.matches(&path).unwrap();
    let inside = path.as_bytes().as_ptr_range();
    for part in [found.param("id"), found.wildcard(), found.param("last"), Some(found.path())] {
        assert!(inside.contains(&part.unwrap().as_ptr()));
    }
    assert!(matches!(found.query("q"), Some(Cow::Borrowed("1"))));
    assert!(matches!(found.query("r"), Some(Cow::Owned(value)) if value == "1"));
    assert!(!found.params.spilled());
    assert!(found.params.iter().all(|(_, value)| matches!(value, Cow::Borrowed(_))));
}

#[test]
fn a_failed_build_names_the_parameter() {
    let pattern = Pattern::new("/:a/*/.:b").unwrap();
    let cases: &[(&[(&str, &str)], BuildError)] = &[
        (&[("*", ""), ("b", "1")], BuildError::Missing("a".into())),
        (&[("a", "1"), ("b", "1")], BuildError::Missing("*".into())),
        (&[("a", "1"), ("*", "")], BuildError::Missing("b".into())),
        (&[("a", ""), ("*", ""), ("b", "1")], BuildError::Empty("a".into())),
        (&[("a", "1"), ("*", "/"), ("b", "1")], BuildError::Empty("*".into())),
        (&[("a", "1"), ("*", "x//y"), ("b", "1")], BuildError::Empty("*".into())),
        (&[("a", "1"), ("*", "x/"), ("b", "1")], BuildError::Empty("*".into())),
        (&[("a", "1"), ("*", ""), ("b", "")], BuildError::Empty("b".into())),
        (&[("a", "."), ("*", ""), ("b", "1")], BuildError::DotSegment("a".into())),
        (&[("a", ".."), ("*", ""), ("b", "1")], BuildError::DotSegment("a".into())),
        (&[("a", "1"), ("*", "x/../y"), ("b", "1")], BuildError::DotSegment("*".into())),
        (&[("a", "1"), ("*", ""), ("b", ".")], BuildError::DotSegment("b".into())),
    ];
    for (params, error) in cases {
        assert_eq!(pattern.build(params).as_ref(), Err(error), "{params:?}");
        let (BuildError::Missing(name) | BuildError::Empty(name) | BuildError::DotSegment(name)) =
            error;
        assert!(error.to_string().contains(&format!("`{name}`")));
    }
    assert_eq!(pattern.build(&[("a", "..."), ("*", ".x"), ("b", "..")]).unwrap(), "/.../.x/...");
}

#[test]
fn a_built_path_has_the_patterns_slashes_and_one_of_each() {
    let cases: &[(&str, Params, &str)] = &[
        ("", &[], ""),
        ("/", &[], "/"),
        ("//a///b//", &[], "/a/b"),
        ("a/:x/", &[("x", "1")], "a/1"),
        ("*", &[("*", "")], ""),
        ("/*", &[("*", "")], "/"),
        ("*", &[("*", "a/b")], "a/b"),
        ("/f/*/raw", &[("*", "")], "/f/raw"),
        ("/:x", &[("x", "1"), ("x", "2"), ("y", "3")], "/1"),
    ];
    for &(text, params, expected) in cases {
        let pattern = Pattern::new(text).unwrap();
        assert_eq!(pattern.build(params).unwrap(), expected, "{text}");
    }
    let pattern = Pattern::new("/é @+%2F%25%3F%3A/-:x").unwrap();
    let path = pattern.build(&[("x", "é /?#%+:@!*")]).unwrap();
    assert_eq!(path, "/%C3%A9%20@+%2F%25%3F:/-%C3%A9%20%2F%3F%23%25%2B%3A%40!*");
}

/// Pseudo-random numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn text(&mut self, most: usize) -> String {
        const CHARACTERS: [&str; 20] = [
            "a", "Z", "0", "-", ".", "_", "~", "%", "+", "?", "#", "&", "=", ":", "*", " ", "\0",
            "é", "日", "%41",
        ];
        let length = 1 + self.below(most);
        (0..length).map(|_| CHARACTERS[self.below(CHARACTERS.len())]).collect()
    }
}

#[test]
fn a_built_path_matches_with_the_same_values() {
    let mut random = Random(7);
    let (mut built, mut refused, mut wildcards) = (0, 0, 0);
    for _ in 0..20_000 {
        let (mut text, mut params) = (String::new(), Vec::new());
        let segments = 1 + random.below(7);
        let wildcard = random.below(segments + 2);
        for at in 0..segments {
            text.push_str(["/", "/", "//"][random.below(3)]);
            let mut literal = String::new();
            super::percent::encode(
                &random.text(3),
                |byte| byte.is_ascii_alphanumeric(),
                &mut literal,
            );
            match random.below(3) {
                _ if at == wildcard => {
                    let parts = random.below(4);
                    let value: Vec<_> = (0..parts).map(|_| random.text(4)).collect();
                    params.push(("*".to_owned(), value.join("/")));
                    text.push('*');
                }
                0 => text.push_str(&literal),
                prefixed => {
                    let prefix = if prefixed == 1 { "" } else { &literal };
                    text.push_str(&format!("{prefix}:p{at}"));
                    params.push((format!("p{at}"), random.text(5).replace("%41", "/")));
                }
            }
        }
        let pattern = Pattern::new(&text).unwrap();
        let given: Vec<_> = params.iter().map(|(name, value)| (&**name, &**value)).collect();
        let path = match pattern.build(&given) {
            Ok(path) => path,
            Err(error) => {
                assert!(matches!(error, BuildError::DotSegment(_)), "{text} of {given:?}: {error}");
                refused += 1;
                continue;
            }
        };
        assert!(path.is_ascii() && !path.contains(['?', '#', ' ', '\0']), "{path}");
        let found = pattern.matches(&path).unwrap_or_else(|| panic!("{text} with {path}"));
        let value = |name| match name {
            "*" => found.wildcard(),
            name => found.param(name),
        };
        for (name, expected) in &given {
            assert_eq!(value(*name), Some(*expected), "{text} with {path}");
        }
        let expected = given.iter().filter(|(name, _)| *name != "*").copied();
        assert!(found.params().eq(expected), "{text} with {path}");
        assert_eq!(pattern.build(&given).as_deref(), Ok(&*path));
        wildcards += usize::from(found.wildcard().is_some());
        built += 1;
    }
    assert!(built > 15_000 && refused > 100 && wildcards > 5_000, "{built} {refused} {wildcards}");
}

/// A segment, decoded byte by byte.
fn plainly_decoded(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let digits = segment.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let digits = digits.filter(|digits| !digits.starts_with('+'));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => (decoded.push(byte), at += 3),
            None => (decoded.push(bytes[at]), at += 1),
        };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The values of the parameters, and of the wildcard as `*`, found by trying every length of the
/// wildcard.
fn plainly_matched(pattern: &[&str], path: &[&str]) -> Option<Vec<(String, String)>> {
    let Some((&first, behind)) = pattern.split_first() else {
        return path.is_empty().then(Vec::new);
    };
    if first == "*" {
        return (0..=path.len()).find_map(|taken| {
            let mut found = plainly_matched(behind, &path[taken..])?;
            found.push(("*".into(), path[..taken].join("/")));
            Some(found)
        });
    }
    let text = plainly_decoded(path.first()?);
    let mut found = plainly_matched(behind, &path[1..])?;
    match first.split_once(':') {
        None => (text == plainly_decoded(first)).then_some(found),
        Some((prefix, name)) => {
            let value = text.strip_prefix(&plainly_decoded(prefix))?;
            (!value.is_empty()).then(|| found.push((name.into(), value.into())))?;
            Some(found)
        }
    }
}

#[test]
fn matching_agrees_with_exhaustive_search() {
    const PATTERNS: [&str; 8] = ["a", "b", "%61", "", ":x", "a:y", "%C3%A9:z", "*"];
    const PATHS: [&str; 12] =
        ["a", "b", "ab", "%61", "%61b", "", "é", "%c3%a9a", "%C3", "%", "%6", "+"];
    let mut random = Random(11);
    let segments = |text: &'static [&'static str], random: &mut Random| -> Vec<&'static str> {
        (0..random.below(6)).map(|_| text[random.below(text.len())]).collect()
    };
    let (mut patterns, mut matched) = (0, 0);
    for _ in 0..100_000 {
        let (of_pattern, of_path) =
            (segments(&PATTERNS, &mut random), segments(&PATHS, &mut random));
        let Ok(pattern) = Pattern::new(&of_pattern.join("/")) else {
            let twice =
                |text| of_pattern.iter().filter(|segment| segment.ends_with(text)).count() > 1;
            assert!(["*", ":x", "a:y", ":z"].into_iter().any(twice), "{of_pattern:?}");
            continue;
        };
        patterns += 1;
        let path = of_path.join("/");
        let folded = |segments: &[&'static str]| -> Vec<&'static str> {
            segments.iter().filter(|segment| !segment.is_empty()).copied().collect()
        };
        let expected = plainly_matched(&folded(&of_pattern), &folded(&of_path));
        let found = pattern.matches(&path);
        assert_eq!(found.is_some(), expected.is_some(), "{pattern} with {path}");
        let (Some(found), Some(expected)) = (found, expected) else { continue };
        matched += 1;
        let values = found.params().count() + usize::from(found.wildcard().is_some());
        assert_eq!(values, expected.len());
        for (name, value) in &expected {
            match (&**name, found.wildcard()) {
                ("*", Some(wildcard)) => {
                    let parts: Vec<_> =
                        wildcard.split('/').filter(|part| !part.is_empty()).collect();
                    assert_eq!(parts.join("/"), plainly_decoded(value), "{pattern} with {path}");
                }
                (name, _) => assert_eq!(found.param(name), Some(&**value), "{pattern} with {path}"),
            }
        }
    }
    assert!(patterns > 50_000 && matched > 3_000, "{patterns} {matched}");
}

#[test]
fn a_path_of_many_megabytes_is_matched_without_recursion_or_copies() {
    let slashes = "/".repeat(8 << 20);
    let pattern = Pattern::new("/:a/:b/:c").unwrap();
    assert!(pattern.matches(&slashes).is_none());
    let all = Pattern::new("/*").unwrap();
    assert_eq!(all.matches(&slashes).unwrap().wildcard(), Some(""));
    let segments = "/a".repeat(4 << 20);
    assert_eq!(all.matches(&segments).unwrap().wildcard().unwrap().len(), segments.len() - 1);
    let middle = Pattern::new("/a/*/a").unwrap();
    assert_eq!(middle.matches(&segments).unwrap().wildcard().unwrap().len(), segments.len() - 5);
    assert!(Pattern::new("/a/*/b").unwrap().matches(&segments).is_none());
    let query = format!("/?{}x=1", "&".repeat(8 << 20));
    assert_eq!(all.matches(&query).unwrap().query("x").as_deref(), Some("1"));
    let encoded = format!("/{}", "%FF".repeat(3 << 20));
    assert_eq!(all.matches(&encoded).unwrap().wildcard().unwrap().len(), 9 << 20);
}

/// A pattern with as many segments as the path: with backtracking, this test would not end.
#[test]
fn a_long_pattern_matches_a_long_path_in_linear_time() {
    let count = 100_000;
    let params: String = (0..count).map(|i| format!("/:p{i}")).collect();
    let pattern = Pattern::new(&format!("{params}/*/x-:x{}", "/y".repeat(count))).unwrap();
    let path = format!("{}/x-/x-1{}", "/a".repeat(2 * count), "/y".repeat(count));
    let found = pattern.matches(&path).unwrap();
    assert_eq!((found.params().len(), found.param("x")), (count + 1, Some("1")));
    assert_eq!(found.wildcard().unwrap().len(), 2 * count + 2);
    assert!(pattern.matches(&path.replace("x-1", "x-")).is_none());
    assert!(pattern.matches(&path[..path.len() - 1]).is_none());
}
