#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "aside_list.hpp"
#include "ferry/engine/types.hpp"
#include "ferry/wire/hash_ring.hpp"
#include "ferry/wire/limits.hpp"
#include "held_keys.hpp"

namespace ferry::engine {

class ReadyList;
struct Subscription;

/// What decides in an ordered queue which message may go out, and to whom.
///
///     key: free ──claim──► held by one message ──gone──► held by the next one that waits, or free
///
/// A key is held from the moment its first message is chosen until that one is settled for good:
/// while it is delivered, while it waits for its retry, while it waits for its consumer. Later ones
/// of the key that were looked at lie aside in the ready list; here are only their positions, one
/// entry per run.
///
/// Keys fall into limits::key_slots slots; the ring says which consumer has a slot. A slot that is
/// to move goes on to its new owner when the old one holds no message of it.
///
/// Nothing of this is logged: it follows from what is in the queue. Threads: the engine's.
/// Memory    36 KiB, 48 to 64 bytes per key that is held (as many as were held at once), 24 per run
///           that waits.
class KeyGate {
public:
    explicit KeyGate(ReadyList& ready) : ready_(&ready) {}
    KeyGate(const KeyGate&) = delete;
    KeyGate& operator=(const KeyGate&) = delete;

    // -- keys --
    struct Claim {
        bool granted = false;  // the key was free, or held by this very message, which has it now
        KeyHint hint = no_key_hint;  // right until the next change
    };
    [[nodiscard]] Claim claim(KeyNumber key, Position first);
    /// Where the key is if another message than this one has it; else no_key_hint, and nothing is
    /// changed.
    [[nodiscard]] KeyHint held_before(KeyNumber key, Position first) const {
        const KeyHint at = keys_.find(key);
        if (at == none) return none;
        const Position by = keys_[at].by;
        return by == HeldKeys::nobody || by == first ? none : at;
    }
    /// The run lies aside behind others of its key. Requires what claim() gave.
    void park(KeyHint at, const Extent& extent, AsideList::Place place);
    /// The message that has the key lies aside until its consumer can take it. Requires what
    /// claim() gave.
    void offer(KeyHint at, AsideList::Place place);
    /// These messages left the queue, or are to leave it. If one of them held the key the next one
    /// that waits has it, and is offered.
    void gone(const Extent& extent, KeyHint hint = no_key_hint);
    /// Forgets every key. What is delivered has to be claimed again.
    void forget_keys();
    /// The message of this key is settled soon: the next one lies anywhere aside, so the memory of
    /// several should be on its way at a time.
    void expect_aside(KeyNumber key, KeyHint hint) const;
    [[nodiscard]] std::size_t held_keys() const { return keys_.size() - vacant_; }

    // -- deliveries: what a consumer holds of a slot keeps the slot from moving --
    void taken(KeyNumber key) { ++slots_[slot_of(key)].in_flight; }
    void left(KeyNumber key);

    // -- consumers --
    /// `name` is made unique if another member has it.
    void add_member(Subscription& subscription, std::string_view name, std::uint32_t weight);
    void remove_member(Subscription& subscription);
    /// Who gets messages of this key; null: nobody just now.
    [[nodiscard]] Subscription* owner_of(KeyNumber key) const;

    /// The next message that was offered to this consumer, or (null) to anybody, whoever it is. It
    /// still lies aside.
    struct Offer {
        Position first = 0;
        AsideList::Place place = 0;
        KeyHint hint = no_key_hint;
    };
    [[nodiscard]] std::optional<Offer> next_offer(const Subscription* subscription);

    struct Share {
        std::uint64_t slots = 0;
        std::uint64_t draining = 0;
    };
    [[nodiscard]] Share share_of(const Subscription& subscription) const;
    [[nodiscard]] std::string member_name(const Subscription& subscription) const;

    // -- to explain what waits --
    struct Standing {
        bool held = false;
        Position by = 0;                       // if held: the message that has the key
        std::uint32_t slot = 0;                // of the key
        std::uint32_t in_flight = 0;           // messages of the slot that are delivered
        const Subscription* owner = nullptr;   // has the slot; null: nobody, or who pulled
        const Subscription* wanted = nullptr;  // is to have it
    };
    [[nodiscard]] Standing standing_of(KeyNumber key) const;
    /// Slots that go from one consumer to another when what is delivered of them is settled.
    struct Move {
        const Subscription* from = nullptr;  // null: who pulled
        const Subscription* to = nullptr;    // null: nobody consumes
        std::uint64_t slots = 0;
        std::uint64_t in_flight = 0;
    };
    [[nodiscard]] std::vector<Move> moves() const;

    static constexpr std::uint32_t none = HeldKeys::none;
    [[nodiscard]] static std::uint32_t slot_of(KeyNumber key) { return key % limits::key_slots; }
    /// What stands for a message's ordering key.
    [[nodiscard]] static KeyNumber number_of(std::string_view ordering_key);

private:
    struct Entry {  // a run that waits for its key
        Position first = 0;
        Position end = 0;
        AsideList::Place place = 0;
        std::uint32_t next = none;
    };
    /// Keys whose messages are offered, in the order in which they were.
    struct Offers {
        KeyHint first = none;
        KeyHint last = none;
    };
    struct Slot {
        std::uint32_t owner = none;   // index of a member
        std::uint32_t wanted = none;  // the ring's choice
        std::uint32_t in_flight = 0;
        Offers offers;  // while nobody has it, or it is to move; else its owner has them

        [[nodiscard]] bool settled() const { return owner != none && owner == wanted; }
    };
    struct Member {
        Subscription* subscription = nullptr;  // null: no member has this index
        std::string name;
        Offers offers;
    };

    std::uint32_t new_entry();
    void pop_first(HeldKeys::Held& held);
    void list(KeyHint at);
    void append(Offers& to, Offers& from);
    Offers take_all_offers();
    void list_all(Offers offers);
    std::optional<Offer> pop_offer(Offers& offers);
    void choose_owners();
    [[nodiscard]] const Subscription* subscription_at(std::uint32_t member) const {
        return member == none ? nullptr : members_[member].subscription;
    }

    ReadyList* ready_;
    HeldKeys keys_;
    std::size_t vacant_ = 0;  // of them: nobody has them, and they stand in a list still
    std::vector<Entry> entries_;
    std::uint32_t free_entry_ = none;
    std::array<Slot, limits::key_slots> slots_{};
    wire::HashRing ring_;
    std::vector<Member> members_;  // by index in the ring
};

}  // namespace ferry::engine
