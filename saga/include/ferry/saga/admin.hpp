#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/saga/definition.hpp"
#include "ferry/saga/status.hpp"
#include "ferry/sqlite/database.hpp"

/// Looking at sagas and deciding about them from outside, beside running orchestrators. `ferry
/// saga` is made of it.
namespace ferry::saga {

struct SagaRow {
    std::string id;
    std::string definition;
    std::uint32_t version = 0;
    SagaState state = SagaState::running;
    std::uint64_t started_ms = 0;
    std::uint64_t changed_ms = 0;  // newest of what the saga noted
    std::uint64_t ended_ms = 0;
    std::uint64_t deadline_ms = 0;
    std::uint64_t due_ms = 0;
    std::uint64_t revision = 0;
    bool forced = false;
    bool overdue = false;
    std::string reason;
    std::string parent;
    std::string waits_for;  // one sentence: what happens next, or what an operator can do
};

struct StepView {
    std::string name;
    StepState state = StepState::waiting;
    std::string sends_to;
    std::string undo_to;
    std::uint32_t attempts = 0;
    bool uncertain = false;
    std::uint64_t began_ms = 0;
    std::uint64_t ended_ms = 0;
    std::uint64_t due_ms = 0;
    std::string result;  // JSON
    std::string error;
};

struct AuditRow {
    std::uint64_t at_ms = 0;
    std::string who;
    std::string what;
    std::string note;
};

struct SagaView {
    SagaRow row;
    std::string hash;
    std::string trace;
    std::string input;
    std::string result;
    std::vector<StepView> steps;
    std::vector<std::pair<std::string, std::string>> signals;
    std::vector<AuditRow> audit;
};

struct ListFilter {
    std::optional<SagaState> state;
    bool open = false;      // not ended
    bool in_doubt = false;  // with a step of which nobody knows whether it happened, or decided and
                            // not yet carried out
    std::string definition;
    std::string after_id;
    std::uint32_t at_most = 100;
};

struct DefinitionRow {
    std::string name;
    std::uint32_t version = 0;
    std::string hash;
    std::uint64_t open = 0;
    std::uint64_t added_ms = 0;
};

/// Threads   one at a time. Each change is a transaction of its own.
/// Errors    schema, busy, and those of reading and writing; not_found: no such saga; conflict: not
///           in its state, the text says why.
class Admin {
public:
    static sqlite::Answer<std::unique_ptr<Admin>> open(const std::string& path, bool read_only);
    ~Admin();
    Admin(const Admin&) = delete;
    Admin& operator=(const Admin&) = delete;

    sqlite::Answer<std::vector<SagaRow>> list(const ListFilter& filter);
    sqlite::Answer<SagaView> show(std::string_view id);
    sqlite::Answer<std::vector<DefinitionRow>> definitions();

    /// True: created. False: it was there, started with the same.
    sqlite::Answer<bool> start(std::string_view definition, std::string_view id,
                               std::string_view input_json, std::string_view traceparent);
    // Of a running saga; `who` and `note` go to the audit trail.
    sqlite::Status signal(std::string_view id, std::string_view name, std::string_view json,
                          std::string_view who);
    sqlite::Status cancel(std::string_view id, std::string_view who, std::string_view note);
    // Of a parked one.
    sqlite::Status retry(std::string_view id, std::string_view who, std::string_view note);
    /// The stuck step counts as done (with this result, or none), or as undone.
    sqlite::Status skip(std::string_view id, std::string_view result_json, std::string_view who,
                        std::string_view note);
    /// `end`: completed or compensated. Nothing more is sent.
    sqlite::Status force(std::string_view id, SagaState end, std::string_view who,
                         std::string_view note);

private:
    struct Impl;
    explicit Admin(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::saga
