#pragma once

#include <uv.h>

#include <deque>
#include <list>
#include <map>
#include <memory>
#include <vector>

#include "bodies.hpp"
#include "ferry/log/commit_log.hpp"

namespace ferry::server {

/// Record bodies: the log's newest ones from its memory, others from disk by libuv's pool, with a
/// small cache of verified blocks.
///
/// A backlog that is drained in order is read in blocks that double in size up to block_bytes.
/// Records from here and there, as a queue with priorities or delayed messages want them, are read
/// one by one: blocks around them would be read many times over. While the operating system still
/// has them in memory they are read at once (find_now()), and not for the price of two threads'
/// turns.
///
/// Threads   The loop's. Lifetime: `loop` and `log` outlive it; destroy it only when idle().
/// Memory    cache_bytes_max, and a block per read under way (reads_max of them).
class ColdReader final : public Bodies {
public:
    static constexpr std::size_t block_bytes = 1U << 20;
    static constexpr std::size_t first_bytes = 16U << 10;  // where nothing near it was read before
    static constexpr std::size_t now_bytes_max = 128U << 10;  // that find_now() reads
    static constexpr std::size_t cache_bytes_max = 32U << 20;
    static constexpr std::size_t reads_max = 8;

    ColdReader(uv_loop_t* loop, const log::CommitLog& log) : loop_(loop), log_(log) {}

    Bytes find(engine::Position record) override;
    Bytes find_now(engine::Position record) override;
    void fetch(engine::Position record, Done done) override;
    [[nodiscard]] bool idle() const { return reads_.empty(); }
    /// No read is begun any more and nobody is called back.
    void stop();

private:
    struct Read {
        uv_work_t work{};
        ColdReader* reader = nullptr;
        engine::Position record = 0;
        std::size_t bytes = 0;  // to read; a record that is longer is read whole all the same
        Result<log::Block> result{Error{}};
        std::vector<std::pair<engine::Position, Done>> waiting;
    };
    struct Cached {
        log::Block block;
        std::size_t hint = 0;  // where the last search ended: reads go forward
        bool read_on = false;  // the block behind it was asked for
    };
    using Lru = std::list<Cached>;

    [[nodiscard]] std::size_t bytes_at(engine::Position record) const;
    void start(std::unique_ptr<Read> read);
    void finished(Read* read);
    Bytes search(Cached& cached, engine::Position record);
    void read_ahead(Cached& cached);
    Read* under_way(engine::Position record);
    void insert(log::Block block);
    void drop(std::map<engine::Position, Lru::iterator>::iterator at);

    uv_loop_t* loop_;
    const log::CommitLog& log_;
    Lru lru_;  // newest first
    std::map<engine::Position, Lru::iterator> blocks_;
    std::size_t cached_bytes_ = 0;
    std::map<engine::Position, std::unique_ptr<Read>> reads_;
    std::deque<std::unique_ptr<Read>> queued_;
    bool stopped_ = false;
};

}  // namespace ferry::server
