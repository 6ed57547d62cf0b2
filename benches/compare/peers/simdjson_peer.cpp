// C++ simdjson as a peer of `compare --section codec`: one message, by its DOM and by On-Demand.
//
// install.sh compiles this file and simdjson's own source once for each instruction set, with the compiler's
// flags for it: On-Demand is generated for the set that the compiler may use. TIER is the name of simdjson's
// implementation; the namespace has that name, too, so that the three do not mix.
#include <simdjson.h>

#define JOIN_(name, tier) name##_##tier
#define JOIN(name, tier) JOIN_(name, tier)
#define TEXT_(word) #word
#define TEXT(word) TEXT_(word)

namespace {

struct Peer {
    simdjson::dom::parser dom;
    simdjson::ondemand::parser on_demand;
};

struct Message {
    std::string_view action, event, channel_name, request_id, payload;
};

bool known_action(std::string_view word) {
    switch (word.size()) {
    case 12: return word == "JOIN_CHANNEL";
    case 13: return word == "LEAVE_CHANNEL";
    case 9: return word == "BROADCAST";
    case 8: return word == "PRESENCE";
    case 6: return word == "SYSTEM";
    case 5: return word == "ERROR";
    case 7: return word == "CONNECT";
    default: return false;
    }
}

// Where the string of a key belongs; null for another key.
std::string_view *field(Message &message, std::string_view key) {
    switch (key.size()) {
    case 6: return key == "action" ? &message.action : nullptr;
    case 5: return key == "event" ? &message.event : nullptr;
    case 11: return key == "channelName" ? &message.channel_name : nullptr;
    case 9: return key == "requestId" ? &message.request_id : nullptr;
    default: return nullptr;
    }
}

bool complete(const Message &message) {
    return known_action(message.action) && message.event.data() && message.channel_name.data() &&
           message.request_id.data() && message.payload.data();
}

} // namespace

// `json` has `capacity` readable bytes, at least simdjson's padding more than `length`.
extern "C" {

// Null if the CPU lacks the instructions. Never freed.
void *JOIN(simdjson_peer, TIER)() {
    auto implementation = simdjson::get_available_implementations()[TEXT(TIER)];
    if (!implementation || !implementation->supported_by_runtime_system()) return nullptr;
    if (simdjson::builtin_implementation()->name() != TEXT(TIER)) return nullptr;
    simdjson::get_active_implementation() = implementation;
    return new Peer;
}

// Validates everything and builds a tape.
bool JOIN(simdjson_dom, TIER)(void *peer, const char *json, size_t length, Message *message) {
    *message = {};
    simdjson::dom::object root;
    if (static_cast<Peer *>(peer)->dom.parse(json, length, false).get_object().get(root)) return false;
    for (auto [key, value] : root) {
        if (auto to = field(*message, key)) {
            if (value.get_string().get(*to)) return false;
        } else if (key == "payload") {
            if (!value.is_object()) return false;
            message->payload = key;
        }
    }
    return complete(*message);
}

// Finds the ends of all strings and brackets, checks UTF-8, and skips the payload unvalidated.
bool JOIN(simdjson_on_demand, TIER)(void *peer, const char *json, size_t length, size_t capacity,
                                    Message *message) {
    *message = {};
    simdjson::ondemand::document document;
    simdjson::ondemand::object root;
    simdjson::padded_string_view padded(json, length, capacity);
    if (static_cast<Peer *>(peer)->on_demand.iterate(padded).get(document)) return false;
    if (document.get_object().get(root)) return false;
    for (auto member : root) {
        std::string_view key;
        simdjson::ondemand::value value;
        if (member.escaped_key().get(key) || member.value().get(value)) return false;
        if (auto to = field(*message, key)) {
            if (value.get_string().get(*to)) return false;
        } else if (key == "payload") {
            if (value.raw_json().get(message->payload) || message->payload[0] != '{') return false;
        }
    }
    return complete(*message);
}

} // extern "C"
