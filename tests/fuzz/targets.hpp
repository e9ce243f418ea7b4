#pragma once

#include <span>

#include "ferry/platform/bytes.hpp"

namespace ferry::fuzz {

// Entry points of the fuzzers; each aborts when something does not hold. fuzz_replay runs them over
// the corpus as an ordinary test.

/// Frames cut from arbitrary bytes, whole and in random chunks.
void frames(Bytes input);
/// Heads, messages and properties decoded from arbitrary bytes.
void messages(Bytes input);
/// A sequence of commands of several sessions against the engine.
void session(Bytes input);
/// Arbitrary checkpoints and record bodies given to the engine's recovery.
void records(Bytes input);
/// Arbitrary files given to the log's recovery.
void recovery(Bytes input);
/// Options of the SQL functions of an outbox: what is stored can be sent.
void outbox_options(Bytes input);
/// Rows of an outbox, as anybody may have written them, made into messages by a relay.
void outbox_row(Bytes input);
/// ferryd.toml: refused with one line, or shown as what was read.
void config(Bytes input);
/// Patterns of rights against a second matcher.
void rights(Bytes input);
/// Both sides of SCRAM against whatever the other one says: nobody gets in.
void scram(Bytes input);
/// The users file: what was read is written as it reads again.
void users(Bytes input);
/// Saga definitions in TOML and in their stored form, and the stored state of a saga.
void saga_definition(Bytes input);
/// URLs of HTTP steps, and what an HTTP answer means.
void saga_http(Bytes input);
/// Kafka records of anybody, made into messages and back.
void kafka_record(Bytes input);
/// Cron expressions and the times that they name.
void cron(Bytes input);
/// Addresses of brokers as clients and programs are given them.
void addresses(Bytes input);
/// Files of histories, and the checker on whatever they tell.
void history_file(Bytes input);

struct Target {
    const char* name;  // of the folder of its corpus
    void (*run)(Bytes);
    int changes;  // changed copies of each file of the corpus that the replay tries
};
/// All of them.
[[nodiscard]] std::span<const Target> targets();

}  // namespace ferry::fuzz
