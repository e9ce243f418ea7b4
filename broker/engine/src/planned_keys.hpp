#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "ferry/engine/types.hpp"

namespace ferry::engine {

/// The ordering keys of a command's messages, noted when it is planned: who divides what is stored
/// into runs of one key need not read the messages again.
///
/// Threads   The engine's. Nothing is known but while a Command lives.
/// Memory    12 bytes for each message of a command; a command has at most 65,536.
class PlannedKeys {
public:
    struct Message {
        std::uint32_t offset = 0;  // in the command's bytes
        std::uint32_t bytes = 0;
        KeyNumber key = 0;
    };

    /// A command is carried out, and its bytes stay where they are.
    class Command {
    public:
        Command(PlannedKeys& keys, Bytes messages) : keys_(keys) { keys_.command_ = messages; }
        ~Command() {
            keys_.command_ = {};
            keys_.messages_.clear();
        }
        Command(const Command&) = delete;
        Command& operator=(const Command&) = delete;

    private:
        PlannedKeys& keys_;
    };

    /// In order of offset.
    void add(const Message& message) {
        if (!command_.empty()) messages_.push_back(message);
    }
    /// The `count` messages that fill these bytes; empty: not all of them were noted, or they lie
    /// elsewhere.
    [[nodiscard]] std::span<const Message> find(Bytes messages, std::uint32_t count) const {
        const std::less<const std::byte*> below;
        const std::byte* const end = command_.data() + command_.size();
        if (messages_.empty() || count == 0 || below(messages.data(), command_.data()) ||
            !below(messages.data(), end))
            return {};
        const auto offset = static_cast<std::size_t>(messages.data() - command_.data());
        const auto first =
            std::partition_point(messages_.begin(), messages_.end(),
                                 [&](const Message& m) { return m.offset < offset; });
        if (static_cast<std::size_t>(messages_.end() - first) < count) return {};
        const std::span<const Message> found(first, count);
        const Message& last = found.back();
        const bool all = found.front().offset == offset &&
                         std::size_t{last.offset} + last.bytes == offset + messages.size();
        return all ? found : std::span<const Message>{};
    }

private:
    Bytes command_;
    std::vector<Message> messages_;
};

}  // namespace ferry::engine
