#include "ferry/saga/definition.hpp"

#include <algorithm>

namespace ferry::saga {

std::optional<std::size_t> pivot_of(const Definition& definition) {
    for (std::size_t i = 0; i < definition.steps.size(); ++i) {
        if (definition.steps[i].pivot) return i;
    }
    return std::nullopt;
}

bool may_be_undone(const Definition& definition, std::size_t step) {
    const auto pivot = pivot_of(definition);
    return !pivot || step < *pivot;
}

bool calls_http(const Definition& definition) {
    return std::any_of(definition.steps.begin(), definition.steps.end(), [](const Step& step) {
        return !step.command.url.empty() || (step.compensation && !step.compensation->url.empty());
    });
}

std::string hash_of(const Definition& definition) {
    std::uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a: for people; equality is the text's
    for (const char c : canonical_text(definition)) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    }
    std::string out(16, '0');
    for (std::size_t i = 16; i-- > 0; hash >>= 4U) out[i] = "0123456789abcdef"[hash & 15U];
    return out;
}

// ---- the builder ----

Builder::Builder(std::string name, std::uint32_t version) {
    definition_.name = std::move(name);
    definition_.version = version;
}

Step& Builder::last() {
    if (!definition_.steps.empty()) return definition_.steps.back();
    misuse_.push_back({"steps", "an option stands before the first step"});
    return nowhere_;
}

Builder& Builder::deadline(Duration after) {
    definition_.deadline_ms = after.count() < 0 ? 0 : static_cast<std::uint64_t>(after.count());
    return *this;
}

Builder& Builder::result(std::string to, std::string from) {
    definition_.result.push_back({std::move(to), std::move(from), {}, true});
    return *this;
}

Builder& Builder::step(std::string name) {
    definition_.steps.emplace_back();
    definition_.steps.back().name = std::move(name);
    return *this;
}

Builder& Builder::signal(std::string name) {
    step(std::move(name));
    last().kind = StepKind::signal;
    last().timeout_ms = 0;
    return *this;
}

Builder& Builder::saga(std::string name, std::string definition) {
    step(std::move(name));
    last().kind = StepKind::saga;
    last().timeout_ms = 0;
    last().saga = std::move(definition);
    return *this;
}

Builder& Builder::decision(std::string name) {
    step(std::move(name));
    last().kind = StepKind::decision;
    last().pivot = true;
    last().timeout_ms = 0;
    return *this;
}

Builder& Builder::try_confirm_cancel(std::string name, std::string try_key, std::string confirm_key,
                                     std::string cancel_key) {
    step(name);
    last().command.key = std::move(try_key);
    last().compensation = Route{{}, std::move(cancel_key)};
    last().group = "try";
    reserved_.push_back({std::move(name), std::move(confirm_key)});
    return *this;
}

Builder& Builder::decided(std::string name) {
    if (reserved_.empty()) misuse_.push_back({"steps." + name, "nothing was tried before it"});
    decision(std::move(name));
    for (Reserved& one : reserved_) {
        step(one.name + ".confirm");
        last().command.key = std::move(one.confirm_key);
        last().group = "confirm";
        last().retriable = true;
    }
    reserved_.clear();
    return *this;
}

Builder& Builder::command(std::string key, std::string exchange) {
    last().command = {std::move(exchange), std::move(key)};
    return *this;
}

Builder& Builder::compensation(std::string key, std::string exchange) {
    last().compensation = Route{std::move(exchange), std::move(key)};
    return *this;
}

Builder& Builder::http(std::string url, std::string method) {
    last().command = {{}, {}, std::move(url), std::move(method)};
    return *this;
}

Builder& Builder::http_undo(std::string url, std::string method) {
    last().compensation = Route{{}, {}, std::move(url), std::move(method)};
    return *this;
}

Builder& Builder::without_undo() {
    last().without_undo = true;
    return *this;
}

Builder& Builder::pivot() {
    last().pivot = true;
    return *this;
}

Builder& Builder::retriable() {
    last().retriable = true;
    return *this;
}

Builder& Builder::parallel(std::string group) {
    last().group = std::move(group);
    return *this;
}

Builder& Builder::timeout(Duration of_one_attempt) {
    last().timeout_ms =
        of_one_attempt.count() < 0 ? 0 : static_cast<std::uint64_t>(of_one_attempt.count());
    return *this;
}

Builder& Builder::retry(RetryPolicy policy) {
    last().retry = policy;
    return *this;
}

Builder& Builder::undo(UndoPolicy policy) {
    last().undo = policy;
    return *this;
}

Builder& Builder::when(Condition condition) {
    last().when.push_back(std::move(condition));
    return *this;
}

Builder& Builder::input(std::string to, std::string from) {
    last().input.push_back({std::move(to), std::move(from), {}, false});
    return *this;
}

Builder& Builder::optional_input(std::string to, std::string from) {
    last().input.push_back({std::move(to), std::move(from), {}, true});
    return *this;
}

Builder& Builder::constant(std::string to, std::string json) {
    last().input.push_back({std::move(to), {}, std::move(json), false});
    return *this;
}

Builder& Builder::undo_input(std::string to, std::string from) {
    last().undo_input.push_back({std::move(to), std::move(from), {}, false});
    return *this;
}

sqlite::Answer<Definition> Builder::build() const {
    std::vector<Complaint> all = misuse_;
    if (!reserved_.empty()) {
        all.push_back({"steps." + reserved_.front().name,
                       "is tried and never confirmed: call decided() after the last try"});
    }
    for (Complaint& one : check(definition_)) all.push_back(std::move(one));
    if (all.empty()) return definition_;
    std::string text = "saga " + definition_.name + ": ";
    for (std::size_t i = 0; i < all.size(); ++i) {
        text += (i == 0 ? "" : "; ") + all[i].where + ": " + all[i].what;
    }
    return sqlite::Problem{sqlite::Kind::refused, 0, text};
}

}  // namespace ferry::saga
