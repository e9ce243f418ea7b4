#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ferry/transport/admin.hpp"
#include "ferry/transport/lock.hpp"
#include "ferry/transport/message.hpp"
#include "ferry/transport/prepared.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/encoder.hpp"
#include "native/ranges.hpp"
#include "native/subscription_state.hpp"

// Msgpack of the protocol's answers to values and back. All decoders take bytes from the network:
// false means they are not what the protocol says; unknown keys are stepped over.
namespace ferry::transport::native {

struct ProducerAnswer {
    std::uint64_t producer = 0;
    std::uint64_t epoch = 0;
    std::uint64_t mark = 0;
    std::vector<Range> open;
};

/// What a broker says of publishes, behind the frame's head (whose request is the first sequence).
struct ConfirmFields {
    std::uint64_t producer = 0;
    std::uint64_t last = 0;
    std::uint64_t flags = 0;

    [[nodiscard]] Outcome outcome() const;
};
struct RefusedFields {
    std::uint64_t producer = 0;
    std::uint64_t last = 0;
    wire::Code code = wire::Code::ok;
    std::string_view text;  // into the frame
};
bool read_confirm(wire::Cursor& cursor, ConfirmFields& out);
bool read_refused(wire::Cursor& cursor, RefusedFields& out);

bool decode_hello(Bytes result, ServerInfo& out);
/// That the broker knows the password, as hello's answer has it.
bool decode_proof(Bytes result, std::string& out);
bool decode_producer(Bytes result, ProducerAnswer& out);
bool decode_declared_queue(Bytes result, DeclaredQueue& out);
/// One figure of an answer that has nothing else of interest.
bool decode_figure(Bytes result, std::string_view key, std::uint64_t& out);
bool decode_queue(Bytes result, QueueInfo& out);
bool decode_consumer_page(Bytes result, ConsumerPage& out);
bool decode_queue_page(Bytes result, QueuePage& out);
bool decode_peeked(Bytes result, std::vector<PeekedMessage>& out);
bool decode_exchange(Bytes result, ExchangeInfo& out);
bool decode_exchange_page(Bytes result, ExchangePage& out);
bool decode_policy_page(Bytes result, PolicyPage& out);
bool decode_schedule(Bytes result, ScheduleInfo& out);
bool decode_schedule_page(Bytes result, SchedulePage& out);
bool decode_times(Bytes result, std::vector<std::uint64_t>& out);
bool decode_prepared_result(Bytes result, PreparedResult& out);
bool decode_prepared(Bytes result, PreparedInfo& out);
bool decode_prepared_page(Bytes result, PreparedPage& out);
bool decode_lock_answer(Bytes result, std::uint64_t& token, std::uint64_t& ahead);
bool decode_lock(Bytes result, LockInfo& out);
bool decode_lock_page(Bytes result, LockPage& out);
bool decode_facts(Bytes result, std::vector<Fact>& out);
bool decode_stats(Bytes result, BrokerStats& out);
bool decode_backup(Bytes result, BackupInfo& out);
/// The flat array of firsts and lasts.
bool decode_ranges(wire::Cursor& cursor, std::vector<Range>& out);

/// Requires  state.mutex held.
void encode_subscribe(const SubscriptionState& state, wire::Buffer& out);
void encode_ranges(const Range* ranges, std::size_t count, wire::Encoder& out);

}  // namespace ferry::transport::native
