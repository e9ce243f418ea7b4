#include "values.hpp"

#include <algorithm>
#include <map>

namespace ferry::saga {
namespace {

/// Parses each source once for all the pointers of one message.
class Lookup {
public:
    explicit Lookup(const Known& known) : known_(known) {}

    /// Null: there is nothing.
    const Json* at(const std::string& pointer) {
        const std::vector<std::string> parts = split_pointer(pointer);
        const Json* root = nullptr;
        std::size_t used = 1;
        if (parts[0] == "input") {
            root = parsed("", known_.input());
        } else if (parts[0] == "steps" && parts.size() >= 2) {
            root = parsed(parts[1], known_.result_of(parts[1]));
            used = 2;
        } else if (pointer == "/saga/id") {
            id_ = std::string(known_.id());
            return &id_;
        }
        for (std::size_t i = used; root != nullptr && i < parts.size(); ++i) {
            root = child(*root, parts[i]);
        }
        return root;
    }

private:
    const Json* parsed(const std::string& key, std::optional<std::string_view> text) {
        const auto kept = kept_.find(key);
        if (kept != kept_.end()) return &kept->second;
        if (!text) return nullptr;
        auto value = parse_json(*text);
        if (!value) return nullptr;
        return &kept_.emplace(key, std::move(*value)).first->second;
    }
    static const Json* child(const Json& of, const std::string& name) {
        if (of.is_object()) {
            const auto found = of.find(name);
            return found == of.end() ? nullptr : &*found;
        }
        if (!of.is_array() || name.empty() || name.size() > 6 ||
            !std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; })) {
            return nullptr;
        }
        const std::size_t index = std::stoul(name);
        return index < of.size() ? &of[index] : nullptr;
    }

    const Known& known_;
    std::map<std::string, Json> kept_;
    Json id_;
};

/// Wants no values, only that they are not nested too deeply.
class DepthCounter final : public nlohmann::json_sax<Json> {
public:
    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(number_integer_t) override { return true; }
    bool number_unsigned(number_unsigned_t) override { return true; }
    bool number_float(number_float_t, const string_t&) override { return true; }
    bool string(string_t&) override { return true; }
    bool binary(binary_t&) override { return true; }
    bool start_object(std::size_t) override { return deeper(); }
    bool key(string_t&) override { return true; }
    bool end_object() override { return back(); }
    bool start_array(std::size_t) override { return deeper(); }
    bool end_array() override { return back(); }
    bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
        return false;
    }

private:
    bool deeper() { return ++depth_ <= limits::json_depth_max; }
    bool back() {
        --depth_;
        return true;
    }
    std::size_t depth_ = 0;
};

/// Objects are made on the way; false: a part of the way is something else already.
bool put(Json& into, const std::string& pointer, const Json& value) {
    Json* at = &into;
    for (const std::string& part : split_pointer(pointer)) {
        if (at->is_null()) *at = Json::object();
        if (!at->is_object()) return false;
        at = &(*at)[part];
    }
    *at = value;
    return true;
}

bool one_holds(const Condition& one, Lookup& lookup) {
    const Json* const value = lookup.at(one.at);
    switch (one.test) {
        case Condition::Test::exists:
            return value != nullptr;
        case Condition::Test::absent:
            return value == nullptr;
        default:
            break;
    }
    const auto wanted = parse_json(one.json);
    if (!wanted) return false;
    if (one.test == Condition::Test::is) return value != nullptr && *value == *wanted;
    if (one.test == Condition::Test::is_not) return value == nullptr || *value != *wanted;
    if (value == nullptr || !value->is_number()) return false;
    return one.test == Condition::Test::above ? *value > *wanted : *value < *wanted;
}

}  // namespace

std::optional<Json> parse_json(std::string_view text) {
    // The parser itself does not recurse, but everything that walks its result does.
    std::size_t depth = 0;
    bool too_deep = false;
    const auto watch = [&](int, Json::parse_event_t event, Json&) {
        using Event = Json::parse_event_t;
        if (event == Event::object_start || event == Event::array_start) {
            too_deep = too_deep || ++depth > limits::json_depth_max;
        } else if (event == Event::object_end || event == Event::array_end) {
            --depth;
        }
        return !too_deep;
    };
    Json value = Json::parse(text.begin(), text.end(), watch, false);
    if (value.is_discarded() || too_deep) return std::nullopt;
    return value;
}

bool valid_json(std::string_view text) {
    DepthCounter counter;
    return Json::sax_parse(text.begin(), text.end(), &counter);
}

bool valid_pointer(std::string_view text) {
    if (text.empty()) return true;
    if (text.front() != '/') return false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '~' &&
            (i + 1 >= text.size() || (text[i + 1] != '0' && text[i + 1] != '1'))) {
            return false;
        }
    }
    return true;
}

std::vector<std::string> split_pointer(std::string_view text) {
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '/') {
            parts.emplace_back();
        } else if (text[i] == '~') {
            parts.back() += text[++i] == '0' ? '~' : '/';
        } else {
            parts.back() += text[i];
        }
    }
    return parts;
}

std::string plain(std::string_view text, std::size_t bytes_max) {
    std::string out = Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::replace);
    out = Json::parse(out).get<std::string>();
    return sqlite::bounded(out, bytes_max);
}

Made make_json(const std::vector<Mapping>& mappings, const Known& known) {
    if (mappings.empty()) return {true, std::string(known.input().value_or("{}"))};
    Lookup lookup(known);
    Json message = Json::object();
    for (const Mapping& one : mappings) {
        std::optional<Json> constant;
        const Json* value = nullptr;
        if (one.from.empty()) {
            constant = parse_json(one.json);
            if (constant) value = &*constant;
        } else {
            value = lookup.at(one.from);
        }
        if (value == nullptr) {
            if (one.optional) continue;
            return {false, "there is nothing at " + one.from};
        }
        if (!put(message, one.to, *value)) {
            return {false, one.to + " cannot be put inside of what is no object"};
        }
    }
    return {true, message.dump(-1, ' ', false, Json::error_handler_t::replace)};
}

bool holds(const std::vector<Condition>& conditions, const Known& known) {
    if (conditions.empty()) return true;
    Lookup lookup(known);
    return std::all_of(conditions.begin(), conditions.end(),
                       [&](const Condition& one) { return one_holds(one, lookup); });
}

}  // namespace ferry::saga
