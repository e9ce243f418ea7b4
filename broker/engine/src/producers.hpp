#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "ferry/engine/types.hpp"
#include "varint.hpp"

namespace ferry::engine {

/// A set of sequences as sorted, disjoint ranges.
class SequenceSet {
public:
    void add(Range<Sequence> range);
    /// True if it was in.
    bool remove(Sequence sequence);
    void remove_upto(Sequence last);
    [[nodiscard]] bool contains(Sequence sequence) const;
    [[nodiscard]] std::uint64_t size() const { return size_; }
    [[nodiscard]] std::vector<Range<Sequence>> ranges() const;
    void clear() {
        ranges_.clear();
        size_ = 0;
    }

private:
    std::map<Sequence, Sequence> ranges_;  // first → last
    std::uint64_t size_ = 0;
};

/// What the broker remembers of a producer: a mark and the open sequences below it.
struct Producer {
    std::uint64_t number = 0;
    std::string name;
    std::uint64_t epoch = 1;
    Sequence mark = 0;
    SequenceSet open;
    std::vector<Range<Sequence>>
        open_unlogged;  // refused while the disk was full; logged with the next record
    bool temporary = false;
    std::uint64_t sessions = 0;       // that have it open
    std::uint64_t idle_since_ms = 0;  // monotonic: temporary ones are forgotten after a while
};

class Producers {
public:
    [[nodiscard]] Producer* find(std::string_view name);
    [[nodiscard]] Producer* find(std::uint64_t number);
    Producer& put(std::uint64_t number, std::string_view name, std::uint64_t epoch, bool temporary);
    void forget(std::uint64_t number);
    [[nodiscard]] std::uint64_t next_number() const { return next_number_; }
    [[nodiscard]] std::size_t size() const { return by_number_.size(); }
    [[nodiscard]] std::map<std::uint64_t, Producer>& all() { return by_number_; }

    /// A publish record took these sequences.
    static void advance(Producer& producer, Sequence first, std::uint64_t count, Sequence settled);

    void save(std::vector<std::byte>& out) const;
    [[nodiscard]] bool load(Reader& in);

private:
    std::map<std::uint64_t, Producer> by_number_;
    std::map<std::string, std::uint64_t, std::less<>> by_name_;
    std::uint64_t next_number_ = 1;
};

}  // namespace ferry::engine
