//! Patterns of pub/sub topics.

/// Whether a pub/sub topic matches a pattern, as in the other PondSocket packages: the two are equal, or
/// the pattern ends with `.*` and the topic starts with the text before that.
///
/// Elsewhere `*` stands for itself. Compares each byte at most twice. This crate's own buses subscribe to
/// topics by their exact names.
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
