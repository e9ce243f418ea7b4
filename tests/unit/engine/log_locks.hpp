#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine_rig.hpp"
#include "records.hpp"

namespace ferry::engine::testing {

/// Which locks a log stands for, computed the obvious way.
class LogLocks {
public:
    struct Lock {
        std::uint64_t permits = 0;
        std::map<Position, std::string> grants;
        std::vector<std::string> line;
        std::set<Position> shut;  // by a lost holder's delay
        std::map<std::string, std::uint64_t> delays;

        [[nodiscard]] bool used() const {
            return !grants.empty() || !line.empty() || !shut.empty();
        }
    };
    std::map<std::string, Lock> locks;
    std::map<Position, std::string> tokens;  // every grant there ever was, and its lock
    std::vector<std::string> problems;

    void read(const MemoryJournal::Record& record) {
        Reader in(record.body);
        const auto type = static_cast<RecordType>(in.u8());
        if (type < RecordType::lock_wait || type > RecordType::lock_open) return;
        const std::string name(in.text());
        Lock& lock = locks[name];
        if (type == RecordType::lock_open) {
            if (lock.shut.erase(in.varint()) == 0) problems.push_back("opens what is not shut");
        } else {
            read_party(type, record.place.position, name, lock, in);
        }
        if (!in.ok() || !in.at_end()) problems.push_back("a lock's record is malformed");
        if (!locks[name].used()) locks.erase(name);
    }

private:
    void read_party(RecordType type, Position at, const std::string& name, Lock& lock, Reader& in) {
        const std::string holder(in.text());
        const auto waits = std::find(lock.line.begin(), lock.line.end(), holder);
        if (type == RecordType::lock_leave) {
            if (waits == lock.line.end()) return problems.push_back("who leaves does not wait");
            lock.line.erase(waits);
            return;
        }
        if (type == RecordType::lock_end) {
            const Position token = in.varint();
            const bool lost = in.u8() != 0;
            if (lock.grants.erase(token) == 0) problems.push_back("ends what is not granted");
            if (lost && lock.delays[holder] != 0) lock.shut.insert(token);
            return;
        }
        in.varint();
        lock.delays[holder] = in.varint();
        lock.permits = in.varint();
        if (type == RecordType::lock_wait) {
            if (waits != lock.line.end()) problems.push_back(holder + " waits twice");
            lock.line.push_back(holder);
            return;
        }
        if (waits != lock.line.end() && waits != lock.line.begin())
            problems.push_back(holder + " overtook others");
        if (waits == lock.line.end() && !lock.line.empty())
            problems.push_back(holder + " did not stand in line");
        if (waits != lock.line.end()) lock.line.erase(waits);
        lock.grants[at] = holder;
        if (lock.grants.size() + lock.shut.size() > lock.permits)
            problems.push_back("more hold " + name + " than may");
        if (!tokens.emplace(at, name).second) problems.push_back("a token came twice");
    }
};

}  // namespace ferry::engine::testing
