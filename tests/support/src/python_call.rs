//! Evaluates the Python calls of the recorded error cases.

use std::cell::Cell;
use std::iter::Peekable;
use std::str::CharIndices;

use pondwire::error::{BoxError, InvalidCode, MultiError, PondError, add_error, combine};
use serde_json::Value;

/// The value of a Python expression.
enum Object {
    None,
    Text(String),
    Number(i64),
    Error(BoxError),
    List(Vec<Object>),
    Dict(Value),
}

impl Object {
    fn text(self) -> String {
        if let Self::Text(text) = self { text } else { panic!("a string") }
    }

    fn number(self) -> i64 {
        if let Self::Number(number) = self { number } else { panic!("a number") }
    }

    fn error(self) -> Option<BoxError> {
        match self {
            Self::None => None,
            Self::Error(error) => Some(error),
            _ => panic!("an error or None"),
        }
    }

    fn errors(self) -> Vec<BoxError> {
        let Self::List(items) = self else { panic!("a list") };
        items.into_iter().map(|item| item.error().expect("an error")).collect()
    }
}

/// An error that consists only of its text.
pub fn plain(text: &str) -> BoxError {
    text.into()
}

/// Evaluates a recorded call: returns its error, if any, or the refusal of an invalid code.
pub fn evaluate(id: &str, call: &str) -> Result<Option<BoxError>, InvalidCode> {
    let mut parser = Parser { id, call, chars: call.char_indices().peekable(), bad: Cell::new(0) };
    let value = parser.value()?;
    assert!(parser.chars.next().is_none(), "{call}: read to the end");
    Ok(value.error())
}

struct Parser<'a> {
    id: &'a str,
    call: &'a str,
    chars: Peekable<CharIndices<'a>>,
    bad: Cell<usize>,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Result<Object, InvalidCode> {
        Ok(match self.peek() {
            Some('\'') => Object::Text(self.string().to_owned()),
            Some('[') => Object::List(self.list('[', ']')?),
            Some('{') => {
                let dict = self.take(|c| c != '}').replace('\'', "\"") + "}";
                self.expect('}');
                Object::Dict(serde_json::from_str(&dict).unwrap())
            }
            Some('-' | '0'..='9') => {
                Object::Number(self.take(|c| c == '-' || c.is_ascii_digit()).parse().unwrap())
            }
            _ => {
                let name = self.take(|c| c.is_alphanumeric() || c == '_');
                match (name, self.peek()) {
                    ("None", _) => Object::None,
                    ("multi", Some('[')) => multi(self.list('[', ']')?),
                    (_, Some('(')) => {
                        let arguments = self.list('(', ')')?;
                        called(name, arguments)?
                    }
                    _ => self.variable(name),
                }
            }
        })
    }

    /// The value that the recording script had assigned to a name; a plain error with the name as its text
    /// if it had assigned none.
    fn variable(&self, name: &str) -> Object {
        let texts =
            |texts: &[&str]| MultiError::new(texts.iter().map(|text| plain(text)).collect());
        Object::Error(match (name, self.id) {
            ("base", _) => PondError::not_found("/c", "inner")
                .temporary()
                .with_details(serde_json::json!({"k": 1}))
                .with_cause("'k'")
                .into(),
            ("bad", _) if self.bad.replace(1) == 0 => PondError::bad_request("", "a").into(),
            ("bad", _) => PondError::bad_request("/c", "b").into(),
            ("multi", "errors/54") => texts(&["a", "b"]).into(),
            ("multi", "errors/55") => texts(&["a"]).into(),
            ("multi2", "errors/55") => texts(&["b", "c"]).into(),
            ("multi" | "multi2", other) => panic!("{other}: which errors are in {name}"),
            (text, _) => plain(text),
        })
    }

    fn list(&mut self, open: char, close: char) -> Result<Vec<Object>, InvalidCode> {
        self.expect(open);
        let mut items = Vec::new();
        while self.peek() != Some(close) {
            if !items.is_empty() {
                self.expect(',');
            }
            // The only keyword that occurs is `details`, whose value is the only dict.
            if self.call[self.position()..].starts_with("details=") {
                self.chars.nth("details=".len() - 1);
            }
            items.push(self.value()?);
        }
        self.expect(close);
        Ok(items)
    }

    fn string(&mut self) -> &'a str {
        self.expect('\'');
        let text = self.take(|c| c != '\'');
        self.expect('\'');
        text
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let start = self.position();
        while self.chars.next_if(|(_, c)| belongs(*c)).is_some() {}
        &self.call[start..self.position()]
    }

    fn position(&mut self) -> usize {
        self.chars.peek().map_or(self.call.len(), |(at, _)| *at)
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn expect(&mut self, expected: char) {
        assert_eq!(self.chars.next().map(|(_, c)| c), Some(expected), "{}", self.call);
    }
}

fn multi(errors: Vec<Object>) -> Object {
    Object::Error(MultiError::new(Object::List(errors).errors()).into())
}

fn called(function: &str, arguments: Vec<Object>) -> Result<Object, InvalidCode> {
    let mut arguments = arguments.into_iter();
    let mut next = || arguments.next().expect("another argument");
    let helper = match function {
        "bad_request" => Some(PondError::bad_request as fn(String, String) -> PondError),
        "unauthorized" => Some(PondError::unauthorized as _),
        "forbidden" => Some(PondError::forbidden as _),
        "not_found" => Some(PondError::not_found as _),
        "conflict" => Some(PondError::conflict as _),
        "too_many_requests" => Some(PondError::too_many_requests as _),
        "internal" => Some(PondError::internal as _),
        "unavailable" => Some(PondError::unavailable as _),
        "timeout" => Some(PondError::timeout as _),
        _ => None,
    };
    if let Some(helper) = helper {
        return Ok(Object::Error(helper(next().text(), next().text()).into()));
    }
    let error = match function {
        "PondError" => {
            let error = PondError::new(next().text(), next().number())?;
            Some(match arguments.next() {
                Some(Object::Dict(details)) => error.with_details(details).into(),
                None => error.into(),
                _ => panic!("details"),
            })
        }
        "temporary_error" => {
            let (channel, message) = (next().text(), next().text());
            Some(PondError::temporary_error(channel, message, next().number())?.into())
        }
        "wrap" => {
            let error = next().error().expect("an error");
            Some(PondError::wrap(error, next().text()).into())
        }
        "MultiError" => return Ok(multi(vec_of(next()))),
        "ValueError" => Some(plain(&next().text())),
        "combine" => combine(arguments.map(Object::error)),
        "add_error" => {
            let base = next().error();
            add_error(base, next().error())
        }
        other => panic!("no such function: {other}"),
    };
    Ok(error.map_or(Object::None, Object::Error))
}

fn vec_of(list: Object) -> Vec<Object> {
    if let Object::List(items) = list { items } else { panic!("a list") }
}
