// Named policies: settings of queues by pattern of their names.
//
// Queue::options.policy is always what counts, so that nobody else has to know of policies. It is
// made anew whenever a policy or a queue comes, changes or goes, by the same functions in replay.

#include <algorithm>

#include "ferry/wire/limits.hpp"
#include "ferry/wire/message.hpp"
#include "policy.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

bool valid_pattern(std::string_view pattern) {
    std::string plain(pattern);
    std::replace(plain.begin(), plain.end(), '*', '_');
    std::replace(plain.begin(), plain.end(), '?', '_');
    return wire::valid_name(plain);
}

void put_named_policy(std::vector<std::byte>& out, const NamedPolicy& policy) {
    put_text(out, policy.name);
    put_text(out, policy.pattern);
    put_varint(out, policy.priority);
    put_u8(out, policy.from_file ? 1 : 0);
    put_policy(out, policy.settings);
}

NamedPolicy get_named_policy(Reader& in) {
    NamedPolicy policy;
    policy.name = in.text();
    policy.pattern = in.text();
    policy.priority = in.bounded<std::uint32_t>(UINT32_MAX);
    policy.from_file = in.u8() != 0;
    policy.settings = get_policy(in);
    if (in.ok() && !complaint_of(policy).empty()) in.reject();
    return policy;
}

}  // namespace

bool glob_matches(std::string_view pattern, std::string_view name) {
    // Remember the last '*', and let it take one character more on a mismatch.
    std::size_t p = 0;
    std::size_t n = 0;
    std::size_t star = std::string_view::npos;
    std::size_t mark = 0;
    while (n < name.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            mark = n;
        } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
            ++p;
            ++n;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            n = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
}

QueuePolicy merged(const QueuePolicy& own, const QueuePolicy& policy) {
    QueuePolicy out = own;
    const bool retries = own.retry != RetryKind::none || own.retry_delay_max_ms != 0;
    if (!retries) {
        out.retry = policy.retry;
        out.retry_delay_ms = policy.retry_delay_ms;
        out.retry_delay_max_ms = policy.retry_delay_max_ms;
        out.retry_jitter_percent = policy.retry_jitter_percent;
    }
    if (!own.dead_letters()) {
        out.dead_letter_exchange = policy.dead_letter_exchange;
        out.dead_letter_key = policy.dead_letter_key;
    }
    const bool limited =
        own.max_messages != 0 || own.max_bytes != 0 || own.overflow != Overflow::drop_head;
    if (!limited) {
        out.max_messages = policy.max_messages;
        out.max_bytes = policy.max_bytes;
        out.overflow = policy.overflow;
    }
    if (own.dedupe_window_ms == 0 && own.dedupe_max_ids == 0) {
        out.dedupe_window_ms = policy.dedupe_window_ms;
        out.dedupe_max_ids = policy.dedupe_max_ids;
    }
    if (own.max_deliveries == 0) out.max_deliveries = policy.max_deliveries;
    if (own.message_ttl_ms == 0) out.message_ttl_ms = policy.message_ttl_ms;
    if (own.expires_ms == 0) out.expires_ms = policy.expires_ms;
    return out;
}

std::string complaint_of(const NamedPolicy& policy) {
    if (!wire::valid_name(policy.name)) return "a policy's name has 1 to 255 of a-z A-Z 0-9 . _ -";
    if (!valid_pattern(policy.pattern))
        return "a pattern has 1 to 255 of a-z A-Z 0-9 . _ - and the wildcards * and ?";
    if (policy.priority > limits::policy_priority_max) return "priority is 0 to 1000";
    if (policy.settings.priorities)
        return "priorities cannot change later: they belong to the queue's declaration";
    if (policy.settings == QueuePolicy{}) return "a policy needs at least one setting";
    return complaint_of(policy.settings);
}

// ---- which counts ----

const NamedPolicy* Engine::State::policy_for(std::string_view queue_name) const {
    const NamedPolicy* best = nullptr;
    for (const auto& [name, policy] : policies) {
        if (best != nullptr && policy.priority <= best->priority) continue;
        if (glob_matches(policy.pattern, queue_name)) best = &policy;
    }
    return best;
}

void Engine::State::apply_policy(Queue& queue) {
    const NamedPolicy* policy = policy_for(queue.name);
    if (policy == nullptr && queue.named_policy == nullptr) return;
    if (queue.declared == nullptr)
        queue.declared = std::make_unique<const QueuePolicy>(queue.options.policy);
    queue.named_policy = policy;
    const QueuePolicy wanted =
        policy != nullptr ? merged(*queue.declared, policy->settings) : *queue.declared;
    if (policy == nullptr) queue.declared.reset();
    if (wanted == queue.options.policy) return;
    queue.options.policy = wanted;
    topology.changed();  // what is remembered of routes, and parked messages, look again
    if (replaying) return;
    // At once: a queue's life is measured from now on, and whatever else is looked at when a queue
    // is, as its limits are.
    use(queue);
    if (queue.extras != nullptr) set_alarm(queue);
    mark_dirty(queue);
}

void Engine::State::put_policy_in_force(const NamedPolicy& policy) {
    NamedPolicy& kept = policies[policy.name];
    const std::string before = kept.pattern;
    kept = policy;
    for (auto& [id, queue] : queues) {
        const bool concerned = queue->named_policy == &kept || glob_matches(before, queue->name) ||
                               glob_matches(kept.pattern, queue->name);
        if (concerned) apply_policy(*queue);
    }
}

