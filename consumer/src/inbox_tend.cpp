#include <algorithm>

#include "inbox_impl.hpp"

// When may exact knowledge go?
//
// A message with the header ferry-floor = F at position p says that everything of its producer
// below F was stored before p. When the queue's floor (its oldest unsettled message) is past p, all
// of that is settled in this queue for ever: it cannot come again by itself. Whether it was applied
// matters only for what was dead-lettered and sent back: those were not acked by us, so what we
// applied and acked is not among them. What we applied without knowing that the ack arrived may be
// among them and stays exact ("unsure").

namespace ferry::consumer {
namespace {

constexpr std::uint64_t lost_after_ms = 60'000;  // redelivery of a lost ack would have come by then
constexpr std::uint64_t evict_every_ms = 60'000;
// The floor is stored to notice a broker whose data went back; it need not be the newest.
constexpr std::uint64_t store_place_every_ms = 10'000;

}  // namespace

void Stream::note_floor(Floor floor) {
    if (floor.below <= below) return;
    if (!floors.empty() &&
        (floor.below <= floors.back().below || floor.position <= floors.back().position)) {
        return;
    }
    floors.push_back(floor);
    if (floors.size() <= limits::floors_max) return;
    // Every second one will do: the cursor rises in larger steps.
    std::deque<Floor> thinned;
    for (std::size_t i = 1; i < floors.size(); i += 2) thinned.push_back(floors[i]);
    if (thinned.back().below != floors.back().below) thinned.push_back(floors.back());
    floors.swap(thinned);
}

std::uint64_t Stream::settled_below(std::uint64_t queue_floor) const {
    std::uint64_t settled = 0;
    for (const Floor& floor : floors) {
        if (floor.position < queue_floor) settled = floor.below;
    }
    if (!unsettled.empty()) settled = std::min(settled, *unsettled.begin());
    if (!lost.empty()) settled = std::min(settled, lost.begin()->first);
    return settled;
}

Status Inbox::Impl::refuse(Errc code, std::string text) {
    const std::scoped_lock lock(notes);
    problem = std::move(text);
    return Error{code, 0, 0, "see Inbox::last_problem()"};
}

Status Inbox::Impl::known_place(const Place& now) {
    Place known;
    {
        const std::scoped_lock lock(notes);
        known = place;
    }
    const std::string who = "consumer " + options.consumer + " of " + database.path();
    const std::string way_on = "; when that is meant, ferry inbox accept lets it go on";
    if (!known.queue.empty() && known.queue != now.queue) {
        return refuse(Errc::conflict, who + " has read the queue " + known.queue + ", not " +
                                          now.queue + ": give another consumer another name");
    }
    if (!known.log_id.empty() && known.log_id != now.log_id) {
        return refuse(Errc::conflict, who + " has read from the log " + known.log_id +
                                          ", this broker's is " + now.log_id + way_on);
    }
    if (now.floor != 0 && now.floor < known.floor) {
        return refuse(Errc::conflict, who + " has seen the queue settled up to position " +
                                          std::to_string(known.floor) + ", the broker says " +
                                          std::to_string(now.floor) +
                                          ": its data is older, as after restoring a backup" +
                                          way_on);
    }
    const std::scoped_lock lock(notes);
    place.queue = now.queue;
    place.log_id = now.log_id;
    place.floor = std::max(place.floor, now.floor);
    return ok_status();
}

Status Inbox::check_place(const Place& place) {
    if (auto known = impl_->known_place(place); !known.ok()) return known;
    const Status tended = tend(place);
    // The place itself is known; a locked database keeps nobody from starting.
    if (!tended.ok() && tended.error().code == Errc::would_block) return ok_status();
    return tended;
}

Status Inbox::tend(const Place& place) {
    Impl& impl = *impl_;
    if (auto known = impl.known_place(place); !known.ok()) return known;
    std::unique_lock lock(impl.mutex);
    impl.turn.wait(lock, [&] { return !impl.busy && !impl.open; });
    impl.busy = true;
    lock.unlock();
    const auto done = Impl::without_throwing([&] { return impl.tidy(place, impl.wall_ms()); });
    lock.lock();
    impl.busy = false;
    impl.turn.notify_all();
    lock.unlock();
    if (done.ok()) return ok_status();
    return impl.refuse(done.error().retryable() ? Errc::would_block : done.error().error().code,
                       done.error().text);
}

sqlite::Status Inbox::Impl::tidy(const Place& now, std::uint64_t now_ms) {
    auto transaction = sqlite::Transaction::begin(database);
    if (!transaction.ok()) return transaction.error();
    const bool store = now_ms - stored_ms >= store_place_every_ms;
    if (store) {
        auto update = database.prepare(
            "UPDATE ferry_inbox_consumer SET queue = ?2, log_id = ?3, floor = max(floor, ?4) "
            "WHERE id = ?1 AND (queue <> ?2 OR log_id <> ?3 OR floor < ?4)");
        if (!update.ok()) return update.error();
        update.value()
            .bind(1, consumer)
            .bind(2, std::string_view(now.queue))
            .bind(3, std::string_view(now.log_id))
            .bind(4, now.floor);
        if (auto done = update.value().run(); !done.ok()) return done;
    }
    // Before the first floor nothing is forgotten, and no row has to stand apart.
    const bool keep_all = acks_in_doubt && now.floor != 0;
    if (keep_all) {
        if (auto kept = marks->keep_all_exact(); !kept.ok()) return kept;
    }
    if (auto kept = keep_lost(now.floor, now_ms); !kept.ok()) return kept;
    if (auto raised = raise_cursors(now.floor, now_ms); !raised.ok()) return raised;
    const auto retention = static_cast<std::uint64_t>(options.id_retention.count());
    auto dropped =
        marks->drop_ids_before(now_ms > retention ? now_ms - retention : 0, limits::tidy_rows_max);
    if (!dropped.ok()) return dropped.error();
    InboxFigures evicted;
    if (now_ms - evicted_ms >= evict_every_ms) {
        if (auto done = marks->evict({}, evicted); !done.ok()) return done;
    }
    if (auto committed = transaction.value().commit(); !committed.ok()) return committed;
    if (keep_all) acks_in_doubt = false;
    if (store) stored_ms = now_ms;
    if (now_ms - evicted_ms >= evict_every_ms) evicted_ms = now_ms;
    const std::scoped_lock lock(notes);
    figures.evicted_cursors += evicted.evicted_cursors;
    figures.evicted_ranges += evicted.evicted_ranges;
    return sqlite::ok_status();
}

sqlite::Status Inbox::Impl::keep_lost(std::uint64_t queue_floor, std::uint64_t now_ms) {
    std::vector<Origin> unsure;
    {
        const std::scoped_lock lock(notes);
        for (auto& [name, stream] : streams) {
            for (const auto& [sequence, since] : stream.lost) {
                if (now_ms - since < lost_after_ms) continue;
                unsure.push_back({name.first, name.second, sequence});
            }
        }
    }
    // On Kafka there is no floor, and all is kept exactly. What is unsure would have rows of its
    // own there for ever, and divide its neighbours.
    if (queue_floor == 0 && !unsure.empty()) acks_in_doubt = true;
    for (const Origin& origin : unsure) {
        if (queue_floor != 0) {
            if (auto kept = marks->keep_exact(origin); !kept.ok()) return kept;
        }
        // A crash or failure before the commit leaves a little more than needed, never less.
        const std::scoped_lock lock(notes);
        streams[{origin.producer, origin.epoch}].lost.erase(origin.sequence);
    }
    return sqlite::ok_status();
}

sqlite::Status Inbox::Impl::raise_cursors(std::uint64_t queue_floor, std::uint64_t now_ms) {
    if (queue_floor == 0) return sqlite::ok_status();
    struct Rise {
        Origin below;
        bool raise = false;
        bool close = false;
    };
    std::vector<Rise> rises;
    {
        const std::scoped_lock lock(notes);
        for (const auto& [name, stream] : streams) {
            Rise rise{{name.first, name.second, stream.settled_below(queue_floor)}, false, false};
            rise.raise = rise.below.sequence > stream.below;
            rise.close =
                !stream.closed && stream.first_position < queue_floor && stream.first_position != 0;
            if (rise.raise || rise.close) rises.push_back(rise);
        }
    }
    for (const Rise& rise : rises) {
        std::uint64_t dropped = 0;
        if (rise.raise) {
            auto raised = marks->raise(rise.below, limits::tidy_rows_max, now_ms);
            if (!raised.ok()) return raised.error();
            dropped = raised.value();
        }
        if (rise.close) {
            if (auto closed = marks->close_before(rise.below); !closed.ok()) return closed;
        }
        const std::scoped_lock lock(notes);
        Stream& stream = streams[{rise.below.producer, rise.below.epoch}];
        figures.collapsed += dropped;
        if (rise.close) stream.closed = true;
        // A full step may have left some behind: the same cursor again next time.
        if (!rise.raise || dropped >= limits::tidy_rows_max) continue;
        stream.below = rise.below.sequence;
        while (!stream.floors.empty() && stream.floors.front().below <= stream.below) {
            stream.floors.pop_front();
        }
    }
    return sqlite::ok_status();
}

void Inbox::settled(std::span<const std::string> ids) {
    Origin origin;
    const std::scoped_lock lock(impl_->notes);
    for (const std::string& id : ids) {
        if (!origin_of(id, origin)) continue;
        const auto stream = impl_->streams.find({origin.producer, origin.epoch});
        if (stream == impl_->streams.end()) continue;
        stream->second.unsettled.erase(origin.sequence);
        stream->second.lost.erase(origin.sequence);
    }
}

void Inbox::unsettled(std::span<const std::string> ids) {
    const std::uint64_t now_ms = impl_->wall_ms();
    Origin origin;
    const std::scoped_lock lock(impl_->notes);
    for (const std::string& id : ids) {
        if (!origin_of(id, origin)) continue;
        const auto stream = impl_->streams.find({origin.producer, origin.epoch});
        if (stream == impl_->streams.end()) continue;
        stream->second.unsettled.erase(origin.sequence);
        stream->second.lost.emplace(origin.sequence, now_ms);
    }
}

}  // namespace ferry::consumer
