//! Patterns of pub/sub topics.

/// Matches a pub/sub topic as the other PondSocket packages do: the topic equals the pattern, or
/// starts with what precedes a final `.*` of the pattern.
///
/// `*` stands for itself elsewhere. Compares each byte at most twice. This crate's own buses
/// subscribe to topics by their exact names.
///
/// ```
/// use pondwire::protocol::match_topic;
///
/// assert!(match_topic("chat.42", "chat.42"));
/// assert!(match_topic("chat.*", "chat.42.typing"));
/// assert!(!match_topic("chat.*", "game.42"));
/// assert!(!match_topic("*.42", "chat.42"));
/// ```
#[must_use]
pub fn match_topic(pattern: &str, topic: &str) -> bool {
    pattern == topic || pattern.strip_suffix(".*").is_some_and(|start| topic.starts_with(start))
}
