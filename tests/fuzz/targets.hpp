#pragma once

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

}  // namespace ferry::fuzz
