use super::{Pattern, PatternError};

fn params<'a>(pattern: &'a Pattern, path: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    pattern.matches(path).map(|found| found.params().collect())
}

#[test]
fn paths_match_segment_by_segment() {
    // (pattern, path, parameters when it matches)
    type Case = (&'static str, &'static str, Option<&'static [(&'static str, &'static str)]>);
    let cases: &[Case] = &[
        ("/chat", "/chat", Some(&[])),
        ("/chat", "/chat/", None),
        ("/chat/", "/chat/", Some(&[])),
        ("/chat/", "/chat", None),
        ("/chat", "chat", None),
        ("/chat", "/Chat", None),
        ("/chat", "/chats", None),
        ("/chat", "/cha", None),
        ("/chat", "/chat/7", None),
        ("/chat/:id", "/chat/7", Some(&[("id", "7")])),
        ("/chat/:id", "/chat/", None),
        ("/chat/:id", "/chat", None),
        ("/chat/:id", "/chat/7/", None),
        ("/chat/:id", "/chat/a%2Fb", Some(&[("id", "a%2Fb")])),
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
        ("", "", Some(&[])),
        ("", "/", None),
        ("/", "/", Some(&[])),
        ("/", "//", None),
        ("//", "//", Some(&[])),
        (
            "/:a/:b/:c/:d/:e",
            "/1/2/3/4/5",
            Some(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")]),
        ),
    ];
    for &(text, path, expected) in cases {
        let pattern = Pattern::new(text).unwrap();
        assert_eq!(params(&pattern, path).as_deref(), expected, "{text} with {path}");
    }
}

#[test]
fn a_wildcard_takes_all_that_is_left() {
    let cases = [
        ("*", "", Some("")),
        ("*", "a/b", Some("a/b")),
        ("*", "/", Some("/")),
        ("/*", "/a/b", Some("a/b")),
        ("/*", "/", Some("")),
        ("/*", "", None),
        ("/*", "a", None),
        ("/files/*", "/files/a//b/", Some("a//b/")),
        ("/files/*", "/files/", Some("")),
        ("/files/*", "/files", None),
        ("/files/*", "/filesx/a", None),
        ("/:user/*", "/7/a?b/c", Some("a")),
        ("/:user/*", "//a", None),
    ];
    for (text, path, expected) in cases {
        let pattern = Pattern::new(text).unwrap();
        let found = pattern.matches(path).map(|found| found.wildcard());
        assert_eq!(found, expected.map(Some), "{text} with {path}");
    }
    assert_eq!(Pattern::new("/a").unwrap().matches("/a").unwrap().wildcard(), None);
}

#[test]
fn a_query_is_split_off_and_looked_up_as_sent() {
    let pattern = Pattern::new("/chat/:id").unwrap();
    let found = pattern.matches("/chat/7?a=1&b&a=2&&c==%20+?&=x").unwrap();
    assert_eq!((found.path(), found.param("id")), ("/chat/7", Some("7")));
    assert_eq!(found.query_string(), Some("a=1&b&a=2&&c==%20+?&=x"));
    assert_eq!(found.query("a"), Some("1"));
    assert_eq!(found.query("b"), Some(""));
    assert_eq!(found.query("c"), Some("=%20+?"));
    assert_eq!(found.query(""), Some("x"));
    assert_eq!((found.query("d"), found.query("A")), (None, None));
    let pairs = [("a", "1"), ("b", ""), ("a", "2"), ("c", "=%20+?"), ("", "x")];
    assert_eq!(found.query_pairs().collect::<Vec<_>>(), pairs);
    assert_eq!(pattern.matches("/chat/7?").unwrap().query_string(), Some(""));
    let without = pattern.matches("/chat/7").unwrap();
    assert_eq!((without.query_string(), without.query_pairs().count()), (None, 0));
    assert!(pattern.matches("/chat?/7").is_none(), "the query is no part of the path");
}

#[test]
fn what_is_no_pattern_says_why() {
    let cases = [
        ("/a/*/b", PatternError::Wildcard),
        ("/a*", PatternError::Wildcard),
        ("/**", PatternError::Wildcard),
        ("*/", PatternError::Wildcard),
        ("/:a*", PatternError::Wildcard),
        ("/:", PatternError::ParamName),
        ("/a:/b", PatternError::ParamName),
        ("/:a:b", PatternError::ParamName),
        ("/:a-b", PatternError::ParamName),
        ("/:id.json", PatternError::ParamName),
        ("/:ü", PatternError::ParamName),
        ("/:a/x-:a", PatternError::DuplicateParam),
        ("/a?b", PatternError::Query),
    ];
    for (text, error) in cases {
        assert_eq!(Pattern::new(text), Err(error), "{text}");
        assert_eq!(text.parse::<Pattern>().unwrap_err().to_string(), error.to_string());
    }
}

#[test]
fn values_borrow_from_the_path() {
    let pattern = Pattern::new("/chat/:id/*").unwrap();
    let path = String::from("/chat/42/rest?q=1");
    let found = pattern.matches(&path).unwrap();
    let inside = path.as_bytes().as_ptr_range();
    for part in [found.param("id"), found.wildcard(), found.query("q"), Some(found.path())] {
        assert!(inside.contains(&part.unwrap().as_ptr()));
    }
    assert!(!found.params.spilled());
}

#[test]
fn a_path_of_many_megabytes_is_matched_without_recursion_or_copies() {
    let slashes = "/".repeat(8 << 20);
    let pattern = Pattern::new("/:a/:b/:c").unwrap();
    assert!(pattern.matches(&slashes).is_none());
    let all = Pattern::new("/*").unwrap();
    assert_eq!(all.matches(&slashes).unwrap().wildcard().unwrap().len(), slashes.len() - 1);
    let query = format!("/?{}x=1", "&".repeat(8 << 20));
    assert_eq!(all.matches(&query).unwrap().query("x"), Some("1"));
}
