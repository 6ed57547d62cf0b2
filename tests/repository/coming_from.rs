//! The page for those who come from another PondSocket package names each of its public names, and its doctest
//! imports each item of this crate that it links to. rustdoc checks the links to methods.

use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../src/docs/coming_from.md");

/// The public names of the three packages for codecs, as their documentation lists them.
const NAMES: &str = "
    PresenceEventTypes ServerActions ClientActions ErrorTypes Events ChannelState ChannelReceiver SystemSender
    PubSubEvents STATUS_BAD_REQUEST PondError bad_request unauthorized forbidden not_found conflict too_many_requests
    internal unavailable timeout temporary_error wrap MultiError combine add_error Headers RawHeader RawHeaders uuid
    PondEvent PondSchema pond_event pond_schema TypedPresencePayload PresencePayload PresencePayloadModel to_pond_object
    from_pond_object ClientMessage ServerMessage PresenceMessage ChannelEvent ServerMessageAction ValidationError
    parse_client_message parse_server_message parse_presence_message parse_channel_event Subject BehaviorSubject
    Subscriber Unsubscribe PondObject PondMessage PondPresence PondAssigns JoinParams UserAssigns UserPresences
    ChannelReceivers UserData IncomingConnection PubSubEvent PubSubGetPresenceCommand PubSubMessageEvent
    PubSubPresenceEvent __version__
    clientMessageSchema.parse serverMessageSchema.parse presenceMessageSchema.parse channelEventSchema.parse Params
    EventParams PondPath PondEventMap EventWithResponse PayloadForResponse ResponseForEvent Event compilePondRoute
    parsePondRoute PondRouteError buildPondRoute PondErrorPayload SubjectErrorHandler EventsOf PresenceOf AssignsOf
    JoinParamsOf SchemaOf PathOf getPondMetadata
    PresenceEventType ClientAction ServerAction ErrorType EventName PresenceAction to_pond_value from_pond_value
    to_pond_map from_pond_map message_to_json
";

/// The items that the page links to, without a method or a variant behind them.
fn linked() -> BTreeSet<String> {
    let targets = PAGE.split("](crate::").skip(1).map(|rest| rest.split(')').next().unwrap());
    let item = |target: &str| {
        let parts: Vec<&str> = target.split("::").collect();
        let types = parts.iter().position(|part| part.starts_with(char::is_uppercase));
        parts[..types.map_or(parts.len(), |at| at + 1)].join("::")
    };
    targets.map(item).collect()
}

/// The items that the page's last program imports.
fn imported() -> BTreeSet<String> {
    let uses = PAGE.rsplit("mod compiles {").next().unwrap().split("use pondwire::").skip(1);
    let mut found = BTreeSet::new();
    for text in uses.map(|rest| rest.split(';').next().unwrap()) {
        let (module, names) = text.split_once("::{").unwrap_or_else(|| {
            text.rsplit_once("::").unwrap_or(("", text.trim_start_matches('{')))
        });
        let (module, names) =
            if let Some(names) = text.strip_prefix('{') { ("", names) } else { (module, names) };
        for name in names.trim_end_matches('}').split(',') {
            let name = name.trim().split(" as ").next().unwrap();
            let path =
                if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") };
            found.insert(path);
        }
    }
    found
}

#[test]
fn every_item_that_is_linked_to_is_compiled() {
    let (linked, imported) = (linked(), imported());
    assert!(linked.len() > 40, "the test finds links: {linked:?}");
    let missing: Vec<_> = linked.difference(&imported).collect();
    assert!(missing.is_empty(), "not imported: {missing:?}");
}

#[test]
fn every_name_of_the_other_packages_is_there() {
    let words = |row: &str| {
        let left = row.split(" | ").next().unwrap_or_default().to_owned();
        left.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let named: BTreeSet<String> =
        PAGE.lines().filter(|line| line.starts_with("| ")).flat_map(words).collect();
    let missing: Vec<_> = NAMES.split_whitespace().filter(|name| !named.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The lines that a diff of whole files keeps or has with this sign.
fn side(diff: &str, sign: char) -> String {
    let lines = diff.lines().filter_map(|line| line.strip_prefix([' ', sign]));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn the_diff_of_the_chat_is_that_of_the_files() {
    const DIFF: &str = include_str!("../../server/src/docs/chat.diff");
    const BEFORE: &str = include_str!("../../benches/compare/src/bin/chat_before.rs");
    const AFTER: &str = include_str!("../../server/examples/chat.rs");
    let remake = "remake it: git diff --no-index --patience -U1000 benches/compare/src/bin/chat_before.rs \
                  server/examples/chat.rs | tail -n +6 >server/src/docs/chat.diff";
    assert!(side(DIFF, '-') == BEFORE, "{remake}");
    assert!(side(DIFF, '+') == AFTER, "{remake}");
    let page = include_str!("../../server/src/docs/coming_from.md");
    for text in [
        format!("The first has {} lines with axum.", BEFORE.lines().count()),
        format!("The second has {} and listens itself", AFTER.lines().count()),
    ] {
        assert!(page.split_whitespace().collect::<Vec<_>>().join(" ").contains(&text), "{text}");
    }
}
