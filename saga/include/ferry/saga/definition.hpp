#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/saga/limits.hpp"
#include "ferry/sqlite/problem.hpp"

namespace ferry::saga {

using Duration = std::chrono::milliseconds;

/// Where a message goes. An empty exchange is the default one: the key is a queue's name. Or, with
/// a URL, the HTTP call that the orchestrator makes itself; exchange and key are empty then.
struct Route {
    std::string exchange = {};
    std::string key = {};
    std::string url = {};
    std::string method = {};  // POST, PUT, PATCH or DELETE; with a URL
    bool operator==(const Route&) const = default;
};

/// Waits between attempts are doubled up to the cap; half of each is chance.
struct RetryPolicy {
    std::uint64_t first_ms = 200;
    std::uint64_t cap_ms = 30'000;
    std::uint32_t attempts = 5;  // of the command, the first included
    bool operator==(const RetryPolicy&) const = default;
};
/// A compensation has no number of attempts but a time, after which the saga is parked.
struct UndoPolicy {
    std::uint64_t first_ms = 200;
    std::uint64_t cap_ms = 5 * 60 * 1000;
    std::uint64_t give_up_ms = 24ULL * 3600 * 1000;
    bool operator==(const UndoPolicy&) const = default;
};

/// Puts a value into a message. `from` is a JSON pointer into what the saga knows: /input/...,
/// /steps/NAME/... (the result of an earlier step), /saga/id. Or `json` is the value itself.
struct Mapping {
    std::string to;    // JSON pointer in the message; "" is all of it
    std::string from;  // empty: `json`
    std::string json;
    bool optional = false;  // what is not there is left out instead of failing the step
    bool operator==(const Mapping&) const = default;
};

/// A step runs only if all of its conditions hold. What is not there equals nothing.
struct Condition {
    enum class Test : std::uint8_t { is, is_not, above, below, exists, absent };
    std::string at;  // JSON pointer, as Mapping::from
    Test test = Test::is;
    std::string json;  // is, is_not: any value; above, below: a number
    bool operator==(const Condition&) const = default;
};

enum class StepKind : std::uint8_t {
    command,   // a message to a participant, who answers
    signal,    // waits for somebody to say so
    saga,      // another saga
    decision,  // nothing leaves: the pivot as a record of its own, on disk before what follows it
};

struct Step {
    std::string name;
    StepKind kind = StepKind::command;
    Route command;
    std::optional<Route> compensation;
    bool without_undo = false;  // has no effect that would have to be undone
    bool pivot = false;         // when it is done there is no way back, only forward
    bool retriable = false;     // a failure is tried again like an attempt without an answer
    std::string group;          // neighbours with the same one run at the same time
    std::uint64_t timeout_ms = 30'000;  // of one attempt. A signal: 0, it waits until the deadline
    RetryPolicy retry;
    UndoPolicy undo;
    std::vector<Condition> when;
    std::vector<Mapping> input;       // none: the saga's input
    std::vector<Mapping> undo_input;  // none: as `input`
    std::string saga;                 // kind saga: the definition's name; the newest version
    bool operator==(const Step&) const = default;
};

/// A saga as data: it can be stored, compared and drawn. Make it with Builder or read_definition.
struct Definition {
    std::string name;
    std::uint32_t version = 1;
    std::uint64_t deadline_ms = 0;
    std::vector<Step> steps;
    std::vector<Mapping> result;  // of the saga, for its parent and for who asks; none: {}
    bool operator==(const Definition&) const = default;
};

/// What is wrong with a definition. `where` is a path of names, such as "steps.charge.timeout".
struct Complaint {
    std::string where;
    std::string what;
};

/// Everything that is wrong; empty: nothing.
[[nodiscard]] std::vector<Complaint> check(const Definition& definition);

/// What is wrong with definitions that run together: a sub-saga with a pivot in a step that its
/// parent may have to undo, and sagas that contain each other. `where` begins with a definition's
/// name. Of several versions of one name the newest counts.
[[nodiscard]] std::vector<Complaint> check_together(const std::vector<Definition>& definitions);
/// Whether a step may still be undone after it was done.
[[nodiscard]] bool may_be_undone(const Definition& definition, std::size_t step);
/// Whether any of its steps is an HTTP call.
[[nodiscard]] bool calls_http(const Definition& definition);

/// One text for one definition: what is stored, compared and hashed.
[[nodiscard]] std::string canonical_text(const Definition& definition);
/// The way back. Errors    corrupt: it is not canonical_text's.
[[nodiscard]] sqlite::Answer<Definition> from_canonical_text(std::string_view text);
/// 16 hex digits of the canonical text, for people and logs; equality is the text's.
[[nodiscard]] std::string hash_of(const Definition& definition);

/// Index of the pivot; nothing: there is none, and every step can be undone until the last is done.
[[nodiscard]] std::optional<std::size_t> pivot_of(const Definition& definition);

/// Writes a definition step by step. What is wrong is told by build(), all of it at once.
///
///     auto order = Builder("order", 1).deadline(5min)
///         .step("reserve").command("stock.reserve").compensation("stock.release")
///         .step("charge").command("payment.charge").compensation("payment.refund").timeout(10s)
///         .step("ship").command("shipping.ship").pivot()
///         .build();
class Builder {
public:
    explicit Builder(std::string name, std::uint32_t version = 1);

    Builder& deadline(Duration after);
    Builder& result(std::string to, std::string from);

    Builder& step(std::string name);
    Builder& signal(std::string name);
    Builder& saga(std::string name, std::string definition);
    Builder& decision(std::string name);
    /// Try, confirm, cancel: three routes of one reservation. After the last try() and before
    /// anything else, decided() ends the tries: it adds the decision and the confirms.
    Builder& try_confirm_cancel(std::string name, std::string try_key, std::string confirm_key,
                                std::string cancel_key);
    Builder& decided(std::string name = "decide");

    // ---- of the step that was named last ----
    Builder& command(std::string key, std::string exchange = {});
    Builder& compensation(std::string key, std::string exchange = {});
    /// Instead of messages: HTTP calls that the orchestrator makes (docs/saga.md, HTTP).
    Builder& http(std::string url, std::string method = "POST");
    Builder& http_undo(std::string url, std::string method = "POST");
    Builder& without_undo();
    Builder& pivot();
    Builder& retriable();
    Builder& parallel(std::string group);
    Builder& timeout(Duration of_one_attempt);
    Builder& retry(RetryPolicy policy);
    Builder& undo(UndoPolicy policy);
    Builder& when(Condition condition);
    Builder& input(std::string to, std::string from);
    Builder& optional_input(std::string to, std::string from);
    Builder& constant(std::string to, std::string json);
    Builder& undo_input(std::string to, std::string from);

    /// Errors    refused: check()'s complaints, one sentence.
    [[nodiscard]] sqlite::Answer<Definition> build() const;

private:
    struct Reserved {
        std::string name;
        std::string confirm_key;
    };
    Step& last();
    Definition definition_;
    std::vector<Complaint> misuse_;
    std::vector<Reserved> reserved_;
    Step nowhere_;  // takes what is said before any step
};

}  // namespace ferry::saga
