#pragma once

#include <librdkafka/rdkafka.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string_view>
#include <vector>

#include "batch.hpp"
#include "ferry/transport/late.hpp"

namespace ferry::transport::kafka {

class LateBatch;

/// A subscription's records that messages still have a use for. All of them go back to librdkafka
/// before its handle goes.
///
/// Threads   Any.
class LentRecords {
public:
    /// Headers that were over our limits are counted there, until take_back().
    explicit LentRecords(std::atomic<std::uint64_t>& headers_over) : headers_over_(headers_over) {}

    /// Reads what is unread, destroys all: the messages that are still there do without.
    void take_back();

private:
    friend class LateBatch;

    std::atomic<std::uint64_t>& headers_over_;
    std::mutex mutex_;  // of the batches too
    std::set<LateBatch*> batches_;
};

/// Records that were read together become messages that have a copy of the payload and the key. For
/// a look at a record's headers librdkafka allocates, even where there are none, which takes a
/// fourth of the time of reading it: so it is not asked before somebody asks us. Then for all of
/// them: who wants one's will want the next one's.
///
/// Records go back together: librdkafka's thread, which allocates meanwhile, meets us in the
/// allocator less often than if they went one by one between other work.
class LateBatch final : public LateParts {
public:
    /// With memory for all that will be added: `bytes` payloads and keys.
    LateBatch(std::shared_ptr<LentRecords> lent, std::size_t messages, std::size_t bytes);
    ~LateBatch() override;
    LateBatch(const LateBatch&) = delete;
    LateBatch& operator=(const LateBatch&) = delete;

    /// What its message may add to the memory.
    [[nodiscard]] static std::size_t bytes_of(const rd_kafka_message_t& record);
    /// Its message shows the payload, and keeps the batch alive.
    ///
    /// Requires  `topic` lives until LentRecords::take_back().
    void add(rd_kafka_message_t* record, std::string_view topic, LateReceived& to,
             const std::shared_ptr<LateBatch>& self);
    [[nodiscard]] std::size_t size() const { return records_.size(); }

    void read(std::size_t which, MessageView& view) override;

private:
    friend class LentRecords;
    struct Lent {
        rd_kafka_message_t* record = nullptr;
        std::string_view topic;
    };

    void complete_locked();
    std::string_view append(std::string_view text);

    const std::shared_ptr<LentRecords> lent_;
    std::vector<std::byte> bytes_;
    std::vector<Lent> records_;
    std::vector<Received> read_;  // with the late parts of each, when they are read
};

}  // namespace ferry::transport::kafka
