//! Patterns of pub/sub topics.

/// Whether a topic is meant by a subscription of the other PondSocket packages: the very same
/// text, or a pattern that ends in `.*` whose text before that the topic starts with.
///
/// `*` means nothing elsewhere. Compares each byte once.
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