void Engine::State::end_policy(std::string_view name) {
    const auto node = policies.extract(policies.find(name));
    for (auto& [id, queue] : queues) {
        if (queue->named_policy == &node.mapped()) apply_policy(*queue);
    }
}

void Engine::State::write_policy(const NamedPolicy& policy) {
    body.clear();
    put_u8(body, static_cast<std::uint8_t>(RecordType::policy_set));
    put_named_policy(body, policy);
    append(body);
    put_policy_in_force(policy);
}

void Engine::State::erase_policy(const std::string& name) {
    body.clear();
    put_u8(body, static_cast<std::uint8_t>(RecordType::policy_delete));
    put_text(body, name);
    append(body);
    end_policy(name);
}

// ---- commands ----

namespace {
std::uint64_t queues_with(const std::map<QueueId, std::unique_ptr<Queue>>& queues,
                          const NamedPolicy* policy) {
    std::uint64_t count = 0;
    for (const auto& [id, queue] : queues) count += queue->named_policy == policy ? 1U : 0U;
    return count;
}
constexpr const char* from_file_text =
    "it is in the broker's configuration file; change it there and restart the broker";
}  // namespace

void Engine::set_policy(SessionId session, std::uint64_t request, const NamedPolicy& policy,
                        bool check, Now now) {
    State& s = *state_;
    s.see(now);
    if (std::string wrong = complaint_of(policy); !wrong.empty())
        return s.fail(session, request, Code::bad_option, std::move(wrong));
    const auto at = s.policies.find(policy.name);
    if (at == s.policies.end() && s.policies.size() >= limits::policies_max)
        return s.fail(session, request, Code::limit_reached, "there are at most 256 policies");
    NamedPolicy wanted = policy;
    wanted.from_file = false;
    if (at != s.policies.end() && at->second.from_file) {
        wanted.from_file = true;
        if (at->second != wanted)
            return s.fail(session, request, Code::from_configuration, from_file_text);
    }
    if (check) {
        std::uint64_t fitting = 0;
        for (const auto& [id, queue] : s.queues)
            fitting += glob_matches(wanted.pattern, queue->name) ? 1U : 0U;
        // Nothing stands on it: it waits for no record.
        s.effects.push_back(Reply{session, request, QueuesAnswer{fitting}});
        return;
    }
    if (at == s.policies.end() || at->second != wanted) s.write_policy(wanted);
    s.reply(s.last_gate, session, request,
            QueuesAnswer{queues_with(s.queues, &s.policies.find(policy.name)->second)});
}

void Engine::delete_policy(SessionId session, std::uint64_t request, std::string_view name,
                           Now now) {
    State& s = *state_;
    s.see(now);
    const auto at = s.policies.find(name);
    if (at == s.policies.end()) {
        return s.fail(session, request, Code::no_such_policy,
                      "there is no policy '" + std::string(name) + "'");
    }
    if (at->second.from_file)
        return s.fail(session, request, Code::from_configuration, from_file_text);
    const std::uint64_t had = queues_with(s.queues, &at->second);
    s.erase_policy(at->first);
    s.reply(s.last_gate, session, request, QueuesAnswer{had});
}

void Engine::configure_policies(std::span<const NamedPolicy> from_file, Now now) {
    State& s = *state_;
    s.see(now);
    std::vector<std::string> gone;
    for (const auto& known : s.policies) {
        const bool listed =
            std::any_of(from_file.begin(), from_file.end(),
                        [&](const NamedPolicy& p) { return p.name == known.first; });
        if (known.second.from_file && !listed) gone.push_back(known.first);
    }
    for (const std::string& name : gone) s.erase_policy(name);
    for (const NamedPolicy& policy : from_file) {
        NamedPolicy wanted = policy;
        wanted.from_file = true;
        const auto at = s.policies.find(policy.name);
        if (at == s.policies.end() || at->second != wanted) s.write_policy(wanted);
    }
}

std::vector<PolicyView> Engine::policies(std::string_view after, std::size_t most) const {
    std::map<const NamedPolicy*, std::uint64_t> uses;
    for (const auto& [id, queue] : state_->queues) {
        if (queue->named_policy != nullptr) ++uses[queue->named_policy];
    }
    std::vector<PolicyView> views;
    for (auto at = state_->policies.upper_bound(after);
         at != state_->policies.end() && views.size() < most; ++at) {
        const auto used = uses.find(&at->second);
        views.push_back({at->second, used == uses.end() ? 0 : used->second});
    }
    return views;
}

// ---- log ----

bool Engine::State::replay_policy(RecordType type, Bytes bytes) {
    Reader in(bytes);
    in.u8();
    if (type == RecordType::policy_delete) {
        const std::string_view name = in.text();
        if (!in.ok() || !in.at_end() || policies.count(name) == 0) return false;
        end_policy(name);
        return true;
    }
    const NamedPolicy policy = get_named_policy(in);
    if (!in.ok() || !in.at_end()) return false;
    put_policy_in_force(policy);
    return true;
}

void Engine::State::save_policies(std::vector<std::byte>& out) const {
    put_varint(out, policies.size());
    for (const auto& [name, policy] : policies) put_named_policy(out, policy);
}

bool Engine::State::load_policies(Reader& in) {
    for (std::size_t count = in.count(6); count > 0 && in.ok(); --count) {
        const NamedPolicy policy = get_named_policy(in);
        if (in.ok() && !policies.emplace(policy.name, policy).second) in.reject();
    }
    return in.ok();
}

}  // namespace ferry::engine
